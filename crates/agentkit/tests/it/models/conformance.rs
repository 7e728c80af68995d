//! What every surface has to do, on answers as the providers send them
//! (`tests/fixtures/models`): the same cases, and the same outcome.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentkit::{
    event::{Event, FinishReason, ModelCompleted, Purpose, Usage},
    model::{
        Image, Model, ModelErrorKind, Prices, ResponseSchema,
        cassette::{Cassette, Redactor},
        client::Provider,
        scripted::Scripted,
    },
};
use serde_json::Value;

use super::*;

/// A surface of a provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// The folder of its answers.
    pub(super) name: &'static str,
    provider: Provider,
    surface: ApiSurface,
    /// Where its requests go.
    path: &'static str,
    /// Where they go for a stream.
    stream_path: &'static str,
    key_header: &'static str,
    /// The status that tells an exhausted quota.
    quota_status: u16,
    /// What of the opaque answer has to come back to the server unchanged.
    opaque: &'static [&'static str],
}

pub(super) const DIALECTS: [Dialect; 6] = [
    Dialect {
        name: "chat",
        provider: Provider::OpenAi,
        surface: ApiSurface::Chat,
        path: "/v1/chat/completions",
        stream_path: "/v1/chat/completions",
        key_header: "authorization: bearer ",
        quota_status: 429,
        opaque: &[],
    },
    Dialect {
        name: "openrouter",
        provider: Provider::OpenRouter,
        surface: ApiSurface::Chat,
        path: "/v1/chat/completions",
        stream_path: "/v1/chat/completions",
        key_header: "authorization: bearer ",
        quota_status: 402,
        opaque: &["T3BhcXVlQWJDPT0=", "\"I look.\"", "\"rs_1\""],
    },
    // What servers that speak chat completions add to them: thoughts, and signatures of calls.
    Dialect {
        name: "deepseek",
        provider: Provider::OpenAi,
        surface: ApiSurface::Chat,
        path: "/v1/chat/completions",
        stream_path: "/v1/chat/completions",
        key_header: "authorization: bearer ",
        quota_status: 429,
        opaque: &["\"reasoning_content\":\"I look.\"", "\"c2lnbmF0dXJl==\""],
    },
    Dialect {
        name: "responses",
        provider: Provider::OpenAi,
        surface: ApiSurface::Responses,
        path: "/v1/responses",
        stream_path: "/v1/responses",
        key_header: "authorization: bearer ",
        quota_status: 429,
        opaque: &[
            "gAAAAABo/T3BhcXVlAbC==",
            "\"rs_1\"",
            "\"fc_a\"",
            "\"msg_1\"",
        ],
    },
    Dialect {
        name: "messages",
        provider: Provider::Anthropic,
        surface: ApiSurface::Messages,
        path: "/v1/messages",
        stream_path: "/v1/messages",
        key_header: "x-api-key: ",
        quota_status: 402,
        opaque: &[
            "EqQBCkgIARABGAIiQL+/T3BhcXVlAbC==",
            "\"I look.\"",
            "EmwKAhgBEgy3va3pzix/LafPsn4a==",
        ],
    },
    Dialect {
        name: "generate_content",
        provider: Provider::Google,
        surface: ApiSurface::GenerateContent,
        path: "/v1/models/model-1:generatecontent",
        stream_path: "/v1/models/model-1:streamgeneratecontent?alt=sse",
        key_header: "x-goog-api-key: ",
        quota_status: 429,
        opaque: &["CiQB0e2Kb/T3BhcXVl+AbC==", "\"I look.\""],
    },
];

const BOTH: [bool; 2] = [true, false];

impl Dialect {
    pub(super) fn config(&self, server: &Server, stream: bool) -> Config {
        let mut config = Config {
            base_url: server.url.clone(),
            api_key: Some(KEY.into()),
            stream,
            timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(10),
            ..Config::new(self.provider, "model-1")
        };
        config.info.surface = Some(self.surface);
        config.info.prices = vec![Prices {
            up_to: None,
            input: 1_000_000,
            cached_input: Some(100_000),
            cache_write: Some(1_250_000),
            output: 2_000_000,
        }];
        config
    }

    /// An answer as the provider sends it; none if it has no such answer.
    fn body(&self, case: &str, stream: bool) -> Option<String> {
        let kind = if stream { "sse" } else { "json" };
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
        std::fs::read_to_string(root.join(self.name).join(format!("{case}.{kind}"))).ok()
    }

