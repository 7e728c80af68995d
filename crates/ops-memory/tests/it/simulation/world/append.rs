//! The appends of a worker: intents, outcomes, and what follows a refusal.

use std::sync::{Arc, LazyLock};

use ops_core::{
    Append, Json, Lifecycle, Micros, NewEvent, Next, Rejection, RunAction, RunCommand, TaskId,
    WaitRequest,
    budget::{Amount, BudgetEntry, Most, Period, Window},
    event::TaskError,
    ports::{BudgetStore as _, Clock as _, RunStore as _, StoreError},
    provider::{ProviderEntry, ProviderKey, ProviderLimit},
    rules::budget::is_busy,
    task::StateName,
};

use super::{BUDGETED, Plan, SECOND, World, now};
use crate::simulation::oracle::{BUDGET, REQUESTS, Told};

static LIMIT: LazyLock<Arc<ProviderLimit>> = LazyLock::new(|| {
    Arc::new(ProviderLimit {
        provider: "openai".to_owned(),
        key: ProviderKey([1; 32]),
        requests: Some(REQUESTS),
        tokens: None,
    })
});

/// A task of a worker.
#[derive(Debug, Clone)]
pub(super) struct Held {
    task: TaskId,
    plan: Plan,
    epoch: u64,
    seq: u64,
    /// Calls with an outcome.
    done: u32,
    /// The reserved tokens of a call under way.
    open: Option<u64>,
    /// An append whose answer was lost, with what it does.
    unheard: Option<(RunCommand, Does)>,
}

/// What an append does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Reserves so many tokens.
    Begin(u64),
    /// Uses so many tokens.
    End(u64),
    /// Parks or ends the task.
    Park,
}

fn window() -> Window {
    Window {
        budget: "all".to_owned(),
        since: Micros(0),
    }
}

const LIMITS: Most = Most {
    tokens: Some(BUDGET),
    cost_micros: None,
};

fn tokens(tokens: u64) -> Amount {
    Amount {
        tokens,
        cost_micros: 0,
    }
}

/// The mark of an event's body.
pub(super) fn mark_of(event: &NewEvent) -> Option<u64> {
    let text = std::str::from_utf8(&event.body).ok()?;
    let rest = text.split("\"mark\":").nth(1)?;
    rest.trim_end_matches('}').parse().ok()
}

fn event(kind: &str, mark: u64) -> NewEvent {
    NewEvent {
        kind: kind.to_owned(),
        step: None,
        usage: Default::default(),
        blobs: Vec::new(),
        body: format!("{{\"type\":\"{kind}\",\"v\":1,\"mark\":{mark}}}").into(),
    }
}

impl World {
    /// What a worker that takes a task over knows: its log.
    pub(super) fn resume(&self, life: &Lifecycle, plan: Plan) -> Held {
        let log = now(self.store.log(plan.tenant, life.id, 0, 1_000)).unwrap();
        let done = log
            .iter()
            .filter(|stored| stored.event.kind == "model.completed");
        Held {
            task: life.id,
            plan,
            epoch: life.epoch,
            seq: life.seq,
            done: u32::try_from(done.count()).unwrap_or(u32::MAX),
            open: None,
            unheard: None,
        }
    }

    /// A worker goes on with one of its tasks.
    pub(super) fn work(&mut self, index: usize) {
        if self.workers[index].is_frozen {
            return;
        }
        let Some(at) = self.random.index(self.workers[index].held.len()) else {
            return;
        };
        let held = self.workers[index].held.remove(at);
        if let Some(held) = self.go_on(held) {
            self.workers[index].held.push(held);
        }
    }

