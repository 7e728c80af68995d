//! An agent with a tool of its own, as a library: `cargo run -p opspawn-agentkit --example custom_tool`.
//! With OPENAI_API_KEY set, replace the scripted model by `Client::from_env("openai/gpt-5")?`.

#![expect(clippy::print_stdout, reason = "an example prints")]
use agentkit::{
    Agent, JsonSchema,
    model::scripted::Scripted,
    tool::{Effect, function},
};
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
struct City {
    /// Its name in English.
    city: String,
}

async fn weather(City { city }: City) -> Result<String, String> {
    Ok(format!("18 degrees in {city}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let script = "[[turn]]\ncalls = [{ tool = 'weather', arguments = { city = 'Oslo' } }]\n[[turn]]\nanswer = 'It is {{ result(1) }}.'";
    let agent = Agent::builder(Scripted::parse(script)?)
        .instructions("Answer briefly.")
        .tool(function("weather", "The weather in a city.", weather).effect(Effect::Pure))
        .build()?;
    println!("{}", agent.run("How is the weather in Oslo?").await?);
    Ok(())
}
