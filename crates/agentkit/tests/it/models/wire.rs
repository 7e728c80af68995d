//! Answers as gateways and servers really send them: what they leave out, say twice, or put elsewhere.

use agentkit::event::FinishReason;
use serde_json::{Value, json};

use super::{replay::at, *};

/// What an answer gives, and the words that came on the way. Text that begins with `{` or `[` comes
/// whole, anything else as a stream.
async fn read(surface: ApiSurface, body: &str) -> (Result<Response, ModelError>, String) {
    let is_whole = body.starts_with(['{', '[']);
    let bytes = match is_whole {
        true => response(200, "", body),
        false => stream(body, 37),
    };
    let server = Server::bytes(bytes).await;
    call(at(&server, surface, !is_whole), &question()).await
}

async fn good(surface: ApiSurface, body: &str) -> Response {
    let (response, told) = read(surface, body).await;
    let response = response.unwrap_or_else(|error| panic!("{surface:?} {body}\n{error}"));
    if response.calls.is_empty() {
        assert_eq!(told, response.content, "{body}");
    }
    response
}

async fn bad(surface: ApiSurface, body: &str) -> ModelError {
    let (response, _) = read(surface, body).await;
    match response {
        Ok(response) => panic!("{surface:?} {body}\n{response:?}"),
        Err(error) => error,
    }
}

fn asked(response: &Response) -> Vec<(&str, &str)> {
    let calls = response.calls.iter();
    calls.map(|call| (&*call.name, &*call.arguments)).collect()
}

/// Events of one line each.
fn events(documents: &[&str]) -> String {
    documents
        .iter()
        .map(|document| format!("data: {document}\n\n"))
        .collect()
}

const STARTED: &str = r#"{"type":"response.created","response":{"id":"resp_1","model":"m"}}"#;
const DONE: &str = r#"{"type":"response.completed","response":{"status":"completed","output":[],"usage":{"input_tokens":7,"output_tokens":2}}}"#;

/// `models/M2`
#[tokio::test]
async fn arguments_are_those_that_came_wherever_they_came() {
    let item = |arguments: &str| {
        json!({"type": "function_call", "id": "fc_1", "call_id": "call_a", "name": "list_files",
            "arguments": arguments})
    };
    let path = r#"{"path":"secret/sub"}"#;
    let added = |arguments| {
        json!({"type": "response.output_item.added", "output_index": 0, "item": item(arguments)})
            .to_string()
    };
    let done = |arguments| {
        json!({"type": "response.output_item.done", "output_index": 0, "item": item(arguments)})
            .to_string()
    };
    let told = |place: &[(&str, Value)]| {
        let mut event = json!({"type": "response.function_call_arguments.done", "arguments": path});
        for (key, value) in place {
            event[*key] = value.clone();
        }
        event.to_string()
    };
    let piece = |delta: &str, place: &[(&str, Value)]| {
        let mut event = json!({"type": "response.function_call_arguments.delta", "delta": delta});
        for (key, value) in place {
            event[*key] = value.clone();
        }
        event.to_string()
    };
    let by_id: &[(&str, Value)] = &[("item_id", json!("fc_1"))];
    let by_index: &[(&str, Value)] = &[("output_index", json!(0))];
    let other: &[(&str, Value)] = &[("item_id", json!("fc_other"))];
    let whole = json!({"type": "response.completed",
        "response": {"status": "completed", "output": [item(path)]}})
    .to_string();
    for place in [by_id, by_index, other, &[]] {
        let (head, tail) = path.split_at(9);
        for middle in [
            vec![told(place)],
            vec![piece(head, place), piece(tail, place)],
            vec![piece(head, place), piece(tail, place), told(place)],
        ] {
            let middle: Vec<&str> = middle.iter().map(String::as_str).collect();
            for (first, last) in [
                (added(""), Some(done(""))),
                (added(""), Some(done("{}"))),
                (added("{}"), Some(done(path))),
                (added(""), None),
            ] {
                let mut all = vec![STARTED, &first];
                all.extend(&middle);
                all.extend(last.as_deref());
                let response = good(
                    ApiSurface::Responses,
                    &events(&[&all[..], &[DONE]].concat()),
                )
                .await;
                assert_eq!(asked(&response), [("list_files", path)], "{all:?}");
                let response = good(
                    ApiSurface::Responses,
                    &events(&[&all[..], &[&whole]].concat()),
                )
                .await;
                assert_eq!(asked(&response), [("list_files", path)], "{all:?}");
            }
        }
    }
    // Only at the end, or nowhere.
    for all in [
        &[STARTED, &whole][..],
        &[STARTED, &added(""), &done(""), &whole],
    ] {
        let response = good(ApiSurface::Responses, &events(all)).await;
        assert_eq!(asked(&response), [("list_files", path)]);
    }
    let response = good(
        ApiSurface::Responses,
        &events(&[STARTED, &added(""), &done(""), DONE]),
    )
    .await;
    assert_eq!(asked(&response), [("list_files", "{}")]);
    // Of a call that nobody names, nothing is known.
    let error = bad(
        ApiSurface::Responses,
        &events(&[STARTED, &told(by_id), DONE]),
    )
    .await;
    assert!(error.message.contains("without a name"), "{error}");
}

