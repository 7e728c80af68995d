//! Spans of what an agent does, named and attributed as the [GenAI semantic conventions] of
//! OpenTelemetry say: `invoke_agent` for a drive, `chat` for a model call, `execute_tool` for a tool
//! call. All names of that convention are in this module, as it is still moving.
//!
//! The spans have the target [`TARGET`]; a subscriber that does not enable it pays for nothing. What
//! the model says and what tools take and return is in them only where the agent was built with
//! [`content_in_spans`](crate::AgentBuilder::content_in_spans): no filter brings it there.
//!
//! [GenAI semantic conventions]: https://opentelemetry.io/docs/specs/semconv/gen-ai/

use std::sync::{Arc, OnceLock};

use tracing::{Level, Span, enabled, field, info_span};

use crate::{
    agent::Agent,
    event::{Failure, FinishReason, ToolCalled},
    model::{Image, Message, ModelError, Request, Response},
    tool,
};

/// The target of every span.
pub const TARGET: &str = "agentkit::telemetry";

/// Names the span that is under way, as the header `traceparent` of W3C Trace Context.
type Traceparent = fn() -> Option<String>;

static TRACEPARENT: OnceLock<Traceparent> = OnceLock::new();

/// Sets how the span that is under way is named for other processes. The first call counts: there is one subscriber in a
/// process.
pub fn set_traceparent(source: fn() -> Option<String>) {
    let _ = TRACEPARENT.set(source);
}

/// The span that is under way as a W3C `traceparent`, for a request to another process; `None` without a subscriber
/// that has such names.
#[must_use]
pub fn traceparent() -> Option<String> {
    TRACEPARENT.get().and_then(|source| source())
}

