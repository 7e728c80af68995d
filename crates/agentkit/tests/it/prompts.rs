//! The prompt that is shown of a model call is the one that was sent.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use agentkit::{
    Agent, BoxFuture, Event, Model,
    drive::{self, DriveEnvironment, MemoryRecorder, Prompt, Stop, SystemClock},
    model::{DeltaSink, ModelError, ModelInfo, Request, Response, scripted::Scripted},
    planner::{React, ReactText},
    run::Run,
    tool::{Effect, function},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// Keeps what it is sent.
struct Watched(Scripted, Arc<Mutex<Vec<Request>>>);

impl Model for Watched {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn info(&self) -> Option<&ModelInfo> {
        self.0.info()
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        self.1.lock().unwrap().push(request.clone());
        self.0.call(request, deltas)
    }
}

#[derive(Deserialize, JsonSchema)]
struct City {
    city: String,
}

async fn weather(City { city }: City) -> Result<String, String> {
    Ok(format!("18 degrees in {city}"))
}

/// A call, an answer that is no JSON of the schema, one that fails at first, and a right one.
const SCRIPT: &str = r#"
[[turn]]
text = "I look."
calls = [{ tool = "weather", arguments = { city = "Oslo" } }]
[[turn]]
answer = "It is warm."
[[turn]]
error = "server_error"
error_times = 1
answer = '{"degrees": 18}'
"#;

/// The calls of a run whose planner is `text` or not: what was sent, and what is shown of the log.
async fn calls(text: bool) -> (Vec<Prompt>, Vec<Prompt>) {
    let asked = Arc::<Mutex<Vec<Request>>>::default();
    let model = Watched(Scripted::parse(SCRIPT).unwrap(), Arc::clone(&asked));
    let builder = Agent::builder(model)
        .instructions("Be brief.")
        .output_schema(json!({
            "type": "object", "properties": {"degrees": {"type": "integer"}},
            "required": ["degrees"],
        }))
        .tool(function("weather", "The weather.", weather).effect(Effect::Pure));
    let builder = match text {
        true => builder.planner(ReactText),
        false => builder.planner(React),
    };
    let agent = builder.build().unwrap();
    let log = Arc::<MemoryRecorder>::default();
    let environment = DriveEnvironment::new(
        log.clone(),
        Arc::new(SystemClock),
        PathBuf::from("."),
        log.clone(),
    );
    let mut run = Run::default();
    loop {
        let stop = drive::drive(&agent, "How is it in Oslo?", &mut run, &environment).await;
        match stop.unwrap() {
            Stop::Completed(answer) => {
                assert_eq!(answer, json!({"degrees": 18}));
                break;
            }
            Stop::Waiting(wait) => drive::sleep_through(&wait, &environment).await,
            Stop::Failed(failure) => panic!("{failure:?}"),
        }
    }
    let sent = asked.lock().unwrap();
    let sent = sent.iter().map(|request| Prompt {
        messages: request.messages.clone(),
        tools: request.tools.clone(),
        response_schema: request.response_schema.clone(),
    });
    let (mut before, mut shown) = (Run::default(), Vec::new());
    for event in log.events() {
        if let Event::ModelStarted(intent) = &event {
            shown.push(drive::prompt(&agent, &before, intent).unwrap());
        }
        before.apply(&event).unwrap();
    }
    (sent.collect(), shown)
}

#[tokio::test]
async fn a_prompt_is_made_again_as_it_was_sent() {
    for text in [false, true] {
        let (sent, shown) = calls(text).await;
        assert!(sent.len() >= 3, "{}", sent.len());
        assert_eq!(sent, shown, "text: {text}");
        let refused = shown.last().unwrap().shown().to_string();
        assert!(refused.contains("It is warm."), "{refused}");
        assert!(refused.contains("Be brief."), "{refused}");
    }
}
