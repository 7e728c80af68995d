//! The limits of the providers that a task calls: each call with its intent, its usage with its outcome, and the wait for a
//! turn.
//!
//! A worker that takes a run over finds in the log whether the task has waited for a turn, and which one.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use agentkit::{Event, run::Limits};
use ops_core::{
    Micros, Next, Rejection, StoredEvent, Wait, WaitRequest,
    event::TaskEvent,
    provider::{ProviderEntry, ProviderLimit},
    rules::provider::Kind,
};

use crate::spending::{intent, outcome};

/// How many of the last events of a log may follow a wait for a turn: the wake, the lease, and external
/// events meanwhile. A task with more external events goes to the end of the line.
pub(crate) const LOOK_BACK: u32 = 16;

/// A turn that the task has waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    provider: String,
    at: Micros,
}

/// A call that has no outcome yet, with its reserved tokens.
type Open = Option<(Arc<ProviderLimit>, u64)>;

/// The limits of a task's providers. A task of a provider without limits sends no entries.
#[derive(Debug)]
pub(crate) struct Throttle {
    limits: Vec<Arc<ProviderLimit>>,
    open: Mutex<Open>,
    turn: Mutex<Option<Turn>>,
    /// The run's deadline, in UTC microseconds.
    deadline: AtomicI64,
}

impl Throttle {
    pub(crate) fn new(limits: &[Arc<ProviderLimit>]) -> Self {
        Self {
            limits: limits.to_vec(),
            open: Mutex::default(),
            turn: Mutex::default(),
            deadline: AtomicI64::new(i64::MAX),
        }
    }

    /// Whether a provider has a limit.
    pub(crate) fn is_on(&self) -> bool {
        !self.limits.is_empty()
    }

    /// Takes over the deadline of the run.
    pub(crate) fn limit(&self, limits: &Limits) {
        let deadline = limits.deadline_micros.unwrap_or(i64::MAX);
        self.deadline.store(deadline, Ordering::SeqCst);
    }

    /// Takes note of the turn that the last events of a log tell of.
    pub(crate) fn read(&self, last: &[StoredEvent]) {
        *self.turn() = last.iter().rev().find_map(turn_of);
    }

    /// The changes of providers' states by events.
    pub(crate) fn entries(&self, events: &[Event]) -> Vec<ProviderEntry> {
        if !self.is_on() {
            return Vec::new();
        }
        let mut open = self.open().clone();
        let mut entries = Vec::new();
        for event in events {
            if let Some(used) = outcome(event)
                && let Some((limit, reserved)) = open.take()
                && limit.tokens.is_some()
            {
                entries.push(ProviderEntry::Settle {
                    limit,
                    reserved,
                    used: used.tokens,
                });
            }
            if let Some((limit, tokens)) = self.begins(event) {
                let turn = self.turn_for(&limit);
                entries.push(ProviderEntry::Call {
                    limit,
                    tokens,
                    turn,
                });
            }
        }
        entries
    }

    /// Takes note of events that were recorded.
    pub(crate) fn recorded(&self, events: &[Event]) {
        if !self.is_on() {
            return;
        }
        for event in events {
            if outcome(event).is_some() {
                *self.open() = None;
            }
            if intent(event).is_some() {
                *self.open() = self.begins(event);
                *self.turn() = None;
            }
        }
    }

    /// The next state of a task whose intent the provider does not take now. The store makes the wait end with the turn.
    pub(crate) fn next(&self, events: &[Event], refusal: &Rejection) -> (Next, Vec<ProviderEntry>) {
        let kind = match refusal {
            Rejection::ProviderLimit { kind, .. } => *kind,
            _ => Kind::Requests,
        };
        let begins = events.iter().find_map(|event| self.begins(event));
        let deadline = self.deadline.load(Ordering::SeqCst);
        let provider = begins.as_ref().map(|(limit, _)| limit.provider.as_str());
        let next = Next::Wait(WaitRequest::Budget {
            limit: format!("{}.{}", provider.unwrap_or_default(), kind.setting()),
            message: refusal.to_string(),
            until: (deadline < i64::MAX).then_some(Micros(deadline)),
        });
        let entry = begins.map(|(limit, tokens)| {
            let turn = self.turn_for(&limit);
            ProviderEntry::Wait {
                limit,
                tokens,
                turn,
            }
        });
        (next, entry.into_iter().collect())
    }

    /// The limits of the call that an event begins, and its tokens.
    fn begins(&self, event: &Event) -> Open {
        let Event::ModelStarted(started) = event else {
            return None;
        };
        let provider = started.name.split('/').next().unwrap_or_default();
        let limit = self
            .limits
            .iter()
            .find(|limit| limit.provider == provider)?;
        Some((Arc::clone(limit), started.reserved_tokens))
    }

