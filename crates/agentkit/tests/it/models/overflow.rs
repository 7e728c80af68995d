//! A conversation that does not fit its model's context, and limits of an answer.

use std::sync::Arc;

use agentkit::{Agent, model::ModelErrorKind, run::MemoryConfig, tool::function};
use serde_json::{Value, json};

use super::{replay::at, *};

/// A request of about so many tokens.
fn long(tokens: usize) -> Request {
    Request {
        messages: vec![Arc::new(Message::user("word ".repeat(tokens * 4 / 5)))],
        ..Request::default()
    }
}

/// `models/M7`: what no list of words knows.
#[tokio::test]
async fn a_refusal_without_a_reason_of_a_request_near_the_window_is_an_overflow() {
    let unknown = r#"{"error":{"message":"Nope.","type":"invalid_request_error"}}"#;
    let param = r#"{"error":{"message":"Nope.","param":"tools[0].name"}}"#;
    let about_messages = r#"{"error":{"message":"Nope.","param":"messages"}}"#;
    let overflow = ModelErrorKind::ContextOverflow;
    for (status, body, context, tokens, kind) in [
        (400, unknown, Some(20_000), 15_000, overflow),
        (422, unknown, Some(20_000), 15_000, overflow),
        (400, about_messages, Some(20_000), 15_000, overflow),
        (
            400,
            unknown,
            Some(20_000),
            3_000,
            ModelErrorKind::InvalidRequest,
        ),
        (
            400,
            param,
            Some(20_000),
            15_000,
            ModelErrorKind::InvalidRequest,
        ),
        (404, unknown, Some(20_000), 15_000, ModelErrorKind::NotFound),
        (
            401,
            unknown,
            Some(20_000),
            15_000,
            ModelErrorKind::Unauthorized,
        ),
        // Nothing is known of the model: a common size stands in.
        (400, unknown, None, 60_000, overflow),
        (400, unknown, None, 15_000, ModelErrorKind::InvalidRequest),
        // Cerebras says nothing at all.
        (400, "", None, 15_000, overflow),
        (400, "", None, 500, ModelErrorKind::InvalidRequest),
        // The same inside a stream.
        (
            200,
            "data: {\"error\":{\"message\":\"Nope.\",\"code\":400}}\n\n",
            Some(20_000),
            15_000,
            overflow,
        ),
        (
            200,
            "data: {\"error\":{\"message\":\"Nope.\",\"code\":500}}\n\n",
            Some(20_000),
            15_000,
            ModelErrorKind::ServerError,
        ),
    ] {
        let server = Server::bytes(response(status, "", body)).await;
        let mut config = config(&server);
        config.info.context_tokens = context;
        let error = call(config, &long(tokens)).await.0.unwrap_err();
        assert_eq!(
            error.kind, kind,
            "{status} {body} {context:?} {tokens}: {error}"
        );
        if kind == overflow && !body.is_empty() {
            assert!(error.message.contains("may be too long"), "{error}");
        }
    }
}

/// `models/M7`: the conversation is made smaller once, and the run completes; where that does not help,
/// it ends with what the provider says.
#[tokio::test]
async fn a_run_whose_conversation_may_be_too_long_makes_it_smaller_once() {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Nothing {}
    let read = || {
        function("read", "Reads much.", |_: Nothing| async {
            Ok::<_, String>("word ".repeat(6_000))
        })
    };
    let ask = |id: u32| {
        let call =
            json!({"id": format!("call_{id}"), "function": {"name": "read", "arguments": "{}"}});
        let message = json!({"content": null, "tool_calls": [call]});
        // Half of what an estimate says, so that the run sees no reason to make it smaller itself.
        let usage = json!({"prompt_tokens": 25 + id * 555, "completion_tokens": 5});
        json!({"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": usage})
    };
    let refusal = r#"{"error":{"message":"Nope.","type":"invalid_request_error"}}"#;
    let done = json!({"choices": [{"message": {"content": "done"}, "finish_reason": "stop"}]});
    let send =
        |status: u16, body: String| vec![Step::Send(response(status, "", &body)), Step::Close];
    let begin = || {
        (0..7)
            .map(|id| send(200, ask(id).to_string()))
            .collect::<Vec<_>>()
    };
    for helps in [true, false] {
        let mut replies = begin();
        replies.push(send(400, refusal.to_owned()));
        replies.push(match helps {
            true => send(200, done.to_string()),
            false => send(400, refusal.to_owned()),
        });
        let server = Server::start(replies).await;
        let mut config = at(&server, ApiSurface::Chat, false);
        config.info.context_tokens = Some(12_000);
        let agent = Agent::builder(Client::new(config).unwrap())
            .tool(read())
            .memory(MemoryConfig {
                keep_exchanges: 1,
                ..MemoryConfig::default()
            })
            .build()
            .unwrap();
        let outcome = agent.run("Read it.").await;
        let sizes: Vec<usize> = server
            .received()
            .iter()
            .map(|request| request.body.len())
            .collect();
        assert_eq!(sizes.len(), 9, "{sizes:?}");
        assert!(sizes[8] < sizes[7] / 4 * 3, "{sizes:?}");
        match helps {
            true => assert_eq!(outcome.unwrap().to_string(), "done"),
            false => {
                let error = outcome.unwrap_err().to_string();
                assert!(error.contains("Nope"), "{error}");
            }
        }
    }
}

