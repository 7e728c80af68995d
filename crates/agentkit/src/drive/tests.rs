//! The driver against a log that breaks off after any number of appends.

mod deadline;
mod images;
mod keys;
mod lost_answers;
mod parallel;
mod previews;
mod probes;
mod resumed;
mod withdrawn;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::deadline::{RuntimeClock, go};
use super::*;
use crate::{
    Model, Tool, ToolSpec, Usage,
    event::{FinishReason, Resolution, ToolResolved},
    model::{DeltaSink, Message, ModelError, ModelErrorKind, Request, Response, ResponseCall},
    run::Limits,
    tool::{Effect, Resources, ToolContext, ToolOutput},
};

/// Answers turn by turn, by the number of answers in the request.
pub(super) struct Turns {
    turns: Vec<Result<Vec<(&'static str, &'static str)>, ModelError>>,
    calls: Mutex<Vec<usize>>,
}

impl Turns {
    pub(super) fn new(
        turns: Vec<Result<Vec<(&'static str, &'static str)>, ModelError>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            turns,
            calls: Mutex::default(),
        })
    }
}

impl Model for Turns {
    fn name(&self) -> &'static str {
        "test/turns"
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let turn = request
            .messages
            .iter()
            .filter(|message| matches!(***message, Message::Assistant { .. }))
            .count();
        let mut calls = self.calls.lock().unwrap();
        let failed_before = calls.iter().filter(|call| **call == turn).count() > 0;
        calls.push(turn);
        let answer = match self.turns.get(turn) {
            Some(Err(error)) if !failed_before => Err(error.clone()),
            Some(Ok(wanted)) if !wanted.is_empty() => Ok(wanted.clone()),
            Some(Ok(_) | Err(_)) | None => Ok(vec![]),
        };
        let answer = answer.map(|wanted| Response {
            content: if wanted.is_empty() {
                "done".into()
            } else {
                String::new()
            },
            calls: wanted
                .into_iter()
                .enumerate()
                .map(|(index, (name, arguments))| ResponseCall {
                    provider_id: format!("p{turn}-{index}"),
                    name: name.into(),
                    arguments: arguments.into(),
                })
                .collect(),
            usage: Usage {
                input_tokens: 10,
                output_tokens: 5,
                ..Usage::default()
            },
            finish: FinishReason::Stop,
            model: "turns".into(),
            parts: Some(json!({"opaque": turn})),
            request_id: None,
        });
        Box::pin(std::future::ready(answer))
    }
}

/// Counts its calls.
pub(super) struct Counting {
    pub(super) spec: ToolSpec,
    pub(super) resources: Option<Resources>,
    calls: Arc<Mutex<Vec<StepId>>>,
    stop: Option<CancellationToken>,
}

impl Counting {
    pub(super) fn new(name: &str, effect: Effect) -> (Self, Arc<Mutex<Vec<StepId>>>) {
        let calls = Arc::new(Mutex::default());
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": false});
        let spec = ToolSpec::new(name, "counts", schema).effect(effect);
        (
            Self {
                spec,
                resources: None,
                calls: Arc::clone(&calls),
                stop: None,
            },
            calls,
        )
    }
}

impl Tool for Counting {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, _: &Value) -> Resources {
        let unknown = || Resources::unknown(self.spec.effect);
        self.resources.clone().unwrap_or_else(unknown)
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        self.calls.lock().unwrap().push(context.step);
        if let Some(stop) = &self.stop {
            stop.cancel();
        }
        Box::pin(std::future::ready(Ok(json!("counted").into())))
    }
}

/// A log that survives, and a process that dies at the append `dies_at`, before or after the commit.
#[derive(Default)]
pub(super) struct Dying {
    pub(super) events: Mutex<Vec<Event>>,
    pub(super) appends: AtomicUsize,
    pub(super) dies_at: usize,
    pub(super) commits: bool,
    pub(super) dead: AtomicBool,
    pub(super) stopping: Arc<AtomicBool>,
}

impl Recorder for Dying {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        let number = self.appends.fetch_add(1, Ordering::SeqCst);
        let dies = number == self.dies_at;
        assert!(!self.dead.load(Ordering::SeqCst), "a dead process appends");
        if !dies || self.commits {
            // What is stored are bytes.
            let bytes: Vec<_> = batch.events.iter().map(Event::encode).collect();
            let events = bytes.iter().map(|bytes| Event::decode(bytes).unwrap());
            self.events.lock().unwrap().extend(events);
        }
        self.dead.store(dies, Ordering::SeqCst);
        let result = if dies {
            Err(RecordError::LeaseLost)
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(result))
    }

    fn new_child(&self) -> Result<String, Failure> {
        Err(Failure::last("no_children", "a test without children"))
    }

    fn check(&self) -> Result<(), RecordError> {
        if self.stopping.load(Ordering::SeqCst) {
            Err(RecordError::Stopping)
        } else {
            Ok(())
        }
    }
}