    pub(super) fn bytes(&self, case: &str, streamed: bool) -> Option<Vec<u8>> {
        let body = self.body(case, streamed)?;
        Some(if streamed {
            stream(&body, 11)
        } else {
            response(200, "", &body)
        })
    }

    /// What the model answers, and the words that came on the way.
    async fn asked(
        &self,
        case: &str,
        stream: bool,
    ) -> Option<(Result<Response, ModelError>, String)> {
        let server = Server::bytes(self.bytes(case, stream)?).await;
        Some(call(self.config(&server, stream), &question()).await)
    }

    /// What a status and a body mean.
    async fn refused(&self, status: u16, headers: &str, body: &str) -> ModelError {
        let server = Server::bytes(response(status, headers, body)).await;
        let outcome = call(self.config(&server, true), &question()).await.0;
        outcome.unwrap_err()
    }

    /// The body that a conversation makes.
    pub(super) async fn sent(&self, request: &Request, stream: bool) -> (String, Value) {
        let server = Server::bytes(self.bytes("good", stream).unwrap()).await;
        let outcome = call(self.config(&server, stream), request).await.0;
        outcome.unwrap();
        let received = server.received().remove(0);
        (
            received.head.to_ascii_lowercase(),
            serde_json::from_str(&received.body).unwrap(),
        )
    }
}

/// Runs a case for every surface, streamed and whole; counts how many had it.
macro_rules! every {
    (|$dialect:ident, $stream:ident| $body:block) => {{
        let mut ran = 0;
        for $dialect in DIALECTS {
            for $stream in BOTH {
                if $body.is_some() {
                    ran += 1;
                }
            }
        }
        ran
    }};
}

fn asked_for(response: &Response) -> Vec<(&str, &str, Value)> {
    let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    let calls = response.calls.iter();
    calls
        .map(|call| {
            (
                call.provider_id.as_str(),
                call.name.as_str(),
                read(&call.arguments),
            )
        })
        .collect()
}

#[tokio::test]
async fn an_answer_is_the_same_streamed_and_whole_with_exact_usage() {
    let ran = every!(|dialect, stream| {
        let (response, words) = dialect.asked("good", stream).await.unwrap();
        let response = response.unwrap_or_else(|error| panic!("{dialect:?} {stream}: {error}"));
        assert_eq!(response.content, "Grüße 😀", "{dialect:?} {stream}");
        assert_eq!(words, response.content, "{dialect:?} {stream}");
        assert_eq!(
            (response.finish, response.calls.len()),
            (FinishReason::Stop, 0)
        );
        // 36 plain (or 26, and 10 written) and 64 cached tokens, and 40 answered.
        let cost = if dialect.surface == ApiSurface::Messages {
            125
        } else {
            123
        };
        let usage = Usage {
            input_tokens: 100,
            output_tokens: 40,
            cached_tokens: 64,
            reasoning_tokens: 30,
            cost_micros: cost,
        };
        assert_eq!(response.usage, usage, "{dialect:?} {stream}");
        assert_eq!(response.model, "model-1");
        assert!(response.request_id.is_some(), "{dialect:?} {stream}");
        Some(())
    });
    assert_eq!(ran, 12);
}

#[tokio::test]
async fn parallel_calls_come_out_in_their_order() {
    let ran = every!(|dialect, stream| {
        let response = dialect.asked("calls", stream).await.unwrap().0.unwrap();
        let expected = [
            ("call_a", "read_file", json!({ "path": "ä.csv" })),
            ("call_b", "calculator", json!({ "expression": "1 + 2" })),
        ];
        assert_eq!(asked_for(&response), expected, "{dialect:?} {stream}");
        assert_eq!(response.finish, FinishReason::ToolCalls);
        Some(())
    });
    assert_eq!(ran, 12);
}

#[tokio::test]
async fn malformed_arguments_leave_the_answer_as_it_is() {
    let ran = every!(|dialect, stream| {
        match dialect.asked("malformed", stream).await {
            Some((response, _)) => {
                let response = response.unwrap();
                let expected = [("call_a", "read_file", json!("{\"path\": oops"))];
                assert_eq!(asked_for(&response), expected, "{dialect:?} {stream}");
                assert_eq!(response.finish, FinishReason::ToolCalls);
                Some(())
            }
            None => None,
        }
    });
    // Gemini, and Anthropic's whole answers, hold arguments as JSON: they cannot be malformed.
    assert_eq!(ran, 9);
}

