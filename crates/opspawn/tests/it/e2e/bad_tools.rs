//! Models that misuse tools, tools that fail, and scripts that end too early.

use ops_testkit::{ModelStub, Opspawn};
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

async fn server(test_dir: &TestDir) -> (ModelStub, Opspawn) {
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &[])
        .await
        .unwrap();
    let server = test_dir
        .dev()
        .env("OPENAI_BASE_URL", stub.base_url())
        .start()
        .await
        .unwrap();
    (stub, server)
}

fn call(tool: &str, arguments: Value) -> Value {
    json!({"tool": tool, "arguments": arguments})
}

/// What the model was told last in its n-th request (from 1).
fn told(stub: &ModelStub, n: usize) -> String {
    let request = stub.requests().unwrap().swap_remove(n - 1).request;
    let last = request["messages"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(last["role"], "tool", "{request:#}");
    last["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_model_is_told_of_its_mistakes_and_mends_them() {
    let test_dir = TestDir::new();
    let (stub, server) = server(&test_dir).await;
    let plan = json!({"plan": [
        call("calculator", json!({"expresion": "1 + 1"})),
        call("calculater", json!({"expression": "1 + 1"})),
        call("read_file", json!({"path": "missing.txt"})),
        call("read_file", json!({"path": "../../../etc/passwd"})),
        call("calculator", json!({"expression": "1 / 0"})),
    ], "answer": "mended"});
    let id = tasks::agent(server.http(), &plan.to_string()).await;
    assert_eq!(tasks::answer(server.http(), &id).await, "mended");
    for (n, says) in [
        (2, "expression"),
        (3, "calculator"),
        (4, "missing.txt"),
        (5, "etc/passwd"),
        (6, "zero"),
    ] {
        let told = told(&stub, n);
        assert!(
            told.contains(says) && !told.contains("root:"),
            "{n}: {told}"
        );
    }
    let steps = tasks::steps(server.http(), &id).await;
    let tools: Vec<_> = steps.iter().filter(|step| step["kind"] == "tool").collect();
    assert_eq!(tools.len(), 5);
    for step in tools {
        assert_eq!(step["status"], "failed", "{step:#}");
        let error = &step["error"];
        assert!(
            error["code"].is_string() && error["message"].is_string(),
            "{step:#}"
        );
    }
    assert_calm(&server);
}

#[tokio::test]
async fn a_model_that_only_makes_mistakes_is_stopped() {
    let test_dir = TestDir::new();
    let (stub, server) = server(&test_dir).await;
    let wrong = call("calculator", json!({"expression": 5}));
    let plan = json!({"plan": vec![wrong; 20], "answer": "never"});
    let task = tasks::run(server.http(), &plan.to_string()).await;
    assert_eq!(task["error"]["code"], "model_unusable", "{task:#}");
    let message = task["error_message"].as_str().unwrap();
    assert!(
        message.contains("last 4 answers") && message.contains("steps"),
        "{message}"
    );
    assert_eq!(stub.requests().unwrap().len(), 4, "three repairs");
    assert_calm(&server);
}

#[tokio::test]
async fn a_model_that_never_comes_to_an_end_is_stopped() {
    let test_dir = TestDir::new();
    let (_stub, server) = server(&test_dir).await;
    let again = call("calculator", json!({"expression": "1 + 1"}));
    let goal = json!({"plan": vec![again; 50], "answer": "never"}).to_string();
    let body = json!({"task_type": "agent_run", "input_data": {"prompt": goal}, "limits": {"max_steps": 9}});
    let id = tasks::submit(server.http(), &body).await;
    let task = tasks::ended(server.http(), &id).await;
    assert_eq!(task["error"]["code"], "step_limit", "{task:#}");
    assert!(
        task["error_message"]
            .as_str()
            .unwrap()
            .contains("limits.max_steps"),
        "{task:#}"
    );
    assert_calm(&server);
}

#[tokio::test]
async fn a_script_that_runs_out_names_itself() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let script =
        "name = \"short\"\n[[turn]]\ncalls = [{ tool = \"list_files\", arguments = {} }]\n";
    let body = json!({"task_type": "agent_run", "input_data": {"prompt": "x",
        "agent_config": {"provider": "scripted", "script": script}}});
    let id = tasks::submit(server.http(), &body).await;
    let task = tasks::ended(server.http(), &id).await;
    assert_eq!(
        (&task["status"], &task["error"]["code"]),
        (&json!("failed"), &json!("script_exhausted")),
        "{task:#}"
    );
    let message = task["error_message"].as_str().unwrap();
    assert!(
        message.contains("`short`") && message.contains('2'),
        "{message}"
    );
    assert_eq!(task["attempt"], 1);
    assert_calm(&server);
}