pub(super) fn fold(events: &[Event]) -> Run {
    let mut run = Run::default();
    for event in events {
        run.apply(event).unwrap();
    }
    run
}

pub(super) async fn step(agent: &Agent, recorder: Arc<Dying>) -> (Result<Stop, DriveError>, Run) {
    let mut run = fold(&recorder.events.lock().unwrap());
    let blobs = Arc::new(MemoryRecorder::default());
    let environment =
        DriveEnvironment::new(recorder, Arc::new(SystemClock), PathBuf::from("."), blobs);
    let result = drive(agent, "count", &mut run, &environment).await;
    (result, run)
}

fn three_turns() -> Arc<Turns> {
    Turns::new(vec![
        Ok(vec![
            ("look", "{\"n\":1}"),
            ("look", "{}"),
            ("change", "{}"),
            ("look", ""),
        ]),
        Ok(vec![("change", "{}"), ("change", "{}")]),
        Ok(vec![
            ("look", "{\"n\":\"x\"}"),
            ("nothing", "{}"),
            ("look", "not json"),
        ]),
    ])
}

#[tokio::test]
async fn a_run_that_dies_at_any_append_resumes_and_repeats_no_write() {
    let mut in_doubt = 0;
    for commits in [false, true] {
        for dies_at in 0.. {
            let model = three_turns();
            let (look, _) = Counting::new("look", Effect::Pure);
            let (change, changes) = Counting::new("change", Effect::Write);
            let agent = Agent::builder(model.clone())
                .tool(look)
                .tool(change)
                .build()
                .unwrap();
            let first = Arc::new(Dying {
                dies_at,
                commits,
                ..Dying::default()
            });
            let (result, _) = step(&agent, first.clone()).await;
            let died = first.dead.load(Ordering::SeqCst);
            assert_eq!(result.is_err(), died);

            let events = Mutex::new(first.events.lock().unwrap().clone());
            let second = Arc::new(Dying {
                events,
                dies_at: usize::MAX,
                ..Dying::default()
            });
            let (mut result, mut run) = step(&agent, second.clone()).await;
            if let Ok(Stop::Waiting(Wait::InDoubt { steps })) = &result {
                in_doubt += 1;
                assert_eq!(
                    steps.len(),
                    1,
                    "only the one write that had begun is in doubt"
                );
                let done = Resolution::Done {
                    output: json!("it was"),
                };
                let resolved = ToolResolved {
                    step: steps[0],
                    resolution: done,
                };
                second
                    .events
                    .lock()
                    .unwrap()
                    .push(Event::ToolResolved(resolved));
                (result, run) = step(&agent, second.clone()).await;
            }
            assert_eq!(
                result.unwrap(),
                Stop::Completed(json!("done")),
                "{commits} {dies_at}"
            );
            assert_eq!(
                run.usage().total_tokens(),
                60,
                "each answer is counted once"
            );
            assert_eq!(
                run,
                fold(&second.events.lock().unwrap()),
                "the fold is the run"
            );

            let calls = model.calls.lock().unwrap().clone();
            assert!(
                calls.len() <= 4 + usize::from(died),
                "one model call at most is repeated"
            );
            let changes = changes.lock().unwrap().clone();
            let unique: std::collections::BTreeSet<_> = changes.iter().collect();
            assert_eq!(
                unique.len(),
                changes.len(),
                "a write ran twice: {changes:?}"
            );
            if !died {
                assert_eq!(changes.len(), 3);
                break;
            }
        }
    }
    assert!(in_doubt > 0, "no death left a write in doubt");
}

