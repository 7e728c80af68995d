//! The token budget, which also pays for tries whose outcome nobody knows.

use ops_testkit::ModelStub;
use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

/// A task with so many tokens, against an endpoint whose first answer is a fault.
async fn with_budget(fault: &str, max_tokens: u64) -> Value {
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &["--faults", fault])
        .await
        .unwrap();
    let server = test_dir
        .dev()
        .env("OPENAI_BASE_URL", stub.base_url())
        .start()
        .await
        .unwrap();
    let body = json!({"task_type": "agent_run", "input_data": {"goal": "hi"},
        "limits": {"max_tokens": max_tokens}});
    let id = tasks::submit(server.http(), &body).await;
    tasks::ended(server.http(), &id).await
}

#[tokio::test]
async fn a_refused_try_costs_nothing() {
    let task = with_budget("500", 20_000).await;
    assert_eq!(task["status"], "completed", "{task:#}");
    assert!(tasks::tokens(&task).0 > 0);
}

#[tokio::test]
async fn a_try_whose_outcome_is_unknown_is_paid_from_the_budget_and_is_not_in_the_usage() {
    // The first try reserves all of the budget, as nothing else limits its answer.
    let task = with_budget("disconnect", 20_000).await;
    assert_eq!(task["status"], "failed", "{task:#}");
    assert_eq!(task["error"]["code"], "token_limit");
    let message = task["error_message"].as_str().unwrap();
    assert!(message.contains("limits.max_tokens"), "{message}");
    assert_eq!(
        tasks::tokens(&task),
        (0, 0),
        "nothing was reported: {task:#}"
    );
}
