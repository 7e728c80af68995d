//! What is sent.

use agentkit::{
    Agent,
    model::{
        Model as _, NoDeltas,
        client::{ApiSurface, Client, Config, ConfigError, Provider},
    },
    tool::function,
};
use serde_json::{Value, json};

use super::{KEY, call, config, conversation, question, server::*};

const WHOLE: &str = r#"{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}]}"#;

const MESSAGES: &str = concat!(
    r#""messages":[{"role":"system","content":"Be brief."},"#,
    r#"{"role":"user","content":"Sum \"a\"\nä"},"#,
    r#"{"role":"assistant","content":null,"tool_calls":["#,
    r#"{"id":"call_abc","type":"function","function":{"name":"read_file","arguments":"{\"path\":\"a.csv\"}"}},"#,
    r#"{"id":"call_3","type":"function","function":{"name":"read_file","arguments":"{\"invalid_arguments\":\"{oops\"}"}}]},"#,
    r#"{"role":"tool","tool_call_id":"call_abc","content":"a,b"},"#,
    r#"{"role":"tool","tool_call_id":"call_3","content":"invalid arguments"},"#,
    r#"{"role":"assistant","content":"42","reasoning_details":[{"type":"x", "data":"opaque"}]}],"#,
    r#""tools":[{"type":"function","function":{"name":"read_file","description":"Reads a file.","parameters":{"properties":{},"type":"object"}}}]"#,
);

#[tokio::test]
async fn the_body_of_a_streamed_request_is_exactly_this() {
    let server = Server::bytes(response(200, "", WHOLE)).await;
    call(config(&server), &conversation()).await.0.unwrap();
    let expected = format!(
        r#"{{"model":"gpt-5",{MESSAGES},"stream":true,"stream_options":{{"include_usage":true}}}}"#
    );
    assert_eq!(server.received()[0].body, expected);
}