/// `models/M2`: the same with two calls, whose pieces alternate.
#[tokio::test]
async fn pieces_of_arguments_belong_to_their_call() {
    let added = |index: u32, id: &str| {
        format!(
            r#"{{"type":"response.output_item.added","output_index":{index},"item":{{"type":"function_call","id":"{id}","call_id":"c{id}","name":"{id}"}}}}"#
        )
    };
    let piece = |id: &str, delta: &str| {
        json!({"type": "response.function_call_arguments.delta", "item_id": id, "delta": delta})
            .to_string()
    };
    for index in [1, 0] {
        let all = [
            added(0, "a"),
            added(index, "b"),
            piece("a", "{\"x\""),
            piece("b", "{\"y\""),
            piece("a", ":1}"),
            piece("b", ":2}"),
        ];
        let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
        all.push(DONE);
        let response = good(ApiSurface::Responses, &events(&all)).await;
        assert_eq!(asked(&response), [("a", "{\"x\":1}"), ("b", "{\"y\":2}")]);
    }
}

/// `models/M2`: the other surfaces. What is empty at the beginning of a call is filled by its pieces.
#[tokio::test]
async fn an_empty_object_at_the_beginning_is_no_argument() {
    for begin in ["\"\"", "{}", "null", "\"{}\""] {
        let first = format!(
            r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"x","arguments":{begin}}}}}]}}}}]}}"#
        );
        let pieces = [
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"p\":"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]},"finish_reason":"tool_calls"}]}"#,
        ];
        let response = good(ApiSurface::Chat, &events(&[&first, pieces[0], pieces[1]])).await;
        assert_eq!(asked(&response), [("x", "{\"p\":1}")], "{begin}");
    }
    let error = bad(
        ApiSurface::GenerateContent,
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"x","partialArgs":[{"jsonPath":"$.p"}],"willContinue":true}}]},"finishReason":"STOP"}]}"#,
    )
    .await;
    assert!(error.message.contains("in pieces"), "{error}");
    let piece = r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#;
    let stop = r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"}}"#;
    let error = bad(ApiSurface::Messages, &events(&[piece, stop])).await;
    assert_eq!(
        error.kind,
        agentkit::model::ModelErrorKind::MalformedResponse
    );
}