    fn turn_for(&self, limit: &ProviderLimit) -> Option<Micros> {
        let turn = self.turn();
        let of_provider = turn.as_ref().filter(|turn| turn.provider == limit.provider);
        of_provider.map(|turn| turn.at)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> MutexGuard<'_, Option<Turn>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn that a task waits for by this event, if it waits for one.
fn turn_of(stored: &StoredEvent) -> Option<Turn> {
    if !TaskEvent::is_engine(&stored.event.kind) {
        return None;
    }
    let Ok(TaskEvent::Waiting {
        wait: Wait::Budget { limit, until, .. },
    }) = TaskEvent::decode(&stored.event.body)
    else {
        return None;
    };
    let (provider, setting) = limit.split_once('.')?;
    let is_turn = [Kind::Requests, Kind::Tokens]
        .iter()
        .any(|kind| kind.setting() == setting);
    let at = until.filter(|_| is_turn)?;
    Some(Turn {
        provider: provider.to_owned(),
        at,
    })
}

#[cfg(test)]
mod tests {
    use agentkit::event::{Failure, ModelFailed, ModelStarted, Purpose, StepId};
    use ops_core::{NewEvent, provider::ProviderKey};

    use super::*;

    fn throttle(tokens: Option<u32>) -> Throttle {
        Throttle::new(&[Arc::new(ProviderLimit {
            provider: "openai".to_owned(),
            key: ProviderKey([1; 32]),
            requests: Some(10),
            tokens,
        })])
    }

    fn started(name: &str) -> Event {
        Event::ModelStarted(ModelStarted {
            step: StepId(1),
            attempt: 1,
            name: name.to_owned(),
            reserved_tokens: 100,
            reserved_cost_micros: 0,
            purpose: Purpose::Turn,
        })
    }

    fn failed() -> Event {
        Event::ModelFailed(ModelFailed {
            step: StepId(1),
            attempt: 1,
            error: Failure::passing("x", "x"),
            charged_tokens: 40,
            charged_cost_micros: 0,
            fallback: None,
            fallback_index: None,
            retry_at_micros: None,
        })
    }

    #[test]
    fn only_calls_of_a_provider_with_limits_count() {
        let throttle = throttle(Some(1_000));
        assert!(throttle.entries(&[started("anthropic/claude")]).is_empty());
        let begin = [started("openai/gpt")];
        assert!(matches!(
            &throttle.entries(&begin)[..],
            [ProviderEntry::Call {
                tokens: 100,
                turn: None,
                ..
            }]
        ));
        // The outcome of a call that another worker began settles nothing.
        assert!(throttle.entries(&[failed()]).is_empty());
        throttle.recorded(&begin);
        let entries = throttle.entries(&[failed(), started("openai/gpt")]);
        assert!(
            matches!(
                &entries[..],
                [
                    ProviderEntry::Settle {
                        reserved: 100,
                        used: 40,
                        ..
                    },
                    ProviderEntry::Call { .. }
                ]
            ),
            "{entries:?}"
        );
        throttle.recorded(&[failed()]);
        assert!(throttle.entries(&[failed()]).is_empty());
    }

    #[test]
    fn usage_matters_to_a_limit_on_tokens_alone() {
        let throttle = throttle(None);
        throttle.recorded(&[started("openai/gpt")]);
        assert!(throttle.entries(&[failed()]).is_empty());
    }

    #[test]
    fn a_task_is_back_with_the_turn_that_its_log_tells_of() {
        let throttle = throttle(None);
        let refusal = Rejection::ProviderLimit {
            provider: "openai".to_owned(),
            kind: Kind::Requests,
            per_minute: 10,
        };
        let events = [started("openai/gpt")];
        let (next, entries) = throttle.next(&events, &refusal);
        assert!(matches!(
            &entries[..],
            [ProviderEntry::Wait { turn: None, .. }]
        ));
        let Next::Wait(WaitRequest::Budget { limit, until, .. }) = next else {
            panic!("{next:?}");
        };
        assert_eq!(
            (limit.as_str(), until),
            ("openai.requests_per_minute", None)
        );
        let body = format!(
            r#"{{"type":"task.waiting","v":1,"wait":{{"on":"budget","limit":"{limit}","message":"","until":77}}}}"#
        );
        let waiting = StoredEvent {
            seq: 3,
            at: Micros(1),
            event: NewEvent {
                kind: "task.waiting".into(),
                body: body.into_bytes().into(),
                step: None,
                usage: Default::default(),
                blobs: Vec::new(),
            },
        };
        throttle.read(std::slice::from_ref(&waiting));
        assert!(matches!(
            &throttle.entries(&events)[..],
            [ProviderEntry::Call {
                turn: Some(Micros(77)),
                ..
            }]
        ));
        // One turn is for one call.
        throttle.recorded(&events);
        assert!(matches!(
            &throttle.entries(&events)[..],
            [ProviderEntry::Call { turn: None, .. }]
        ));
    }
}
