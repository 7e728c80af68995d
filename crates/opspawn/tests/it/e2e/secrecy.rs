//! tests/X4: the log of a server says nothing of what its tasks are about, whatever its level.

use http::Method;
use ops_testkit::{Answer, StandIn};
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};
use crate::provider::CHAT;

/// Everything that our own crates say.
const FILTER: &str = "warn,opspawn=trace,agentkit=trace,agentkit_tools=trace,bounded=trace,units=trace,\
                      ops_agents=trace,ops_core=trace,ops_engine=trace,ops_queue=trace,\
                      ops_server=trace,ops_store=trace,ops_worker=trace";

/// What stands for each thing that must not be in a log.
const MARKS: [(&str, &str); 12] = [
    ("key of a provider", "sk-mark0key0of0the0provider"),
    ("prompt", "mark-prompt"),
    ("instructions", "mark-instructions"),
    ("file of the input", "mark-file"),
    ("name of a file", "mark-path"),
    ("arguments", "mark-arguments"),
    ("result", "mark-result"),
    ("question", "mark-question"),
    ("payload of a signal", "mark-payload"),
    ("answer", "mark-answer"),
    ("header of a request", "mark-header"),
    ("body that is refused", "mark-refused"),
];

fn mark(what: &str) -> &'static str {
    let found = MARKS.iter().find(|(name, _)| *name == what);
    found.unwrap().1
}

fn says(message: &Value, finish: &str) -> String {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let choice = json!({"index": 0, "message": message, "finish_reason": finish});
    json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [choice], "usage": usage})
    .to_string()
}

fn calls(name: &str, arguments: &Value) -> String {
    let function = json!({"name": name, "arguments": arguments.to_string()});
    let call = json!({"id": "call_a", "type": "function", "function": function});
    says(
        &json!({"role": "assistant", "content": null, "tool_calls": [call]}),
        "tool_calls",
    )
}

/// A conversation whose turn is the number of results that the model was sent.
fn turn(body: &str) -> String {
    if body.contains("quarrel") {
        // A provider that repeats what it was sent.
        return json!({"error": {"message": format!("no: {body}")}}).to_string();
    }
    match body.matches("\"tool_call_id\"").count() {
        0 => calls(
            "write_file",
            &json!({"path": format!("{}.txt", mark("name of a file")), "content": mark("arguments")}),
        ),
        1 => calls("read_file", &json!({"path": "notes.txt"})),
        2 => calls("calculator", &json!({"expression": mark("arguments")})),
        3 => calls("ask_human", &json!({"question": mark("question")})),
        _ => says(
            &json!({"role": "assistant", "content": mark("answer")}),
            "stop",
        ),
    }
}

#[tokio::test]
async fn a_log_at_its_finest_holds_nothing_of_what_tasks_are_about() {
    let provider = StandIn::start(|asked| Answer::Whole(turn(&asked.body)));
    let provider = provider.await.unwrap();
    let test_dir = TestDir::new();
    let launch = CHAT.launch(test_dir.dev(), provider.url(), false);
    // What `dev` says of its tasks beside the log names their goals, for whoever sits there.
    let server = launch
        .args(["--quiet"])
        .env("OPENAI_API_KEY", mark("key of a provider"))
        .env("OPSPAWN_LOG", FILTER)
        .env("OPSPAWN_MODEL_TRIES", "1")
        .start()
        .await
        .unwrap();
    let http = server.http();
    let body = json!({"task_type": "agent_run", "input_data": {
        "prompt": mark("prompt"),
        "files": {"notes.txt": format!("{} {}", mark("file of the input"), mark("result"))},
        "agent_config": {"instructions": mark("instructions")},
    }});
    let mut request = http
        .request(Method::POST, "/api/v1/tasks", Some(&body))
        .unwrap();
    for name in ["Idempotency-Key", "Authorization", "X-Request-Id", "Cookie"] {
        let value = format!("{} {name}", mark("header of a request"));
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let reply = http.send(request).await.unwrap();
    assert_eq!(reply.status.as_u16(), 201, "{}", reply.text());
    let id = tasks::id(&reply.json().unwrap());
    let waiting = tasks::in_state(http, &id, &["waiting"]).await;
    let name = waiting["state_detail"]["signals"][0].as_str().unwrap();
    let signal = json!({"name": name, "payload": mark("payload of a signal")});
    let path = format!("/api/v1/tasks/{id}/signals");
    http.post(&path, &signal).await.unwrap().ok().unwrap();
    assert_eq!(tasks::answer(http, &id).await, mark("answer"));
    // What goes wrong is what logs tell most of.
    let quarrel = json!({"task_type": "agent_run", "retry": {"max_attempts": 1}, "input_data":
        {"prompt": format!("quarrel {}", mark("prompt"))}});
    let failed = tasks::submit(http, &quarrel).await;
    assert_eq!(tasks::ended(http, &failed).await["state"], "failed");
    let refused = json!({"task_type": mark("body that is refused"), "input_data": {}});
    let refused = http.post("/api/v1/tasks", &refused).await.unwrap();
    assert_eq!(refused.status.as_u16(), 422);

    let sent = provider.bodies().join("\n");
    for what in [
        "prompt",
        "instructions",
        "arguments",
        "result",
        "payload of a signal",
    ] {
        assert!(
            sent.contains(mark(what)),
            "the model was not told the {what}"
        );
    }
    let output = server.output();
    assert!(
        output.contains("DEBUG") || output.contains("TRACE"),
        "{output}"
    );
    for (what, mark) in MARKS {
        let lines = output.lines().filter(|line| line.contains(mark));
        let lines: Vec<_> = lines.collect();
        assert!(lines.is_empty(), "{what}: {lines:#?}");
    }
    assert_calm(&server);
}