/// `models/M3`
#[tokio::test]
async fn no_words_are_said_twice_and_none_are_lost() {
    let delta = |place: &str, text: &str| {
        format!(r#"{{"type":"response.output_text.delta"{place},"delta":"{text}"}}"#)
    };
    let item = |id: &str| {
        format!(
            r#"{{"type":"message","id":"{id}","role":"assistant","content":[{{"type":"output_text","text":"Hello"}}]}}"#
        )
    };
    let added = r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"msg_1","content":[]}}"#;
    let done = |place: &str, id: &str| {
        format!(
            r#"{{"type":"response.output_item.done"{place},"item":{}}}"#,
            item(id)
        )
    };
    let text_done =
        |place: &str| format!(r#"{{"type":"response.output_text.done"{place},"text":"Hello"}}"#);
    let part_done = r#"{"type":"response.content_part.done","output_index":0,"content_index":0,"part":{"type":"output_text","text":"Hello"}}"#.to_owned();
    let whole = |id: &str| {
        format!(
            r#"{{"type":"response.completed","response":{{"status":"completed","output":[{}]}}}}"#,
            item(id)
        )
    };
    let at = r#","output_index":0,"content_index":0,"item_id":"msg_1""#;
    let done_at = r#","output_index":0"#;
    let owned = |list: &[&str]| {
        list.iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let pieces = |place: &str| vec![delta(place, "Hel"), delta(place, "lo")];
    let streams = [
        [pieces(""), vec![done(done_at, "msg_1")], owned(&[DONE])].concat(),
        [pieces(""), vec![done("", "msg_1")], owned(&[DONE])].concat(),
        [pieces(""), vec![whole("msg_1")]].concat(),
        [pieces(at), vec![whole("msg_other")]].concat(),
        [
            pieces(at),
            vec![done(done_at, "msg_other"), whole("msg_third")],
        ]
        .concat(),
        [
            owned(&[added]),
            pieces(at),
            vec![
                text_done(at),
                part_done.clone(),
                done(done_at, "msg_1"),
                whole("msg_1"),
            ],
        ]
        .concat(),
        [
            owned(&[added]),
            pieces(""),
            vec![text_done(""), whole("msg_1")],
        ]
        .concat(),
        [pieces(at), owned(&[DONE])].concat(),
        // And the other way round: nothing but an end says them.
        [vec![text_done(at)], owned(&[DONE])].concat(),
        [vec![text_done("")], owned(&[DONE])].concat(),
        [owned(&[added]), vec![part_done.clone()], owned(&[DONE])].concat(),
        [vec![done(done_at, "msg_1")], owned(&[DONE])].concat(),
        [
            owned(&[added]),
            owned(&[DONE]).into_iter().map(|_| whole("msg_1")).collect(),
        ]
        .concat(),
        vec![whole("msg_1")],
        // A part of them came, and then all.
        [
            vec![delta(at, "Hel"), done(done_at, "msg_1")],
            owned(&[DONE]),
        ]
        .concat(),
        [vec![delta("", "Hel"), whole("msg_1")]].concat(),
    ];
    for stream in &streams {
        let mut all = vec![STARTED];
        all.extend(stream.iter().map(String::as_str));
        let response = good(ApiSurface::Responses, &events(&all)).await;
        assert_eq!(response.content, "Hello", "{all:?}");
    }
    // An event that comes twice is told by its number; numbers that are all the same tell nothing.
    let numbered = |number: u32, text: &str| {
        delta(
            &format!(r#","output_index":0,"sequence_number":{number}"#),
            text,
        )
    };
    for (numbers, said) in [([4, 4, 5], "lala!"), ([0, 0, 0], "lalalala!")] {
        let all = [
            numbered(numbers[0], "lala"),
            numbered(numbers[1], "lala"),
            numbered(numbers[2], "!"),
        ];
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let first = r#"{"type":"response.created","sequence_number":0,"response":{"id":"r"}}"#;
        let body = events(&[&[first], &all[..], &[DONE]].concat());
        assert_eq!(good(ApiSurface::Responses, &body).await.content, said);
    }
}

/// `models/M5`
#[tokio::test]
async fn half_a_character_costs_no_answer() {
    let chat = |text: &str| format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#);
    let responses =
        |text: &str| format!(r#"{{"type":"response.output_text.delta","delta":"{text}"}}"#);
    let messages = |text: &str| {
        format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
        )
    };
    let gemini = |text: &str| {
        format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}}}]}}"#)
    };
    let block =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let stop = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    for (first, second, text) in [
        ("Hi \\ud83d", "\\ude00 there", "Hi 😀 there"),
        ("Hi \\ud83d", " there", "Hi \u{fffd} there"),
        ("Hi \\ud83d", "", "Hi \u{fffd}"),
        ("\\ude00", "Hi", "\u{fffd}Hi"),
    ] {
        let finish = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
        let body = events(&[&chat(first), &chat(second), finish]);
        assert_eq!(good(ApiSurface::Chat, &body).await.content, text);
        let body = events(&[&responses(first), &responses(second), DONE]);
        assert_eq!(good(ApiSurface::Responses, &body).await.content, text);
        let body = events(&[block, &messages(first), &messages(second), stop]);
        assert_eq!(good(ApiSurface::Messages, &body).await.content, text);
        let finish = r#"{"candidates":[{"content":{"parts":[]},"finishReason":"STOP"}]}"#;
        let body = events(&[&gemini(first), &gemini(second), finish]);
        let response = good(ApiSurface::GenerateContent, &body).await;
        assert_eq!(response.content, text);
        assert!(!response.parts.unwrap().to_string().contains("\\ud"));
    }
    // In a whole answer, in the arguments of a call, and in thoughts that go back.
    let body = r#"{"choices":[{"message":{"content":"Hi \ud83d","tool_calls":[{"id":"a","function":{"name":"x","arguments":"{\"t\":\"\\ud83d\"}"}}]},"finish_reason":"tool_calls"}]}"#;
    let response = good(ApiSurface::Chat, body).await;
    assert_eq!(response.content, "Hi \u{fffd}");
    assert_eq!(asked(&response), [("x", "{\"t\":\"\\ufffd\"}")]);
    let body = r#"{"type":"message","content":[{"type":"thinking","thinking":"\ud83d","signature":"s"},{"type":"text","text":"\ude00"}],"stop_reason":"end_turn"}"#;
    let response = good(ApiSurface::Messages, body).await;
    assert_eq!(response.content, "\u{fffd}");
    let parts = response.parts.unwrap().to_string();
    assert!(
        parts.contains("ufffd") && !parts.contains("ud83d"),
        "{parts}"
    );
    // Bytes that are no UTF-8.
    let mut bytes = b"HTTP/1.1 200 OK\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\xff\xe2b\"},\"finish_reason\":\"stop\"}]}\n\n".to_vec();
    assert_eq!(
        outcome(bytes.clone()).await.unwrap().content,
        "a\u{fffd}\u{fffd}b"
    );
    bytes.truncate(bytes.len() - 4);
    outcome(bytes).await.unwrap_err();
}

