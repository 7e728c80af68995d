//! The key of a call: one for each call, whatever becomes of the process.

use std::collections::BTreeMap;

use super::*;
use crate::{
    event::{CallKey, ToolReset},
    tool::Resource,
};

/// A far side that notes the keys of the calls that reach it.
struct Far {
    spec: ToolSpec,
    seen: Arc<Mutex<Vec<(StepId, CallKey)>>>,
}

impl Tool for Far {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, _: &Value) -> Resources {
        Resources::writes([Resource::service("far")])
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        assert_eq!(context.effect, self.spec.effect);
        let call = (context.step, context.key.clone());
        self.seen.lock().unwrap().push(call);
        Box::pin(std::future::ready(Ok(json!("done").into())))
    }
}

type Seen = Arc<Mutex<Vec<(StepId, CallKey)>>>;

fn agent(effect: Effect) -> (Agent, Seen) {
    let seen = Seen::default();
    let far = Far {
        spec: ToolSpec::new("far", "", json!({"type": "object"})).effect(effect),
        seen: Arc::clone(&seen),
    };
    let turns = vec![
        Ok(vec![("far", "{}"), ("far", "{}"), ("far", "{}")]),
        Ok(vec![("far", "{}")]),
    ];
    let agent = Agent::builder(Turns::new(turns)).tool(far);
    (agent.build().unwrap(), seen)
}

fn log(events: Vec<Event>, dies_at: usize, commits: bool) -> Arc<Dying> {
    Arc::new(Dying {
        events: Mutex::new(events),
        dies_at,
        commits,
        ..Dying::default()
    })
}

/// The keys by call; each call has one.
fn keys(seen: &Seen) -> BTreeMap<StepId, CallKey> {
    let mut keys = BTreeMap::new();
    for (step, key) in seen.lock().unwrap().iter() {
        let first = keys.entry(*step).or_insert_with(|| key.clone());
        assert_eq!(first, key, "{step} has one key");
    }
    keys
}

#[tokio::test]
async fn a_keyed_call_runs_again_with_its_key_and_is_never_in_doubt() {
    let mut repeated = 0;
    for commits in [false, true] {
        for dies_at in 0.. {
            let (agent, seen) = agent(Effect::Keyed);
            let first = log(Vec::new(), dies_at, commits);
            let died = step(&agent, Arc::clone(&first)).await.0.is_err();
            let second = log(first.events.lock().unwrap().clone(), usize::MAX, true);
            let stop = step(&agent, second).await.0.unwrap();
            assert_eq!(stop, Stop::Completed(json!("done")), "nothing parks it");
            let keys = keys(&seen);
            let unique: std::collections::BTreeSet<_> = keys.values().collect();
            assert_eq!(
                (keys.len(), unique.len()),
                (4, 4),
                "each call has a key of its own"
            );
            repeated += seen.lock().unwrap().len() - 4;
            if !died {
                break;
            }
        }
    }
    assert!(repeated > 0, "no death repeated a call");
}

#[tokio::test]
async fn a_write_that_a_person_has_run_again_keeps_its_key() {
    let (agent, seen) = agent(Effect::Write);
    let first = log(Vec::new(), 2, false);
    step(&agent, Arc::clone(&first)).await.0.unwrap_err();
    let mut events = first.events.lock().unwrap().clone();
    assert_eq!(fold(&events).in_doubt(), [StepId(2)]);
    events.push(Event::ToolResolved(ToolResolved {
        step: StepId(2),
        resolution: Resolution::Retry,
    }));
    drop(step(&agent, log(events, usize::MAX, true)).await.0.unwrap());
    assert_eq!(keys(&seen).len(), 4);
    assert_eq!(seen.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_call_of_a_fork_gets_a_key_of_its_own() {
    let (agent, seen) = agent(Effect::Keyed);
    let first = log(Vec::new(), usize::MAX, true);
    drop(step(&agent, Arc::clone(&first)).await.0.unwrap());
    let before = keys(&seen);
    // The fork begins with the first answer, and does its second and third call anew.
    let mut events = first.events.lock().unwrap().clone();
    let end = events
        .iter()
        .position(|event| matches!(event, Event::ToolCompleted(it) if it.step == StepId(2)))
        .unwrap();
    events.truncate(end + 1);
    for step in [StepId(3), StepId(4)] {
        events.push(Event::ToolReset(ToolReset { step, input: None }));
    }
    seen.lock().unwrap().clear();
    drop(step(&agent, log(events, usize::MAX, true)).await.0.unwrap());
    let after = keys(&seen);
    assert_eq!(
        after.keys().map(|step| step.0).collect::<Vec<_>>(),
        [3, 4, 6]
    );
    for (step, key) in after {
        assert_ne!(before[&step], key, "{step}");
    }
}

/// A log of an earlier release has no keys: a call gets one as it begins.
#[tokio::test]
async fn a_call_without_a_key_gets_one_with_its_next_intent() {
    let (agent, seen) = agent(Effect::Idempotent);
    let first = log(Vec::new(), 2, false);
    step(&agent, Arc::clone(&first)).await.0.unwrap_err();
    let mut events = first.events.lock().unwrap().clone();
    for event in &mut events {
        if let Event::ToolCalled(called) = event {
            (called.key, called.resources) = (None, None);
        }
    }
    seen.lock().unwrap().clear();
    // It dies once more, after the intents are recorded.
    let second = log(events, 1, false);
    step(&agent, Arc::clone(&second)).await.0.unwrap_err();
    let events = second.events.lock().unwrap().clone();
    drop(step(&agent, log(events, usize::MAX, true)).await.0.unwrap());
    assert_eq!(keys(&seen).len(), 4);
}
