//! The client against a server that says exactly what it is told.

mod answers;
mod conformance;
mod failures;
mod overflow;
mod replay;
mod requests;
mod results;
mod server;
mod strict;
mod wire;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use agentkit::{
    event::StepId,
    model::{
        DeltaSink, Message, MessageCall, Model as _, ModelError, Request, Response,
        client::{ApiSurface, Client, Config, Provider},
    },
    tool::ToolSpec,
};
use serde_json::json;

use self::server::{STREAM, Server, Step, response, stream};

const KEY: &str = "key-0123456789abcdef";

/// Chat completions, which most of what is tested for one surface is tested on.
fn config(server: &Server) -> Config {
    let mut config = Config {
        base_url: server.url.clone(),
        api_key: Some(KEY.into()),
        timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(10),
        ..Config::new(Provider::OpenAi, "gpt-5")
    };
    config.info.surface = Some(ApiSurface::Chat);
    config.info.temperature = None;
    config.info.prices.clear();
    config
}

async fn call(config: Config, request: &Request) -> (Result<Response, ModelError>, String) {
    let deltas = Deltas::default();
    let outcome = Client::new(config).unwrap().call(request, &deltas).await;
    (outcome, deltas.0.into_inner().unwrap())
}

/// What one canned response gives.
async fn outcome(bytes: impl Into<Vec<u8>>) -> Result<Response, ModelError> {
    let server = Server::bytes(bytes).await;
    call(config(&server), &question()).await.0
}

#[derive(Default)]
struct Deltas(Mutex<String>);

impl DeltaSink for Deltas {
    fn text(&self, delta: &str) {
        self.0.lock().unwrap().push_str(delta);
    }
}

fn question() -> Request {
    Request {
        messages: vec![Arc::new(Message::user("What is the total of the sales?"))],
        ..Request::default()
    }
}

/// A request with everything in it.
fn conversation() -> Request {
    let call = |step, id: &str, arguments| MessageCall {
        step: StepId(step),
        provider_id: id.to_owned(),
        name: "read_file".to_owned(),
        arguments,
    };
    let result = |step, id: &str, content: &str, is_error| Message::Tool {
        step: StepId(step),
        provider_id: id.to_owned(),
        name: "read_file".to_owned(),
        content: content.to_owned(),
        is_error,
        images: Vec::new(),
    };
    Request {
        messages: vec![
            Message::System {
                content: "Be brief.".to_owned(),
            },
            Message::user("Sum \"a\"\n\u{e4}"),
            Message::Assistant {
                content: String::new(),
                calls: vec![
                    call(2, "call_abc", json!({ "path": "a.csv" })),
                    call(3, "", json!("{oops")),
                ],
                parts: None,
            },
            result(2, "call_abc", "a,b", false),
            result(3, "", "invalid arguments", true),
            Message::Assistant {
                content: "42".to_owned(),
                calls: vec![],
                parts: Some(json!({
                    "model": "openai/gpt-5",
                    "json": r#"[{"type":"x", "data":"opaque"}]"#,
                })),
            },
        ]
        .into_iter()
        .map(Arc::new)
        .collect(),
        tools: vec![Arc::new(ToolSpec::new(
            "read_file",
            "Reads a file.",
            json!({ "type": "object" }),
        ))],
        ..Request::default()
    }
}