#[tokio::test]
async fn the_three_resolutions_do_what_they_say() {
    for resolution in [
        Resolution::Done {
            output: json!("it was"),
        },
        Resolution::Failed {
            message: "it was not".into(),
        },
        Resolution::Retry,
    ] {
        let model = Turns::new(vec![Ok(vec![("change", "{}")])]);
        let (change, changes) = Counting::new("change", Effect::Write);
        let agent = Agent::builder(model).tool(change).build().unwrap();
        // The append with the outcome of the write is the third: start, intent, outcome.
        let first = Arc::new(Dying {
            dies_at: 2,
            ..Dying::default()
        });
        step(&agent, first.clone()).await.0.unwrap_err();
        assert_eq!(changes.lock().unwrap().len(), 1);
        let mut log = first.events.lock().unwrap().clone();
        log.push(Event::ToolResolved(ToolResolved {
            step: StepId(2),
            resolution: resolution.clone(),
        }));
        let second = Arc::new(Dying {
            events: Mutex::new(log),
            dies_at: 99,
            ..Dying::default()
        });
        let (result, run) = step(&agent, second).await;
        assert_eq!(result.unwrap(), Stop::Completed(json!("done")));
        let told = run
            .memory()
            .messages()
            .iter()
            .find_map(|message| match &**message {
                Message::Tool {
                    content, is_error, ..
                } => Some((content.clone(), *is_error)),
                Message::System { .. } | Message::User { .. } | Message::Assistant { .. } => None,
            });
        let (expected, count) = match resolution {
            Resolution::Done { .. } => (("it was".to_owned(), false), 1),
            Resolution::Failed { .. } => (("it was not".to_owned(), true), 1),
            Resolution::Retry => (("counted".to_owned(), false), 2),
        };
        assert_eq!(told, Some(expected));
        assert_eq!(changes.lock().unwrap().len(), count);
    }
}