    fn go_on(&mut self, mut held: Held) -> Option<Held> {
        if let Some((command, does)) = held.unheard.take() {
            return self.send(held, command, does);
        }
        self.marks += 1;
        let mark = self.marks;
        let (mut append, does) = match held.open {
            Some(reserved) => {
                let used = self.random.below(reserved / 2 + 1);
                let events = vec![event("model.completed", mark)];
                let next = match held.done + 1 >= held.plan.steps {
                    true => Next::Complete {
                        result: Json::null(),
                    },
                    false => Next::Continue,
                };
                let mut append = Append::new(held.seq, events, next);
                if held.plan.tenant == BUDGETED {
                    append.budget = vec![BudgetEntry::Settle {
                        window: window(),
                        reserved: tokens(reserved),
                        used: tokens(used),
                    }];
                }
                (append, Does::End(used))
            }
            None if held.done >= held.plan.steps => {
                let events = vec![event("run.ended", mark)];
                let result = Json::null();
                (
                    Append::new(held.seq, events, Next::Complete { result }),
                    Does::Park,
                )
            }
            None => {
                let reserved = 100 + self.random.below(500);
                let events = vec![event("model.started", mark)];
                let mut append = Append::new(held.seq, events, Next::Continue);
                if held.plan.tenant == BUDGETED {
                    append.budget = vec![BudgetEntry::Reserve {
                        budget: "all".to_owned(),
                        period: Period::Total,
                        most: LIMITS,
                        amount: tokens(reserved),
                    }];
                }
                if held.plan.is_limited {
                    append.provider = vec![ProviderEntry::Call {
                        limit: Arc::clone(&LIMIT),
                        tokens: reserved,
                        turn: self.turns.get(&held.task).copied(),
                    }];
                }
                (append, Does::Begin(reserved))
            }
        };
        append.expected_seq = held.seq;
        let command = RunCommand::append(held.epoch, append);
        self.send(held, command, does)
    }

