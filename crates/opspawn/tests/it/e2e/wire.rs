//! A conversation with aimock, which others wrote: dependent and parallel tool calls, and usage.

use ops_testkit::{Aimock, require_aimock};
use serde_json::{Value, json};

use super::{
    place::{Place, assert_calm},
    tasks,
};

pub(super) const CHAT: &str = "/v1/chat/completions";

/// Turn 1 asks for a product. Turn 2 is only there for who sends the product back, and writes it to
/// a file. Turn 3, after that, asks for two things at once. The answer needs the results of both.
fn conversation() -> Value {
    let call = |id: &str, name: &str, arguments: Value| json!({"id": id, "name": name, "arguments": arguments});
    let turn = |user: Value, calls: Vec<Value>, usage: Value| json!({"match": user, "response": {"toolCalls": calls, "usage": usage}});
    let usage = |input: u64, output: u64| json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    let after = |id: &str, result: &str| json!({"userMessage": "product", "toolCallId": id, "toolResultContains": result});
    json!({"fixtures": [
        turn(json!({"userMessage": "product", "hasToolResult": false}),
            vec![call("call_a", "calculator", json!({"expression": "19 * 3"}))], usage(101, 11)),
        turn(after("call_a", "57"),
            vec![call("call_b", "write_file", json!({"path": "product.txt", "content": "57"}))],
            usage(203, 13)),
        turn(after("call_b", "product.txt"), vec![
            call("call_c", "calculator", json!({"expression": "57 + 1"})),
            call("call_d", "read_file", json!({"path": "product.txt"})),
        ], usage(307, 17)),
        {"match": after("call_d", "57"), "response": {
            "content": "The product is 57 — and one more is 58.", "usage": usage(409, 19)}},
    ]})
}

/// Has the conversation, and checks the task, its file, its steps and what aimock saw.
async fn converse(stream: &str) {
    let Some(path) = require_aimock() else { return };
    let mock = Aimock::start(&path, &conversation(), &[]).await.unwrap();
    let place = Place::new();
    let server = place
        .dev()
        .env("OPENAI_BASE_URL", mock.openai())
        .env("OPENAI_API_KEY", "sk-test")
        .env("OPSPAWN_STREAM", stream)
        .start()
        .await
        .unwrap();
    let http = server.http();

    let task = tasks::run(http, "Write the product of 19 and 3 to a file").await;
    assert_eq!(task["status"], "completed", "{task:#}");
    let answer = "The product is 57 — and one more is 58.";
    assert_eq!(task["result"]["answer"], answer);
    assert_eq!(task["result"]["files"], json!(["product.txt"]));
    assert!(
        task["result"]["notice"].is_null(),
        "a model answered: {task:#}"
    );
    assert_eq!(
        tasks::tokens(&task),
        (101 + 203 + 307 + 409, 11 + 13 + 17 + 19)
    );
    let id = tasks::id(&task);
    let file = place
        .data()
        .join("workspaces")
        .join(&id)
        .join("product.txt");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "57");

    let steps = tasks::steps(http, &id).await;
    let outline: Vec<(&str, &str)> = steps
        .iter()
        .map(|step| {
            (
                step["kind"].as_str().unwrap(),
                step["name"].as_str().unwrap(),
            )
        })
        .filter(|(kind, _)| *kind == "tool")
        .collect();
    let tool = |name| ("tool", name);
    assert_eq!(
        outline,
        [
            tool("calculator"),
            tool("write_file"),
            tool("calculator"),
            tool("read_file")
        ]
    );
    assert!(
        steps
            .iter()
            .all(|step| step["status"] == "completed" && step["attempt"] == 1)
    );
    let of_steps: u64 = steps.iter().map(|step| tasks::tokens(step).0).sum();
    assert_eq!(of_steps, tasks::tokens(&task).0);

    let seen = mock.requests(CHAT).await.unwrap();
    assert_eq!(seen.len(), 4, "{seen:#?}");
    assert!(
        seen.iter()
            .all(|request| request["stream"].as_bool().unwrap_or(false) == (stream == "true"))
    );
    // Both results of the parallel turn come back, in the order of the calls, under their ids.
    let messages = seen[3]["messages"].as_array().unwrap();
    let results: Vec<_> = messages
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| message["tool_call_id"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["call_a", "call_b", "call_c", "call_d"]);
    assert_calm(&server);
}

#[tokio::test]
async fn a_conversation_with_tools_streamed() {
    converse("true").await;
}

#[tokio::test]
async fn a_conversation_with_tools_not_streamed() {
    converse("false").await;
}
