//! Probes: what they see settles a call whose outcome was lost.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::*;
use crate::{
    event::{CallKey, CallPurpose, GateDecision, Initiator, Seen, ToolProbed},
    policy::{Action, Permission, Policy, PolicyContext},
    tool::{NotDone, Probe},
};

/// How late a request may take effect.
const LATE: Duration = Duration::from_secs(5);

/// A far side outside of the process: requests take effect late, and each effect is written down.
#[derive(Default)]
struct Ledger {
    effects: Mutex<Vec<(Instant, CallKey)>>,
    /// How late the next ones take effect, in seconds.
    late: AtomicUsize,
    looks: AtomicUsize,
}

impl Ledger {
    fn has(&self, key: &str) -> bool {
        let now = Instant::now();
        let effects = self.effects.lock().unwrap();
        effects
            .iter()
            .any(|(at, known)| known.as_str() == key && *at <= now)
    }
}

/// Sends a request to the ledger.
struct Send {
    spec: ToolSpec,
    ledger: Arc<Ledger>,
    look: Arc<Look>,
    not_done: NotDone,
}

impl Tool for Send {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn probe(&self, _: &Value, key: &CallKey) -> Option<Probe> {
        Some(Probe {
            tool: Arc::clone(&self.look) as _,
            input: json!({"key": key}),
            settle: LATE,
            not_done: self.not_done,
        })
    }

    fn probed(&self, _: &Value, result: &Value) -> Seen {
        match result.as_bool() {
            Some(true) => Seen::Done,
            Some(false) => Seen::NotDone,
            None => Seen::Unknown,
        }
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        // Each a second later than the one before, so some take effect only after the crash.
        let late = self.ledger.late.fetch_add(1, Ordering::SeqCst) % 6;
        let at = Instant::now() + Duration::from_secs(late as u64);
        let effect = (at, context.key.clone());
        self.ledger.effects.lock().unwrap().push(effect);
        Box::pin(std::future::ready(Ok(json!("sent").into())))
    }
}

/// Looks into the ledger.
struct Look {
    spec: ToolSpec,
    ledger: Arc<Ledger>,
    fails: bool,
}

impl Tool for Look {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        assert_eq!(context.effect, self.spec.effect);
        self.ledger.looks.fetch_add(1, Ordering::SeqCst);
        let key = arguments["key"].as_str().unwrap();
        Box::pin(std::future::ready(match self.fails {
            true => Err(Failure::passing("away", "it is away")),
            false => Ok(json!(self.ledger.has(key)).into()),
        }))
    }
}

struct Case {
    effect: Effect,
    look: Effect,
    not_done: NotDone,
    fails: bool,
    policy: Option<Arc<dyn Policy>>,
    max_steps: u32,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            effect: Effect::Write,
            look: Effect::Pure,
            not_done: NotDone::Rerun,
            fails: false,
            policy: None,
            max_steps: 100,
        }
    }
}

impl Case {
    fn agent(self) -> (Agent, Arc<Ledger>) {
        let ledger = Arc::new(Ledger::default());
        let schema = || json!({"type": "object"});
        let send = Send {
            spec: ToolSpec::new("send", "", schema()).effect(self.effect),
            ledger: Arc::clone(&ledger),
            look: Arc::new(Look {
                spec: ToolSpec::new("look", "", schema()).effect(self.look),
                ledger: Arc::clone(&ledger),
                fails: self.fails,
            }),
            not_done: self.not_done,
        };
        let turns = vec![
            Ok(vec![("send", "{}"), ("send", "{}")]),
            Ok(vec![("send", "{}")]),
        ];
        let mut agent = Agent::builder(Turns::new(turns)).tool(send).limits(Limits {
            max_steps: self.max_steps,
            ..Limits::default()
        });
        if let Some(policy) = self.policy {
            agent = agent.policy(policy);
        }
        (agent.build().unwrap(), ledger)
    }
}

fn dying(events: Vec<Event>, dies_at: usize, commits: bool) -> Arc<Dying> {
    Arc::new(Dying {
        events: Mutex::new(events),
        dies_at,
        commits,
        ..Dying::default()
    })
}

fn looks(events: &[Event]) -> Vec<&ToolProbed> {
    let probed = events.iter().filter_map(|event| match event {
        Event::ToolProbed(probed) => Some(probed),
        _ => None,
    });
    probed.collect()
}

/// Drives a log on, through timers, until the run ends, parks or dies.
async fn on(
    agent: &Agent,
    recorder: &Arc<Dying>,
    clock: &Arc<RuntimeClock>,
) -> Result<Stop, DriveError> {
    loop {
        match go(agent, recorder, clock).await? {
            Stop::Waiting(Wait::Timer { until_micros }) => {
                let left = u64::try_from(until_micros - clock.now_micros()).unwrap();
                tokio::time::sleep(Duration::from_micros(left)).await;
            }
            stop => return Ok(stop),
        }
    }
}