/// ahead-tools/4: one definition that a provider refuses costs that tool, and not the run.
#[tokio::test]
async fn a_tool_whose_definition_is_refused_is_left_out_from_then_on() {
    let answer = |status, body: &str| vec![Step::Send(response(status, "", body)), Step::Close];
    let refusal = r#"{"error":{"message":"Invalid schema for function 'odd': it is odd"}}"#;
    let by_place = r#"{"error":{"message":"tools.1.custom.input_schema: JSON schema is invalid"}}"#;
    let server = Server::start(vec![
        answer(400, refusal),
        answer(400, by_place),
        answer(200, WHOLE),
    ])
    .await;
    let client = Client::new(config(&server)).unwrap();
    let spec = |name: &str| {
        std::sync::Arc::new(agentkit::ToolSpec::new(name, "", json!({"type": "object"})))
    };
    let mut request = question();
    request.tools = vec![spec("good"), spec("odd"), spec("other"), spec("fine")];
    for _ in 0..2 {
        client.call(&request, &NoDeltas).await.unwrap();
        assert_eq!(client.tools_left_out(&request.tools), ["odd", "other"]);
    }
    let sent = server.received();
    let sent: Vec<Vec<String>> = sent
        .iter()
        .map(|received| {
            let body: Value = serde_json::from_str(&received.body).unwrap();
            let tools = body["tools"].as_array().unwrap().iter();
            tools
                .map(|tool| tool["function"]["name"].as_str().unwrap().to_owned())
                .collect()
        })
        .collect();
    let all = ["good", "odd", "other", "fine"];
    assert_eq!(
        sent,
        [
            &all[..],
            &["good", "other", "fine"],
            &["good", "fine"],
            &["good", "fine"]
        ]
    );
    // A refusal about anything else is told as before.
    let server = Server::start(vec![answer(
        400,
        r#"{"error":{"message":"tools are not supported"}}"#,
    )])
    .await;
    let client = Client::new(config(&server)).unwrap();
    client.call(&request, &NoDeltas).await.unwrap_err();
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn optional_settings_are_sent_only_if_configured() {
    let server = Server::bytes(response(200, "", WHOLE)).await;
    let config = Config {
        stream: false,
        ..config(&server)
    };
    call(config.clone(), &question()).await.0.unwrap();
    let mut request = question();
    request.temperature = Some(0.5);
    request.max_output_tokens = Some(100);
    call(config, &request).await.0.unwrap();
    let messages = r#""messages":[{"role":"user","content":"What is the total of the sales?"}]"#;
    let [plain, set] = &server.received()[..] else {
        panic!("two requests")
    };
    assert_eq!(plain.body, format!(r#"{{"model":"gpt-5",{messages}}}"#));
    let settings = r#""max_completion_tokens":100,"temperature":0.5"#;
    assert_eq!(
        set.body,
        format!(r#"{{"model":"gpt-5",{messages},{settings}}}"#)
    );
}

/// library/G5: options that the client does not know by name.
#[tokio::test]
async fn fields_of_the_model_table_are_sent_beside_those_of_the_client() {
    let fields = json!({"reasoning_effort": "low", "seed": 7, "model": "other"});
    for (surface, own) in [
        (ApiSurface::Chat, "messages"),
        (ApiSurface::Responses, "input"),
        (ApiSurface::Messages, "messages"),
        (ApiSurface::GenerateContent, "contents"),
    ] {
        let server = Server::bytes(response(200, "", WHOLE)).await;
        let mut config = Config {
            stream: false,
            ..config(&server)
        };
        config.info.surface = Some(surface);
        config.info.request = fields.as_object().unwrap().clone();
        let _ = call(config, &question()).await;
        let [sent] = &server.received()[..] else {
            panic!("one request")
        };
        let body: Value = serde_json::from_str(&sent.body).unwrap();
        assert_eq!(
            (&body["reasoning_effort"], &body["seed"]),
            (&json!("low"), &json!(7)),
            "{surface:?}"
        );
        assert!(body[own].is_array(), "{surface:?} {body}");
        if surface != ApiSurface::GenerateContent {
            assert_eq!(body["model"], "gpt-5", "{surface:?}");
        }
    }
}

#[tokio::test]
async fn the_head_carries_path_key_and_extra_headers() {
    let server = Server::bytes(response(200, "", WHOLE)).await;
    let mut with_all = config(&server);
    with_all.base_url += "/";
    with_all.headers = vec![
        ("X-Title".to_owned(), "Opspawn".to_owned()),
        ("accept".to_owned(), "a/b".to_owned()),
    ];
    call(with_all, &question()).await.0.unwrap();
    let azure = Config {
        api_key: None,
        base_url: format!("{}?api-version=1", server.url),
        ..config(&server)
    };
    call(azure, &question()).await.0.unwrap();
    let blank = Config {
        api_key: Some(" \n".into()),
        ..config(&server)
    };
    call(blank, &question()).await.0.unwrap();

    let heads: Vec<String> = server
        .received()
        .iter()
        .map(|r| r.head.to_ascii_lowercase() + "\r\n")
        .collect();
    assert!(
        heads[0].starts_with("post /v1/chat/completions http/1.1\r\n"),
        "{}",
        heads[0]
    );
    for line in [
        &format!("authorization: bearer {KEY}"),
        "content-type: application/json",
        "x-title: opspawn",
        "accept: a/b",
    ] {
        assert!(
            heads[0].contains(&format!("\r\n{line}\r\n")),
            "{line} in {}",
            heads[0]
        );
    }
    assert_eq!(heads[0].matches("accept:").count(), 1);
    assert!(heads[1].starts_with("post /v1/chat/completions?api-version=1 http/1.1\r\n"));
    assert!(heads[1].contains("\r\naccept: text/event-stream\r\n"));
    for head in &heads[1..] {
        assert!(!head.contains("authorization"), "{head}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_stream() {
    let events = "data: {\"choices\":[{\"delta\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let server = Server::start(vec![vec![Step::Send(stream(events, 1000))]]).await;
    let model = Client::new(config(&server)).unwrap();
    for _ in 0..3 {
        model.call(&question(), &NoDeltas).await.unwrap();
    }
    assert_eq!((server.received().len(), server.connections()), (3, 1));
}

#[tokio::test]
async fn a_dropped_call_closes_its_connection() {
    let server = Server::start(vec![vec![Step::Send(STREAM.into()), Step::Hang]]).await;
    let model = Client::new(config(&server)).unwrap();
    let request = question();
    tokio::select! {
        _ = model.call(&request, &NoDeltas) => panic!("the server never answers"),
        () = async {
            while server.received().is_empty() {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    let closed = async {
        while server.gone() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), closed)
        .await
        .unwrap();
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let base = |url: &str| Config {
        base_url: url.to_owned(),
        ..Config::new(Provider::OpenAi, "m")
    };
    for wrong in ["", "localhost:11434", "ftp://x/v1", "/v1", "http://"] {
        let error = Client::new(base(wrong)).unwrap_err();
        assert!(matches!(error, ConfigError::BaseUrl { .. }), "{wrong}");
    }
    let key = Config {
        api_key: Some("a\nb".into()),
        ..Config::new(Provider::OpenAi, "m")
    };
    assert!(matches!(Client::new(key).unwrap_err(), ConfigError::ApiKey));
    let headers = vec![("no name".to_owned(), "x".to_owned())];
    let error = Client::new(Config {
        headers,
        ..Config::new(Provider::OpenAi, "m")
    })
    .unwrap_err();
    assert!(error.to_string().contains("`no name`"), "{error}");
}

#[test]
fn nothing_shows_a_secret() {
    let model = Client::new(Config {
        base_url: "http://user:hidden-1@127.0.0.1:1/v1?sig=hidden-2".to_owned(),
        api_key: Some("hidden-3".into()),
        headers: vec![("x-key".to_owned(), "hidden-4".to_owned())],
        ..Config::new(Provider::OpenRouter, "a/b")
    })
    .unwrap();
    assert_eq!(model.name(), "openrouter/a/b");
    assert!(model.is_llm());
    let shown = format!("{model:?}");
    assert!(
        shown.contains("x-key") && !shown.contains("hidden"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_schema_beside_tools_is_told_in_words_where_the_model_refuses_both() {
    const ANSWER: &str =
        r#"{"candidates":[{"content":{"parts":[{"text":"{\"sum\":4}"}]},"finishReason":"STOP"}]}"#;
    let schema = json!({"type": "object", "properties": {"sum": {"type": "integer"}},
        "required": ["sum"], "additionalProperties": false});
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Nothing {}
    let look = || {
        function("look", "Looks.", |_: Nothing| async {
            Ok::<_, String>("seen")
        })
    };
    for (model, with_tool, is_held) in [
        ("gemini-2.5-flash", true, false),
        ("gemini-2.5-flash", false, true),
        ("gemini-3.8-flash", true, true),
    ] {
        let server = Server::bytes(response(200, "", ANSWER)).await;
        let client = Client::new(Config {
            base_url: server.url.clone(),
            ..Config::new(Provider::Google, model)
        })
        .unwrap();
        let mut agent = Agent::builder(client).output_schema(schema.clone());
        if with_tool {
            agent = agent.tool(look());
        }
        let answer = agent.build().unwrap().run("2 + 2").await.unwrap();
        assert_eq!(answer.output["sum"], 4);
        let body = &server.received()[0].body;
        assert_eq!(
            body.contains("\"responseJsonSchema\""),
            is_held,
            "{model} {body}"
        );
        assert_eq!(body.contains("one JSON value"), !is_held, "{model} {body}");
        assert_eq!(body.contains("\"functionDeclarations\""), with_tool);
    }
}

#[tokio::test]
async fn a_schema_that_a_surface_refuses_is_told_in_words() {
    let object = |more: Value| {
        let mut schema = json!({"type": "object", "properties": {"sum": {"type": "integer"}},
            "required": ["sum"], "additionalProperties": false});
        let more = more.as_object().unwrap().clone();
        schema.as_object_mut().unwrap().extend(more);
        schema
    };
    let plain = object(json!({}));
    let bounded = object(json!({"properties": {"sum": {"type": "integer", "minimum": 0}}}));
    let open = object(json!({"additionalProperties": true}));
    let nested =
        object(json!({"properties": {"sum": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}));
    let list = json!({"type": "array", "items": {"type": "integer"}});
    let each = object(json!({"allOf": [{"required": ["sum"]}]}));
    let (claude, gpt, gemini) = (
        "anthropic/claude-opus-4-5",
        "openai/gpt-5",
        "google/gemini-3.8-flash",
    );
    for (name, schema, held, strict) in [
        (claude, &plain, true, None),
        (claude, &nested, true, None),
        (claude, &bounded, false, None),
        (claude, &open, false, None),
        (claude, &list, false, None),
        (gpt, &plain, true, Some(true)),
        (gpt, &bounded, true, Some(true)),
        (gpt, &open, true, Some(false)),
        (gpt, &each, true, Some(false)),
        (gpt, &list, false, None),
        ("openai/gpt-4o", &list, false, None),
        ("openai/gpt-4o", &each, true, Some(false)),
        (gemini, &list, true, None),
        (gemini, &bounded, true, None),
    ] {
        let said = if *schema == list {
            "[4]"
        } else {
            "{\"sum\":4}"
        };
        let (provider, model) = name.split_once('/').unwrap();
        let provider = Provider::by_name(provider).unwrap();
        let body = match (provider, model) {
            (Provider::Anthropic, _) => json!({"type": "message", "stop_reason": "end_turn",
                "content": [{"type": "text", "text": said}]}),
            (Provider::Google, _) => json!({"candidates": [{"finishReason": "STOP",
                "content": {"parts": [{"text": said}]}}]}),
            (_, "gpt-5") => json!({"status": "completed", "output": [{"type": "message",
                "content": [{"type": "output_text", "text": said}]}]}),
            _ => json!({"choices": [{"message": {"content": said}, "finish_reason": "stop"}]}),
        };
        let server = Server::bytes(response(200, "", &body.to_string())).await;
        let client = Client::new(Config {
            base_url: server.url.clone(),
            ..Config::new(provider, model)
        })
        .unwrap();
        let agent = Agent::builder(client).output_schema(schema.clone());
        let answer = agent.build().unwrap().run("2 + 2").await.unwrap();
        assert_eq!(answer.to_string(), said);
        let sent = &server.received()[0].body;
        let is_sent = ["json_schema", "responseJsonSchema"]
            .iter()
            .any(|key| sent.contains(&format!("\"{key}\"")));
        assert_eq!(is_sent, held, "{name} {sent}");
        assert_eq!(sent.contains("one JSON value"), !held, "{name} {sent}");
        for value in [true, false] {
            let says = sent.contains(&format!("\"strict\":{value}"));
            assert_eq!(says, strict == Some(value), "{name} {sent}");
        }
    }
}
