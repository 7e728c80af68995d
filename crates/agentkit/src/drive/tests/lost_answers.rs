//! Calls whose answer is lost while the process lives on.

use super::*;
use crate::{
    event::{CallKey, Seen},
    tool::{NotDone, OUTCOME_UNKNOWN, Probe},
};

/// A far side that does what it is asked, and whose first answer is lost.
struct Far {
    spec: ToolSpec,
    done: Arc<Mutex<Vec<CallKey>>>,
    /// Looks whether a key is done, if there is such a thing.
    look: Option<Arc<Look>>,
}

struct Look {
    spec: ToolSpec,
    done: Arc<Mutex<Vec<CallKey>>>,
}

impl Tool for Look {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        let done = self.done.lock().unwrap();
        let is_done = done.iter().any(|key| key.as_str() == arguments["key"]);
        Box::pin(std::future::ready(Ok(json!(is_done).into())))
    }
}

impl Tool for Far {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn probe(&self, _: &Value, key: &CallKey) -> Option<Probe> {
        let look = self.look.clone()?;
        let input = json!({"key": key});
        Some(Probe {
            tool: look,
            input,
            settle: std::time::Duration::ZERO,
            not_done: NotDone::Park,
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
        let mut done = self.done.lock().unwrap();
        done.push(context.key.clone());
        let result = match done.len() {
            1 => Err(Failure::last(OUTCOME_UNKNOWN, "the connection broke")),
            _ => Ok(json!("done").into()),
        };
        Box::pin(std::future::ready(result))
    }
}

type Done = Arc<Mutex<Vec<CallKey>>>;

fn agent(effect: Effect, has_probe: bool) -> (Agent, Done) {
    let done = Done::default();
    let spec = |name: &str| ToolSpec::new(name, "", json!({"type": "object"}));
    let look = Look {
        spec: spec("look").effect(Effect::Pure),
        done: Arc::clone(&done),
    };
    let far = Far {
        spec: spec("far").effect(effect),
        done: Arc::clone(&done),
        look: has_probe.then(|| Arc::new(look)),
    };
    let turns = vec![Ok(vec![("far", "{}"), ("far", "{}")])];
    (
        Agent::builder(Turns::new(turns)).tool(far).build().unwrap(),
        done,
    )
}

fn log(events: Vec<Event>) -> Arc<Dying> {
    Arc::new(Dying {
        events: Mutex::new(events),
        dies_at: usize::MAX,
        commits: true,
        ..Dying::default()
    })
}

/// Promise P19: nothing asks again, and the run parks with the call in doubt.
#[tokio::test]
async fn a_write_whose_answer_is_lost_parks_and_goes_on_as_a_person_says() {
    let (agent, done) = agent(Effect::Write, false);
    let first = log(Vec::new());
    let stop = step(&agent, Arc::clone(&first)).await.0.unwrap();
    assert_eq!(
        stop,
        Stop::Waiting(Wait::InDoubt {
            steps: vec![StepId(2)]
        })
    );
    assert_eq!(
        done.lock().unwrap().len(),
        1,
        "the second call waits for the first"
    );

    let mut events = first.events.lock().unwrap().clone();
    events.push(Event::ToolResolved(ToolResolved {
        step: StepId(2),
        resolution: Resolution::Done {
            output: json!("it was done"),
        },
    }));
    let second = log(events);
    let stop = step(&agent, second).await.0.unwrap();
    assert_eq!(stop, Stop::Completed(json!("done")));
    let done = done.lock().unwrap();
    assert_eq!(done.len(), 2, "each call was made once");
    assert_ne!(done[0], done[1]);
}

/// Promise P19: a probe settles it without a person.
#[tokio::test]
async fn a_probe_settles_a_write_whose_answer_is_lost() {
    let (agent, done) = agent(Effect::Write, true);
    let stop = step(&agent, log(Vec::new())).await.0.unwrap();
    assert_eq!(stop, Stop::Completed(json!("done")));
    assert_eq!(done.lock().unwrap().len(), 2, "each call was made once");
}

/// Promise P19: the far side knows the key, so the call is made again with it.
#[tokio::test]
async fn a_keyed_call_whose_answer_is_lost_is_made_again_with_its_key() {
    for has_probe in [false, true] {
        let (agent, done) = agent(Effect::Keyed, has_probe);
        let recorder = log(Vec::new());
        let stop = step(&agent, Arc::clone(&recorder)).await.0.unwrap();
        assert_eq!(stop, Stop::Completed(json!("done")));
        let done = done.lock().unwrap();
        match has_probe {
            // The probe saw that it was done.
            true => assert_eq!(done.len(), 2),
            false => assert_eq!((done.len(), &done[0]), (3, &done[1])),
        }
        assert_ne!(done[0], done[done.len() - 1]);
        let events = recorder.events.lock().unwrap();
        let failed = |event: &&Event| matches!(event, Event::ToolFailed(_));
        assert_eq!(events.iter().filter(failed).count(), 0);
    }
}

/// A far side that never answers is asked three times, and then the call has failed.
#[tokio::test]
async fn a_keyed_call_that_never_has_an_answer_fails_in_the_end() {
    let done = Done::default();
    let asked = Arc::clone(&done);
    let schema = json!({"type": "object"});
    let spec = ToolSpec::new("far", "", schema).effect(Effect::Keyed);
    let far = Silent { spec, asked };
    let turns = vec![Ok(vec![("far", "{}")])];
    let agent = Agent::builder(Turns::new(turns)).tool(far).build().unwrap();
    let recorder = log(Vec::new());
    let stop = step(&agent, Arc::clone(&recorder)).await.0.unwrap();
    assert_eq!(stop, Stop::Completed(json!("done")));
    let done = done.lock().unwrap();
    assert_eq!(done.len(), 3);
    assert!(done.iter().all(|key| *key == done[0]));
    let events = recorder.events.lock().unwrap();
    let failed = events.iter().filter_map(|event| match event {
        Event::ToolFailed(failed) => Some(failed.error.code.as_str()),
        _ => None,
    });
    assert_eq!(failed.collect::<Vec<_>>(), [OUTCOME_UNKNOWN]);
}

/// Loses every answer.
struct Silent {
    spec: ToolSpec,
    asked: Done,
}

impl Tool for Silent {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        self.asked.lock().unwrap().push(context.key.clone());
        let lost = Failure::last(OUTCOME_UNKNOWN, "the connection broke");
        Box::pin(std::future::ready(Err(lost)))
    }
}

/// A call that may be repeated has failed, and the model decides.
#[tokio::test]
async fn of_a_call_without_a_lasting_effect_the_model_is_told() {
    let (agent, done) = agent(Effect::Idempotent, false);
    let recorder = log(Vec::new());
    let stop = step(&agent, Arc::clone(&recorder)).await.0.unwrap();
    assert_eq!(stop, Stop::Completed(json!("done")));
    assert_eq!(done.lock().unwrap().len(), 2);
    let events = recorder.events.lock().unwrap();
    let failed = events
        .iter()
        .filter(|event| matches!(event, Event::ToolFailed(_)));
    assert_eq!(failed.count(), 1);
}
