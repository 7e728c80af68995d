//! A client for the official conformance scenarios (`@modelcontextprotocol/conformance`): connects to the
//! server whose URL is the last argument, lists its tools, and calls each of them with arguments that fit.
//!
//! The scenario's context (`MCP_CONFORMANCE_CONTEXT`) may name calls; `MCP_CONFORMANCE_PROTOCOL_VERSION` says
//! which protocol to speak.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example prints"
)]

use std::{process::ExitCode, sync::Arc, time::Duration};

use agentkit::BoxFuture;
use agentkit_mcp::oauth::Browser;
use agentkit_mcp::{
    Answers, Config, Definition, Era, Host, HostSettings, Kind, Outcome, Reach, Server, ToolCall,
};
use serde_json::{Map, Value, json};
use url::Url;

/// Accepts every question; what has a default gets that.
struct Accepts;

impl Answers for Accepts {
    fn is_there(&self) -> bool {
        true
    }

    fn elicit<'a>(&'a self, _: &'a str, _: &'a Value) -> BoxFuture<'a, Option<Value>> {
        Box::pin(std::future::ready(Some(
            json!({"action": "accept", "content": {}}),
        )))
    }
}

/// Follows the page as a person's browser would, to the address that it ends at.
struct Follows;

impl Browser for Follows {
    fn redirect_uri(&self) -> String {
        "http://127.0.0.1:1/callback".to_owned()
    }

    fn authorize<'a>(&'a self, page: &'a Url) -> BoxFuture<'a, Result<Url, String>> {
        Box::pin(async move {
            let client = reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy();
            let client = client
                .tls_certs_only([])
                .build()
                .map_err(|error| error.to_string())?;
            let response = client
                .get(page.clone())
                .send()
                .await
                .map_err(|error| error.to_string())?;
            let location = response
                .headers()
                .get("location")
                .and_then(|location| location.to_str().ok());
            let location = location.ok_or("the page leads nowhere")?;
            page.join(location).map_err(|error| error.to_string())
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let Some(url) = std::env::args()
        .next_back()
        .filter(|url| url.starts_with("http"))
    else {
        eprintln!("the last argument is the server's URL");
        return ExitCode::from(2);
    };
    let context: Value =
        serde_json::from_str(&variable("MCP_CONFORMANCE_CONTEXT")).unwrap_or_default();
    let mut entry = json!({"type": "http", "url": url, "timeout": "10s", "start_timeout": "20s"});
    if variable("MCP_CONFORMANCE_SCENARIO").starts_with("auth/") {
        entry["oauth"] = oauth(&context);
    }
    let file = json!({"mcpServers": {"server": entry}}).to_string();
    let config: Config =
        match agentkit_mcp::config::read(&file, std::path::Path::new("/"), &|_| None) {
            Ok(config) => config,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        };
    // The authorization servers of the scenarios are at other ports of loopback.
    let reach = Reach {
        allow: "127.0.0.1,localhost,::1".parse().unwrap_or_default(),
        ..Reach::default()
    };
    let mut settings = HostSettings {
        reach,
        answers: Arc::new(Accepts),
        browser: Arc::new(Follows),
        ..HostSettings::default()
    };
    if variable("MCP_CONFORMANCE_PROTOCOL_VERSION").as_str() < agentkit_mcp::MODERN {
        settings.eras.insert("server".to_owned(), Era::Legacy);
    }
    let host = Host::new(config, &settings);
    host.start();
    let result = match host.server("server") {
        Ok(server) => used(&server, &context).await,
        Err(failure) => Err(failure.message),
    };
    host.stop().await;
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn oauth(context: &Value) -> Value {
    let mut oauth = Map::new();
    let document = "https://conformance-test.local/client-metadata.json";
    oauth.insert("client_metadata_url".to_owned(), document.into());
    for key in ["client_id", "client_secret"] {
        if let Some(value) = context[key].as_str() {
            oauth.insert(key.to_owned(), value.into());
        }
    }
    oauth.into()
}

async fn used(server: &Server, context: &Value) -> Result<(), String> {
    let listing = tokio::time::timeout(Duration::from_secs(20), server.first_listing()).await;
    let listing = listing.map_err(|_| "no list came".to_owned())??;
    for (name, why) in &listing.refused {
        println!("{name} is not used: {why}");
    }
    server.approve(&listing.listed);
    let mut failed = Vec::new();
    let calls: Vec<(String, Option<Value>)> = match context["toolCalls"].as_array() {
        Some(calls) => {
            let name = |call: &Value| call["name"].as_str().unwrap_or_default().to_owned();
            calls
                .iter()
                .map(|call| (name(call), Some(call["arguments"].clone())))
                .collect()
        }
        None => {
            let tools = listing.listed.iter().filter(|one| one.kind == Kind::Tool);
            tools.map(|one| (one.name.clone(), None)).collect()
        }
    };
    // Side by side: what belongs to one call must not reach another.
    let done = calls.into_iter().map(|(name, arguments)| async move {
        let done = call(server, &name, arguments).await;
        println!("{name}: {done:?}");
        done.err()
    });
    failed.extend(
        futures_util::future::join_all(done)
            .await
            .into_iter()
            .flatten(),
    );
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("\n")),
    }
}

async fn call(server: &Server, name: &str, arguments: Option<Value>) -> Result<Value, String> {
    let definition = server.tool(name).map_err(|failure| failure.message)?;
    let arguments = arguments.unwrap_or_else(|| fitting(&definition.input_schema));
    let mut answers = None;
    for _ in 0..10 {
        let outcome = round(server, &definition, &arguments, answers.take()).await?;
        match outcome {
            Outcome::Done(output) => return Ok(output.content),
            Outcome::InputRequired { requests, state } => {
                let mut said = Map::new();
                for (id, request) in requests.as_object().into_iter().flatten() {
                    let content = fitting(&request["params"]["requestedSchema"]);
                    said.insert(id.clone(), json!({"action": "accept", "content": content}));
                }
                let said = if said.is_empty() {
                    Value::Null
                } else {
                    said.into()
                };
                answers = Some((said, state));
            }
        }
    }
    Err(format!("{name} wants to be called again and again"))
}

async fn round(
    server: &Server,
    definition: &Definition,
    arguments: &Value,
    answers: Option<(Value, Option<String>)>,
) -> Result<Outcome, String> {
    let call = ToolCall {
        definition,
        arguments: arguments.clone(),
        key: "conformance",
        answers,
        has_person: true,
    };
    server.call(&call).await.map_err(|failure| failure.message)
}

/// A value that fits a simple schema of an object.
fn fitting(schema: &Value) -> Value {
    let mut fields = Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let value = match (
            &property["default"],
            property["enum"].as_array(),
            property["type"].as_str(),
        ) {
            (Value::Null, Some(values), _) => values.first().cloned().unwrap_or_default(),
            (Value::Null, None, Some("integer" | "number")) => json!(5),
            (Value::Null, None, Some("boolean")) => json!(true),
            (Value::Null, None, Some("array")) => json!([]),
            (Value::Null, None, Some("object") | None) => json!({}),
            (Value::Null, None, Some(_)) => json!("text"),
            (default, _, _) => default.clone(),
        };
        fields.insert(name.clone(), value);
    }
    fields.into()
}
