//! What is understood.

use std::sync::Arc;

use agentkit::{
    event::{FinishReason, Usage},
    model::{
        Image, Message, ModelErrorKind, Response,
        client::{Config, Provider},
    },
};
use serde_json::json;

use super::{call, config, outcome, question, server::*};

/// Two calls at once, whose pieces alternate, between words and usage.
const CALLS: &str = concat!(
    ": OPENROUTER PROCESSING\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"model\":\"gpt-5-2025\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\r\n\r\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Gr\u{fc}\u{df}e \u{1f600}\"}}]}\n\n",
    "event: message\ndata:{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"call_b\",\"type\":\"function\",\"function\":{\"name\":\"calc\",\"arguments\":\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_a\",\"type\":\"function\",\"function\":{\"name\":\"read\",\"arguments\":\"{\\\"p\\\":\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"{not json\"}},{\"index\":0,\"function\":{\"arguments\":\"\\\"\u{e4}\\\"}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":40,\"total_tokens\":140,\"prompt_tokens_details\":{\"cached_tokens\":64},\"completion_tokens_details\":{\"reasoning_tokens\":30}}}\n\n",
    "data: [DONE]\n\n",
);

fn parts(json: &str) -> Option<serde_json::Value> {
    Some(json!({ "model": "openai/gpt-5", "json": json }))
}

fn calls(response: &Response) -> Vec<(&str, &str, &str)> {
    let calls = response.calls.iter();
    calls
        .map(|c| {
            (
                c.provider_id.as_str(),
                c.name.as_str(),
                c.arguments.as_str(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_stream_gives_the_same_answer_however_it_is_cut() {
    for size in [1, 2, 3, 7, 64, 100_000] {
        let server = Server::bytes(stream(CALLS, size)).await;
        let (response, deltas) = call(config(&server), &question()).await;
        let response = response.unwrap();
        assert_eq!(response.content, "Gr\u{fc}\u{df}e \u{1f600}");
        assert_eq!(deltas, response.content);
        assert_eq!(
            calls(&response),
            [
                ("call_a", "read", "{\"p\":\"\u{e4}\"}"),
                ("call_b", "calc", "{not json")
            ]
        );
        assert_eq!(response.finish, FinishReason::ToolCalls);
        assert_eq!(
            response.usage,
            Usage {
                input_tokens: 100,
                output_tokens: 40,
                cached_tokens: 64,
                reasoning_tokens: 30,
                cost_micros: 0,
            }
        );
        assert_eq!(response.model, "gpt-5-2025");
        assert_eq!(response.request_id.as_deref(), Some("chatcmpl-1"));
        assert_eq!(response.parts, None);
    }
}

#[tokio::test]
async fn a_whole_answer_has_all_of_its_parts() {
    let body = json!({
        "id": "gen-1",
        "model": "m-1",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hi",
                "refusal": null,
                "tool_calls": [
                    { "id": "a", "type": "function", "function": { "name": "x", "arguments": "{}" } },
                    { "id": "b", "type": "function", "function": { "name": "y", "arguments": "" } },
                ],
                "reasoning_details": [{ "type": "reasoning.encrypted", "data": "opaque" }],
            },
            "finish_reason": "tool_calls",
        }],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 3,
            "prompt_tokens_details": null,
            "cost": 0.0123,
        },
    });
    // Whichever way it was asked for.
    for stream in [true, false] {
        let server =
            Server::bytes(response(200, "x-request-id: req_1\r\n", &body.to_string())).await;
        let (response, deltas) = call(
            Config {
                stream,
                ..config(&server)
            },
            &question(),
        )
        .await;
        let response = response.unwrap();
        assert_eq!((response.content.as_str(), deltas.as_str()), ("Hi", "Hi"));
        assert_eq!(calls(&response), [("a", "x", "{}"), ("b", "y", "{}")]);
        assert_eq!(response.finish, FinishReason::ToolCalls);
        assert_eq!(
            (response.usage.input_tokens, response.usage.output_tokens),
            (9, 3)
        );
        assert_eq!(response.usage.cost_micros, 12_300);
        assert_eq!(response.request_id.as_deref(), Some("req_1"));
        let reasoning = r#"[{"data":"opaque","type":"reasoning.encrypted"}]"#;
        assert_eq!(response.parts, parts(reasoning));
    }
}

#[tokio::test]
async fn a_stream_is_understood_where_a_whole_answer_was_asked_for() {
    let server = Server::bytes(stream(CALLS, 10)).await;
    let (response, _) = call(
        Config {
            stream: false,
            ..config(&server)
        },
        &question(),
    )
    .await;
    assert_eq!(response.unwrap().calls.len(), 2);
}

fn whole(message: &str, finish: &str) -> Vec<u8> {
    let body = format!(r#"{{"choices":[{{"message":{message},"finish_reason":{finish}}}]}}"#);
    response(200, "", &body)
}

#[tokio::test]
async fn every_finish_reason_is_mapped() {
    let text = r#"{"content":"x"}"#;
    let calls = r#"{"tool_calls":[{"id":"a","function":{"name":"x","arguments":""}}]}"#;
    let refusal = r#"{"content":null,"refusal":"I cannot."}"#;
    for (message, finish, expected) in [
        (text, "\"stop\"", FinishReason::Stop),
        (text, "null", FinishReason::Stop),
        (text, "\"eos\"", FinishReason::Stop),
        (text, "\"tool_calls\"", FinishReason::Stop),
        (text, "\"length\"", FinishReason::Length),
        (text, "\"content_filter\"", FinishReason::ContentFilter),
        (calls, "\"tool_calls\"", FinishReason::ToolCalls),
        (calls, "\"stop\"", FinishReason::ToolCalls),
        (calls, "\"length\"", FinishReason::Length),
        (refusal, "\"stop\"", FinishReason::ContentFilter),
    ] {
        let response = outcome(whole(message, finish)).await.unwrap();
        assert_eq!(response.finish, expected, "{message} {finish}");
        if message == refusal {
            assert_eq!(response.content, "I cannot.");
        }
        if let Some(call) = response.calls.first() {
            // Cut off by the limit, no arguments are not the same as none.
            let expected = if expected == FinishReason::Length {
                ""
            } else {
                "{}"
            };
            assert_eq!(call.arguments, expected, "{finish}");
        }
    }
}

#[tokio::test]
async fn what_servers_do_differently_is_understood() {
    let event = |delta: &str| format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
    let part = |index: &str, id: &str, name: &str, arguments: &str| {
        event(&format!(
            r#"{{"tool_calls":[{{{index}"id":{id},"function":{{"name":{name},"arguments":{arguments}}}}}]}}"#
        ))
    };
    let done = "data: [DONE]";
    // Several whole calls under one index, and arguments that are no text.
    let events = part("\"index\":0,", "\"a\"", "\"x\"", "{\"k\":1}")
        + &part("\"index\":0,", "\"b\"", "\"x\"", "\"{}\"")
        + done;
    let response = outcome(stream(&events, 50)).await.unwrap();
    assert_eq!(
        calls(&response),
        [("a", "x", "{\"k\":1}"), ("b", "x", "{}")]
    );
    // No index at all; the name is repeated.
    let events = part("", "\"a\"", "\"x\"", "\"{\"")
        + &part("", "\"a\"", "\"x\"", "\"}\"")
        + &part("", "\"b\"", "\"y\"", "null")
        + &part("", "null", "null", "\"[]\"")
        + done;
    let response = outcome(stream(&events, 50)).await.unwrap();
    assert_eq!(calls(&response), [("a", "x", "{}"), ("b", "y", "[]")]);
    // Text in parts, other choices, a byte order mark, an end without `[DONE]`.
    let events = "\u{feff}data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"no\"}},{\"index\":0,\"delta\":{\"content\":[{\"type\":\"thinking\"},{\"type\":\"text\",\"text\":\"yes\"}]},\"finish_reason\":\"stop\"}]}";
    assert_eq!(outcome(stream(events, 1)).await.unwrap().content, "yes");
    // Pieces of one reasoning part are joined again.
    let events = event(r#"{"reasoning_details":[{"type":"t","index":0,"text":"a"}]}"#)
        + &event(r#"{"reasoning_details":[{"type":"t","index":0,"text":"b","signature":"s"}]}"#)
        + done;
    let joined = r#"[{"index":0,"signature":"s","text":"ab","type":"t"}]"#;
    assert_eq!(
        outcome(stream(&events, 50)).await.unwrap().parts,
        parts(joined)
    );
}

#[tokio::test]
async fn usage_is_estimated_where_the_server_tells_none() {
    let response = outcome(whole(r#"{"content":"12345678"}"#, "\"stop\""))
        .await
        .unwrap();
    assert_eq!(response.usage.output_tokens, 2);
    assert!(response.usage.input_tokens > 10, "{:?}", response.usage);
    assert_eq!(response.model, "gpt-5");

    // Nobody reads a prompt of no tokens.
    let body = r#"{"choices":[{"message":{"content":"12345678"},"finish_reason":"stop"}],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#;
    let response = outcome(response_of(body)).await.unwrap();
    assert_eq!(response.usage.output_tokens, 2);
    assert!(response.usage.input_tokens > 10, "{:?}", response.usage);

    // The bytes of an image are no text.
    let server = Server::bytes(whole(r#"{"content":"a dog"}"#, "\"stop\"")).await;
    let mut request = question();
    request.messages = vec![Arc::new(Message::User {
        content: "What is this?".to_owned(),
        images: vec![Image::Inline {
            media_type: "image/png".to_owned(),
            base64: "A".repeat(400_000),
        }],
    })];
    let response = call(config(&server), &request).await.0.unwrap();
    let input = response.usage.input_tokens;
    assert!((1_000..3_000).contains(&input), "{input}");
}

fn response_of(body: &str) -> Vec<u8> {
    response(200, "", body)
}

#[tokio::test]
async fn every_call_of_a_whole_answer_is_a_call_of_its_own() {
    for id in ["\"id\":\"call_0\",", "\"id\":\"\",", ""] {
        let call =
            |name: &str| format!(r#"{{{id}"function":{{"name":"{name}","arguments":"{{}}"}}}}"#);
        let message = format!(
            r#"{{"tool_calls":[{},{},{}]}}"#,
            call("x"),
            call("x"),
            call("y")
        );
        let response = outcome(whole(&message, "\"tool_calls\"")).await.unwrap();
        let names: Vec<_> = calls(&response)
            .into_iter()
            .map(|(_, name, arguments)| (name, arguments))
            .collect();
        assert_eq!(names, [("x", "{}"), ("x", "{}"), ("y", "{}")], "{id}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_answer_does_not_matter() {
    let events =
        "data: {\"choices\":[{\"delta\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}\n\n";
    let mut bytes = STREAM.as_bytes().to_vec();
    bytes.extend(chunk(events.as_bytes()));
    assert_eq!(outcome(bytes).await.unwrap().content, "ok");
}

#[tokio::test]
async fn a_call_that_was_cut_before_its_arguments_has_none() {
    let begin = r#"{"type":"message_start","message":{"id":"m","model":"x","usage":{"input_tokens":5,"output_tokens":1}}}"#;
    let block = |index: u32, name: &str| {
        format!(
            r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"tool_use","id":"t{index}","name":"{name}","input":{{}}}}}}"#
        )
    };
    for (reason, arguments) in [("max_tokens", ""), ("tool_use", "{}")] {
        let stopped = format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}},"usage":{{"output_tokens":9}}}}"#
        );
        let events: String = [
            begin,
            &block(0, "x"),
            &block(1, "y"),
            &stopped,
            r#"{"type":"message_stop"}"#,
        ]
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
        let server = Server::bytes(stream(&events, 40)).await;
        let config = Config {
            base_url: server.url.clone(),
            ..Config::new(Provider::Anthropic, "claude-opus-4-5")
        };
        let response = call(config, &question()).await.0.unwrap();
        assert_eq!(
            calls(&response),
            [("t0", "x", "{}"), ("t1", "y", arguments)],
            "{reason}"
        );
    }
}

#[tokio::test]
async fn words_before_a_call_that_went_wrong_are_no_answer() {
    let event = |text: &str, reason: &str| json!({"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": reason}]});
    for (text, reason, is_answer) in [
        ("I look it up.", "STOP", true),
        ("I look it up.", "MALFORMED_FUNCTION_CALL", false),
        ("I look it up.", "UNEXPECTED_TOOL_CALL", false),
        ("I look it up.", "OTHER", false),
        ("", "MALFORMED_FUNCTION_CALL", true),
    ] {
        let events = format!("data: {}\n\n", event(text, reason));
        let server = Server::bytes(stream(&events, 50)).await;
        let config = Config {
            base_url: server.url.clone(),
            ..Config::new(Provider::Google, "gemini-2.5-flash")
        };
        let outcome = call(config, &question()).await.0;
        match outcome {
            Ok(response) => {
                assert!(is_answer, "{reason}: {response:?}");
                assert_eq!(response.content, text);
            }
            Err(error) => {
                assert!(!is_answer, "{reason}: {error}");
                assert_eq!(error.kind, ModelErrorKind::MalformedResponse, "{reason}");
                assert!(error.message.contains("broken off"), "{error}");
            }
        }
    }
}
