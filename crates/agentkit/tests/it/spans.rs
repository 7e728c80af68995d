//! What the spans of a run hold.

use std::sync::{Arc, Mutex};

use agentkit::{
    Agent, AgentBuilder,
    model::scripted::Scripted,
    tool::{Effect, function},
};
use tracing::{
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    EnvFilter, Layer, layer::Context, layer::SubscriberExt as _, registry::LookupSpan,
};

/// Every value that a span was given.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<String>>);

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut seen = self.0.lock().unwrap();
        seen.push_str(&format!("{}={value:?}\n", field.name()));
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        span.record(&mut self.clone());
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut self.clone());
    }
}

#[derive(serde::Deserialize, agentkit::JsonSchema)]
struct Look {
    at: String,
}

fn builder() -> AgentBuilder {
    let script = "[[turn]]\ntext = 'I look.'\ncalls = [{ tool = 'look', arguments = { at = 'the argument' } }]\n\
                  [[turn]]\nanswer = 'the answer'";
    let look = |Look { at }| async move { Ok::<_, String>(format!("result of {at}")) };
    Agent::builder(Scripted::parse(script).unwrap())
        .instructions("the instructions")
        .tool(function("look", "Looks.", look).effect(Effect::Pure))
}

/// All that the spans of a run hold, under a filter of a subscriber.
async fn spans(agent: &Agent, filter: &str) -> String {
    let seen = Seen::default();
    let filtered = seen.clone().with_filter(EnvFilter::new(filter));
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(filtered));
    agent.run("the goal").await.unwrap();
    drop(guard);
    let seen = seen.0.lock().unwrap();
    seen.clone()
}

const CONTENT: [&str; 5] = [
    "the instructions",
    "the goal",
    "the argument",
    "result of",
    "the answer",
];

/// library/L3: prompts, arguments and results were in the spans under any ordinary filter.
#[tokio::test]
async fn content_is_in_spans_by_a_word_in_code_and_by_no_filter() {
    let agent = builder().build().unwrap();
    for filter in [
        "info",
        "trace",
        "agentkit=trace",
        "agentkit::content=trace,info",
    ] {
        let spans = spans(&agent, filter).await;
        assert!(
            spans.contains("gen_ai.usage.input_tokens"),
            "{filter}: {spans}"
        );
        for content in CONTENT {
            assert!(!spans.contains(content), "{filter}: {content} in {spans}");
        }
    }
    let agent = builder().content_in_spans().build().unwrap();
    let spans = spans(&agent, "info").await;
    for content in CONTENT {
        assert!(spans.contains(content), "{content} not in {spans}");
    }
}