#[tokio::test]
async fn a_worker_that_stops_leaves_no_intent_behind() {
    let model = Turns::new(vec![Ok(vec![("look", "{}")]), Ok(vec![("change", "{}")])]);
    let (mut look, _) = Counting::new("look", Effect::Pure);
    let recorder = Arc::new(Dying {
        dies_at: usize::MAX,
        ..Dying::default()
    });
    look.stop = None;
    let (change, changes) = Counting::new("change", Effect::Write);
    let agent = Agent::builder(model)
        .tool(look)
        .tool(change)
        .build()
        .unwrap();
    recorder.stopping.store(true, Ordering::SeqCst);
    let (result, _) = step(&agent, recorder.clone()).await;
    assert!(matches!(
        result,
        Err(DriveError::Record(RecordError::Stopping))
    ));
    let run = fold(&recorder.events.lock().unwrap());
    assert_eq!(run.in_flight().count(), 0);
    let begun = |event: &Event| matches!(event, Event::ModelStarted(_));
    assert!(!recorder.events.lock().unwrap().iter().any(begun));
    assert!(changes.lock().unwrap().is_empty());
    recorder.stopping.store(false, Ordering::SeqCst);
    assert_eq!(
        step(&agent, recorder).await.0.unwrap(),
        Stop::Completed(json!("done"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_retry_after_suspends_and_a_final_error_ends_the_run() {
    let mut limited = ModelError::new(ModelErrorKind::RateLimited, "slow down");
    let asked = std::time::Duration::from_secs(7_200);
    limited.retry_after = Some(asked);
    let agent = Agent::builder(Turns::new(vec![Err(limited)]))
        .build()
        .unwrap();
    let recorder = Arc::new(Dying {
        dies_at: usize::MAX,
        ..Dying::default()
    });
    let clock = RuntimeClock::new();
    let before = clock.now_micros();
    let result = go(&agent, &recorder, &clock).await;
    let Ok(Stop::Waiting(Wait::Timer { until_micros })) = result else {
        panic!("{result:?}")
    };
    // What the provider asks for, and up to a quarter more.
    let ask = before + 7_200_000_000;
    assert!(
        (ask..=ask + 1_800_000_000).contains(&until_micros),
        "{until_micros}"
    );
    // Whoever takes it up too early waits for the rest.
    tokio::time::advance(asked - std::time::Duration::from_secs(1)).await;
    let early = go(&agent, &recorder, &clock).await;
    assert_eq!(
        early.unwrap(),
        Stop::Waiting(Wait::Timer { until_micros: ask })
    );
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    assert_eq!(
        go(&agent, &recorder, &clock).await.unwrap(),
        Stop::Completed(json!("done"))
    );

    let refused = ModelError::new(ModelErrorKind::Unauthorized, "wrong key");
    let agent = Agent::builder(Turns::new(vec![Err(refused)]))
        .build()
        .unwrap();
    let recorder = Arc::new(Dying {
        dies_at: usize::MAX,
        ..Dying::default()
    });
    let (result, _) = step(&agent, recorder).await;
    let Ok(Stop::Failed(failure)) = result else {
        panic!("{result:?}")
    };
    assert_eq!(
        (failure.code.as_str(), failure.retryable),
        ("model_unauthorized", false)
    );
}

#[tokio::test]
async fn limits_are_enforced_before_the_call() {
    let endless = || Turns::new(vec![Ok(vec![("look", "{}")]); 500]);
    for (limits, code, calls) in [
        (
            Limits {
                max_steps: 7,
                ..Limits::default()
            },
            "step_limit",
            4,
        ),
        (
            Limits {
                max_tokens: Some(70),
                ..Limits::default()
            },
            "token_limit",
            3,
        ),
        (
            Limits {
                deadline_micros: Some(1),
                ..Limits::default()
            },
            "timeout",
            0,
        ),
    ] {
        let model = endless();
        let (look, _) = Counting::new("look", Effect::Pure);
        let agent = Agent::builder(model.clone())
            .tool(look)
            .limits(limits)
            .build()
            .unwrap();
        let recorder = Arc::new(Dying {
            dies_at: usize::MAX,
            ..Dying::default()
        });
        let (result, run) = step(&agent, recorder).await;
        let Ok(Stop::Failed(failure)) = result else {
            panic!("{result:?}")
        };
        assert_eq!(failure.code, code);
        assert_eq!(model.calls.lock().unwrap().len(), calls, "{code}");
        assert_eq!(run.charged_tokens(), 15 * calls as u64, "{code}");
    }
}

#[tokio::test]
async fn a_model_that_only_makes_invalid_calls_is_given_up() {
    let model = Turns::new(vec![Ok(vec![("look", "{\"n\":\"x\"}")]); 500]);
    let (look, looks) = Counting::new("look", Effect::Pure);
    let agent = Agent::builder(model.clone()).tool(look).build().unwrap();
    let recorder = Arc::new(Dying {
        dies_at: usize::MAX,
        ..Dying::default()
    });
    let (result, _) = step(&agent, recorder).await;
    let Ok(Stop::Failed(failure)) = result else {
        panic!("{result:?}")
    };
    assert_eq!(failure.code, "model_unusable");
    assert_eq!(model.calls.lock().unwrap().len(), 4);
    assert!(looks.lock().unwrap().is_empty());
}

#[tokio::test]
async fn at_the_deadline_what_has_not_begun_does_not_begin() {
    // The model answers with a write, and the deadline passes while it does.
    struct Late(Arc<Turns>);
    impl Model for Late {
        fn name(&self) -> &'static str {
            "test/late"
        }
        fn call<'a>(
            &'a self,
            request: &'a Request,
            deltas: &'a dyn DeltaSink,
        ) -> BoxFuture<'a, Result<Response, ModelError>> {
            std::thread::sleep(std::time::Duration::from_millis(30));
            self.0.call(request, deltas)
        }
    }
    let model = Late(Turns::new(vec![Ok(vec![("change", "{}")])]));
    let (change, changes) = Counting::new("change", Effect::Write);
    let deadline_micros = Some(SystemClock.now_micros() + 20_000);
    let limits = Limits {
        deadline_micros,
        ..Limits::default()
    };
    let agent = Agent::builder(Arc::new(model))
        .tool(change)
        .limits(limits)
        .build()
        .unwrap();
    let recorder = Arc::new(Dying {
        dies_at: usize::MAX,
        ..Dying::default()
    });
    let (result, _) = step(&agent, recorder.clone()).await;
    let Ok(Stop::Failed(failure)) = result else {
        panic!("{result:?}")
    };
    assert_eq!(failure.code, "timeout");
    assert!(changes.lock().unwrap().is_empty());
    assert_eq!(
        fold(&recorder.events.lock().unwrap()).in_flight().count(),
        0,
        "no false intent"
    );
}

/// tests/X7: the deadline is further away than the longest delay of our own.
#[tokio::test]
async fn a_wait_ends_with_the_run_s_time() {
    let mut limited = ModelError::new(ModelErrorKind::RateLimited, "come back tomorrow");
    limited.retry_after = Some(std::time::Duration::from_secs(86_400));
    let deadline = SystemClock.now_micros() + 7_200_000_000;
    let limits = Limits {
        deadline_micros: Some(deadline),
        ..Limits::default()
    };
    let agent = Agent::builder(Turns::new(vec![Err(limited)]))
        .limits(limits)
        .build()
        .unwrap();
    let recorder = Arc::new(Dying {
        dies_at: usize::MAX,
        ..Dying::default()
    });
    let (result, _) = step(&agent, recorder).await;
    let Ok(Stop::Waiting(Wait::Timer { until_micros })) = result else {
        panic!("{result:?}")
    };
    assert_eq!(until_micros, deadline);
}

#[tokio::test]
async fn calls_past_the_last_step_are_refused() {
    let model = Turns::new(vec![Ok(vec![("change", "{}"); 20])]);
    let (change, changes) = Counting::new("change", Effect::Write);
    let limits = Limits {
        max_steps: 7,
        ..Limits::default()
    };
    let agent = Agent::builder(model)
        .tool(change)
        .limits(limits)
        .build()
        .unwrap();
    let recorder = Arc::new(Dying {
        dies_at: usize::MAX,
        ..Dying::default()
    });
    let (result, _) = step(&agent, recorder).await;
    let Ok(Stop::Failed(failure)) = result else {
        panic!("{result:?}")
    };
    assert_eq!(failure.code, "step_limit");
    assert_eq!(
        changes.lock().unwrap().len(),
        6,
        "one model call and six tool calls"
    );
}

#[tokio::test]
async fn an_outcome_is_recorded_even_if_this_process_s_clock_doubts_the_lease() {
    struct Doubting(Dying, AtomicUsize);
    impl Recorder for Doubting {
        fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
            self.0.append(batch)
        }
        fn new_child(&self) -> Result<String, Failure> {
            self.0.new_child()
        }
        fn check(&self) -> Result<(), RecordError> {
            // The lease looks lost once the tool has run.
            let asked = self.1.fetch_add(1, Ordering::SeqCst);
            if asked < 4 {
                Ok(())
            } else {
                Err(RecordError::LeaseLost)
            }
        }
    }
    let model = Turns::new(vec![Ok(vec![("change", "{}")])]);
    let (change, changes) = Counting::new("change", Effect::Write);
    let agent = Agent::builder(model).tool(change).build().unwrap();
    let log = Dying {
        dies_at: usize::MAX,
        ..Dying::default()
    };
    let recorder = Arc::new(Doubting(log, AtomicUsize::new(0)));
    let blobs = Arc::new(MemoryRecorder::default());
    let mut run = Run::default();
    let environment =
        DriveEnvironment::new(recorder.clone(), Arc::new(SystemClock), ".".into(), blobs);
    let result = drive(&agent, "count", &mut run, &environment).await;
    assert!(
        matches!(result, Err(DriveError::Record(RecordError::LeaseLost))),
        "{result:?}"
    );
    assert_eq!(changes.lock().unwrap().len(), 1);
    let run = fold(&recorder.0.events.lock().unwrap());
    assert!(run.in_doubt().is_empty(), "the outcome was known");
}

