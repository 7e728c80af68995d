//! What a Python client of the first release does, against the binary.

use ops_testkit::{Http, ModelStub};
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

/// Every field of a version-1 task.
const FIELDS: [&str; 15] = [
    "task_id",
    "task_type",
    "name",
    "status",
    "input_data",
    "output_data",
    "result",
    "error_message",
    "agent_id",
    "workflow_id",
    "created_at",
    "updated_at",
    "scheduled_at",
    "started_at",
    "completed_at",
];

async fn get(http: &Http, path: &str, status: u16) -> Value {
    let reply = http.get(path).await.unwrap();
    assert_eq!(reply.status.as_u16(), status, "{path}: {}", reply.text());
    reply.json().unwrap()
}

/// `2025-04-12T10:00:00.000Z`.
#[track_caller]
fn assert_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{text}");
}

#[tokio::test]
async fn the_calls_of_the_first_client() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let http = server.http();
    for path in ["/health", "/health/"] {
        assert_eq!(get(http, path, 200).await["status"], "ok");
    }

    // response = requests.post(f"{base}/api/v1/tasks/", json={...}); assert response.status_code == 201
    let mut ids = Vec::new();
    for (path, task_type, key) in [
        ("/api/v1/tasks/", "agent_run", "prompt"),
        ("/api/v1/tasks", "agent_task", "goal"),
    ] {
        let body = json!({"task_type": task_type, "input_data": {key: "say hello"}});
        let reply = http.post(path, &body).await.unwrap();
        assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
        let task: Value = reply.json().unwrap();
        for field in FIELDS {
            assert!(task.get(field).is_some(), "{field} is missing: {task:#}");
        }
        assert_eq!(
            (&task["task_type"], &task["input_data"]),
            (&json!(task_type), &body["input_data"])
        );
        assert!(["pending", "running"].contains(&task["status"].as_str().unwrap()));
        assert!(task["result"].is_null() && task["error_message"].is_null());
        let id = tasks::id(&task);
        assert!(id.len() == 41 && id.starts_with("task_"), "{id}");
        assert_time(&task["created_at"]);
        ids.push(id);
    }

    for id in &ids {
        let ended = tasks::ended(http, id).await;
        assert_eq!(ended["status"], "completed", "{ended:#}");
        assert_eq!(ended["result"], ended["output_data"]);
        assert!(
            ended["result"]["answer"]
                .as_str()
                .unwrap()
                .contains("say hello")
        );
        for time in ["created_at", "updated_at", "started_at", "completed_at"] {
            assert_time(&ended[time]);
        }
        assert_eq!(get(http, &format!("/api/v1/tasks/{id}/"), 200).await, ended);
        assert_eq!(get(http, &format!("/api/v1/tasks/{id}"), 200).await, ended);
    }

    for path in ["/api/v1/tasks", "/api/v1/tasks/"] {
        let list = get(http, path, 200).await;
        assert_eq!(list["total"], 2);
        let listed: Vec<_> = list["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(tasks::id)
            .collect();
        assert_eq!(listed, [ids[1].as_str(), &ids[0]], "newest first");
    }
    assert_calm(&server);
}

