//! Long runs that do everything a run can do, at random: a snapshot after each event is as good as
//! the log.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use agentkit::{
    Agent, BoxFuture, Event, Model, Usage,
    drive::{self, Batch, DriveEnvironment, MemoryRecorder, RecordError, Recorder, RunClock, Stop},
    event::{
        ChildEnded, ChildResult, Failure, FinishReason, Handle, LimitsChanged, MessageAdded,
        Purpose, SignalReceived, ToolApproved, ToolDenied, Wait,
    },
    model::{DeltaSink, ModelError, ModelErrorKind, ModelInfo, Request, Response, ResponseCall},
    policy::{
        Action, ApprovalTerms, EscalationTerms, Permission, Policy, PolicyContext, Previewer,
    },
    run::{Limits, MemoryConfig, Run},
    tool::{Effect, Tool, ToolContext, ToolOutput, ToolSpec, control},
};
use serde_json::{Value, json};

/// Numbers that look random (splitmix64).
#[derive(Debug)]
struct Dice(AtomicU64);

impl Dice {
    fn roll(&self, sides: u64) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// A model that wanders: calls of every kind, answers that cannot be used, failures, and at last an
/// answer.
struct Wanderer {
    info: ModelInfo,
    name: &'static str,
    dice: Arc<Dice>,
    turns: Arc<AtomicU64>,
    /// Children that have begun, as the recorder names them.
    children: Arc<AtomicU64>,
}

const TURNS: u64 = 90;

impl Wanderer {
    fn turn(&self) -> Result<Response, ModelErrorKind> {
        let turn = self.turns.fetch_add(1, Ordering::SeqCst);
        let roll = |sides| self.dice.roll(sides);
        let mut calls: Vec<(&str, Value)> = Vec::new();
        let mut content = format!("turn {turn}: {}", "word ".repeat(roll(60) as usize));
        if turn >= TURNS {
            content = json!({"turns": turn}).to_string();
        } else {
            match roll(12) {
                0 => return Err(ModelErrorKind::ServerError),
                1 => return Err(ModelErrorKind::Timeout),
                // Not what the schema wants.
                2 => content = "I am done, I think".to_owned(),
                3 => content.clear(),
                4 => calls.push(("nowhere", json!({}))),
                5 => calls.push(("ask_human", json!({"question": "?"}))),
                6 => calls.push(("sleep_until", json!({"seconds": 5}))),
                7 => calls.extend((0..=roll(3)).map(|n| {
                    let goal = format!("work {n}");
                    ("spawn_agent", json!({"goal": goal, "max_tokens": 50}))
                })),
                8 => {
                    let begun = self.children.load(Ordering::SeqCst);
                    let some = (0..begun).rev().take(2).map(|n| format!("child{n}"));
                    let tasks: Vec<String> = some.collect();
                    if !tasks.is_empty() {
                        calls.push(("await_agents", json!({"tasks": tasks})));
                    }
                }
                9 => {
                    calls.push(("guarded", json!({"n": turn})));
                    calls.push(("look", json!({"n": turn})));
                }
                _ => calls.extend((0..=roll(4)).map(|n| ("look", json!({"n": n})))),
            }
            if calls.is_empty() && content.starts_with("turn") {
                calls.push(("look", json!({"n": 0})));
            }
        }
        Ok(Response {
            finish: match calls.is_empty() {
                true => FinishReason::Stop,
                false => FinishReason::ToolCalls,
            },
            content,
            calls: calls
                .into_iter()
                .enumerate()
                .map(|(n, (name, arguments))| ResponseCall {
                    provider_id: format!("p{turn}-{n}"),
                    name: name.to_owned(),
                    arguments: arguments.to_string(),
                })
                .collect(),
            usage: Usage::default(),
            model: self.name.to_owned(),
            parts: (roll(3) == 0).then(|| json!({"model": self.name, "json": "[1]"})),
            request_id: None,
        })
    }
}

impl Model for Wanderer {
    fn name(&self) -> &str {
        self.name
    }

