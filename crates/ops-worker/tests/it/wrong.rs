//! Runs that go wrong end; none hangs, and none goes round for ever.

use std::sync::Arc;

use agentkit::{
    Agent, BoxFuture, Model, Tool, ToolSpec,
    event::Failure,
    model::{
        DeltaSink, ModelError, Request, Response,
        scripted::{Script, Scripted},
    },
    planner::{PlanStep, Planner},
    run::Run,
    tool::{ToolContext, ToolOutput},
};
use ops_core::State;
use serde_json::{Value, json};

use crate::world::{Faults, run_through, run_to_end};

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

struct Saying(ToolSpec);

impl Tool for Saying {
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
    assert_eq!(record.life.state, State::Failed { dead_letter: true });
    assert_eq!(record.life.attempt, 2);
    assert_eq!(record.error.unwrap().code, "worker_panicked");
}

#[tokio::test]
async fn a_tool_may_say_that_something_was_cancelled() {
    let script =
        "[[turn]]\ncalls = [{ tool = 'order', arguments = {} }]\n[[turn]]\nanswer = '{{ last }}'";
    let model = Arc::new(Scripted::new(Arc::new(Script::parse(script).unwrap())));
    let order = Saying(ToolSpec::new("order", "Orders.", json!({"type": "object"})));
    let record = run_to_end(Agent::builder(model).tool(order).build().unwrap()).await;
    assert_eq!(record.life.state, State::Completed);
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
    let faults = Faults { wake_due: 2 };
    let record = run_through(Agent::builder(Arc::new(Panicking)).build().unwrap(), faults).await;
    assert_eq!(record.life.attempt, 2);
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
    assert_eq!(record.life.state, State::Failed { dead_letter: false });
    assert_eq!(record.error.unwrap().code, "value_too_large");
}