/// `models/M8`
#[tokio::test]
async fn a_failure_is_heard_in_whatever_shape_it_comes() {
    use agentkit::model::ModelErrorKind::{
        InvalidRequest, QuotaExceeded, RateLimited, ServerError, Unauthorized,
    };
    let words = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    for (failure, kind) in [
        (
            "error: {\"code\":400,\"message\":\"no such thing\",\"type\":\"invalid_request_error\"}\n\n",
            InvalidRequest,
        ),
        (
            "data: {\"object\":\"error\",\"message\":\"no such thing\",\"type\":\"BadRequestError\",\"code\":400}\n\n",
            InvalidRequest,
        ),
        (
            "event: error\ndata: {\"message\":\"no such thing\"}\n\n",
            ServerError,
        ),
        ("event: error\ndata: no such thing\n\n", ServerError),
        ("data: {\"error\":\"no such thing\"}\n\n", ServerError),
        (
            "data: {\"choices\":null,\"base_resp\":{\"status_code\":1008,\"status_msg\":\"no such thing\"}}\n\n",
            QuotaExceeded,
        ),
        (
            "data: {\"base_resp\":{\"status_code\":1002,\"status_msg\":\"no such thing\"}}\n\n",
            RateLimited,
        ),
        (
            "data: {\"code\":401,\"msg\":\"no such thing\"}\n\n",
            Unauthorized,
        ),
    ] {
        for body in [
            format!("{words}{failure}data: [DONE]\n\n"),
            failure.to_owned(),
        ] {
            let error = bad(ApiSurface::Chat, &body).await;
            assert_eq!(error.kind, kind, "{body}: {error}");
            assert!(error.message.contains("no such thing"), "{error}");
        }
        let Some(json) = failure.trim().strip_prefix("data: ") else {
            continue;
        };
        let error = bad(ApiSurface::Chat, json).await;
        assert_eq!(error.kind, kind, "{json}: {error}");
    }
    // Words beside an answer that never comes say why; beside one that comes, nothing.
    let stray = "data: {\"message\":\"the upstream is gone\"}\n\n";
    let error = bad(ApiSurface::Chat, stray).await;
    assert!(error.message.contains("the upstream is gone"), "{error}");
    let body = format!("{stray}{words}data: [DONE]\n\n");
    assert_eq!(good(ApiSurface::Chat, &body).await.content, "Hi");

    // An error status with a stream for a body.
    let body = "data: {\"error\":{\"message\":\"crashed\",\"code\":\"insufficient_quota\"}}\n\ndata: [DONE]\n\n";
    let error = outcome(response(429, "", body)).await.unwrap_err();
    assert_eq!(error.kind, QuotaExceeded);
    assert!(error.message.contains("crashed"), "{error}");
}

