//! The budgets of a task: reservations with intents, and settlements with outcomes.
//!
//! A task makes one model call at a time. A worker that takes a run over knows of no reservation: the reservation of a lost
//! call stays used, as the cost of the call is unknown.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use agentkit::{
    Event,
    drive::CallBudget,
    run::{Exhaustion, Limits},
};
use ops_core::{
    Micros, Next, Rejection, Task, WaitRequest,
    budget::{Amount, Budget, BudgetEntry, Window},
    event::TaskError,
    rules::budget as rule,
    time::SECOND,
};

/// The shortest and the longest wait until a task looks again whether its budget has room.
const WAITS: std::ops::RangeInclusive<i64> = 10 * SECOND..=600 * SECOND;
/// The same while calls under way may make room, unless a settlement wakes the task before.
const BUSY_WAITS: std::ops::RangeInclusive<i64> = 2 * SECOND..=60 * SECOND;
/// The code of a task that a budget fails.
const EXHAUSTED: &str = "budget_exhausted";

/// A reservation whose call has no outcome yet.
#[derive(Debug, Clone)]
struct Open {
    reserved: Amount,
    windows: Vec<Window>,
}

/// The budgets of a task. A task without budgets reserves nothing, and asks the store nothing.
#[derive(Debug)]
pub(crate) struct Spending {
    budgets: Vec<Budget>,
    open: Mutex<Option<Open>>,
    /// Whether the run waits where a limit is used up.
    waits: AtomicBool,
    /// The run's deadline, in UTC microseconds.
    deadline: AtomicI64,
}

impl Spending {
    pub(crate) fn of(budgets: &[Budget], task: &Task) -> Self {
        let about = budgets.iter().filter(|budget| rule::applies(budget, task));
        Self {
            budgets: about.cloned().collect(),
            open: Mutex::default(),
            waits: AtomicBool::new(false),
            deadline: AtomicI64::new(i64::MAX),
        }
    }

    /// The demands of the budgets on the calls of the run.
    pub(crate) fn asks(&self) -> Option<CallBudget> {
        (!self.budgets.is_empty()).then(|| CallBudget {
            money: self
                .budgets
                .iter()
                .any(|budget| budget.most.cost_micros.is_some()),
        })
    }

    /// Takes over the limits of the run.
    pub(crate) fn limit(&self, limits: &Limits) {
        let waits = limits.on_exhausted == Exhaustion::Wait;
        self.waits.store(waits, Ordering::SeqCst);
        let deadline = limits.deadline_micros.unwrap_or(i64::MAX);
        self.deadline.store(deadline, Ordering::SeqCst);
    }

    /// The changes of the ledgers by events.
    pub(crate) fn entries(&self, events: &[Event]) -> Vec<BudgetEntry> {
        if self.budgets.is_empty() {
            return Vec::new();
        }
        let mut open = self.open().clone();
        let mut entries = Vec::new();
        for event in events {
            if let Some(used) = outcome(event) {
                for window in open.iter().flat_map(|open| &open.windows) {
                    entries.push(BudgetEntry::Settle {
                        window: window.clone(),
                        reserved: open.as_ref().map(|open| open.reserved).unwrap_or_default(),
                        used,
                    });
                }
                open = None;
            }
            if let Some(amount) = intent(event) {
                entries.extend(self.budgets.iter().map(|budget| BudgetEntry::Reserve {
                    budget: budget.name.clone(),
                    period: budget.period,
                    most: budget.most,
                    amount,
                }));
            }
        }
        entries
    }

    /// Takes note of events that were recorded at this time.
    pub(crate) fn recorded(&self, events: &[Event], at: Micros) {
        if self.budgets.is_empty() {
            return;
        }
        let mut open = self.open();
        for event in events {
            if outcome(event).is_some() {
                *open = None;
            }
            if let Some(reserved) = intent(event) {
                let windows = self
                    .budgets
                    .iter()
                    .map(|budget| rule::window(&budget.name, budget.period, at));
                *open = Some(Open {
                    reserved,
                    windows: windows.collect(),
                });
            }
        }
    }

    /// The changes of the ledgers by the last events of a run: a call without an outcome is lost.
    pub(crate) fn last_entries(&self, events: &[Event]) -> Vec<BudgetEntry> {
        let mut entries = self.entries(events);
        if events.iter().any(|event| outcome(event).is_some()) {
            return entries;
        }
        let open = self.open();
        for window in open.iter().flat_map(|open| &open.windows) {
            let reserved = open.as_ref().map(|open| open.reserved).unwrap_or_default();
            entries.push(BudgetEntry::Settle {
                window: window.clone(),
                reserved,
                used: reserved,
            });
        }
        entries
    }