    fn info(&self) -> Option<&ModelInfo> {
        Some(&self.info)
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let text = |content: &str| Response {
            finish: FinishReason::Stop,
            content: content.to_owned(),
            calls: Vec::new(),
            usage: Usage::default(),
            model: self.name.to_owned(),
            parts: None,
            request_id: None,
        };
        let answer = match request.purpose {
            Purpose::Summary { .. } => match self.dice.roll(4) {
                0 => Err(ModelErrorKind::ServerError),
                _ => Ok(text("what came before")),
            },
            Purpose::Turn | Purpose::Plan | Purpose::Execute | Purpose::Answer => self.turn(),
        };
        let answer = answer.map_err(|kind| ModelError {
            retry_after: Some(Duration::from_micros(self.dice.roll(2))),
            maybe_charged: self.dice.roll(2) == 0,
            ..ModelError::new(kind, "it does not")
        });
        let answer = answer.map(|mut response| {
            let bytes = request.messages.iter();
            let bytes = bytes.map(|message| serde_json::to_string(message).unwrap().len());
            response.usage = Usage {
                input_tokens: bytes.sum::<usize>() as u64 / 3,
                output_tokens: 10,
                cost_micros: 3,
                ..Usage::default()
            };
            response
        });
        Box::pin(std::future::ready(answer))
    }
}

/// A tool that gives small and large results, and fails at times.
struct Look(ToolSpec, Arc<Dice>);

impl Tool for Look {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        let result = match self.1.roll(6) {
            0 => Err(Failure::last("odd", "it is dark")),
            1 => Ok(Value::from("x".repeat(20_000)).into()),
            2 => Ok(ToolOutput {
                content: json!({"share": 1.0 / (1.0 + self.1.roll(9) as f64)}),
                files: vec![(format!("f{}", self.1.roll(3)), Some("file".into()))],
                parts: Vec::new(),
                follow_up: None,
            }),
            size => Ok(Value::from("page ".repeat(size as usize * 30)).into()),
        };
        Box::pin(std::future::ready(result))
    }
}

/// Somebody has to be asked about `guarded`.
struct Guard;

impl Policy for Guard {
    fn check_permissions(&self, action: &Action<'_>, _: &PolicyContext<'_>) -> Permission {
        match &*action.tool.name {
            "guarded" => Permission::Ask {
                reason: "it is guarded".to_owned(),
                terms: ApprovalTerms {
                    timeout: Some(Duration::from_secs(60)),
                    escalation: Some(EscalationTerms {
                        after: Duration::from_secs(20),
                        to: "on-call".to_owned(),
                    }),
                    preview: Some(Previewer {
                        tool: "look".to_owned(),
                        arguments: serde_json::Map::new(),
                    }),
                },
            },
            _ => Permission::Allow,
        }
    }
}

/// A log, a clock, and ids of children.
struct World {
    events: Mutex<Vec<Event>>,
    now: AtomicI64,
    children: Arc<AtomicU64>,
}

impl Recorder for World {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        self.events.lock().unwrap().extend_from_slice(batch.events);
        Box::pin(std::future::ready(Ok(())))
    }

    fn check(&self) -> Result<(), RecordError> {
        Ok(())
    }

    fn new_child(&self) -> Result<String, Failure> {
        let number = self.children.fetch_add(1, Ordering::SeqCst);
        Ok(format!("child{number}"))
    }
}

struct WorldClock(Arc<World>);

impl RunClock for WorldClock {
    fn now_micros(&self) -> i64 {
        self.0.now.load(Ordering::SeqCst)
    }
}

/// What comes from outside while a run waits, or at random.
fn external(dice: &Dice, wait: Option<&Wait>, run: &Run) -> Vec<Event> {
    let mut events = Vec::new();
    match wait {
        Some(Wait::Approval { steps, .. }) => {
            for step in steps {
                let (step, by) = (*step, None);
                let approved = |input| Event::ToolApproved(ToolApproved { step, input, by });
                match dice.roll(4) {
                    0 => events.push(approved(None)),
                    1 => events.push(approved(Some(json!({"n": -1})))),
                    2 => events.push(Event::ToolDenied(ToolDenied {
                        step,
                        reason: "no".to_owned(),
                        by: None,
                    })),
                    // Nobody looks.
                    _ => {}
                }
            }
        }
        Some(Wait::Signal { names, .. }) => {
            let name = names[0].clone();
            let payload = json!({"at": 0.1 * dice.roll(7) as f64});
            events.push(Event::SignalReceived(SignalReceived { name, payload }));
        }
        Some(Wait::Children { tasks, .. }) => {
            // One at a time: others have ended by then, and some end twice.
            let task = tasks[dice.roll(tasks.len() as u64) as usize].clone();
            let result = match dice.roll(4) {
                0 => ChildResult::Cancelled,
                1 => ChildResult::Failed {
                    error: Failure::last("lazy", "it did nothing"),
                },
                2 => ChildResult::Completed {
                    output: json!("the beginning"),
                    handle: Some(Handle {
                        digest: "d".repeat(64),
                        bytes: 99_999,
                    }),
                },
                _ => ChildResult::Completed {
                    output: json!({"n": 1}),
                    handle: None,
                },
            };
            let ended = ChildEnded {
                task,
                result,
                used_tokens: dice.roll(90),
                used_cost_micros: dice.roll(9),
            };
            if dice.roll(3) == 0 {
                events.push(Event::ChildEnded(ended.clone()));
            }
            events.push(Event::ChildEnded(ended));
        }
        Some(Wait::Timer { .. } | Wait::InDoubt { .. } | Wait::Budget { .. }) | None => {}
    }
    match dice.roll(5) {
        0 => events.push(Event::MessageAdded(MessageAdded {
            content: "and hurry".to_owned(),
        })),
        1 => events.push(Event::SignalReceived(SignalReceived {
            name: "early".to_owned(),
            payload: json!("bird"),
        })),
        2 => {
            if let Some(config) = run.config() {
                let mut limits = config.limits.clone();
                limits.max_children += 1;
                events.push(Event::LimitsChanged(LimitsChanged { limits }));
            }
        }
        _ => {}
    }
    events
}