/// `models/M9`
#[tokio::test]
async fn a_message_beside_an_empty_delta_is_the_answer() {
    let message = r#""message":{"role":"assistant","content":"Hello"}"#;
    let asking = r#""message":{"content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"x","arguments":"{}"}}]}"#;
    for delta in [
        "\"delta\":{},",
        "\"delta\":{\"content\":\"\"},",
        "\"delta\":null,",
        "",
    ] {
        let body = events(&[&format!(
            r#"{{"choices":[{{{delta}{message},"finish_reason":"stop"}}]}}"#
        )]);
        assert_eq!(
            good(ApiSurface::Chat, &body).await.content,
            "Hello",
            "{delta}"
        );
        let body = events(&[&format!(
            r#"{{"choices":[{{{delta}{asking},"finish_reason":"tool_calls"}}]}}"#
        )]);
        assert_eq!(
            asked(&good(ApiSurface::Chat, &body).await),
            [("x", "{}")],
            "{delta}"
        );
    }
    // After its pieces it says nothing new.
    let piece = r#"{"choices":[{"delta":{"content":"Hel"}}]}"#;
    let rest = r#"{"choices":[{"delta":{"content":"lo"}}]}"#;
    let call = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"x","arguments":"{}"}}]}}]}"#;
    let end = format!(r#"{{"choices":[{{"delta":{{}},{message},"finish_reason":"stop"}}]}}"#);
    assert_eq!(
        good(ApiSurface::Chat, &events(&[piece, rest, &end]))
            .await
            .content,
        "Hello"
    );
    assert_eq!(
        good(ApiSurface::Chat, &events(&[piece, &end]))
            .await
            .content,
        "Hello"
    );
    let end = format!(r#"{{"choices":[{{"delta":{{}},{asking},"finish_reason":"tool_calls"}}]}}"#);
    assert_eq!(
        asked(&good(ApiSurface::Chat, &events(&[call, &end])).await),
        [("x", "{}")]
    );
    // A server that calls its pieces messages.
    let piece = |text: &str| format!(r#"{{"choices":[{{"message":{{"content":"{text}"}}}}]}}"#);
    let end = r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#;
    let body = events(&[&piece("ha"), &piece("ha"), end]);
    assert_eq!(good(ApiSurface::Chat, &body).await.content, "haha");
}

/// `models/M10`
#[tokio::test]
async fn an_odd_field_or_event_costs_no_answer() {
    let text = r#"{"choices":[{"delta":{"content":"Hi"}}]}"#;
    let end = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    for odd in [
        "null",
        "7",
        "[]",
        "\"ping\"",
        "keep-alive",
        "{}",
        r#"{"choices":[],"error":""}"#,
        r#"{"choices":[],"error":null,"usage":{}}"#,
        r#"{"choices":[],"usage":"none"}"#,
        r#"{"choices":{}}"#,
        r#"{"choices":[null,7]}"#,
        r#"{"choices":[{"delta":{"reasoning_details":{}}}]}"#,
        r#"{"choices":[{"delta":{"content":7,"tool_calls":{},"refusal":[]}}]}"#,
        r#"{"choices":[{"delta":[],"index":"0","finish_reason":null}]}"#,
        r#"{"id":7,"model":{},"choices":[{"delta":{"role":["assistant"]}}]}"#,
        r#"{"type":"x","object":{},"choices":"none"}"#,
    ] {
        let response = good(ApiSurface::Chat, &events(&[odd, text, odd, end, odd])).await;
        assert_eq!(response.content, "Hi", "{odd}");
        let after = format!(
            "{}data: {{oops\n\ndata: {{\"error\":\"late\"}}\n\n",
            events(&[text, end])
        );
        assert_eq!(good(ApiSurface::Chat, &after).await.content, "Hi");
    }
    for index in ["\"0\"", "-1", "0.0", "null", "0"] {
        let piece = |arguments: &str| {
            format!(
                r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":{index},{arguments}}}]}}}}]}}"#
            )
        };
        let first = piece(r#""id":"a","function":{"name":"x","arguments":"{\"p\":"}"#);
        let second = piece(r#""function":{"arguments":"1}"}"#);
        let response = good(ApiSurface::Chat, &events(&[&first, &second, end])).await;
        assert_eq!(asked(&response), [("x", "{\"p\":1}")], "{index}");
    }
    // A document that was cut may be a piece of the answer: without it there is none.
    let error = bad(
        ApiSurface::Chat,
        &events(&[text, "{\"choices\":[{\"del", end]),
    )
    .await;
    assert!(error.message.contains("is not valid JSON"), "{error}");

    // Anthropic: an end without `message_stop`, with or without `[DONE]`.
    let block =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let text =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#;
    let stop = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}"#;
    for tail in [
        "",
        "data: [DONE]\n\n",
        "data: {\"type\":\"message_stop\"}\n\n",
        "data: {\"type\":\"error\",\"error\":{\"message\":\"late\"}}\n\n",
    ] {
        let body = format!("{}{tail}", events(&[block, text, stop]));
        let response = good(ApiSurface::Messages, &body).await;
        assert_eq!(
            (&*response.content, response.usage.output_tokens),
            ("Hi", 5),
            "{tail}"
        );
    }
    for odd in [
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"x":[1]}}}"#,
        r#"{"type":"content_block_delta","index":9,"delta":{"type":"new_delta","x":1}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":7}"#,
        r#"{"type":"content_block_stop","index":"0"}"#,
        r#"{"type":"new_event","message":7,"index":{},"delta":[],"usage":"x"}"#,
        r#"{"type":7}"#,
        "null",
    ] {
        let response = good(
            ApiSurface::Messages,
            &events(&[odd, block, odd, text, odd, stop]),
        )
        .await;
        assert_eq!(response.content, "Hi", "{odd}");
    }
    // Words whose block did not begin.
    let response = good(ApiSurface::Messages, &events(&[text, stop])).await;
    assert_eq!(response.content, "Hi");

    // Gemini: `[DONE]` after the end.
    let text = r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}]}"#;
    let response = good(ApiSurface::GenerateContent, &events(&[text, "[DONE]"])).await;
    assert_eq!(response.content, "Hi");
    for odd in [
        r#"{"candidates":{}}"#,
        r#"{"candidates":[{"content":[],"index":"0"}],"usageMetadata":7}"#,
        r#"{"promptFeedback":{"blockReason":null}}"#,
    ] {
        let response = good(ApiSurface::GenerateContent, &events(&[odd, text, odd])).await;
        assert_eq!(response.content, "Hi", "{odd}");
    }

    // Responses: odd fields in events that nobody uses, and in those that somebody does.
    let text = r#"{"type":"response.output_text.delta","delta":"Hi"}"#;
    for odd in [
        r#"{"type":"response.reasoning_summary_text.delta","delta":{"text":"x"}}"#,
        r#"{"type":"response.new_event","delta":{},"item":7,"response":"x","output_index":"one"}"#,
        r#"{"type":"response.output_text.delta","delta":{"text":"x"}}"#,
        r#"{"type":"response.in_progress","response":7}"#,
        r#"{"type":"response.output_item.done"}"#,
    ] {
        let response = good(ApiSurface::Responses, &events(&[odd, text, odd, DONE])).await;
        assert_eq!(response.content, "Hi", "{odd}");
    }
    let item = r#"{"type":"response.output_item.done","item":{"type":"message","content":"Hi"}}"#;
    assert_eq!(
        good(ApiSurface::Responses, &events(&[item, DONE]))
            .await
            .content,
        "Hi"
    );
    let item = r#"{"type":"response.output_item.done","item":{"type":"function_call","call_id":"a","name":"x","arguments":{"p":1}}}"#;
    assert_eq!(
        asked(&good(ApiSurface::Responses, &events(&[item, DONE])).await),
        [("x", "{\"p\":1}")]
    );
}

