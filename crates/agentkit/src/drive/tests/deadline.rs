//! The end of a run's time ends whatever is under way.

use std::time::Duration;

use super::*;

/// Tells the time of the paused runtime.
pub(super) struct RuntimeClock(tokio::time::Instant);

impl RuntimeClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(tokio::time::Instant::now()))
    }
}

impl RunClock for RuntimeClock {
    fn now_micros(&self) -> i64 {
        1_000_000 + i64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

pub(super) async fn go(
    agent: &Agent,
    recorder: &Arc<Dying>,
    clock: &Arc<RuntimeClock>,
) -> Result<Stop, DriveError> {
    let mut run = fold(&recorder.events.lock().unwrap());
    let blobs = Arc::new(MemoryRecorder::default());
    let (recorder, clock) = (Arc::clone(recorder) as _, Arc::clone(clock) as _);
    let environment = DriveEnvironment::new(recorder, clock, ".".into(), blobs);
    drive(agent, "count", &mut run, &environment).await
}

fn five_seconds() -> Limits {
    Limits {
        deadline_micros: Some(6_000_000),
        ..Limits::default()
    }
}

struct Hangs;

impl Model for Hangs {
    fn name(&self) -> &'static str {
        "test/hangs"
    }

    fn call<'a>(
        &'a self,
        _: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        Box::pin(std::future::pending())
    }
}

struct HangingTool(ToolSpec);

impl Tool for HangingTool {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(std::future::pending())
    }
}

fn failure(stop: Result<Stop, DriveError>) -> Failure {
    match stop {
        Ok(Stop::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// tests/X6
#[tokio::test(start_paused = true)]
async fn a_model_call_that_never_answers_ends_at_the_deadline() {
    let agent = Agent::builder(Hangs)
        .limits(five_seconds())
        .build()
        .unwrap();
    let (recorder, clock) = (
        Arc::new(Dying {
            dies_at: 99,
            ..Dying::default()
        }),
        RuntimeClock::new(),
    );
    let begun = tokio::time::Instant::now();
    let driven = tokio::time::timeout(Duration::from_secs(60), go(&agent, &recorder, &clock)).await;
    let failure = failure(driven.expect("the call ends with the run's time"));
    assert_eq!(failure.code, "timeout");
    assert_eq!(begun.elapsed().as_secs(), 5);
    let run = fold(&recorder.events.lock().unwrap());
    let events = recorder.events.lock().unwrap();
    let reserved = events.iter().find_map(|event| match event {
        Event::ModelStarted(started) => Some(started.reserved_tokens),
        _ => None,
    });
    assert_eq!(
        Some(run.charged_tokens()),
        reserved,
        "it may have been served"
    );
}

/// tests/X6
#[tokio::test(start_paused = true)]
async fn a_tool_call_that_never_returns_ends_at_the_deadline() {
    for (effect, doubt) in [(Effect::Pure, false), (Effect::Write, true)] {
        let spec = ToolSpec::new("hangs", "", json!({"type": "object"}));
        let spec = spec.effect(effect).timeout(Duration::from_secs(600));
        let agent = Agent::builder(Turns::new(vec![Ok(vec![("hangs", "{}")])]))
            .tool(HangingTool(spec))
            .limits(five_seconds())
            .build()
            .unwrap();
        let (recorder, clock) = (
            Arc::new(Dying {
                dies_at: 99,
                ..Dying::default()
            }),
            RuntimeClock::new(),
        );
        let begun = tokio::time::Instant::now();
        let driven = go(&agent, &recorder, &clock);
        let driven = tokio::time::timeout(Duration::from_secs(60), driven).await;
        let failure = failure(driven.expect("the call ends with the run's time"));
        assert_eq!(failure.code, "timeout");
        assert_eq!(begun.elapsed().as_secs(), 5);
        let events = recorder.events.lock().unwrap();
        let told = events.iter().find_map(|event| match event {
            Event::ToolFailed(failed) => Some(failed.error.clone()),
            _ => None,
        });
        let told = told.expect("the call has an outcome");
        assert_eq!(told.code, "tool_timeout");
        assert_eq!(
            told.message.contains("may have taken effect"),
            doubt,
            "{told}"
        );
    }
}