fn agent(dice: &Arc<Dice>, children: &Arc<AtomicU64>) -> Agent {
    let turns = Arc::new(AtomicU64::new(0));
    let model = |name| Wanderer {
        info: ModelInfo {
            context_tokens: Some(4_000),
            ..ModelInfo::default()
        },
        name,
        dice: Arc::clone(dice),
        turns: Arc::clone(&turns),
        children: Arc::clone(children),
    };
    let tool = |name| {
        let spec = ToolSpec::new(name, "", json!({"type": "object"}));
        Look(spec.effect(Effect::Pure), Arc::clone(dice))
    };
    Agent::builder(model("test/first"))
        .fallback(model("test/second"))
        .instructions("Wander.")
        .tool(tool("look"))
        .tool(tool("guarded"))
        .tools(control::all())
        .policy(Arc::new(Guard))
        .output_schema(json!({"type": "object", "required": ["turns"]}))
        .max_reasks(1_000)
        .memory(MemoryConfig {
            keep_exchanges: 2,
            ..MemoryConfig::default()
        })
        .limits(Limits {
            max_steps: 10_000,
            max_output_tokens: Some(300),
            max_tokens: Some(100_000_000),
            max_children: 1_000,
            max_repairs: 1_000,
            ..Limits::default()
        })
        .build()
        .unwrap()
}

/// The log of a run that wanders, and the fold that its driver had at the end.
async fn wander(seed: u64) -> (Vec<Event>, Run) {
    let dice = Arc::new(Dice(AtomicU64::new(seed)));
    let children = Arc::new(AtomicU64::new(0));
    let world = Arc::new(World {
        events: Mutex::default(),
        now: AtomicI64::new(1_000_000),
        children: Arc::clone(&children),
    });
    let agent = agent(&dice, &children);
    let blobs = Arc::new(MemoryRecorder::default());
    let clock = Arc::new(WorldClock(Arc::clone(&world)));
    let recorder = Arc::clone(&world) as Arc<dyn Recorder>;
    let environment = DriveEnvironment::new(recorder, clock, PathBuf::from("."), blobs);
    let mut run = Run::default();
    for event in external(&dice, None, &run) {
        run.apply(&event).unwrap();
        world.events.lock().unwrap().push(event);
    }
    for _ in 0..2_000 {
        let stop = drive::drive(&agent, "wander", &mut run, &environment)
            .await
            .unwrap();
        let wait = match &stop {
            Stop::Completed(_) => return (world.events.lock().unwrap().clone(), run),
            // The task's next attempt.
            Stop::Failed(failure) if failure.retryable => None,
            Stop::Failed(failure) => panic!("{failure}"),
            Stop::Waiting(wait) => Some(wait),
        };
        for event in external(&dice, wait, &run) {
            run.apply(&event).unwrap();
            world.events.lock().unwrap().push(event);
        }
        world.now.fetch_add(7_000_000, Ordering::SeqCst);
    }
    panic!("it never ends")
}

/// tests/X2: the machine's half of it. A run that is written down and read back after each event
/// stays equal to one that never was.
#[tokio::test]
async fn a_snapshot_after_each_event_is_as_good_as_the_log() {
    let mut kinds = std::collections::BTreeMap::<&str, usize>::new();
    for seed in 0..6 {
        let (events, driven) = wander(seed).await;
        assert!(events.len() > 400, "{}", events.len());
        let (mut fold, mut kept) = (Run::default(), Run::default());
        for (at, event) in events.iter().enumerate() {
            *kinds.entry(event.kind()).or_default() += 1;
            let stored = Event::decode(&event.encode()).unwrap();
            fold.apply(&stored).unwrap();
            kept.apply(&stored).unwrap();
            let snapshot = serde_json::to_vec(&kept).unwrap();
            kept = serde_json::from_slice(&snapshot).unwrap();
            assert_eq!(kept, fold, "seed {seed}, event {at}: {}", event.kind());
        }
        assert_eq!(
            fold, driven,
            "the run that was driven is the fold of its log"
        );
    }
    // The walks came by all of it.
    for kind in Event::TYPES {
        let count = kinds.get(kind).copied().unwrap_or(0);
        match kind {
            // Without a crash, a fork, a plan and a failure there are none.
            "tool.resolved" | "tool.probed" | "tool.reset" | "plan.updated" | "run.failed" => {}
            _ => assert!(count > 0, "no {kind}: {kinds:?}"),
        }
    }
}