/// `models/M11`
#[tokio::test]
async fn calls_that_share_an_index_are_not_glued() {
    let piece = |id: &str, name: &str, arguments: &str| {
        let function = json!({"name": name, "arguments": arguments});
        json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": id, "function": function}]}}]})
            .to_string()
    };
    let end = r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#;
    for (pieces, calls) in [
        (
            &[
                ("", "list_files", "{\"path\":\".\"}"),
                ("", "read_file", "{\"path\":\"x\"}"),
            ][..],
            &[
                ("list_files", "{\"path\":\".\"}"),
                ("read_file", "{\"path\":\"x\"}"),
            ][..],
        ),
        (
            &[("", "x", "{\"p\":1}"), ("", "x", "{\"p\":2}")],
            &[("x", "{\"p\":1}"), ("x", "{\"p\":2}")],
        ),
        (
            &[
                ("", "x", "{\"p\":"),
                ("", "", "1}"),
                ("", "y", ""),
                ("", "", "{}"),
            ],
            &[("x", "{\"p\":1}"), ("y", "{}")],
        ),
        // The name is repeated with each piece, or comes in two.
        (
            &[("", "x", "{\"p\":"), ("", "x", "1}"), ("", "x", "")],
            &[("x", "{\"p\":1}")],
        ),
        (
            &[("", "list_", ""), ("", "files", ""), ("", "", "{}")],
            &[("list_files", "{}")],
        ),
        // A call comes twice.
        (
            &[("a", "x", "{\"p\":1}"), ("a", "x", "{\"p\":1}")],
            &[("x", "{\"p\":1}")],
        ),
        (
            &[("a", "x", "{}"), ("b", "x", "{}")],
            &[("x", "{}"), ("x", "{}")],
        ),
    ] {
        let pieces: Vec<String> = pieces
            .iter()
            .map(|(id, name, text)| piece(id, name, text))
            .collect();
        let mut all: Vec<&str> = pieces.iter().map(String::as_str).collect();
        all.push(end);
        let response = good(ApiSurface::Chat, &events(&all)).await;
        assert_eq!(asked(&response), calls, "{all:?}");
    }
}