/// The conversation after the model's answer: the answer as it comes back from a log, and the
/// results of its calls.
pub(super) fn continued(response: &Response) -> Request {
    let event = Event::ModelCompleted(ModelCompleted {
        step: StepId(1),
        name: response.model.clone(),
        output: response.content.clone(),
        calls: 1,
        usage: response.usage,
        finish: response.finish,
        parts: response.parts.clone(),
        request_id: None,
        purpose: Purpose::Turn,
        answer: None,
        refused: None,
        tools_left_out: Vec::new(),
        claimed_usage: None,
    });
    let Event::ModelCompleted(stored) = Event::decode(&event.encode()).unwrap() else {
        panic!("it is what it was")
    };
    let mut request = question();
    let calls = response
        .calls
        .iter()
        .zip(2..)
        .map(|(call, step)| MessageCall {
            step: StepId(step),
            provider_id: call.provider_id.clone(),
            name: call.name.clone(),
            arguments: serde_json::from_str(&call.arguments)
                .unwrap_or_else(|_| json!(call.arguments)),
        });
    let calls: Vec<MessageCall> = calls.collect();
    let results = calls.iter().map(|call| Message::Tool {
        step: call.step,
        provider_id: call.provider_id.clone(),
        name: call.name.clone(),
        content: format!("result of {}", call.name),
        is_error: false,
        images: Vec::new(),
    });
    let results: Vec<Message> = results.collect();
    let answer = Message::Assistant {
        content: stored.output,
        calls,
        parts: stored.parts,
    };
    request
        .messages
        .extend(std::iter::once(answer).chain(results).map(Arc::new));
    request
}

#[tokio::test]
async fn opaque_parts_go_back_byte_for_byte_to_the_model_that_sent_them() {
    let ran = every!(|dialect, stream| {
        match dialect.asked("opaque", stream).await {
            None => None,
            Some((response, words)) => {
                let response = response.unwrap();
                assert_eq!(
                    (response.content.as_str(), words.as_str()),
                    ("Grüße 😀", "Grüße 😀")
                );
                let expected = [("call_a", "read_file", json!({ "path": "ä.csv" }))];
                assert_eq!(asked_for(&response), expected, "{dialect:?} {stream}");
                let request = continued(&response);

                let server = Server::bytes(dialect.bytes("good", stream).unwrap()).await;
                call(dialect.config(&server, stream), &request)
                    .await
                    .0
                    .unwrap();
                let body = server.received()[0].body.clone();
                for part in dialect.opaque {
                    assert!(
                        body.contains(part),
                        "{part} in {dialect:?} {stream}: {body}"
                    );
                }
                assert_eq!(
                    body.matches("call_a").count() + body.matches("fc_a").count(),
                    if dialect.surface == ApiSurface::Responses {
                        3
                    } else {
                        2
                    },
                    "{body}"
                );

                // Another model of the same provider gets the words and the calls, and no more.
                let server = Server::bytes(dialect.bytes("good", stream).unwrap()).await;
                let other = Config {
                    model: "model-2".to_owned(),
                    ..dialect.config(&server, stream)
                };
                call(other, &request).await.0.unwrap();
                let body = server.received()[0].body.clone();
                for part in dialect.opaque {
                    assert!(
                        !body.contains(part),
                        "{part} in {dialect:?} {stream}: {body}"
                    );
                }
                for word in ["Grüße 😀", "read_file", "ä.csv", "result of read_file"] {
                    assert!(
                        body.contains(word),
                        "{word} in {dialect:?} {stream}: {body}"
                    );
                }
                Some(())
            }
        }
    });
    assert_eq!(ran, 10);
}