    /// The next state of a task whose intent has no room.
    ///
    /// If the room is taken by calls under way, the task waits until calls settle, also with the policy `fail`. The settlement
    /// wakes the task; the time limit of the wait is for calls that are lost, and for a settlement that came between the
    /// refusal and the wait. If the window is used up, the task fails, or waits for the next window. Until then the task
    /// looks again now and then, as the budget may be raised. Each look is a lease, so the number of leases makes the
    /// waits longer.
    pub(crate) fn next(
        &self,
        intent_of: &[Event],
        refusal: &Rejection,
        epoch: u64,
        now: Micros,
    ) -> (Next, Vec<BudgetEntry>) {
        let message = refusal.to_string();
        let Rejection::Budget { budget, until, .. } = refusal else {
            return (fail(message), Vec::new());
        };
        let is_busy = rule::is_busy(refusal);
        if !is_busy && !self.waits.load(Ordering::SeqCst) {
            return (fail(message), Vec::new());
        }
        let (waits, message) = match is_busy {
            true => (
                BUSY_WAITS,
                format!(
                    "calls under way fill the budget `{budget}`, and the task goes on as they end: {message}"
                ),
            ),
            false => (WAITS, message),
        };
        let doublings = u32::try_from(epoch.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .min(6);
        let wait = (*waits.start() << doublings).min(*waits.end());
        let deadline = Micros(self.deadline.load(Ordering::SeqCst));
        let ends = [now.plus(wait), deadline];
        let until = ends.into_iter().chain(*until).min();
        let next = Next::Wait(WaitRequest::Budget {
            limit: format!("budgets.{budget}"),
            message,
            until,
        });
        let amount = intent_of.iter().find_map(intent);
        let of = self.budgets.iter().find(|of| is_busy && of.name == *budget);
        let entry = of.zip(amount).map(|(of, amount)| BudgetEntry::Wait {
            budget: of.name.clone(),
            period: of.period,
            most: of.most,
            amount,
        });
        (next, entry.into_iter().collect())
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fail(message: String) -> Next {
    Next::Fail {
        error: TaskError {
            code: EXHAUSTED.to_owned(),
            message,
        },
        retryable: false,
    }
}

/// The worst case of a model call that begins.
pub(crate) fn intent(event: &Event) -> Option<Amount> {
    match event {
        Event::ModelStarted(started) => Some(Amount {
            tokens: started.reserved_tokens,
            cost_micros: started.reserved_cost_micros,
        }),
        _ => None,
    }
}

/// The usage of a model call with an outcome.
pub(crate) fn outcome(event: &Event) -> Option<Amount> {
    match event {
        Event::ModelCompleted(completed) => Some(Amount {
            tokens: completed.usage.total_tokens(),
            cost_micros: completed.usage.cost_micros,
        }),
        Event::ModelFailed(failed) => Some(Amount {
            tokens: failed.charged_tokens,
            cost_micros: failed.charged_cost_micros,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use agentkit::event::{Failure, ModelFailed, ModelStarted, Purpose, StepId};
    use ops_core::{
        Json, TaskId, TenantId,
        budget::{Most, Period},
        rules::budget::Kind,
        task::TaskLimits,
    };

    use super::*;

    fn spending(agent: &str) -> Spending {
        let budget = Budget {
            name: "all".to_owned(),
            period: Period::Total,
            most: Most {
                tokens: Some(500),
                cost_micros: None,
            },
            agent: Some("writer".to_owned()),
            labels: std::collections::BTreeMap::new(),
        };
        let task = Task {
            id: TaskId::new(Micros(1), [0; 10]),
            tenant: TenantId::DEFAULT,
            task_type: "agent_run".to_owned(),
            name: None,
            agent_id: Some(agent.to_owned()),
            agent_digest: None,
            input: Json::null(),
            labels: std::collections::BTreeMap::new(),
            limits: TaskLimits::default(),
            priority: 0,
            queue: "default".to_owned(),
            concurrency_key: None,
            retry_of: None,
            parent: None,
            created_at: Micros(1),
            run_at: None,
        };
        Spending::of(&[budget], &task)
    }

    fn started(reserved_tokens: u64) -> Event {
        Event::ModelStarted(ModelStarted {
            step: StepId(1),
            attempt: 1,
            name: "m".to_owned(),
            reserved_tokens,
            reserved_cost_micros: 0,
            purpose: Purpose::Turn,
        })
    }

    fn failed(charged_tokens: u64) -> Event {
        Event::ModelFailed(ModelFailed {
            step: StepId(1),
            attempt: 1,
            error: Failure::passing("x", "x"),
            charged_tokens,
            charged_cost_micros: 0,
            fallback: None,
            fallback_index: None,
            retry_at_micros: None,
        })
    }

    #[test]
    fn a_task_of_no_budget_sends_nothing() {
        let spending = spending("reader");
        assert_eq!(spending.asks(), None);
        assert!(spending.entries(&[started(100)]).is_empty());
    }

    #[test]
    fn an_outcome_settles_what_this_worker_has_reserved() {
        let spending = spending("writer");
        assert_eq!(spending.asks(), Some(CallBudget { money: false }));
        // The outcome of a call that another worker began settles nothing.
        let found = spending.entries(&[failed(3), started(100)]);
        assert!(
            matches!(&found[..], [BudgetEntry::Reserve { amount, .. }] if amount.tokens == 100),
            "{found:?}"
        );
        spending.recorded(&[failed(3), started(100)], Micros(7));
        let found = spending.entries(&[failed(40), started(60)]);
        let [
            BudgetEntry::Settle {
                window,
                reserved,
                used,
            },
            BudgetEntry::Reserve { amount, .. },
        ] = &found[..]
        else {
            panic!("{found:?}");
        };
        assert_eq!((window.budget.as_str(), window.since), ("all", Micros(0)));
        assert_eq!((reserved.tokens, used.tokens, amount.tokens), (100, 40, 60));
        spending.recorded(&[failed(40)], Micros(8));
        assert!(spending.entries(&[failed(1)]).is_empty());
    }

    fn refusal(used: u64, under_way: u64, until: Option<Micros>) -> Rejection {
        Rejection::Budget {
            budget: "all".to_owned(),
            kind: Kind::Tokens,
            asked: 90,
            used,
            under_way,
            most: 500,
            until,
        }
    }

    fn until(next: Next) -> Option<i64> {
        match next {
            Next::Wait(WaitRequest::Budget { limit, until, .. }) => {
                assert_eq!(limit, "budgets.all");
                until.map(|at| at.0 / SECOND)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_task_without_room_fails_or_waits_longer_and_longer() {
        let spending = spending("writer");
        let used_up = |until| refusal(480, 69, until);
        let next = |until, epoch| spending.next(&[started(90)], &used_up(until), epoch, Micros(0));
        let (Next::Fail { error, retryable }, entries) = next(None, 1) else {
            panic!("it waits");
        };
        assert_eq!((error.code.as_str(), retryable), (EXHAUSTED, false));
        assert!(error.message.contains("20 tokens left"), "{error:?}");
        assert!(entries.is_empty());
        spending.limit(&Limits {
            on_exhausted: Exhaustion::Wait,
            ..Limits::default()
        });
        let waits: Vec<_> = [1, 2, 3, 7, 100]
            .map(|epoch| until(next(None, epoch).0))
            .into();
        assert_eq!(waits, [10, 20, 40, 600, 600].map(Some));
        let soon = Some(Micros(4 * SECOND));
        let (waits, entries) = next(soon, 9);
        assert_eq!(until(waits), Some(4), "the next window begins");
        assert!(entries.is_empty(), "no settlement helps");
    }

    #[test]
    fn a_task_waits_for_calls_under_way_whatever_its_policy() {
        let spending = spending("writer");
        let busy = refusal(480, 70, None);
        for (epoch, seconds) in [(1, 2), (3, 8), (100, 60)] {
            let (next, entries) = spending.next(&[started(90)], &busy, epoch, Micros(0));
            assert_eq!(until(next), Some(seconds));
            let [BudgetEntry::Wait { budget, amount, .. }] = &entries[..] else {
                panic!("{entries:?}");
            };
            assert_eq!((budget.as_str(), amount.tokens), ("all", 90));
        }
    }

    #[test]
    fn a_call_that_a_cancel_cuts_off_is_lost() {
        let spending = spending("writer");
        spending.recorded(&[started(100)], Micros(7));
        let entries = spending.last_entries(&[]);
        assert!(
            matches!(&entries[..], [BudgetEntry::Settle { reserved, used, .. }]
                if reserved.tokens == 100 && used == reserved),
            "{entries:?}"
        );
        let answered = spending.last_entries(&[failed(40)]);
        assert!(
            matches!(&answered[..], [BudgetEntry::Settle { used, .. }] if used.tokens == 40),
            "{answered:?}"
        );
    }
}
