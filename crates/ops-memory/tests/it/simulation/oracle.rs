//! The books of an observer: what was granted, answered and used, as seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use ops_core::{Micros, TaskId, budget::Ledger};

/// Tokens of the budget.
pub(super) const BUDGET: u64 = 2_000;
/// Requests of the provider for each minute.
pub(super) const REQUESTS: u32 = 40;
const MINUTE: i64 = 60_000_000;

/// What became of an append, as its writer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Committed,
    Refused,
}

/// A reservation without an outcome.
#[derive(Debug, Clone, Copy)]
struct Call {
    epoch: u64,
    reserved: u64,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// The last epoch that a claim gave for each task.
    granted: BTreeMap<TaskId, u64>,
    /// Appends by their mark, with their task and epoch.
    appends: BTreeMap<u64, (TaskId, u64, Told)>,
    calls: BTreeMap<TaskId, Call>,
    /// Usage of answered calls, and worst cases of lost calls.
    spent: u64,
    /// When requests began, in time that passes and is never set.
    requests: Vec<i64>,
    pub(super) seen: BTreeMap<&'static str, u64>,
    pub(super) tasks: BTreeSet<TaskId>,
}

impl Oracle {
    pub(super) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// A claim gave a task.
    pub(super) fn claimed(&mut self, task: TaskId, epoch: u64) {
        let before = self.granted.insert(task, epoch);
        assert!(
            before.is_none_or(|before| before < epoch),
            "{task}: epoch {epoch} after {before:?}"
        );
    }

    /// The store took or refused an append. The writer of a repeated append did not hear of the first answer. Says whether
    /// the append was committed now.
    pub(super) fn appended(&mut self, task: TaskId, mark: u64, epoch: u64, told: Told) -> bool {
        if let Some((_, _, Told::Committed)) = self.appends.get(&mark) {
            assert_eq!(
                told,
                Told::Committed,
                "{task}: a committed append was refused when repeated"
            );
            return false;
        }
        self.appends.insert(mark, (task, epoch, told));
        if told == Told::Committed {
            let granted = self.granted.get(&task).copied();
            assert_eq!(
                granted,
                Some(epoch),
                "{task}: a write of a lease that is over was taken"
            );
        }
        told == Told::Committed
    }

    /// A call begins, once however often its append was sent.
    pub(super) fn reserved(&mut self, task: TaskId, epoch: u64, reserved: u64) {
        let call = Call { epoch, reserved };
        if let Some(lost) = self.calls.insert(task, call) {
            assert!(lost.epoch < epoch, "{task}: two calls at once");
            self.spent += lost.reserved;
        }
    }

    pub(super) fn settled(&mut self, task: TaskId, used: u64) {
        self.calls.remove(&task).expect("a call was reserved");
        self.spent += used;
    }

    /// The worst case that the calls under way have reserved, of the tasks whose lease is still theirs.
    fn under_way(&self, holds: impl Fn(TaskId, u64) -> bool) -> u64 {
        let held = self
            .calls
            .iter()
            .filter(|(task, call)| holds(**task, call.epoch));
        held.map(|(_, call)| call.reserved).sum()
    }

    fn total(&self) -> u64 {
        self.spent + self.calls.values().map(|call| call.reserved).sum::<u64>()
    }

    /// The ledger is the oracle's, and within the wall.
    pub(super) fn check_ledger(&self, ledger: Ledger, holds: impl Fn(TaskId, u64) -> bool) {
        assert_eq!(ledger.used.tokens, self.total(), "the ledger");
        assert!(
            ledger.used.tokens <= BUDGET,
            "the budget is overdrawn: {}",
            ledger.used.tokens
        );
        assert_eq!(
            ledger.under_way.tokens,
            self.under_way(holds),
            "the calls under way"
        );
    }

    /// A task was refused by the budget: for good only if the used part has no room.
    pub(super) fn refused(&self, asked: u64, is_busy: bool, holds: impl Fn(TaskId, u64) -> bool) {
        let total = self.total();
        assert!(
            total + asked > BUDGET,
            "refused with room: {total} and {asked}"
        );
        let used_up = total - self.under_way(holds) + asked > BUDGET;
        assert_eq!(is_busy, !used_up, "{asked} beside {total}");
    }

    /// A request begins at a time that is never set.
    pub(super) fn requested(&mut self, at: i64) {
        self.requests.push(at);
        let since = at - MINUTE;
        let in_minute = self
            .requests
            .iter()
            .rev()
            .take_while(|other| **other > since)
            .count();
        assert!(
            in_minute <= REQUESTS as usize,
            "{in_minute} requests within a minute"
        );
    }

    /// The clock was set: what the store takes for a minute is none.
    pub(super) fn clock_set(&mut self) {
        self.requests.clear();
    }

    /// A task's log: its appends are there once, under their epochs, and no others.
    pub(super) fn check_log(&self, task: TaskId, log: &[(u64, Option<u64>, Micros)]) {
        let mut found = BTreeSet::new();
        for (index, (seq, mark, _)) in log.iter().enumerate() {
            assert_eq!(*seq, index as u64 + 1, "{task}: the log has a gap");
            let Some(mark) = mark else { continue };
            assert!(found.insert(*mark), "{task}: append {mark} is there twice");
            let (of, _, told) = self
                .appends
                .get(mark)
                .copied()
                .expect("an append of a worker");
            assert_eq!(of, task);
            assert_eq!(
                told,
                Told::Committed,
                "{task}: append {mark} was refused, and is there"
            );
        }
        for (mark, (of, _, told)) in &self.appends {
            let missing = *of == task && *told == Told::Committed && !found.contains(mark);
            assert!(!missing, "{task}: append {mark} was committed, and is lost");
        }
    }
}