/// P19: two deaths, each at any append, and requests that take effect up to 5 s late.
#[tokio::test(start_paused = true)]
async fn a_probed_write_is_never_done_twice_and_never_parks() {
    let (mut saw, mut reruns, mut deaths) = (BTreeSet::new(), 0, 0);
    for commits in [false, true] {
        for first in 0..14 {
            for second in 0..14 {
                let (agent, ledger) = Case::default().agent();
                ledger.late.store(first + second, Ordering::SeqCst);
                let clock = RuntimeClock::new();
                let mut log = Vec::new();
                for dies_at in [first, second] {
                    let recorder = dying(log, dies_at, commits);
                    match on(&agent, &recorder, &clock).await {
                        Ok(stop) => assert_eq!(stop, Stop::Completed(json!("done"))),
                        Err(_) => deaths += 1,
                    }
                    log = recorder.events.lock().unwrap().clone();
                }
                let recorder = dying(log, usize::MAX, true);
                let stop = on(&agent, &recorder, &clock).await.unwrap();
                assert_eq!(
                    stop,
                    Stop::Completed(json!("done")),
                    "{commits} {first} {second}"
                );
                let events = recorder.events.lock().unwrap().clone();
                assert_eq!(
                    fold(&events).outcome(),
                    Some(&Outcome::Completed(json!("done")))
                );
                let seen = looks(&events);
                saw.extend(seen.iter().map(|probed| format!("{:?}", probed.saw)));
                let effects = ledger.effects.lock().unwrap();
                let keys: BTreeSet<_> = effects.iter().map(|(_, key)| key).collect();
                assert_eq!(
                    (effects.len(), keys.len()),
                    (3, 3),
                    "{commits} {first} {second}"
                );
                let started = events.iter();
                reruns += started
                    .filter(|event| matches!(event, Event::ToolResolved(_)))
                    .count();
            }
        }
    }
    assert!(deaths > 250, "{deaths}");
    assert!(
        reruns > 20,
        "calls that had not been made were made: {reruns}"
    );
    assert_eq!(
        saw,
        BTreeSet::from(["Done".to_owned(), "NotDone".to_owned()])
    );
}

/// The log of a run whose first `send` was made and whose outcome was lost.
async fn lost(agent: &Agent, clock: &Arc<RuntimeClock>) -> Vec<Event> {
    let first = dying(Vec::new(), 2, false);
    go(agent, &first, clock).await.unwrap_err();
    let events = first.events.lock().unwrap().clone();
    assert_eq!(fold(&events).in_doubt(), [StepId(2)]);
    events
}

