//! The faults of aimock are selected as its module says.

use ops_testkit::{Aimock, require_aimock};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn ask(goal: &str, stream: Value) -> Value {
    json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": goal}]})
}

#[tokio::test]
#[ignore = "needs aimock: run by cargo xtask test"]
async fn aimock_answers_and_fails_as_told() {
    let Some(path) = require_aimock() else { return };
    let fixtures = json!({"fixtures": [
        {"match": {"userMessage": "add", "hasToolResult": false},
         "response": {"toolCalls": [{"id": "call_1", "name": "add", "arguments": {"x": 1}}]}},
        {"match": {"userMessage": "limit", "sequenceIndex": 0}, "response": {"error":
            {"message": "slow", "type": "rate_limit_error"}, "status": 429, "retryAfter": 2}},
        {"match": {"userMessage": "limit", "sequenceIndex": 1}, "response": {"content": "go"}},
        {"match": {"userMessage": "fail"},
         "response": {"error": {"message": "no", "type": "server_error"}, "status": 500}},
        {"match": {"userMessage": "garbage"}, "response": {"content": "x"},
         "chaos": {"malformedRate": 1}},
        {"match": {"userMessage": "gone"}, "response": {"content": "x"},
         "chaos": {"disconnectRate": 1}},
        {"match": {"userMessage": "cut"}, "latency": 50, "truncateAfterChunks": 2,
         "response": {"content": "a long answer that is cut before it comes to its end"}},
    ]});
    let mock = Aimock::start(&path, &fixtures, &[]).await.unwrap();
    let post = async |goal, stream| mock.http().post(CHAT, &ask(goal, json!(stream))).await;

    let call: Value = post("add", false)
        .await
        .unwrap()
        .ok()
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(
        call["choices"][0]["message"]["tool_calls"][0]["function"]["name"],
        "add"
    );
    assert!(
        post("add", true)
            .await
            .unwrap()
            .text()
            .ends_with("data: [DONE]\n\n")
    );
    let limited = post("limit", true).await.unwrap();
    assert_eq!(
        (limited.status.as_u16(), limited.header("retry-after")),
        (429, Some("2"))
    );
    assert_eq!(post("limit", true).await.unwrap().status.as_u16(), 200);
    assert_eq!(post("fail", true).await.unwrap().status.as_u16(), 500);
    let garbage = post("garbage", false).await.unwrap();
    assert!(garbage.status.is_success() && garbage.json::<Value>().is_err());
    assert!(post("gone", false).await.is_err());
    assert!(post("cut", true).await.is_err());
    assert_eq!(
        post("what no fixture knows", false)
            .await
            .unwrap()
            .status
            .as_u16(),
        503
    );

    let seen = mock.requests(CHAT).await.unwrap();
    assert_eq!(seen.len(), 9, "{seen:?}");
    assert_eq!(seen[0]["messages"][0]["content"], "add");
}
