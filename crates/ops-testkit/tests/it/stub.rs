use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use ops_testkit::{DataDir, ModelStub};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn goal() -> Value {
    let plan = json!({"key": "k", "answer": "all äöü well", "plan": [
        {"tool": "ledger_write", "arguments": {"key": "grün", "n": 1}},
        [{"tool": "a"}, {"tool": "b"}],
    ]});
    json!({"role": "user", "content": format!("Please follow {plan}")})
}

fn request(turn: usize, more: &Value) -> Value {
    let mut messages = vec![json!({"role": "system", "content": "be good"}), goal()];
    for _ in 0..turn {
        messages.push(json!({"role": "assistant", "content": "x"}));
    }
    let mut request = json!({"model": "m", "messages": messages});
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

/// The events of a stream, its last line excepted.
fn events(text: &str) -> Vec<Value> {
    let mut data: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    assert_eq!(data.pop(), Some("[DONE]"), "{text}");
    data.into_iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect()
}

#[tokio::test]
async fn a_plan_is_followed_and_every_request_is_on_record() {
    let data = DataDir::new().unwrap();
    let stub = ModelStub::start(data.join("model.log"), &[]).await.unwrap();

    let first: Value = stub
        .http()
        .post(CHAT, &request(0, &json!({})))
        .await
        .unwrap()
        .ok()
        .unwrap()
        .json()
        .unwrap();
    let call = &first["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "ledger_write");
    assert_eq!(call["function"]["arguments"], r#"{"key":"grün","n":1}"#);
    assert_eq!(first["choices"][0]["finish_reason"], "tool_calls");
    assert!(first["usage"]["prompt_tokens"].as_u64().unwrap() > 0);

    let second: Value = stub
        .http()
        .post(CHAT, &request(1, &json!({})))
        .await
        .unwrap()
        .json()
        .unwrap();
    let calls = second["choices"][0]["message"]["tool_calls"]
        .as_array()
        .unwrap();
    assert_eq!(
        calls
            .iter()
            .map(|call| &call["function"]["name"])
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_ne!(calls[0]["id"], calls[1]["id"]);

    let last: Value = stub
        .http()
        .post(CHAT, &request(2, &json!({})))
        .await
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(last["choices"][0]["message"]["content"], "all äöü well");
    assert_eq!(last["choices"][0]["finish_reason"], "stop");

    let log = stub.requests().unwrap();
    let line = |at: usize| (log[at].n, log[at].call, log[at].turn, log[at].did.as_str());
    assert_eq!(log.len(), 3);
    assert_eq!(
        [line(0), line(1), line(2)],
        [(1, 1, 0, "tools"), (2, 2, 1, "tools"), (3, 3, 2, "answer")]
    );
    assert!(log.iter().all(|line| line.conversation == "k"));
    assert!(log.is_sorted_by_key(|line| line.mono_us));
    assert_eq!(log[0].request, request(0, &json!({})));
}

#[tokio::test]
async fn a_stream_says_the_same_in_pieces() {
    let data = DataDir::new().unwrap();
    let stub = ModelStub::start(data.join("model.log"), &["--chunk-ms", "1"])
        .await
        .unwrap();
    let streamed = json!({"stream": true, "stream_options": {"include_usage": true}});

    let reply = stub
        .http()
        .post(CHAT, &request(0, &streamed))
        .await
        .unwrap();
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let chunks = events(&reply.text());
    let calls = || {
        chunks
            .iter()
            .filter_map(|c| c.pointer("/choices/0/delta/tool_calls/0"))
    };
    assert_eq!(calls().next().unwrap()["function"]["name"], "ledger_write");
    let arguments: String = calls()
        .map(|call| call["function"]["arguments"].as_str().unwrap())
        .collect();
    assert_eq!(arguments, r#"{"key":"grün","n":1}"#);
    assert!(chunks.last().unwrap()["usage"]["total_tokens"].is_u64());

    let reply = stub
        .http()
        .post(CHAT, &request(2, &json!({"stream": true})))
        .await
        .unwrap();
    let chunks = events(&reply.text());
    let pieces = chunks
        .iter()
        .filter_map(|c| c.pointer("/choices/0/delta/content")?.as_str());
    assert_eq!(pieces.collect::<String>(), "all äöü well");
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );
}

#[tokio::test]
async fn faults_come_in_the_order_asked_for() {
    let data = DataDir::new().unwrap();
    let faults = "429,garbage,error200,disconnect,truncate,ok";
    let args = ["--faults", faults, "--retry-after", "2"];
    let stub = ModelStub::start(data.join("model.log"), &args)
        .await
        .unwrap();
    let ask = async || {
        stub.http()
            .post(CHAT, &request(2, &json!({"stream": true})))
            .await
    };

    let limited = ask().await.unwrap();
    assert_eq!(
        (limited.status.as_u16(), limited.header("retry-after")),
        (429, Some("2"))
    );
    assert_eq!(
        limited.json::<Value>().unwrap()["error"]["type"],
        "rate_limit_error"
    );
    let garbage = ask().await.unwrap();
    assert!(garbage.status.is_success() && garbage.json::<Value>().is_err());
    let hidden = ask().await.unwrap();
    assert!(hidden.status.is_success() && hidden.json::<Value>().unwrap()["error"].is_object());
    assert!(ask().await.is_err(), "the connection was to be cut");
    let short = ask().await.unwrap().text();
    assert!(
        short.starts_with("data: ") && !short.contains("[DONE]"),
        "{short}"
    );
    assert!(ask().await.unwrap().text().contains("[DONE]"));

    let did: Vec<String> = stub
        .requests()
        .unwrap()
        .into_iter()
        .map(|line| line.did)
        .collect();
    assert_eq!(
        did,
        [
            "status",
            "garbage",
            "error200",
            "disconnect",
            "truncate",
            "answer"
        ]
    );
}

#[tokio::test]
async fn a_cut_stream_delivers_what_came_before_the_cut() {
    let data = DataDir::new().unwrap();
    let stub = ModelStub::start(data.join("model.log"), &["--faults", "disconnect"])
        .await
        .unwrap();
    let body = request(2, &json!({"stream": true}));
    let request = stub
        .http()
        .request(http::Method::POST, CHAT, Some(&body))
        .unwrap();
    let mut answer = stub.http().open(request).await.unwrap().into_body();
    let mut seen = 0;
    let end = loop {
        match answer.frame().await {
            Some(Ok(frame)) => seen += frame.into_data().unwrap().len(),
            end => break end,
        }
    };
    assert!(seen > 0);
    assert!(
        matches!(end, Some(Err(_))),
        "a cut must be an error, not an end"
    );
}

#[tokio::test]
async fn a_hang_lasts_and_the_request_is_on_record_meanwhile() {
    let data = DataDir::new().unwrap();
    let stub = ModelStub::start(data.join("model.log"), &["--faults", "hang"])
        .await
        .unwrap();
    let patience = Duration::from_millis(300);
    let body = request(0, &json!({}));
    let asked = tokio::time::timeout(patience, stub.http().post(CHAT, &body)).await;
    assert!(asked.is_err());
    assert_eq!(stub.requests().unwrap().len(), 1);
}

#[tokio::test]
async fn answers_and_log_survive_a_restart() {
    let data = DataDir::new().unwrap();
    let script = data.join("script.json");
    std::fs::write(
        &script,
        json!({"turns": [{"tool": "t"}], "answer": "end"}).to_string(),
    )
    .unwrap();
    let script = script.display().to_string();
    let args = ["--script", script.as_str(), "--latency-ms", "30"];
    let mut names = Vec::new();
    for turn in [0, 1] {
        let mut stub = ModelStub::start(data.join("model.log"), &args)
            .await
            .unwrap();
        let mut messages = vec![json!({"role": "user", "content": "go"})];
        messages.extend(vec![json!({"role": "assistant", "content": "x"}); turn]);
        let began = Instant::now();
        let body = json!({"model": "m", "messages": messages});
        let answer: Value = stub.http().post(CHAT, &body).await.unwrap().json().unwrap();
        assert!(began.elapsed() >= Duration::from_millis(30));
        names.push(answer["choices"][0]["finish_reason"].clone());
        stub.process().sigkill().unwrap();
        assert_eq!(stub.requests().unwrap().len(), turn + 1);
    }
    assert_eq!(names, ["tool_calls", "stop"]);
}

#[tokio::test]
async fn without_a_log_a_script_answers_and_nothing_is_on_record() {
    let script = json!({"turns": [{"tool": "a"}], "answer": "well"});
    let stub = ModelStub::start_unlogged(&script).await.unwrap();
    let asked = json!({"model": "m", "messages": [{"role": "user", "content": "go"}]});
    let first: Value = stub
        .http()
        .post(CHAT, &asked)
        .await
        .unwrap()
        .json()
        .unwrap();
    let call = &first["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "a");
    let error = stub.requests().unwrap_err().to_string();
    assert_eq!(error, "the stub keeps no log");
}
