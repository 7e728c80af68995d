//! An agent with a tool of its own, as a library: `cargo run -p agentkit --example custom_tool`.
//! With OPENAI_API_KEY set, replace the scripted model by `Client::new(Config::new(Provider::OpenAi, "gpt-5"))`.

#![expect(clippy::print_stdout, reason = "an example prints")]
use std::sync::Arc;

use agentkit::{
    Agent, BoxFuture, Tool, ToolSpec,
    event::Failure,
    model::scripted::{Script, Scripted},
    tool::{Effect, ToolContext, ToolOutput},
};
use serde_json::{Value, json};

struct Weather(ToolSpec);

impl Tool for Weather {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        args: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move { Ok(json!(format!("18 degrees in {}", args["city"])).into()) })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let weather =
        Weather(ToolSpec::new("weather", "The weather in a city.", schema).effect(Effect::Pure));
    let script = "[[turn]]\ncalls = [{ tool = 'weather', arguments = { city = 'Oslo' } }]\n[[turn]]\nanswer = 'It is {{ result(1) }}.'";
    let model = Arc::new(Scripted::new(Arc::new(Script::parse(script)?)));
    let agent = Agent::builder(model)
        .instructions("Answer briefly.")
        .tool(weather)
        .build()?;
    let workspace = std::env::temp_dir().join("agentkit-example");
    println!(
        "{}",
        agent.run("How is the weather in Oslo?", workspace).await?
    );
    Ok(())
}