/// A drive of an agent: from its begin or its resume to its end or its next wait.
pub(crate) fn drive(agent: &Agent) -> Span {
    if !enabled!(target: TARGET, Level::INFO) {
        return Span::none();
    }
    let name = &agent.config().agent;
    info_span!(
        target: TARGET,
        "invoke_agent",
        otel.name = format_args!("invoke_agent {name}"),
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = %name,
        error.type = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// A model call.
pub(crate) fn chat(
    content: Content,
    model: &str,
    step: u32,
    attempt: u32,
    request: &Request,
) -> Span {
    if !enabled!(target: TARGET, Level::INFO) {
        return Span::none();
    }
    let (provider, name) = model.split_once('/').unwrap_or(("", model));
    let span = info_span!(
        target: TARGET,
        "chat",
        otel.name = format_args!("chat {name}"),
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = provider_name(provider),
        gen_ai.request.model = name,
        gen_ai.request.max_tokens = field::Empty,
        gen_ai.request.temperature = field::Empty,
        gen_ai.response.model = field::Empty,
        gen_ai.response.finish_reasons = field::Empty,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        gen_ai.usage.cache_read.input_tokens = field::Empty,
        gen_ai.input.messages = field::Empty,
        gen_ai.output.messages = field::Empty,
        opspawn.step = i64::from(step),
        opspawn.attempt = i64::from(attempt),
        opspawn.cost_micros = field::Empty,
        error.type = field::Empty,
        otel.status_code = field::Empty,
    );
    if let Some(tokens) = request.max_output_tokens {
        span.record("gen_ai.request.max_tokens", count(tokens));
    }
    if let Some(temperature) = request.temperature {
        span.record("gen_ai.request.temperature", temperature);
    }
    if content == Content::Recorded {
        span.record("gen_ai.input.messages", messages(request));
    }
    span
}

/// Records the result of a model call.
pub(crate) fn answered(content: Content, span: &Span, answer: &Result<Response, ModelError>) {
    if span.is_disabled() {
        return;
    }
    match answer {
        Ok(response) => {
            let usage = &response.usage;
            span.record("gen_ai.response.model", &*response.model);
            span.record(
                "gen_ai.response.finish_reasons",
                finish_reasons(response.finish),
            );
            span.record("gen_ai.usage.input_tokens", count(usage.input_tokens));
            span.record("gen_ai.usage.output_tokens", count(usage.output_tokens));
            span.record(
                "gen_ai.usage.cache_read.input_tokens",
                count(usage.cached_tokens),
            );
            span.record("opspawn.cost_micros", count(usage.cost_micros));
            if content == Content::Recorded {
                span.record("gen_ai.output.messages", &*response.content);
            }
        }
        Err(error) => failed(span, error.kind.code()),
    }
}

/// A tool call.
pub(crate) fn execute_tool(content: Content, call: &ToolCalled) -> Span {
    if !enabled!(target: TARGET, Level::INFO) {
        return Span::none();
    }
    let span = info_span!(
        target: TARGET,
        "execute_tool",
        otel.name = format_args!("execute_tool {}", call.name),
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = %call.name,
        gen_ai.tool.type = "function",
        gen_ai.tool.call.id = %call.step,
        gen_ai.tool.call.arguments = field::Empty,
        gen_ai.tool.call.result = field::Empty,
        opspawn.step = i64::from(call.step.0),
        opspawn.effect = field::Empty,
        error.type = field::Empty,
        otel.status_code = field::Empty,
    );
    span.record("opspawn.effect", json(&call.effect).trim_matches('"'));
    if content == Content::Recorded {
        span.record("gen_ai.tool.call.arguments", json(&call.input));
    }
    span
}

/// Records the result of a tool call.
pub(crate) fn returned(content: Content, span: &Span, outcome: &Result<tool::Outcome, Failure>) {
    if span.is_disabled() {
        return;
    }
    match outcome {
        Ok(outcome) if content == Content::Recorded => {
            span.record("gen_ai.tool.call.result", json(&outcome.output));
        }
        Ok(_) => {}
        Err(failure) => failed(span, &failure.code),
    }
}

/// How a drive ended, if not well.
pub(crate) fn failed(span: &Span, code: &str) {
    span.record("error.type", code);
    span.record("otel.status_code", "ERROR");
}

/// Whether spans hold prompts, answers, arguments and results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Recorded,
    Hidden,
}

impl Content {
    /// The agent's setting.
    pub(crate) fn of(agent: &Agent) -> Self {
        match agent.content_in_spans {
            true => Self::Recorded,
            false => Self::Hidden,
        }
    }
}

/// The convention has signed numbers alone.
fn count(of: u64) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

/// The messages, without the bytes of images: no collector takes so long an attribute.
fn messages(request: &Request) -> String {
    let messages = request.messages.iter().map(|message| match &**message {
        Message::User { content, images } if !images.is_empty() => Arc::new(Message::User {
            content: content.clone(),
            images: images.iter().map(without_bytes).collect(),
        }),
        Message::System { .. }
        | Message::User { .. }
        | Message::Assistant { .. }
        | Message::Tool { .. } => Arc::clone(message),
    });
    json(&messages.collect::<Vec<_>>())
}

fn without_bytes(image: &Image) -> Image {
    match image {
        Image::Url { .. } => image.clone(),
        Image::Inline { media_type, base64 } => Image::Inline {
            media_type: media_type.clone(),
            base64: format!("[{} bytes]", base64.len() / 4 * 3),
        },
    }
}

fn json(of: &impl serde::Serialize) -> String {
    serde_json::to_string(of).unwrap_or_default()
}

/// The well-known value for a provider, else its own name.
fn provider_name(provider: &str) -> &str {
    match provider {
        "google" => "gcp.gemini",
        other => other,
    }
}

fn finish_reasons(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop => "[\"stop\"]",
        FinishReason::ToolCalls => "[\"tool_calls\"]",
        FinishReason::Length => "[\"length\"]",
        FinishReason::ContentFilter => "[\"content_filter\"]",
    }
}
