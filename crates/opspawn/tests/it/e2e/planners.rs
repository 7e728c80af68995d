//! Planners and answers in JSON, through the program.

use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

fn body(config: Value) -> Value {
    json!({"task_type": "agent_run", "input_data": {"prompt": "add 1 and 1", "agent_config": config}})
}

/// A script whose turns answer with these texts.
fn script(texts: &[&str]) -> String {
    let turn = |text: &&str| format!("[[turn]]\nanswer = '''{text}'''\n");
    texts.iter().map(turn).collect()
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]})
}

#[tokio::test]
async fn the_answer_is_json_after_bounded_tries_or_a_clear_failure() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let http = server.http();
    let texts = script(&["two", "{\"sum\": \"2\"}", "The sum: {\"sum\": 2}"]);
    let config = json!({"script": texts, "output_schema": schema()});
    let id = tasks::submit(http, &body(config)).await;
    let task = tasks::ended(http, &id).await;
    assert_eq!(task["result"]["answer"], json!({"sum": 2}), "{task:#}");
    let answers = tasks::events(http, &id, "model.completed").await;
    let refused: Vec<_> = answers
        .iter()
        .map(|data| data["refused"]["code"].as_str())
        .collect();
    assert_eq!(
        refused,
        [Some("output_mismatch"), Some("output_mismatch"), None]
    );

    let config = json!({"script": texts, "output_schema": schema(), "max_reasks": 1});
    let id = tasks::submit(http, &body(config)).await;
    let task = tasks::ended(http, &id).await;
    assert_eq!(task["error"]["code"], "output_mismatch", "{task:#}");
    assert_eq!(task["attempt"], 1, "it would fail again: {task:#}");
    let message = task["error_message"].as_str().unwrap();
    assert!(
        message.contains("at `/sum`: \"2\" is not of type \"integer\""),
        "{message}"
    );
}

#[tokio::test]
async fn a_schema_that_is_none_is_refused_with_the_submit() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    for (config, loc, says) in [
        (
            json!({"output_schema": {"type": "sum"}}),
            "output_schema",
            "not a valid JSON Schema: at `/type`",
        ),
        (
            json!({"output_schema": "sum"}),
            "output_schema",
            "must be an object",
        ),
        (
            json!({"output_schema": {"$ref": "http://127.0.0.1:1/x"}}),
            "output_schema",
            "not a valid JSON Schema",
        ),
        (
            json!({"output_schema": schema(), "max_reasks": 21}),
            "max_reasks",
            "must be 0 to 20",
        ),
        (json!({"max_reasks": "2"}), "max_reasks", "must be 0 to 20"),
    ] {
        let reply = server
            .http()
            .post("/api/v1/tasks", &body(config))
            .await
            .unwrap();
        assert_eq!(reply.status.as_u16(), 422, "{}", reply.text());
        let problem: Value = reply.json().unwrap();
        assert_eq!(problem["code"], "invalid_body");
        assert_eq!(
            problem["errors"][0]["loc"],
            json!(["body", "input_data", "agent_config", loc])
        );
        assert!(
            problem["detail"].as_str().unwrap().contains(says),
            "{problem:#}"
        );
    }
}

#[tokio::test]
async fn a_plan_is_in_the_log_and_on_the_screen() {
    let test_dir = TestDir::new();
    let texts = script(&[
        "{\"steps\": [\"think\", \"guess\"]}",
        "I thought.",
        "FAILED: I never guess",
        "1. add",
        "It is 2.",
        "2",
    ]);
    std::fs::write(test_dir.join("s.toml"), &texts).unwrap();
    let run = test_dir
        .cli(&["run", "add 1 and 1"])
        .env("OPSPAWN_SCRIPT", test_dir.join("s.toml"))
        .env("AGENTKIT_PLANNER_TYPE", "plan_execute");
    let ran = run.run().await.ends(0);
    assert_eq!(ran.stdout.lines().next(), Some("2"), "{}", ran.stdout);
    for line in [
        "plan: step 1 of 2: think",
        "plan: step 2 (guess) failed: I never guess",
        "plan: step 2 of 2: add",
        "plan: every step is done",
    ] {
        assert!(ran.stderr.contains(line), "{line}: {}", ran.stderr);
    }

    let server = test_dir.server().await;
    let config = json!({"planner": "plan_execute", "script": texts});
    let id = tasks::submit(server.http(), &body(config)).await;
    assert_eq!(tasks::answer(server.http(), &id).await, "2");
    let plans = tasks::events(server.http(), &id, "plan.updated").await;
    assert_eq!(plans.len(), 5, "{plans:#?}");
    assert_eq!(
        plans[4]["output"],
        json!([{"title": "think", "status": "done"}, {"title": "add", "status": "done"}])
    );
    let calls = tasks::events(server.http(), &id, "model.started").await;
    let purposes: Vec<_> = calls
        .iter()
        .map(|data| data["purpose"].as_str().unwrap())
        .collect();
    assert_eq!(
        purposes,
        ["plan", "execute", "execute", "plan", "execute", "answer"]
    );
}

#[tokio::test]
async fn a_model_may_write_its_calls_as_text() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let texts = script(&[
        "Thought: I add.\nAction: calculator\nAction Input: {'expression': '1 + 1',}\nObservation: 3",
        "Thought: hm",
        "Final Answer: it is 2",
    ]);
    let config = json!({"planner": "react_text", "script": texts});
    let id = tasks::submit(server.http(), &body(config)).await;
    assert_eq!(tasks::answer(server.http(), &id).await, "it is 2");
    let steps = tasks::steps(server.http(), &id).await;
    let tool = steps.iter().find(|step| step["kind"] == "tool").unwrap();
    assert_eq!(tool["input"], json!({"expression": "1 + 1"}));
    assert_eq!(tool["status"], "completed");
    let answers = tasks::events(server.http(), &id, "model.completed").await;
    assert_eq!(
        answers[1]["refused"]["code"], "unreadable_answer",
        "{answers:#?}"
    );
}