/// The requests of the first release's own test against a live system, three at once: parts of the
/// input stand beside it, and a provider that there is not is a task that fails.
#[tokio::test]
async fn the_requests_of_the_first_live_test() {
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &[]);
    let stub = stub.await.unwrap();
    let dev = test_dir.dev().env("OPENAI_BASE_URL", stub.base_url());
    let server = dev.start().await.unwrap();
    let http = server.http();
    let nowhere = json!({"llm_provider": "non_existent_provider", "llm_model": "error-model"});
    let bodies = [
        json!({"prompt": "What is the capital of France?", "task_type": "agent_task"}),
        json!({"prompt": "It cannot work.", "task_type": "agent_task", "agent_config": nowhere}),
        json!({"prompt": "And of Spain?"}),
    ];
    let post = async |body| {
        let reply = http.post("/api/v1/tasks/", body).await.unwrap();
        assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
        reply.json::<Value>().unwrap()
    };
    let made = tokio::join!(post(&bodies[0]), post(&bodies[1]), post(&bodies[2]));
    let warning = &made.1["warnings"][0]["msg"];
    assert!(
        warning.to_string().contains("`non_existent_provider`"),
        "{warning}"
    );

    for made in [&made.0, &made.2] {
        assert_eq!(made.get("warnings"), None);
        let task = tasks::ended(http, &tasks::id(made)).await;
        assert_eq!(task["status"], "completed", "{task:#}");
        assert_eq!(task["output"], task["result"]["answer"]);
        assert!(
            task["output"]
                .as_str()
                .is_some_and(|output| !output.is_empty())
        );
    }
    assert_eq!(made.2["task_type"], "agent_run");
    let task = tasks::ended(http, &tasks::id(&made.1)).await;
    assert_eq!(task["status"], "failed", "{task:#}");
    let message = task["error_message"].as_str().unwrap();
    assert!(
        message.contains("non_existent_provider") && message.len() > 5,
        "{message}"
    );
    assert_eq!(task["output"], Value::Null);
    assert_eq!(
        stub.requests().unwrap().len(),
        2,
        "no provider was asked for it"
    );
    assert_calm(&server);
}

#[tokio::test]
async fn what_is_not_there_or_not_valid() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let http = server.http();
    for id in ["task_01a205fd-03ae-7b12-9ce0-5393859ba695", "nonsense"] {
        let problem = get(http, &format!("/api/v1/tasks/{id}"), 404).await;
        assert!(
            problem["detail"].as_str().unwrap().contains(id),
            "{problem:#}"
        );
    }
    let reply = http
        .post("/api/v1/tasks/", &json!({"input_data": {}}))
        .await
        .unwrap();
    assert_eq!(reply.status.as_u16(), 422);
    let problem: Value = reply.json().unwrap();
    assert!(problem["detail"].is_string(), "a sentence: {problem:#}");
    assert_eq!(problem["errors"][0]["loc"], json!(["body", "task_type"]));
    assert_eq!(get(http, "/api/v1/tasks", 200).await["total"], 0);
    assert_calm(&server);
}

#[tokio::test]
async fn the_five_statuses_and_the_finer_states_behind_them() {
    let test_dir = TestDir::new();
    let server = test_dir
        .dev()
        .env("OPSPAWN_BACKOFF", "1h")
        .start()
        .await
        .unwrap();
    let http = server.http();
    let scripted = |script: &str| {
        json!({"task_type": "agent_run", "input_data":
        {"prompt": "x", "agent_config": {"provider": "scripted", "script": script}}})
    };
    let mut later = scripted("[[turn]]\nanswer = \"x\"\n");
    later["run_at"] = json!("2099-01-01T00:00:00Z");
    for (body, state, status) in [
        (
            scripted("[[turn]]\nanswer = \"x\"\n"),
            "completed",
            "completed",
        ),
        (
            scripted("[[turn]]\nerror = \"unauthorized\"\n"),
            "failed",
            "failed",
        ),
        (
            scripted("latency_ms = 60000\n[[turn]]\nanswer = \"x\"\n"),
            "running",
            "running",
        ),
        (later, "scheduled", "pending"),
    ] {
        let id = tasks::submit(http, &body).await;
        let task = tasks::in_state(http, &id, &[state]).await;
        assert_eq!(task["status"], status, "{task:#}");
        if ["running", "scheduled"].contains(&state) {
            http.post(&format!("/api/v1/tasks/{id}/cancel"), &json!({}))
                .await
                .unwrap()
                .ok()
                .unwrap();
            let task = tasks::ended(http, &id).await;
            assert_eq!(task["status"], "cancelled", "{task:#}");
        }
    }
    assert_calm(&server);
}
