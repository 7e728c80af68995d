//! Runs that go wrong end; none hangs, and none goes round for ever.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentkit::{
    Agent, BoxFuture, Model, Tool, ToolSpec,
    event::Failure,
    model::{
        DeltaSink, ModelError, ModelErrorKind, Request, Response,
        scripted::{Script, Scripted},
    },
    planner::{PlanStep, Planner},
    run::Run,
    tool::{
        ToolContext, ToolOutput,
        control::{AskHuman, SleepUntil},
    },
};
use ops_core::{Lifecycle, State, TenantId, Wait, ports::StoreError, task::StateName};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::{Bench, Faults, agent_task, run_and_read, run_through, run_to_end, submit};

/// Whether a failed task is a dead letter; none if it has not failed.
fn dead_letter(life: &Lifecycle) -> Option<bool> {
    match life.state {
        State::Failed { dead_letter, .. } => Some(dead_letter),
        _ => None,
    }
}

struct Panicking;

impl Model for Panicking {
    fn name(&self) -> &'static str {
        "test/panicking"
    }

    fn call<'a>(
        &'a self,
        _: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        Box::pin(async { panic!("a defect") })
    }
}

struct FixedMessage(ToolSpec);

impl Tool for FixedMessage {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        _: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async {
            Err(Failure::last(
                "cancelled",
                "the order was cancelled by the shop",
            ))
        })
    }
}

#[tokio::test]
async fn a_panic_ends_the_attempt_and_then_the_task() {
    let record = run_to_end(Agent::builder(Arc::new(Panicking)).build().unwrap()).await;
    assert_eq!(dead_letter(&record.life), Some(true));
    assert_eq!(record.life.attempt, 2);
    assert_eq!(record.life.failure.unwrap().code, "worker_panicked");
}

#[tokio::test]
async fn a_tool_may_say_that_something_was_cancelled() {
    let script =
        "[[turn]]\ncalls = [{ tool = 'order', arguments = {} }]\n[[turn]]\nanswer = '{{ last }}'";
    let model = Arc::new(Scripted::new(Arc::new(Script::parse(script).unwrap())));
    let order = FixedMessage(ToolSpec::new("order", "Orders.", json!({"type": "object"})));
    let record = run_to_end(Agent::builder(model).tool(order).build().unwrap()).await;
    assert_eq!(record.life.state.name(), StateName::Completed);
    assert!(
        record
            .result
            .unwrap()
            .as_str()
            .contains("cancelled by the shop")
    );
}

#[tokio::test]
async fn timers_go_on_after_the_store_failed() {
    // The second attempt starts by a timer, whose first looks at the store fail.
    let faults = Faults {
        wake_due: 2,
        ..Faults::default()
    };
    let record = run_through(Agent::builder(Arc::new(Panicking)).build().unwrap(), faults).await;
    assert_eq!(record.life.attempt, 2);
}

/// Every call is refused until tomorrow.
struct Tomorrow;

impl Model for Tomorrow {
    fn name(&self) -> &'static str {
        "test/tomorrow"
    }

    fn call<'a>(
        &'a self,
        _: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let mut limited = ModelError::new(ModelErrorKind::RateLimited, "come back tomorrow");
        limited.retry_after = Some(Duration::from_secs(86_400));
        Box::pin(std::future::ready(Err(limited)))
    }
}