/// `models/M7`: a context holds the prompt and the answer together, and both are asked for.
#[tokio::test]
async fn an_answer_is_not_asked_to_be_longer_than_the_context_has_room() {
    let body =
        r#"{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}"#;
    for (tokens, counted, asked, limit) in [
        (100, None, None, 64_000),
        (100, None, Some(500), 500),
        (100, Some(160_000), None, 30_000),
        (100, Some(160_000), Some(60_000), 30_000),
        (100, Some(195_000), None, 4_096),
        (100, Some(195_000), Some(100), 100),
        (160_000, None, None, 29_000),
    ] {
        let server = Server::bytes(response(200, "", body)).await;
        let mut config = at(&server, ApiSurface::Messages, false);
        config.info.context_tokens = Some(200_000);
        config.info.max_output_tokens = Some(64_000);
        let mut request = long(tokens);
        request.prompt_tokens = counted;
        request.max_output_tokens = asked;
        call(config, &request).await.0.unwrap();
        let body: Value = serde_json::from_str(&server.received()[0].body).unwrap();
        let sent = body["max_tokens"].as_u64().unwrap();
        let near = sent.abs_diff(limit) <= limit / 20;
        assert!(near, "{tokens} {counted:?} {asked:?}: {sent}");
    }
}

/// The limit of an answer has two names on chat, and a server that refuses one is sent the other.
#[tokio::test]
async fn a_limit_has_the_name_that_the_server_takes() {
    use agentkit::model::catalog::OutputLimit;
    let refusal = r#"{"detail":[{"type":"extra_forbidden","loc":["body","max_completion_tokens"],"msg":"Extra inputs are not permitted"}]}"#;
    let answer = r#"{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}"#;
    let send = |status, body: &str| vec![Step::Send(response(status, "", body)), Step::Close];
    let server = Server::start(vec![send(422, refusal), send(200, answer)]).await;
    let client = Client::new(config(&server)).unwrap();
    let mut request = question();
    request.max_output_tokens = Some(50);
    let no_deltas = agentkit::model::NoDeltas;
    for _ in 0..2 {
        client.call(&request, &no_deltas).await.unwrap();
    }
    let names = |server: &Server| {
        let names = server.received().into_iter().map(|request| {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            let limits = ["max_completion_tokens", "max_tokens"];
            let is_there = |name: &&str| body.get(*name).is_some_and(|limit| limit == 50);
            limits
                .into_iter()
                .filter(is_there)
                .collect::<Vec<_>>()
                .join(" and ")
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        names(&server),
        ["max_completion_tokens", "max_tokens", "max_tokens"]
    );

    // The table says it.
    let server = Server::bytes(response(200, "", answer)).await;
    let mut config = config(&server);
    config.info.output_limit = Some(OutputLimit::MaxTokens);
    call(config, &request).await.0.unwrap();
    assert_eq!(names(&server), ["max_tokens"]);

    // A server that takes neither is asked twice, and says what is wrong.
    let server = Server::bytes(response(422, "", refusal)).await;
    let error = call(super::config(&server), &request).await.0.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::InvalidRequest);
    assert!(error.message.contains("max_completion_tokens"), "{error}");
    assert_eq!(server.received().len(), 2);
}

/// Thoughts of OpenAI-compatible servers go back, and signatures within calls.
#[tokio::test]
async fn reasoning_goes_back_to_servers_that_miss_it() {
    let asking = |more: &str| {
        format!(
            r#"{{"choices":[{{"message":{{"content":null,{more}"tool_calls":[{{"id":"call_a","type":"function","extra_content":{{"google":{{"thought_signature":"c2ln=="}}}},"function":{{"name":"x","arguments":"{{}}"}}}},{{"id":"call_b","type":"function","function":{{"name":"x","arguments":"{{}}"}}}}]}},"finish_reason":"tool_calls"}}]}}"#
        )
    };
    let streamed = concat!(
        r#"data: {"choices":[{"delta":{"role":"assistant","content":null,"reasoning_content":""}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{"reasoning_content":"I \ud83d"}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{"reasoning_content":"\ude00 look."}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"x","arguments":"{}"},"extra_content":{"google":{"thought_signature":"c2ln=="}}},{"index":1,"id":"call_b","function":{"name":"x","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#,
        "\n\n",
    );
    for (body, thoughts) in [
        (asking(r#""reasoning_content":"I look.","#), Some("I look.")),
        (asking(r#""reasoning_content":"","#), Some(" ")),
        (asking(""), None),
        (streamed.to_owned(), Some("I 😀 look.")),
    ] {
        let bytes = match body.starts_with('{') {
            true => response(200, "", &body),
            false => stream(&body, 30),
        };
        let server = Server::bytes(bytes).await;
        let answer = call(config(&server), &question()).await.0.unwrap();
        let mut next = conformance::continued(&answer);
        next.messages.push(Arc::new(Message::Assistant {
            content: "Not yet.".to_owned(),
            calls: Vec::new(),
            parts: None,
        }));
        call(config(&server), &next).await.0.unwrap();
        let sent: Value = serde_json::from_str(&server.received()[1].body).unwrap();
        let turn = &sent["messages"][1];
        assert_eq!(turn["reasoning_content"].as_str(), thoughts, "{body}");
        let signature = &turn["tool_calls"][0]["extra_content"]["google"]["thought_signature"];
        assert_eq!(signature, "c2ln==", "{turn}");
        assert!(turn["tool_calls"][1].get("extra_content").is_none());
        // Beside turns with thoughts, those without any are refused.
        let other = &sent["messages"][4]["reasoning_content"];
        assert_eq!(other.as_str(), thoughts.map(|_| " "), "{sent}");

        // Another model gets none of it.
        let mut other = config(&server);
        other.model = "another".to_owned();
        call(other, &next).await.0.unwrap();
        let sent = &server.received()[2].body;
        assert!(
            !sent.contains("reasoning_content") && !sent.contains("c2ln"),
            "{sent}"
        );
    }
}

/// After a conversation was made smaller, thoughts are gone; a server that refuses that is told that
/// there were some, and one that knows no thoughts gets none.
#[tokio::test]
async fn a_server_that_refuses_a_turn_for_its_thoughts_is_asked_otherwise() {
    let missing = r#"{"error":{"message":"Missing `reasoning_content` field in the assistant message at message index 2.","type":"invalid_request_error"}}"#;
    let unknown =
        r#"{"error":{"message":"'messages.1': property 'reasoning_content' is unsupported"}}"#;
    let answer = r#"{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}"#;
    let send = |status, body: &str| vec![Step::Send(response(status, "", body)), Step::Close];
    let with = json!({"model": "openai/gpt-5", "json": "{\"reasoning_content\":\"I look.\"}"});
    for (refusal, parts, first, then) in [(missing, None, 0, 1), (unknown, Some(with), 1, 0)] {
        let server = Server::start(vec![send(400, refusal), send(200, answer)]).await;
        let mut request = question();
        request.messages.push(Arc::new(Message::Assistant {
            content: "Hm.".to_owned(),
            calls: Vec::new(),
            parts,
        }));
        call(config(&server), &request).await.0.unwrap();
        let counts: Vec<usize> = server
            .received()
            .iter()
            .map(|request| request.body.matches("reasoning_content").count())
            .collect();
        assert_eq!(counts, [first, then]);
    }
}