#[tokio::test(start_paused = true)]
async fn the_log_says_what_the_probe_saw_and_the_model_is_not_shown_the_probe() {
    // Model, two sends, model, send, model: a probe is none of the six steps that the limit allows.
    let (agent, ledger) = Case {
        max_steps: 6,
        ..Case::default()
    }
    .agent();
    ledger.late.store(3, Ordering::SeqCst);
    let clock = RuntimeClock::new();
    let second = dying(lost(&agent, &clock).await, usize::MAX, true);
    let stop = on(&agent, &second, &clock).await.unwrap();
    assert_eq!(stop, Stop::Completed(json!("done")));
    let events = second.events.lock().unwrap().clone();
    let seen: Vec<(Seen, i64)> = looks(&events)
        .iter()
        .map(|probed| (probed.saw, probed.settles_micros))
        .collect();
    // It takes effect after three seconds; what a look right away sees does not count.
    assert_eq!(seen, [(Seen::NotDone, 6_000_000), (Seen::Done, 6_000_000)]);
    let machine: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::ToolCalled(called) if called.initiator == Initiator::Machine => Some(called),
            _ => None,
        })
        .collect();
    assert_eq!(machine.len(), 2);
    for called in machine {
        assert_eq!(called.purpose, Some(CallPurpose::Probe { of: StepId(2) }));
        assert_eq!((&*called.name, called.effect), ("look", Effect::Pure));
        assert_eq!(called.decision, GateDecision::Start);
        assert!(called.key.is_some() && called.resources.is_some());
    }
    let run = fold(&events);
    let text = format!("{:?}", run.memory());
    assert!(!text.contains("look\""), "{text}");
    assert!(text.contains("a look afterwards has shown"), "{text}");
    assert_eq!(run.machine_calls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_a_crash_breaks_off_is_taken_again_as_the_same_step() {
    let (agent, ledger) = Case::default().agent();
    let clock = RuntimeClock::new();
    let lost = lost(&agent, &clock).await;
    // It dies with the look's outcome.
    let second = dying(lost, 1, false);
    go(&agent, &second, &clock).await.unwrap_err();
    let events = second.events.lock().unwrap().clone();
    assert_eq!(fold(&events).machine_calls().len(), 1);
    let third = dying(events, usize::MAX, true);
    drop(on(&agent, &third, &clock).await.unwrap());
    assert_eq!(ledger.looks.load(Ordering::SeqCst), 2);
    let events = third.events.lock().unwrap().clone();
    let again = events.iter().any(|event| {
        matches!(event, Event::ToolStarted(started) if started.step == StepId(4) && started.attempt == 2)
    });
    assert!(again, "{events:#?}");
    assert_eq!(looks(&events).len(), 1);
}

/// Denies, or asks a person about, what is named `look`.
struct NoLooks(Permission);

impl Policy for NoLooks {
    fn check_permissions(&self, action: &Action<'_>, _: &PolicyContext<'_>) -> Permission {
        match &*action.tool.name {
            "look" => self.0.clone(),
            _ => Permission::Allow,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_doubt_that_no_probe_settles_parks() {
    let denied = Permission::Deny {
        reason: "no".to_owned(),
    };
    let asked = Permission::Ask {
        reason: "hm".to_owned(),
        terms: Default::default(),
    };
    let policy = |permission| Some(Arc::new(NoLooks(permission)) as Arc<dyn Policy>);
    // What is wrong, how often it looks, and whether the second look comes late enough to count.
    let cases = [
        (
            Case {
                fails: true,
                ..Case::default()
            },
            2,
            LATE,
        ),
        (
            Case {
                policy: policy(denied),
                ..Case::default()
            },
            0,
            Duration::ZERO,
        ),
        (
            Case {
                policy: policy(asked),
                ..Case::default()
            },
            0,
            Duration::ZERO,
        ),
        (
            Case {
                look: Effect::Write,
                ..Case::default()
            },
            0,
            Duration::ZERO,
        ),
        (
            Case {
                not_done: NotDone::Park,
                ..Case::default()
            },
            2,
            LATE,
        ),
    ];
    for (case, expected, after) in cases {
        let (agent, ledger) = case.agent();
        let clock = RuntimeClock::new();
        let lost = lost(&agent, &clock).await;
        // The request never arrived.
        ledger.effects.lock().unwrap().clear();
        let begun = Instant::now();
        let second = dying(lost, usize::MAX, true);
        let stop = on(&agent, &second, &clock).await.unwrap();
        assert_eq!(
            stop,
            Stop::Waiting(Wait::InDoubt {
                steps: vec![StepId(2)]
            })
        );
        assert_eq!(ledger.looks.load(Ordering::SeqCst), expected);
        assert_eq!(begun.elapsed(), after);
        let events = second.events.lock().unwrap().clone();
        assert_eq!(looks(&events).len(), expected.max(1));
        // A person decides as ever.
        let mut events = events;
        events.push(Event::ToolResolved(ToolResolved {
            step: StepId(2),
            resolution: Resolution::Failed {
                message: "it was not".to_owned(),
            },
        }));
        let third = dying(events, usize::MAX, true);
        let stop = on(&agent, &third, &clock).await.unwrap();
        assert_eq!(stop, Stop::Completed(json!("done")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_keyed_call_that_is_known_to_be_done_is_not_made_again() {
    for arrived in [true, false] {
        let (agent, ledger) = Case {
            effect: Effect::Keyed,
            not_done: NotDone::Park,
            ..Case::default()
        }
        .agent();
        let clock = RuntimeClock::new();
        let first = dying(Vec::new(), 2, false);
        go(&agent, &first, &clock).await.unwrap_err();
        let events = first.events.lock().unwrap().clone();
        if !arrived {
            ledger.effects.lock().unwrap().clear();
        }
        let before = Instant::now();
        let second = dying(events, usize::MAX, true);
        let stop = on(&agent, &second, &clock).await.unwrap();
        assert_eq!(stop, Stop::Completed(json!("done")));
        assert_eq!(
            before.elapsed(),
            Duration::ZERO,
            "the key sees to it, so nothing settles"
        );
        assert_eq!(ledger.effects.lock().unwrap().len(), 3);
        assert_eq!(looks(&second.events.lock().unwrap()).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn past_the_deadline_nothing_looks_and_the_doubt_parks() {
    let (agent, ledger) = Case::default().agent();
    let clock = RuntimeClock::new();
    let mut events = lost(&agent, &clock).await;
    let limits = Limits {
        deadline_micros: Some(clock.now_micros()),
        ..Limits::default()
    };
    events.push(Event::LimitsChanged(crate::event::LimitsChanged { limits }));
    let second = dying(events, usize::MAX, true);
    let stop = on(&agent, &second, &clock).await.unwrap();
    assert!(
        matches!(stop, Stop::Waiting(Wait::InDoubt { .. })),
        "{stop:?}"
    );
    assert_eq!(ledger.looks.load(Ordering::SeqCst), 0);
}
