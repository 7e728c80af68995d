//! What a model said goes back to it: the next request is one that a strict server takes, whatever
//! the model's ids, names, arguments and blank texts were.

use agentkit::{Agent, tool::function};
use serde_json::{Value, json};

use super::{conformance::continued, strict::refusals, *};

/// A surface of a provider that such an answer comes from.
pub(super) fn at(server: &Server, surface: ApiSurface, stream: bool) -> Config {
    let provider = match surface {
        ApiSurface::Chat | ApiSurface::Responses => Provider::OpenAi,
        ApiSurface::Messages => Provider::Anthropic,
        ApiSurface::GenerateContent => Provider::Google,
    };
    let mut config = Config {
        base_url: server.url.clone(),
        stream,
        ..Config::new(provider, "model-1")
    };
    config.info.surface = Some(surface);
    config
}

/// Events of a stream.
fn events(documents: &[Value]) -> String {
    let events = documents.iter().map(|event| format!("data: {event}\n\n"));
    events.collect()
}

/// An answer of these blocks, as Anthropic streams it.
fn message_events(blocks: &[Value]) -> String {
    let mut all = vec![json!({"type": "message_start",
        "message": {"id": "msg_1", "model": "model-1", "usage": {"input_tokens": 9}}})];
    for (index, block) in blocks.iter().enumerate() {
        let mut begin = block.clone();
        let (kind, field) = match block["type"].as_str().unwrap() {
            "thinking" => ("thinking_delta", "thinking"),
            "tool_use" => ("input_json_delta", "partial_json"),
            _ => ("text_delta", "text"),
        };
        let piece = match kind {
            "input_json_delta" => {
                begin["input"] = json!({});
                block["input"]
                    .as_str()
                    .map_or_else(|| block["input"].to_string(), str::to_owned)
            }
            _ => {
                begin[field] = json!("");
                block[field].as_str().unwrap().to_owned()
            }
        };
        all.push(json!({"type": "content_block_start", "index": index, "content_block": begin}));
        if !piece.is_empty() {
            all.push(json!({"type": "content_block_delta", "index": index,
                "delta": {"type": kind, field: piece}}));
        }
        all.push(json!({"type": "content_block_stop", "index": index}));
    }
    all.push(
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"},
        "usage": {"output_tokens": 9}}),
    );
    all.push(json!({"type": "message_stop"}));
    events(&all)
}

fn message(blocks: &[Value]) -> String {
    json!({"type": "message", "id": "msg_1", "model": "model-1", "stop_reason": "tool_use",
        "content": blocks, "usage": {"input_tokens": 9, "output_tokens": 9}})
    .to_string()
}

/// An answer of these items, as OpenAI streams it.
fn response_events(items: &[Value]) -> String {
    let mut all = vec![json!({"type": "response.created", "response": {"id": "resp_1"}})];
    for (index, item) in items.iter().enumerate() {
        all.push(
            json!({"type": "response.output_item.added", "output_index": index, "item": item}),
        );
        all.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
    }
    all.push(
        json!({"type": "response.completed", "response": {"status": "completed", "output": items}}),
    );
    events(&all)
}

fn whole_response(items: &[Value]) -> String {
    json!({"id": "resp_1", "model": "model-1", "status": "completed", "output": items}).to_string()
}

fn completion(message: &Value) -> String {
    json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).to_string()
}

fn candidate(parts: &[Value]) -> String {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]})
        .to_string()
}

/// The answer that a body gives, and the request that goes on with it.
async fn next_request(surface: ApiSurface, body: &str) -> (Response, String) {
    let streamed = body.starts_with("data");
    let bytes = match streamed {
        true => stream(body, 50),
        false => response(200, "", body),
    };
    let server = Server::bytes(bytes).await;
    let config = at(&server, surface, streamed);
    let answer = call(config.clone(), &question()).await.0.unwrap();
    call(config, &continued(&answer)).await.0.unwrap();
    (answer, server.received().remove(1).body)
}

async fn is_taken(surface: ApiSurface, body: &str) -> (Response, Value) {
    let (answer, request) = next_request(surface, body).await;
    let refusals = refusals(surface, &request);
    assert!(
        refusals.is_empty(),
        "{surface:?} {body}\n{request}\n{refusals:?}"
    );
    (answer, serde_json::from_str(&request).unwrap())
}

fn thinking() -> Value {
    json!({"type": "thinking", "thinking": "I look.", "signature": "sig=="})
}

fn tool_use(id: &str, name: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": name, "input": input})
}

fn reasoning() -> Value {
    json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "enc=="})
}

fn function_call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": id, "name": name,
        "arguments": arguments})
}

/// The ids of calls in a request.
fn ids(body: &Value) -> Vec<&str> {
    let blocks = body["messages"][1]["content"]
        .as_array()
        .into_iter()
        .flatten();
    let items = body["input"].as_array().into_iter().flatten();
    let calls = blocks.chain(items).filter(|part| {
        ["tool_use", "function_call"].contains(&part["type"].as_str().unwrap_or_default())
    });
    calls
        .map(|call| {
            call["id"]
                .as_str()
                .filter(|id| *id != "fc_1")
                .or(call["call_id"].as_str())
        })
        .map(Option::unwrap)
        .collect()
}

