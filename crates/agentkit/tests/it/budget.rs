//! Limits that are used up: a run waits until they are raised, and then goes on.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use agentkit::{
    Agent, BoxFuture, Event, Model, Usage,
    drive::{
        self, Batch, Command, DriveEnvironment, MemoryRecorder, RecordError, Recorder, RunClock,
        Stop,
    },
    event::{Failure, FinishReason, LimitsChanged, Wait},
    model::{DeltaSink, ModelError, ModelInfo, Prices, Request, Response, ResponseCall},
    run::{Exhaustion, Limits, Run},
    tool::{Effect, Tool, ToolContext, ToolOutput, ToolSpec, control::SpawnAgent},
};
use serde_json::{Value, json};

/// Asks for these calls turn by turn, and answers after the last.
struct CallingModel {
    info: ModelInfo,
    turns: Vec<Vec<(&'static str, Value)>>,
    made: Mutex<usize>,
}

impl CallingModel {
    fn new(turns: Vec<Vec<(&'static str, Value)>>) -> Arc<Self> {
        Arc::new(Self {
            info: ModelInfo {
                prices: vec![Prices {
                    up_to: None,
                    input: 1_000_000,
                    cached_input: None,
                    cache_write: None,
                    output: 1_000_000,
                }],
                ..ModelInfo::default()
            },
            turns,
            made: Mutex::default(),
        })
    }
}

impl Model for CallingModel {
    fn name(&self) -> &'static str {
        "test/asks"
    }

    fn info(&self) -> Option<&ModelInfo> {
        Some(&self.info)
    }

    fn call<'a>(
        &'a self,
        _: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let mut made = self.made.lock().unwrap();
        let turn = self.turns.get(*made).cloned().unwrap_or_default();
        *made += 1;
        let calls: Vec<_> = turn
            .into_iter()
            .map(|(name, arguments)| ResponseCall {
                provider_id: format!("p{made}"),
                name: name.to_owned(),
                arguments: arguments.to_string(),
            })
            .collect();
        Box::pin(std::future::ready(Ok(Response {
            content: if calls.is_empty() {
                "done".to_owned()
            } else {
                String::new()
            },
            finish: FinishReason::Stop,
            calls,
            usage: Usage {
                input_tokens: 80,
                output_tokens: 20,
                cost_micros: 100,
                ..Usage::default()
            },
            model: "asks".to_owned(),
            parts: None,
            request_id: None,
        })))
    }
}

struct Look(ToolSpec, Arc<Mutex<u32>>);

impl Tool for Look {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        *self.1.lock().unwrap() += 1;
        Box::pin(std::future::ready(Ok(json!("seen").into())))
    }
}

/// A log in memory that has ids for children, and remembers what they may use up.
#[derive(Default)]
struct Log {
    events: Mutex<Vec<Event>>,
    children: Mutex<Vec<Option<u64>>>,
}

