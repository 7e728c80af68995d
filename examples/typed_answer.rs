//! An answer of a type, and the run as it goes on: `cargo run -p opspawn-agentkit --example typed_answer`.
//! With OPENAI_API_KEY set, replace the scripted model by `Client::from_env("openai/gpt-5")?`.

#![expect(clippy::print_stdout, reason = "an example prints")]
use agentkit::{Agent, JsonSchema, agent::RunEvent, model::scripted::Scripted};
use serde::Deserialize;

#[derive(Debug, Deserialize, JsonSchema)]
struct Trip {
    city: String,
    /// In kilometres.
    distance: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The first answer is not what was asked for, so the model is asked again.
    let script = "[[turn]]\nanswer = 'Bergen'\n[[turn]]\nanswer = '{\"city\": \"Bergen\", \"distance\": 463}'";
    let agent = Agent::builder(Scripted::parse(script)?).build()?;
    let trip: Trip = agent.run("Where to from Oslo?").typed().await?;
    println!("{} is {} km away", trip.city, trip.distance);

    let mut run = agent.run("Where to from Oslo?").stream();
    while let Some(event) = run.next().await {
        match event? {
            RunEvent::Text { delta, .. } => println!("words: {delta}"),
            RunEvent::Withdrawn { .. } => println!("words: withdrawn"),
            RunEvent::Event(event) => println!("event: {}", event.kind()),
            RunEvent::Answer(answer) => println!("answer: {answer}"),
            // A later release may tell more.
            _ => {}
        }
    }
    Ok(())
}