/// `models/M1`
#[tokio::test]
async fn a_result_names_the_id_that_stands_in_its_turn() {
    let long = "x".repeat(80);
    for (given, sent) in [
        (
            &["functions.list_files:0"][..],
            Some(&["functions.list_files:0"][..]),
        ),
        (&[&*long], Some(&[&*long])),
        (&["call_a", "call_b"], Some(&["call_a", "call_b"])),
        (&[""], None),
        (&["call_a", "call_a"], None),
        (&["", "", "call_3"], None),
    ] {
        let uses = given
            .iter()
            .map(|id| tool_use(id, "list_files", json!({"path": "."})));
        let blocks: Vec<Value> = std::iter::once(thinking()).chain(uses).collect();
        let calls = given
            .iter()
            .map(|id| function_call(id, "list_files", "{\"path\":\".\"}"));
        let items: Vec<Value> = std::iter::once(reasoning()).chain(calls).collect();
        for (surface, body) in [
            (ApiSurface::Messages, message_events(&blocks)),
            (ApiSurface::Messages, message(&blocks)),
            (ApiSurface::Responses, response_events(&items)),
            (ApiSurface::Responses, whole_response(&items)),
        ] {
            let (answer, request) = is_taken(surface, &body).await;
            assert_eq!(answer.calls.len(), given.len());
            if let Some(sent) = sent {
                assert_eq!(ids(&request), sent, "{surface:?}");
            }
            let text = request.to_string();
            assert!(text.contains("sig==") || text.contains("enc=="), "{text}");
        }
        let calls: Vec<Value> = given
            .iter()
            .map(|id| json!({"id": id, "function": {"name": "list_files", "arguments": "{}"}}))
            .collect();
        let details = json!([{"type": "reasoning.text", "text": "I look."}]);
        for message in [
            json!({"content": null, "tool_calls": calls}),
            json!({"content": null, "tool_calls": calls, "reasoning_details": details}),
        ] {
            is_taken(ApiSurface::Chat, &completion(&message)).await;
        }
    }
}

/// `models/M1`: the same with what was said to another model, whose parts stay behind.
#[tokio::test]
async fn a_conversation_from_elsewhere_has_ids_that_every_server_takes() {
    let blocks = [
        tool_use("functions.list_files:0", "list_files", json!({})),
        tool_use("functions.list_files:0", "list_files", json!({})),
        tool_use("", "list_files", json!({})),
    ];
    let server = Server::bytes(response(200, "", &message(&blocks))).await;
    let config = at(&server, ApiSurface::Messages, false);
    let answer = call(config, &question()).await.0.unwrap();
    for surface in [
        ApiSurface::Chat,
        ApiSurface::Responses,
        ApiSurface::Messages,
    ] {
        let server = Server::bytes(response(200, "", "{}")).await;
        let config = at(&server, surface, false);
        call(config, &continued(&answer)).await.0.unwrap_err();
        let body = &server.received()[0].body;
        assert_eq!(refusals(surface, body), [""; 0], "{surface:?} {body}");
    }
}

/// `models/M1` through a whole run: its second request is taken, and so it completes.
#[tokio::test]
async fn a_run_with_odd_ids_completes() {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Where {
        path: String,
    }
    let list = function("list_files", "Lists files.", |at: Where| async move {
        Ok::<_, String>(format!("{}/a.csv", at.path))
    });
    let first = message_events(&[
        thinking(),
        tool_use("functions.list_files:0", "list_files", json!({"path": "."})),
    ]);
    let done =
        message_events(&[json!({"type": "text", "text": "a.csv"})]).replace("tool_use", "end_turn");
    let server = Server::start(vec![
        vec![Step::Send(stream(&first, 40)), Step::Close],
        vec![Step::Send(stream(&done, 40)), Step::Close],
    ])
    .await;
    let client = Client::new(at(&server, ApiSurface::Messages, true)).unwrap();
    let agent = Agent::builder(client).tool(list).build().unwrap();
    assert_eq!(
        agent
            .run("Which files are there?")
            .await
            .unwrap()
            .to_string(),
        "a.csv"
    );
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(refusals(ApiSurface::Messages, &received[1].body), [""; 0]);
}

