//! Real providers: `cargo xtask live`. A provider without a key in the environment is skipped.
//!
//! `OPSPAWN_LIVE_OPENAI_MODEL` and the like choose other models. The calls cost a few cents at the
//! most.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use agentkit::{
    Agent, BoxFuture, Tool, ToolSpec,
    event::Failure,
    model::{
        Message, Model as _, NoDeltas, Request, ResponseSchema,
        client::{ApiSurface, Client, Config, Provider},
    },
    tool::{Effect, ToolContext, ToolOutput},
};
use serde_json::{Value, json};

/// The configuration of a live model, or nothing, said aloud.
fn config(provider: Provider, model: &str, surface: ApiSurface, stream: bool) -> Option<Config> {
    let prefix = provider.name().to_ascii_uppercase();
    let Ok(key) = env::var(format!("{prefix}_API_KEY")) else {
        eprintln!("SKIPPED {}: {prefix}_API_KEY is not set", surface.name());
        return None;
    };
    let model =
        env::var(format!("OPSPAWN_LIVE_{prefix}_MODEL")).unwrap_or_else(|_| model.to_owned());
    let mut config = Config {
        api_key: Some(key.into()),
        stream,
        ..Config::new(provider, model)
    };
    if let Ok(base_url) = env::var(format!("{prefix}_BASE_URL")) {
        config.base_url = base_url;
    }
    config.info.surface = Some(surface);
    Some(config)
}

struct Stock(ToolSpec, Arc<AtomicUsize>);

impl Tool for Stock {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let count = match arguments["item"].as_str() {
            Some("apples") => 17,
            Some("pears") => 25,
            Some(_) | None => 0,
        };
        Box::pin(std::future::ready(Ok(json!({ "count": count }).into())))
    }
}

/// A conversation with tools, and an answer of a given shape, streamed and whole.
async fn converses(provider: Provider, model: &str, surface: ApiSurface) {
    for stream in [true, false] {
        let Some(config) = config(provider, model, surface, stream) else {
            return;
        };
        let client = Arc::new(Client::new(config).unwrap());
        let schema = json!({"type": "object", "properties": {"item": {"type": "string"}},
            "required": ["item"], "additionalProperties": false});
        let spec = ToolSpec::new("stock", "How many of an item are in stock.", schema);
        let counted = Arc::new(AtomicUsize::new(0));
        let agent = Agent::builder(client.clone())
            .tool(Stock(spec.effect(Effect::Pure), counted.clone()))
            .build()
            .unwrap();
        let goal = "How many apples and pears are in stock together? Ask for each with the tool \
            `stock` (items `apples` and `pears`), and answer with the number alone.";
        let answer = agent.run(goal).await.unwrap();
        assert!(answer.to_string().contains("42"), "{answer}");
        assert!(counted.load(Ordering::SeqCst) >= 2);

        let request = Request {
            messages: vec![Arc::new(Message::user("What is 6 times 7?"))],
            max_output_tokens: Some(2_000),
            response_schema: Some(ResponseSchema {
                name: "product".to_owned(),
                schema: json!({"type": "object", "properties": {"product": {"type": "integer"}},
                    "required": ["product"], "additionalProperties": false}),
            }),
            ..Request::default()
        };
        let response = client.call(&request, &NoDeltas).await.unwrap();
        let value: Value = serde_json::from_str(&response.content).unwrap();
        assert_eq!(value["product"], 42);
        assert!(response.usage.input_tokens > 0 && response.usage.output_tokens > 0);
    }
}

#[tokio::test]
#[ignore = "calls a real provider: cargo xtask live"]
async fn openai_chat() {
    converses(Provider::OpenAi, "gpt-4o-mini", ApiSurface::Chat).await;
}

#[tokio::test]
#[ignore = "calls a real provider: cargo xtask live"]
async fn openai_responses() {
    converses(Provider::OpenAi, "gpt-5-mini", ApiSurface::Responses).await;
}

#[tokio::test]
#[ignore = "calls a real provider: cargo xtask live"]
async fn anthropic() {
    converses(
        Provider::Anthropic,
        "claude-haiku-5-5",
        ApiSurface::Messages,
    )
    .await;
}

#[tokio::test]
#[ignore = "calls a real provider: cargo xtask live"]
async fn google() {
    converses(
        Provider::Google,
        "gemini-3.8-flash",
        ApiSurface::GenerateContent,
    )
    .await;
}

#[tokio::test]
#[ignore = "calls a real provider: cargo xtask live"]
async fn openrouter() {
    converses(
        Provider::OpenRouter,
        "anthropic/claude-haiku-5.5",
        ApiSurface::Chat,
    )
    .await;
}