/// What the server is sent of a whole answer is, to the byte, what it had sent.
#[tokio::test]
async fn a_whole_answer_goes_back_as_the_text_that_it_was() {
    for (name, pointer) in [
        ("openrouter", "/choices/0/message/reasoning_details"),
        ("responses", "/output"),
        ("messages", "/content"),
        ("generate_content", "/candidates/0/content/parts"),
    ] {
        let dialect = DIALECTS
            .into_iter()
            .find(|dialect| dialect.name == name)
            .unwrap();
        let sent: Value = serde_json::from_str(&dialect.body("opaque", false).unwrap()).unwrap();
        let items = sent.pointer(pointer).and_then(Value::as_array).unwrap();
        // With the keys in an order that no program would choose.
        let odd = dialect
            .body("opaque", false)
            .unwrap()
            .replace("\"type\": \"", "\"zz\": 1.50, \"type\": \"");
        let server = Server::bytes(response(200, "", &odd)).await;
        let answer = call(dialect.config(&server, false), &question())
            .await
            .0
            .unwrap();
        let server = Server::bytes(dialect.bytes("good", false).unwrap()).await;
        call(dialect.config(&server, false), &continued(&answer))
            .await
            .0
            .unwrap();
        let body = server.received()[0].body.clone();
        let expected = if name == "generate_content" {
            0
        } else {
            items.len()
        };
        assert!(
            body.matches("\"zz\": 1.50, \"type\"").count() >= expected,
            "{body}"
        );
        if name == "generate_content" {
            assert!(body.contains("\"text\": \"I look.\",\n"), "{body}");
        }
    }
}

#[tokio::test]
async fn results_are_sent_with_the_ids_of_their_calls() {
    let ran = every!(|dialect, stream| {
        let response = dialect.asked("calls", stream).await.unwrap().0.unwrap();
        let (_, body) = dialect.sent(&continued(&response), stream).await;
        let results: Vec<Value> = match dialect.surface {
            ApiSurface::Chat => body["messages"].as_array().unwrap()[2..].to_vec(),
            ApiSurface::Responses => body["input"].as_array().unwrap()[3..].to_vec(),
            ApiSurface::Messages => body["messages"][2]["content"].as_array().unwrap().clone(),
            ApiSurface::GenerateContent => body["contents"][2]["parts"].as_array().unwrap().clone(),
        };
        let expected = |id: &str, name: &str| {
            let content = format!("result of {name}");
            match dialect.surface {
                ApiSurface::Chat => json!({"role": "tool", "tool_call_id": id, "content": content}),
                ApiSurface::Responses => {
                    json!({"type": "function_call_output", "call_id": id, "output": content})
                }
                ApiSurface::Messages => {
                    json!({"type": "tool_result", "tool_use_id": id, "content": content})
                }
                ApiSurface::GenerateContent => json!({"functionResponse":
                    {"id": id, "name": name, "response": {"result": content}}}),
            }
        };
        let expected = [
            expected("call_a", "read_file"),
            expected("call_b", "calculator"),
        ];
        assert_eq!(results, expected, "{dialect:?} {stream}: {body:#}");
        Some(())
    });
    assert_eq!(ran, 12);
}

#[tokio::test]
async fn a_rate_limit_says_how_long_to_wait() {
    for dialect in DIALECTS {
        let body = dialect.body("limited", false).unwrap();
        let error = dialect.refused(429, "retry-after: 3\r\n", &body).await;
        assert_eq!(
            error.kind,
            ModelErrorKind::RateLimited,
            "{dialect:?}: {error}"
        );
        assert_eq!(
            error.retry_after,
            Some(Duration::from_secs(3)),
            "{dialect:?}"
        );
        assert!(error.kind.is_retryable() && !error.maybe_charged);
        let error = dialect.refused(429, "", &body).await;
        // Gemini says it in the body.
        let said = (dialect.surface == ApiSurface::GenerateContent).then_some(7);
        assert_eq!(
            error.retry_after,
            said.map(Duration::from_secs),
            "{dialect:?}"
        );
    }
}

#[tokio::test]
async fn a_quota_and_a_wrong_key_are_final_and_a_failing_server_is_not() {
    for dialect in DIALECTS {
        let quota = dialect.body("quota", false).unwrap();
        let error = dialect
            .refused(dialect.quota_status, "retry-after: 3\r\n", &quota)
            .await;
        assert_eq!(
            error.kind,
            ModelErrorKind::QuotaExceeded,
            "{dialect:?}: {error}"
        );
        assert!(!error.kind.is_retryable());
        let error = dialect.refused(401, "", "{}").await;
        assert_eq!(error.kind, ModelErrorKind::Unauthorized);
        let variable = format!("{}_API_KEY", dialect.provider.name().to_ascii_uppercase());
        assert!(error.message.contains(&variable), "{error}");
        for status in [500, 502, 503, 504, 529] {
            let error = dialect.refused(status, "", "").await;
            assert_eq!(error.kind, ModelErrorKind::ServerError, "{dialect:?}");
            assert!(error.kind.is_retryable());
        }
    }
}

