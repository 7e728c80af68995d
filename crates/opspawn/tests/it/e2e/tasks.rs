//! Tasks over REST, for tests that look at something else than REST.

use std::time::Duration;

use ops_testkit::{Http, wait_until};
use serde_json::{Value, json};

/// The longest that a task of these tests may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Submits a body and returns the new task's id.
pub(super) async fn submit(http: &Http, body: &Value) -> String {
    let reply = http.post("/api/v1/tasks/", body).await.unwrap();
    assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
    id(&reply.json().unwrap())
}

/// Submits an agent task with this goal.
pub(super) async fn agent(http: &Http, goal: &str) -> String {
    let body = json!({"task_type": "agent_run", "input_data": {"prompt": goal}});
    submit(http, &body).await
}

/// Submits a scripted task that makes these calls, one a turn, and answers with the last result.
pub(super) async fn scripted(http: &Http, calls: &[&str]) -> String {
    let turns: String = calls
        .iter()
        .map(|call| format!("[[turn]]\ncalls = [{call}]\n"))
        .collect();
    let script = format!("{turns}[[turn]]\nanswer = \"{{{{ last }}}}\"\n");
    let body = json!({
        "task_type": "agent_run",
        "input_data": {"prompt": "x", "agent_config": {"provider": "scripted", "script": script}},
    });
    submit(http, &body).await
}

/// Submits an agent task with this goal and waits until it has ended.
pub(super) async fn run(http: &Http, goal: &str) -> Value {
    ended(http, &agent(http, goal).await).await
}

/// The id of a task.
pub(super) fn id(task: &Value) -> String {
    task["task_id"].as_str().unwrap().to_owned()
}

/// A task as it is now.
pub(super) async fn get(http: &Http, id: &str) -> Value {
    let reply = http.get(&format!("/api/v1/tasks/{id}")).await.unwrap();
    reply.ok().unwrap().json().unwrap()
}

/// A task once it is in this state.
pub(super) async fn in_state(http: &Http, id: &str, states: &[&str]) -> Value {
    let ask = || async {
        let task = get(http, id).await;
        let state = task["state"].as_str()?.to_owned();
        states.contains(&state.as_str()).then_some(task)
    };
    match wait_until("the state of a task", TIMEOUT, ask).await {
        Ok(task) => task,
        Err(error) => panic!("{error}: not one of {states:?}: {:#}", get(http, id).await),
    }
}

/// A task once it has ended.
pub(super) async fn ended(http: &Http, id: &str) -> Value {
    in_state(http, id, &["completed", "failed", "cancelled"]).await
}

/// Waits for the end, which must be a good one, and returns the answer.
pub(super) async fn answer(http: &Http, id: &str) -> String {
    let task = ended(http, id).await;
    assert_eq!(task["status"], "completed", "{task:#}");
    assert_eq!(task["result"], task["output_data"]);
    task["result"]["answer"].as_str().unwrap().to_owned()
}

/// The steps of a task.
pub(super) async fn steps(http: &Http, id: &str) -> Vec<Value> {
    list(http, &format!("/api/v1/tasks/{id}/steps"), "steps").await
}

/// The events of a task of one type: their data.
pub(super) async fn events(http: &Http, id: &str, kind: &str) -> Vec<Value> {
    let events = list(http, &format!("/api/v1/tasks/{id}/events"), "events").await;
    let of_kind = events.into_iter().filter(|event| event["type"] == kind);
    of_kind.map(|mut event| event["data"].take()).collect()
}

async fn list(http: &Http, path: &str, key: &str) -> Vec<Value> {
    let mut page: Value = http.get(path).await.unwrap().ok().unwrap().json().unwrap();
    assert!(page["next_cursor"].is_null(), "one page is enough: {page}");
    serde_json::from_value(page[key].take()).unwrap()
}

/// The input and output tokens of a task.
pub(super) fn tokens(task: &Value) -> (u64, u64) {
    let count = |key: &str| task["usage"][key].as_u64().unwrap();
    (count("input_tokens"), count("output_tokens"))
}