#[tokio::test]
async fn the_old_form_of_a_call_is_a_call() {
    let whole = r#"{"choices":[{"message":{"content":null,"function_call":{"name":"x","arguments":"{\"p\":1}"}},"finish_reason":"function_call"}]}"#;
    let response = good(ApiSurface::Chat, whole).await;
    assert_eq!(asked(&response), [("x", "{\"p\":1}")]);
    assert_eq!(response.finish, FinishReason::ToolCalls);
    let pieces = [
        r#"{"choices":[{"delta":{"function_call":{"name":"x","arguments":""}}}]}"#,
        r#"{"choices":[{"delta":{"function_call":{"arguments":"{\"p\":"}}}]}"#,
        r#"{"choices":[{"delta":{"function_call":{"arguments":"1}"}},"finish_reason":"function_call"}]}"#,
    ];
    assert_eq!(
        asked(&good(ApiSurface::Chat, &events(&pieces)).await),
        [("x", "{\"p\":1}")]
    );
    let both = r#"{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"x","arguments":"{}"}}],"function_call":{"name":"x","arguments":"{}"}},"finish_reason":"tool_calls"}]}"#;
    assert_eq!(asked(&good(ApiSurface::Chat, both).await), [("x", "{}")]);
}

#[tokio::test]
async fn wrapped_arguments_are_unwrapped_once() {
    for arguments in [
        r#""{\"path\": \".\"}""#,
        "```json\n{\"path\": \".\"}\n```",
        "{\"path\": \".\"}</tool_call>",
    ] {
        let message =
            json!({"tool_calls": [{"id": "a", "function": {"name": "x", "arguments": arguments}}]});
        let body =
            json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).to_string();
        let response = good(ApiSurface::Chat, &body).await;
        assert_eq!(
            asked(&response),
            [("x", "{\"path\": \".\"}")],
            "{arguments}"
        );
    }
}