#[tokio::test]
async fn a_failure_inside_an_answer_is_a_failure() {
    let ran = every!(|dialect, stream| {
        let (outcome, _) = dialect.asked("inside", stream).await.unwrap();
        let error = outcome.unwrap_err();
        assert_eq!(
            error.kind,
            ModelErrorKind::ServerError,
            "{dialect:?} {stream}: {error}"
        );
        assert!(error.kind.is_retryable());
        Some(())
    });
    assert_eq!(ran, 12);
}

#[tokio::test]
async fn an_answer_that_is_cut_anywhere_is_never_an_answer() {
    for dialect in DIALECTS {
        for case in ["good", "calls"] {
            let events = dialect.body(case, true).unwrap();
            // The end of the answer is the event that says so; what follows it may be lost.
            let end = match dialect.surface {
                ApiSurface::Chat => "\"finish_reason\":\"",
                ApiSurface::Responses => "event: response.completed",
                ApiSurface::Messages => "\"stop_reason\":\"",
                ApiSurface::GenerateContent => "\"finishReason\"",
            };
            let end = events.find(end).unwrap();
            let cuts = (0..end).step_by(97).chain([end]);
            for cut in cuts.filter(|cut| events.is_char_boundary(*cut)) {
                let server = Server::bytes(stream(&events[..cut], 4096)).await;
                let outcome = call(dialect.config(&server, true), &question()).await.0;
                let error = outcome
                    .map(|_| format!("{dialect:?} {case} {cut}"))
                    .unwrap_err();
                assert_eq!(
                    error.kind,
                    ModelErrorKind::MalformedResponse,
                    "{dialect:?} {cut}"
                );
            }
            let whole = dialect.body(case, false).unwrap();
            for cut in (1..whole.len() - 2)
                .step_by(53)
                .filter(|cut| whole.is_char_boundary(*cut))
            {
                let server = Server::bytes(response(200, "", &whole[..cut])).await;
                let outcome = call(dialect.config(&server, false), &question()).await.0;
                let error = outcome
                    .map(|_| format!("{dialect:?} {case} {cut}"))
                    .unwrap_err();
                assert_eq!(
                    error.kind,
                    ModelErrorKind::MalformedResponse,
                    "{dialect:?} {cut}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_request_says_everything_in_the_words_of_its_surface() {
    let mut request = conversation();
    request.max_output_tokens = Some(500);
    request.temperature = Some(0.5);
    request.response_schema = Some(ResponseSchema {
        name: "answer".to_owned(),
        schema: json!({"type": "object", "properties": {"sum": {"type": "number"}},
            "required": ["sum"], "additionalProperties": false}),
    });
    request.messages.push(Arc::new(Message::User {
        content: "And these?".to_owned(),
        images: vec![
            Image::Inline {
                media_type: "image/png".to_owned(),
                base64: "iVBORw0KGgo=".to_owned(),
            },
            Image::Url {
                url: "https://images.test/a.png".to_owned(),
            },
        ],
    }));
    for dialect in DIALECTS {
        let (head, body) = dialect.sent(&request, true).await;
        let shown = serde_json::to_string_pretty(&body).unwrap() + "\n";
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
        let expected = root.join(dialect.name).join("request.json");
        if std::env::var_os("WRITE_FIXTURES").is_some() {
            std::fs::write(&expected, &shown).unwrap();
        }
        assert_eq!(
            shown,
            std::fs::read_to_string(&expected).unwrap(),
            "{expected:?}"
        );
        let line = format!("post {} http/1.1\r\n", dialect.stream_path);
        assert!(head.starts_with(&line), "{head}");
        let key = format!("\r\n{}{KEY}", dialect.key_header);
        assert!(head.contains(&key), "{head}");
        let (head, _) = dialect.sent(&question(), false).await;
        assert!(
            head.starts_with(&format!("post {} http/1.1\r\n", dialect.path)),
            "{head}"
        );
    }
}

#[tokio::test]
async fn what_a_model_does_not_accept_is_not_sent() {
    let mut request = question();
    request.temperature = Some(0.5);
    request.response_schema = Some(ResponseSchema {
        name: "answer".to_owned(),
        schema: json!({"type": "object", "additionalProperties": false}),
    });
    for dialect in DIALECTS {
        let server = Server::bytes(dialect.bytes("good", true).unwrap()).await;
        let mut config = dialect.config(&server, true);
        call(config.clone(), &request).await.0.unwrap();
        config.info.temperature = Some(false);
        config.info.response_schema = Some(false);
        call(config, &request).await.0.unwrap();
        let received = server.received();
        let says = |body: &str| (body.contains("0.5"), body.to_lowercase().contains("schema"));
        assert_eq!(
            says(&received[0].body),
            (true, true),
            "{}",
            received[0].body
        );
        assert_eq!(
            says(&received[1].body),
            (false, false),
            "{}",
            received[1].body
        );
    }
}

#[tokio::test]
async fn no_error_shows_the_key_or_the_conversation() {
    let secret = "The launch code of the northern site is 4711-ABC.";
    let mut request = question();
    request.messages.push(Arc::new(Message::user(secret)));
    for dialect in DIALECTS {
        let said = json!({"type": "error", "error": {"type": "invalid_request_error",
            "status": "INVALID_ARGUMENT", "message": format!("{secret} was sent with {KEY}")}});
        for (status, body) in [
            (400, said.to_string()),
            (200, said.to_string()),
            (500, secret.to_owned()),
        ] {
            let server = Server::bytes(response(status, "", &body)).await;
            let error = call(dialect.config(&server, true), &request)
                .await
                .0
                .unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains("launch") && !shown.contains(KEY),
                "{dialect:?}: {shown}"
            );
        }
        let server = Server::bytes("").await;
        let shown = format!("{:?}", Client::new(dialect.config(&server, true)).unwrap());
        assert!(!shown.contains(KEY), "{shown}");
    }
}

#[tokio::test]
async fn a_dropped_call_closes_its_connection() {
    for dialect in DIALECTS {
        let server = Server::start(vec![vec![Step::Send(STREAM.into()), Step::Hang]]).await;
        let model = Client::new(dialect.config(&server, true)).unwrap();
        let request = question();
        tokio::select! {
            _ = model.call(&request, &agentkit::model::NoDeltas) => panic!("the server never answers"),
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
        tokio::time::timeout(Duration::from_secs(10), closed)
            .await
            .unwrap();
    }
}

/// A model and its cassette answer the same: what is played is what was heard, failures too.
async fn recorded_and_played(model: Arc<dyn Model>, request: &Request) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!(
        "agentkit-conformance-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let folder = std::env::temp_dir().join(name);
    let redactor = || Redactor::new([] as [&str; 0]).unwrap();
    let recording = Cassette::record(&folder, redactor()).unwrap();
    let heard = Deltas::default();
    let live = recording.model(model.clone()).call(request, &heard).await;

    let played = Deltas::default();
    let player = Cassette::replay(&folder, redactor()).unwrap();
    let player = player.player(model.name(), model.info().cloned());
    let again = player.call(request, &played).await;
    assert_eq!(again, live, "{}", model.name());
    if live.is_ok() {
        let words = [heard, played].map(|deltas| deltas.0.into_inner().unwrap());
        assert_eq!(words[0], words[1]);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_cassette_plays_what_the_model_answered() {
    let ran = every!(|dialect, stream| {
        for case in ["good", "calls", "malformed", "opaque", "inside"] {
            if let Some(bytes) = dialect.bytes(case, stream) {
                let server = Server::bytes(bytes).await;
                let client = Client::new(dialect.config(&server, stream)).unwrap();
                recorded_and_played(Arc::new(client), &question()).await;
            }
        }
        let limited = dialect.body("limited", false).unwrap();
        let server = Server::bytes(response(429, "retry-after: 2\r\n", &limited)).await;
        let client = Client::new(dialect.config(&server, stream)).unwrap();
        recorded_and_played(Arc::new(client), &question()).await;
        Some(())
    });
    assert_eq!(ran, 12);
    for script in [
        "[[turn]]\nanswer = 'Grüße 😀'",
        "[[turn]]\ntext = 'I look.'\ncalls = [{ tool = 'a', arguments = { x = 1 } }, { tool = 'b', \
         malformed_arguments = '{oops' }]",
        "[[turn]]\nerror = 'rate_limited'\nretry_after_ms = 2000",
    ] {
        let model = Arc::new(Scripted::parse(script).unwrap());
        recorded_and_played(model, &question()).await;
    }
}