/// engine, missing: the last failure while waiting. The attempt of the task that was refused is not the one that
/// waits: the first attempt has no tries left, and the second begins before the provider wants to be asked again.
#[tokio::test]
async fn a_wait_for_a_provider_says_why_also_in_another_attempt_of_its_task() {
    let bench = Bench::new();
    let engine = bench.engine(Arc::clone(&bench.store) as _);
    let id = submit(&engine, agent_task()).await;
    let agent = Agent::builder(Arc::new(Tomorrow)).model_tries(1);
    let store = Arc::clone(&bench.store) as _;
    let worker = bench.worker(store, agent.build().unwrap(), 1);
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone()));
    let loops = tokio::spawn(Arc::clone(&engine).run(stop.clone()));
    let end = Instant::now() + Duration::from_secs(60);
    let life = loop {
        let life = engine.task(TenantId::DEFAULT, id).await.unwrap().life;
        if matches!(life.state, State::Waiting(_)) {
            break life;
        }
        assert!(Instant::now() < end, "the task hangs in {life:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    stop.cancel();
    running.await.unwrap();
    loops.await.unwrap();
    bench.store.close();
    assert_eq!(life.attempt, 2);
    let State::Waiting(Wait::Timer { error, .. }) = life.state else {
        panic!("{life:?}")
    };
    let error = error.expect("a reason");
    assert_eq!(error.code, ModelErrorKind::RateLimited.code());
    assert!(error.message.contains("come back tomorrow"), "{error:?}");
}

/// A hundred years.
const AHEAD: i64 = 3_155_760_000_000_000;

/// engine/E4: the clock is ahead while a wait or a delay is made, and right again before that is over.
#[tokio::test]
async fn a_sleep_that_began_ahead_of_time_lasts_as_long_as_it_was_to_last() {
    let script = "[[turn]]\ncalls = [{ tool = 'sleep_until', arguments = { seconds = 1 } }]\n\
                  [[turn]]\nanswer = 'awake'";
    let model = Arc::new(Scripted::new(Arc::new(Script::parse(script).unwrap())));
    let faults = Faults {
        ahead: AHEAD,
        ..Faults::default()
    };
    let agent = Agent::builder(model).tool(SleepUntil::new());
    let left = run_and_read(agent.build().unwrap(), faults).await;
    assert_eq!(left.record.life.state.name(), StateName::Completed);
    let kinds: Vec<_> = left.log.iter().map(|event| &*event.event.kind).collect();
    assert!(kinds.contains(&"task.clock_corrected"), "{kinds:?}");
}

/// Answers with more than the store takes.
struct Boundless;

impl Planner for Boundless {
    fn name(&self) -> &'static str {
        "boundless"
    }

    fn plan(&self, _: &Run) -> PlanStep {
        PlanStep::FinalAnswer {
            output: json!("x".repeat(70 << 20)),
        }
    }
}

#[tokio::test]
async fn a_result_that_no_store_takes_fails_the_task_once() {
    let model = Arc::new(Panicking);
    let agent = Agent::builder(model)
        .planner(Arc::new(Boundless))
        .build()
        .unwrap();
    let record = run_to_end(agent).await;
    assert_eq!(dead_letter(&record.life), Some(false));
    assert_eq!(record.life.failure.unwrap().code, "value_too_large");
}

/// An agent that asks a person, to whom the answer came before the task began.
fn asking() -> (Agent, Faults) {
    let script = "[[turn]]\ncalls = [{ tool = 'ask_human', arguments = { question = 'who?' } }]\n\
                  [[turn]]\nanswer = '{{ last }}'";
    let model = Arc::new(Scripted::new(Arc::new(Script::parse(script).unwrap())));
    let agent = Agent::builder(model).tool(AskHuman::new());
    let faults = Faults {
        signal: Some(("human.call_2", json!("ann"))),
        ..Faults::default()
    };
    (agent.build().unwrap(), faults)
}

#[tokio::test]
async fn a_signal_that_comes_before_the_start_is_heard() {
    let (agent, faults) = asking();
    let record = run_through(agent, faults).await;
    assert_eq!(record.life.state.name(), StateName::Completed);
    assert!(record.result.unwrap().as_str().contains("ann"));
}

#[tokio::test]
async fn a_log_that_stays_unreadable_fails_its_task() {
    let (agent, faults) = asking();
    let lost = StoreError::Unreadable("a blob is missing".into());
    let faults = Faults {
        events: Some((u32::MAX, lost)),
        ..faults
    };
    let record = run_through(agent, faults).await;
    assert_eq!(dead_letter(&record.life), Some(false));
    let error = record.life.failure.unwrap();
    assert_eq!(error.code, "log_damaged");
    assert!(error.message.contains("a blob is missing"), "{error:?}");
}

#[tokio::test]
async fn a_log_that_cannot_be_read_for_a_while_only_delays_its_task() {
    let (agent, faults) = asking();
    let busy = StoreError::Unavailable("the disk is away".into());
    let faults = Faults {
        events: Some((2, busy)),
        ..faults
    };
    let record = run_through(agent, faults).await;
    assert_eq!(record.life.state.name(), StateName::Completed);
}

#[tokio::test]
async fn a_definition_that_stays_unreadable_fails_its_task() {
    let (agent, faults) = asking();
    let faults = Faults {
        definition: Some(StoreError::Unreadable("a blob is missing".into())),
        ..faults
    };
    let record = run_through(agent, faults).await;
    assert_eq!(dead_letter(&record.life), Some(false));
    let error = record.life.failure.unwrap();
    assert_eq!(error.code, "storage_damaged");
    assert!(error.message.contains("a blob is missing"), "{error:?}");
}

#[tokio::test]
async fn a_session_whose_opening_was_answered_late_claims_nothing_before_it_is_heard() {
    let (agent, faults) = asking();
    let faults = Faults {
        late: true,
        ..faults
    };
    let left = run_and_read(agent, faults).await;
    assert_eq!(left.record.life.state.name(), StateName::Completed);
    assert!(!left.early, "its leases might have been over");
}