#[test]
fn an_empty_answer_that_was_cut_is_not_asked_for_again() {
    for (finish, code) in [
        (FinishReason::Length, "answer_cut"),
        (FinishReason::ContentFilter, "model_content_filter"),
    ] {
        let config = Agent::builder(Turns::new(vec![]))
            .build()
            .unwrap()
            .config()
            .clone();
        let run = fold(&[
            Event::RunStarted(RunStarted {
                goal: "go".into(),
                images: Vec::new(),
                config,
            }),
            Event::ModelCompleted(crate::event::ModelCompleted {
                step: StepId(1),
                name: "m".into(),
                output: String::new(),
                calls: 0,
                usage: Usage::default(),
                finish,
                parts: None,
                request_id: None,
                purpose: Default::default(),
                answer: None,
                refused: None,
                tools_left_out: Vec::new(),
                claimed_usage: None,
            }),
        ]);
        let Next::Done(Outcome::Failed(failure)) = run.next(&crate::planner::React, 0) else {
            panic!("it goes on")
        };
        assert_eq!(failure.code, code);
    }
}

#[tokio::test]
async fn a_call_that_somebody_has_run_again_counts_its_tries() {
    let model = Turns::new(vec![Ok(vec![("change", "{}")])]);
    let (change, _) = Counting::new("change", Effect::Write);
    let agent = Agent::builder(model).tool(change).build().unwrap();
    let first = Arc::new(Dying {
        dies_at: 2,
        ..Dying::default()
    });
    step(&agent, first.clone()).await.0.unwrap_err();
    let mut log = first.events.lock().unwrap().clone();
    log.push(Event::ToolResolved(ToolResolved {
        step: StepId(2),
        resolution: Resolution::Retry,
    }));
    let second = Arc::new(Dying {
        events: Mutex::new(log),
        dies_at: 99,
        ..Dying::default()
    });
    drop(step(&agent, second.clone()).await.0.unwrap());
    let events = second.events.lock().unwrap();
    let tries: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::ToolStarted(started) => Some(started.attempt),
            _ => None,
        })
        .collect();
    assert_eq!(tries, [2]);
}