impl Recorder for Log {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        self.events.lock().unwrap().extend_from_slice(batch.events);
        for command in batch.commands {
            if let Command::Spawn(child) = command {
                self.children
                    .lock()
                    .unwrap()
                    .push(child.limits.max_cost_micros);
            }
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn check(&self) -> Result<(), RecordError> {
        Ok(())
    }

    fn new_child(&self) -> Result<String, Failure> {
        Ok(format!("task_{}", self.children.lock().unwrap().len()))
    }
}

/// Stands still.
struct At(i64);

impl RunClock for At {
    fn now_micros(&self) -> i64 {
        self.0
    }
}

fn environment(log: &Arc<Log>, now: i64) -> DriveEnvironment {
    let blobs = Arc::new(MemoryRecorder::default());
    DriveEnvironment::new(
        Arc::clone(log) as _,
        Arc::new(At(now)),
        PathBuf::from("."),
        blobs,
    )
}

fn fold(events: &[Event]) -> Run {
    let mut run = Run::default();
    for event in events {
        run.apply(&Event::decode(&event.encode()).unwrap()).unwrap();
    }
    run
}

#[tokio::test]
async fn a_run_whose_limit_is_used_up_waits_for_a_raise_and_repeats_nothing() {
    let usual = || Limits {
        on_exhausted: Exhaustion::Wait,
        ..Limits::default()
    };
    for (limit, before, after) in [
        (
            "max_steps",
            Limits {
                max_steps: 4,
                ..usual()
            },
            Limits {
                max_steps: 9,
                ..usual()
            },
        ),
        (
            "max_tokens",
            Limits {
                max_tokens: Some(150),
                ..usual()
            },
            Limits {
                max_tokens: Some(5_000),
                ..usual()
            },
        ),
        (
            "max_cost_usd",
            Limits {
                max_cost_micros: Some(150),
                ..usual()
            },
            Limits {
                max_cost_micros: Some(5_000),
                ..usual()
            },
        ),
        (
            "timeout",
            Limits {
                deadline_micros: Some(900),
                ..usual()
            },
            Limits {
                deadline_micros: Some(5_000_000_000),
                ..usual()
            },
        ),
    ] {
        // Step 4 is the second of three calls of one answer.
        let look = || ("look", json!({}));
        let model = CallingModel::new(vec![vec![look()], vec![look(), look(), look()]]);
        let looked = Arc::new(Mutex::new(0));
        let spec = ToolSpec::new("look", "looks", json!({"type": "object"})).effect(Effect::Pure);
        let agent = Agent::builder(Arc::clone(&model))
            .tool(Look(spec, Arc::clone(&looked)))
            .limits(before)
            .build()
            .unwrap();
        let log = Arc::new(Log::default());
        let environment = environment(&log, 1_000);
        let stop = drive::drive(&agent, "look", &mut Run::default(), &environment)
            .await
            .unwrap();
        let Stop::Waiting(Wait::Budget {
            limit: named,
            message,
            ..
        }) = stop
        else {
            panic!("{limit}: {stop:?}")
        };
        assert_eq!(named, limit);
        assert!(message.contains(&format!("`limits.{limit}`")), "{message}");
        let (made, seen) = (*model.made.lock().unwrap(), *looked.lock().unwrap());

        // Looking at it again changes nothing.
        let mut run = fold(&log.events.lock().unwrap());
        let again = drive::drive(&agent, "look", &mut run, &environment)
            .await
            .unwrap();
        assert!(
            matches!(again, Stop::Waiting(Wait::Budget { .. })),
            "{again:?}"
        );
        assert_eq!(
            (made, seen),
            (*model.made.lock().unwrap(), *looked.lock().unwrap())
        );

        log.events
            .lock()
            .unwrap()
            .push(Event::LimitsChanged(LimitsChanged { limits: after }));
        let mut run = fold(&log.events.lock().unwrap());
        let stop = drive::drive(&agent, "look", &mut run, &environment)
            .await
            .unwrap();
        assert_eq!(stop, Stop::Completed(json!("done")), "{limit}");
        assert_eq!(
            *model.made.lock().unwrap(),
            3,
            "{limit}: each model call once"
        );
        assert_eq!(*looked.lock().unwrap(), 4, "{limit}: each tool call once");
        assert_eq!(run, fold(&log.events.lock().unwrap()));
    }
}

#[tokio::test]
async fn limits_that_come_before_the_run_begins_are_not_lost() {
    let agent = Agent::builder(CallingModel::new(vec![])).build().unwrap();
    let log = Arc::new(Log::default());
    let stop = drive::drive(&agent, "go", &mut Run::default(), &environment(&log, 1)).await;
    assert!(stop.is_ok(), "{stop:?}");
    let limits = Limits {
        max_steps: 7,
        ..Limits::default()
    };
    let early = Event::LimitsChanged(LimitsChanged {
        limits: limits.clone(),
    });
    let started = log.events.lock().unwrap()[0].clone();
    let run = fold(&[early, started]);
    assert_eq!(run.config().unwrap().limits, limits);
}

#[tokio::test]
async fn children_share_the_money_that_is_left() {
    let spawn = |cost: Value| ("spawn_agent", json!({"goal": "a", "max_cost_usd": cost}));
    let plain = || ("spawn_agent", json!({"goal": "a"}));
    let model = CallingModel::new(vec![vec![
        plain(),
        spawn(json!(0.0002)),
        spawn(json!(900)),
        plain(),
    ]]);
    let agent = Agent::builder(Arc::clone(&model))
        .tool(SpawnAgent::new())
        .limits(Limits {
            max_cost_micros: Some(2_100),
            ..Limits::default()
        })
        .build()
        .unwrap();
    let log = Arc::new(Log::default());
    let mut run = Run::default();
    let stop = drive::drive(&agent, "share", &mut run, &environment(&log, 1))
        .await
        .unwrap();
    // A fifth of the 2,000 that are left first; then what the others ask for, as far as it is there.
    let given = log.children.lock().unwrap().clone();
    assert_eq!(given, [Some(400), Some(200), Some(1_400)]);
    assert_eq!(run.charged_cost_micros(), 2_100);
    let Stop::Failed(failure) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!(
        failure.code, "cost_limit",
        "nothing is left for the run itself"
    );
    let refused = |event: &&Event| matches!(event, Event::ToolFailed(failed) if failed.error.code == "cost_limit");
    assert_eq!(log.events.lock().unwrap().iter().filter(refused).count(), 1);
}