    fn send(&mut self, mut held: Held, command: RunCommand, does: Does) -> Option<Held> {
        let RunAction::Append(append) = &command.action else {
            unreachable!("appends alone are sent");
        };
        let mark = append.events.first().and_then(mark_of);
        let rests = !matches!(append.next, Next::Continue);
        let (tenant, task, epoch) = (held.plan.tenant, held.task, held.epoch);
        let answer = now(self.store.record(tenant, task, command.clone(), Vec::new()));
        match answer {
            Ok(life) => {
                let is_new = match mark {
                    Some(mark) => self.oracle.appended(task, mark, epoch, Told::Committed),
                    None => true,
                };
                if is_new {
                    self.took_effect(&held, does);
                }
                if self.has_faults && mark.is_some() && self.random.once_in(10) {
                    self.oracle.saw("acknowledgement lost");
                    held.unheard = Some((command, does));
                    return Some(held);
                }
                held.seq = life.seq.max(held.seq);
                match does {
                    Does::Begin(reserved) => held.open = Some(reserved),
                    Does::End(_) => {
                        held.open = None;
                        held.done += 1;
                    }
                    Does::Park => {}
                }
                (!rests).then_some(held)
            }
            Err(StoreError::Rejected(rejection)) => {
                if let Some(mark) = mark {
                    self.oracle.appended(task, mark, epoch, Told::Refused);
                }
                self.refused(held, command, does, &rejection)
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The oracle's books follow what was committed.
    fn took_effect(&mut self, held: &Held, does: Does) {
        match does {
            Does::Begin(reserved) => {
                self.turns.remove(&held.task);
                if held.plan.tenant == BUDGETED {
                    self.oracle.reserved(held.task, held.epoch, reserved);
                }
                if held.plan.is_limited {
                    self.oracle.requested(self.clock.boot_micros());
                }
            }
            Does::End(used) => {
                if held.plan.tenant == BUDGETED {
                    self.oracle.settled(held.task, used);
                }
                let busy = std::mem::take(&mut self.busy);
                for task in busy {
                    let life = self.life(self.plans[&task].tenant, task);
                    match life.state.name() {
                        StateName::Waiting => self.busy.push(task),
                        StateName::Pending => self.oracle.saw("woken by a settlement"),
                        _ => {}
                    }
                }
            }
            Does::Park => {}
        }
        self.check_ledger();
    }

    fn check_ledger(&self) {
        let ledgers = now(self.store.ledgers(BUDGETED, vec![window()])).unwrap();
        self.oracle
            .check_ledger(ledgers[0], |task, epoch| self.holds(task, epoch));
    }

    fn holds(&self, task: TaskId, epoch: u64) -> bool {
        let life = self.life(self.plans[&task].tenant, task);
        life.epoch == epoch && life.state.session().is_some()
    }

    fn refused(
        &mut self,
        mut held: Held,
        command: RunCommand,
        does: Does,
        rejection: &Rejection,
    ) -> Option<Held> {
        match rejection {
            // Others have written: a pause, a cancel.
            Rejection::WrongSeq { given, current } if current > given => {
                held.seq = *current;
                // The append is made anew, as its mark was refused.
                self.go_on(held)
            }
            Rejection::Cancelling => {
                self.marks += 1;
                let events = match does {
                    Does::End(_) => vec![event("model.completed", self.marks)],
                    Does::Begin(_) | Does::Park => vec![event("run.cancelled", self.marks)],
                };
                let mut append = Append::new(held.seq, events, Next::Cancelled);
                let RunAction::Append(before) = command.action else {
                    unreachable!("appends alone are sent");
                };
                let does = match does {
                    Does::End(used) => {
                        append.budget = before.budget;
                        Does::End(used)
                    }
                    Does::Begin(_) | Does::Park => Does::Park,
                };
                let command = RunCommand::append(held.epoch, append);
                self.send(held, command, does)
            }
            Rejection::Budget { asked, .. } => {
                let busy = is_busy(rejection);
                self.oracle
                    .refused(*asked, busy, |task, epoch| self.holds(task, epoch));
                match busy {
                    true => {
                        self.oracle.saw("budget busy");
                        self.busy.push(held.task);
                        let entry = BudgetEntry::Wait {
                            budget: "all".to_owned(),
                            period: Period::Total,
                            most: LIMITS,
                            amount: tokens(*asked),
                        };
                        self.park(held, vec![entry], Vec::new(), Some(60 * SECOND))
                    }
                    false => {
                        self.oracle.saw("budget used up");
                        let error = TaskError {
                            code: "budget_exhausted".to_owned(),
                            message: rejection.to_string(),
                        };
                        let next = Next::Fail {
                            error,
                            retryable: false,
                        };
                        let append = Append::new(held.seq, Vec::new(), next);
                        let command = RunCommand::append(held.epoch, append);
                        self.send(held, command, Does::Park)
                    }
                }
            }
            Rejection::ProviderLimit { .. } => {
                self.oracle.saw("provider refused");
                let turn = self.turns.get(&held.task).copied();
                let entry = ProviderEntry::Wait {
                    limit: Arc::clone(&LIMIT),
                    tokens: 0,
                    turn,
                };
                let (tenant, task) = (held.plan.tenant, held.task);
                let parked = self.park(held, Vec::new(), vec![entry], None);
                if let Some(turn) = self.life(tenant, task).state.due() {
                    self.turns.insert(task, turn);
                }
                parked
            }
            stale => {
                assert!(stale.is_stale(), "{stale}");
                self.oracle.saw("stale write refused");
                None
            }
        }
    }

    fn park(
        &mut self,
        held: Held,
        budget: Vec<BudgetEntry>,
        provider: Vec<ProviderEntry>,
        wait: Option<i64>,
    ) -> Option<Held> {
        let until = wait.map(|wait| self.clock.now().plus(wait));
        let request = WaitRequest::Budget {
            limit: "budgets.all".to_owned(),
            message: "it waits".to_owned(),
            until,
        };
        let mut append = Append::new(held.seq, Vec::new(), Next::Wait(request));
        append.budget = budget;
        append.provider = provider;
        let command = RunCommand::append(held.epoch, append);
        self.send(held, command, Does::Park)
    }
}