/// `models/M4`
#[tokio::test]
async fn blank_texts_do_not_go_back() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let used = tool_use("toolu_1", "list_files", json!({}));
    for blank in ["", "\n\n", " "] {
        let blocks = [thinking(), text(blank), used.clone()];
        for body in [message_events(&blocks), message(&blocks)] {
            let (_, request) = is_taken(ApiSurface::Messages, &body).await;
            let kinds: Vec<&Value> = request["messages"][1]["content"]
                .as_array()
                .unwrap()
                .iter()
                .map(|block| &block["type"])
                .collect();
            assert_eq!(kinds, ["thinking", "tool_use"]);
        }
        // Nothing but thoughts is no turn that a server takes back.
        let blocks = [thinking(), text(blank)];
        let (_, request) = is_taken(ApiSurface::Messages, &message(&blocks)).await;
        assert_eq!(
            request["messages"].as_array().unwrap().len(),
            1,
            "{request}"
        );
    }
    let (_, request) = is_taken(
        ApiSurface::Messages,
        &message(&[thinking(), text("Hm."), used]),
    )
    .await;
    assert_eq!(request["messages"][1]["content"][1]["text"], "Hm.");

    let said = |text: &str| {
        json!({"type": "message", "id": "msg_1", "role": "assistant",
        "content": [{"type": "output_text", "text": text}]})
    };
    let asked = function_call("call_a", "list_files", "{}");
    let (_, request) = is_taken(
        ApiSurface::Responses,
        &whole_response(&[reasoning(), said(""), asked]),
    )
    .await;
    assert_eq!(request["input"][1]["type"], "reasoning");
    assert_eq!(request["input"][2]["type"], "function_call");
    let (_, request) = is_taken(
        ApiSurface::Responses,
        &whole_response(&[reasoning(), said("")]),
    )
    .await;
    assert_eq!(request["input"].as_array().unwrap().len(), 1, "{request}");

    let signed = json!({"text": "", "thoughtSignature": "sig=="});
    let parts = [
        json!({"text": ""}),
        json!({"functionCall": {"name": "list_files"}}),
        signed.clone(),
    ];
    let (_, request) = is_taken_gemini(&parts).await;
    let sent = request["contents"][1]["parts"].as_array().unwrap();
    assert_eq!((sent.len(), &sent[1]), (2, &signed), "{request}");
}

/// Gemini has no name for calls without arguments but none at all.
async fn is_taken_gemini(parts: &[Value]) -> (Response, Value) {
    let (answer, request) = next_request(ApiSurface::GenerateContent, &candidate(parts)).await;
    (answer, serde_json::from_str(&request).unwrap())
}

/// `models/M6`
#[tokio::test]
async fn bad_arguments_and_impossible_names_go_back_mended() {
    const BROKEN: &str = r#"{"path": "He said "hello" and left"}"#;
    let too_long = "n".repeat(100);
    for (name, arguments, sent) in [
        ("list_files", BROKEN, "list_files"),
        ("list_files", "[1]", "list_files"),
        ("list_files", "7", "list_files"),
        (
            "list_files<|channel|>commentary",
            "{\"path\":\".\"}",
            "list_files",
        ),
        ("list files()", "{\"path\":\".\"}", "list_files"),
        ("", "{\"path\":\".\"}", "unnamed_tool"),
        (&too_long, BROKEN, &too_long[..64]),
    ] {
        let called = json!({"id": "call_a", "function": {"name": name, "arguments": arguments}});
        let blocks = [thinking(), tool_use("toolu_1", name, json!(arguments))];
        let input: Value = serde_json::from_str(arguments).unwrap_or_else(|_| json!(arguments));
        let whole = [thinking(), tool_use("toolu_1", name, input)];
        for (surface, body) in [
            (
                ApiSurface::Chat,
                completion(&json!({"tool_calls": [called]})),
            ),
            (
                ApiSurface::Chat,
                completion(&json!({"tool_calls": [called], "reasoning_details": [{"type": "x"}]})),
            ),
            (ApiSurface::Messages, message_events(&blocks)),
            (ApiSurface::Messages, message(&whole)),
            (
                ApiSurface::Responses,
                whole_response(&[reasoning(), function_call("call_a", name, arguments)]),
            ),
            (
                ApiSurface::Responses,
                whole_response(&[function_call("call_a", name, arguments)]),
            ),
        ] {
            let (answer, request) = is_taken(surface, &body).await;
            // What the gate sees is what the model wrote.
            assert_eq!(answer.calls[0].name, name);
            let text = request.to_string();
            assert!(
                text.contains(&format!("\"name\":\"{sent}\"")),
                "{surface:?} {text}"
            );
            let is_read = arguments == "{\"path\":\".\"}";
            assert_eq!(
                !text.contains("invalid_arguments"),
                is_read,
                "{surface:?} {text}"
            );
        }
    }
    for name in ["list_files", "api.v1:list_files"] {
        let call =
            json!({"functionCall": {"name": name, "args": {"path": "."}}, "thoughtSignature": "s"});
        let (_, request) = is_taken(
            ApiSurface::GenerateContent,
            &candidate(std::slice::from_ref(&call)),
        )
        .await;
        assert_eq!(request["contents"][1]["parts"][0], call);
    }
    let odd = json!({"functionCall": {"name": "list files", "args": "x"}, "thoughtSignature": "s"});
    let (_, request) = is_taken(ApiSurface::GenerateContent, &candidate(&[odd])).await;
    let mended = json!({"functionCall": {"name": "list_files", "args": {"invalid_arguments": "x"}},
        "thoughtSignature": "s"});
    assert_eq!(request["contents"][1]["parts"][0], mended);
}
