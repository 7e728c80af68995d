//! Calls that are made again once a person has answered.

use super::*;
use crate::{
    event::{CallKey, CallWait, SignalReceived},
    tool::{FollowUp, Resumed},
};

/// The calls of a tool, by their keys, each with the answer that it was called again for.
type Calls = Arc<Mutex<Vec<(CallKey, Option<Resumed>)>>>;

/// Waits for a signal twice, and gives back what it carried.
struct InputTool {
    spec: ToolSpec,
    calls: Calls,
}

impl Tool for InputTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        let resumed = context.resumed.clone();
        self.calls
            .lock()
            .unwrap()
            .push((context.key.clone(), resumed.clone()));
        let round = resumed
            .as_ref()
            .map_or(0, |resumed| resumed.state["round"].as_u64().unwrap());
        let output = match round {
            2 => json!(format!("hello {}", resumed.unwrap().answer)).into(),
            round => FollowUp::Wait(CallWait::Signal {
                name: format!("human.{}", context.step),
                prompt: Some(json!({"question": "who?"})),
                until_micros: None,
                resume: Some(json!({"round": round + 1})),
            })
            .into(),
        };
        Box::pin(std::future::ready(Ok(output)))
    }
}

fn log(events: Vec<Event>) -> Arc<Dying> {
    Arc::new(Dying {
        events: Mutex::new(events),
        dies_at: usize::MAX,
        commits: true,
        ..Dying::default()
    })
}

fn signal(events: &mut Vec<Event>, payload: Value) {
    events.push(Event::SignalReceived(SignalReceived {
        name: format!("human.{}", StepId(2)),
        payload,
    }));
}

/// A `write` that waits is not in doubt: nothing is under way. It is one step with one key.
#[tokio::test]
async fn a_call_waits_for_answers_under_one_step_and_key() {
    let calls = Arc::<Mutex<Vec<_>>>::default();
    let spec = ToolSpec::new("asks", "", json!({"type": "object"}));
    let asks = InputTool {
        spec,
        calls: Arc::clone(&calls),
    };
    let turns = vec![Ok(vec![("asks", "{}")])];
    let agent = Agent::builder(Turns::new(turns))
        .tool(asks)
        .build()
        .unwrap();
    let mut events = Vec::new();
    for answer in [json!("first"), json!({"name": "Ada"})] {
        let recorder = log(events);
        let stop = step(&agent, Arc::clone(&recorder)).await.0.unwrap();
        let Stop::Waiting(Wait::Signal { names, .. }) = stop else {
            panic!("{stop:?}")
        };
        assert_eq!(names, [format!("human.{}", StepId(2))]);
        events = recorder.events.lock().unwrap().clone();
        signal(&mut events, answer);
    }
    let recorder = log(events);
    let stop = step(&agent, Arc::clone(&recorder)).await.0.unwrap();
    assert_eq!(stop, Stop::Completed(json!("done")));
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|(key, _)| *key == calls[0].0), "one key");
    assert_eq!(calls[0].1, None);
    assert_eq!(
        calls[2].1,
        Some(Resumed {
            state: json!({"round": 2}),
            answer: json!({"name": "Ada"})
        })
    );
    let events = recorder.events.lock().unwrap();
    let outputs = events.iter().filter_map(|event| match event {
        Event::ToolCompleted(completed) => Some(&completed.output),
        _ => None,
    });
    assert_eq!(
        outputs.collect::<Vec<_>>(),
        [&json!("hello {\"name\":\"Ada\"}")]
    );
}

/// A crash in the second call of a `write` leaves it in doubt; of a call that may run again, the answer is
/// there again.
#[tokio::test]
async fn a_crash_after_the_answer_keeps_it() {
    for effect in [Effect::Pure, Effect::Write] {
        let calls = Arc::<Mutex<Vec<_>>>::default();
        let spec = ToolSpec::new("asks", "", json!({"type": "object"})).effect(effect);
        let asks = InputTool {
            spec,
            calls: Arc::clone(&calls),
        };
        let turns = vec![Ok(vec![("asks", "{}")])];
        let agent = Agent::builder(Turns::new(turns))
            .tool(asks)
            .build()
            .unwrap();
        let recorder = log(Vec::new());
        let stop = step(&agent, Arc::clone(&recorder)).await.0.unwrap();
        assert!(matches!(stop, Stop::Waiting(_)), "{stop:?}");
        let mut events = recorder.events.lock().unwrap().clone();
        signal(&mut events, json!("first"));
        let before = events.len();
        let dying = Arc::new(Dying {
            events: Mutex::new(events),
            dies_at: 1,
            ..Dying::default()
        });
        step(&agent, Arc::clone(&dying)).await.0.unwrap_err();
        let events = dying.events.lock().unwrap().clone();
        assert!(
            events.len() > before,
            "the intent of the second call is recorded"
        );
        let again = step(&agent, log(events)).await.0.unwrap();
        match effect {
            Effect::Write => assert!(
                matches!(again, Stop::Waiting(Wait::InDoubt { .. })),
                "{again:?}"
            ),
            _ => {
                assert!(
                    matches!(again, Stop::Waiting(Wait::Signal { .. })),
                    "{again:?}"
                );
                let last = calls.lock().unwrap().last().unwrap().1.clone();
                assert_eq!(last.unwrap().answer, json!("first"));
            }
        }
    }
}