#[tokio::test]
async fn thoughts_in_the_words_are_no_answer() {
    let piece = |text: &str| json!({"choices": [{"delta": {"content": text}}]}).to_string();
    let end = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    let pieces = [
        piece("<thi"),
        piece("nk>I look.</think>"),
        piece("\n\nHello"),
    ];
    let all: Vec<&str> = pieces.iter().map(String::as_str).chain([end]).collect();
    assert_eq!(good(ApiSurface::Chat, &events(&all)).await.content, "Hello");
    // Beside calls they stay: some models want to see them again.
    let body = json!({"choices": [{"message": {"content": "<think>I look.</think>",
        "tool_calls": [{"id": "a", "function": {"name": "x", "arguments": "{}"}}]},
        "finish_reason": "tool_calls"}]});
    let response = good(ApiSurface::Chat, &body.to_string()).await;
    assert_eq!(response.content, "<think>I look.</think>");
}

#[tokio::test]
async fn a_call_in_the_words_is_a_call_and_a_quoted_one_is_not() {
    let written = "I look.\n<tool_call>\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}\n</tool_call>";
    let quoted = format!("```\n{written}\n```");
    for (text, is_call) in [(written, true), (&*quoted, false)] {
        let body = json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]});
        for with_tools in [true, false] {
            let server = Server::bytes(response(200, "", &body.to_string())).await;
            let request = match with_tools {
                true => conversation(),
                false => question(),
            };
            let response = call(config(&server), &request).await.0.unwrap();
            if is_call && with_tools {
                assert_eq!(response.content, "I look.");
                assert_eq!(asked(&response), [("read_file", "{\"path\": \"a\"}")]);
                assert_eq!(response.finish, FinishReason::ToolCalls);
            } else {
                assert_eq!((response.calls.len(), &*response.content), (0, text));
            }
        }
    }
}

#[tokio::test]
async fn documents_without_a_stream_around_them_are_read() {
    let first = r#"{"choices":[{"delta":{"content":"Hel"}}]}"#;
    let second = r#"{"choices":[{"delta":{"content":"lo"},"finish_reason":"stop"}]}"#;
    for body in [
        format!("{first}\n{second}\n"),
        format!("[{first},\n{second}]"),
    ] {
        assert_eq!(
            good(ApiSurface::Chat, &body).await.content,
            "Hello",
            "{body}"
        );
    }
    for body in [
        format!("{first}\n"),
        format!("[{first}]"),
        format!("{first}\n{{\"choi"),
    ] {
        let error = bad(ApiSurface::Chat, &format!("{body}\n")).await;
        assert!(error.kind.is_retryable(), "{body}: {error}");
    }
    let gemini = r#"[{"candidates":[{"content":{"parts":[{"text":"Hel"}]}}]},{"candidates":[{"content":{"parts":[{"text":"lo"}]},"finishReason":"STOP"}]}]"#;
    assert_eq!(
        good(ApiSurface::GenerateContent, gemini).await.content,
        "Hello"
    );
}

#[tokio::test]
async fn a_compressed_answer_is_named() {
    let head = |encoding: &str| format!("HTTP/1.1 200 OK\r\n{encoding}connection: close\r\n\r\n");
    for (encoding, body) in [
        ("", &b"\x1f\x8b\x08\x00\x00\x00"[..]),
        ("content-encoding: gzip\r\n", b"\x1f\x8b\x08\x00"),
        ("content-encoding: br\r\n", b"\x0b\x02\x80"),
    ] {
        let error = outcome([head(encoding).as_bytes(), body].concat())
            .await
            .unwrap_err();
        assert!(error.message.contains("is compressed"), "{error}");
        assert!(error.kind.is_retryable());
    }
    let good = r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}"#;
    let body = response(200, "content-encoding: identity\r\n", good);
    assert_eq!(outcome(body).await.unwrap().content, "Hi");
}

/// A server that keeps the connection open after its answer costs seconds, and no minute.
#[tokio::test]
async fn a_connection_that_stays_open_ends_with_the_answer() {
    let text = r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#;
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":70,"completion_tokens":2}}"#;
    let server = Server::start(vec![vec![
        Step::Send(STREAM.into()),
        Step::Send(server::chunk(events(&[text]).as_bytes())),
        Step::Pause(Duration::from_millis(100)),
        Step::Send(server::chunk(events(&[usage]).as_bytes())),
        Step::Hang,
    ]])
    .await;
    let begun = std::time::Instant::now();
    let response = call(config(&server), &question()).await.0.unwrap();
    assert_eq!(
        (&*response.content, response.usage.input_tokens),
        ("Hi", 70)
    );
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}
