//! From the text of a turn to its cases.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{
    script::{Act, Call, Case, Falter, Fault, Say},
    template::{Arguments, Templates, explain},
};
use crate::{event::FinishReason, model::ModelErrorKind};

/// A turn or a case of one.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCase {
    when: Option<String>,
    text: Option<String>,
    answer: Option<String>,
    calls: Vec<RawCall>,
    finish: Option<FinishReason>,
    latency_ms: Option<u64>,
    error: Option<String>,
    error_times: Option<u32>,
    retry_after_ms: Option<u64>,
    case: Vec<Spanned<RawCase>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCall {
    tool: String,
    arguments: Option<toml::Table>,
    malformed_arguments: Option<String>,
}

/// Where in the text, and what is wrong there.
pub(super) type Wrong = (usize, String);

/// Checks and compiles the cases of a turn.
pub(super) fn cases(
    turn: Spanned<RawCase>,
    latency_ms: u64,
    templates: &mut Templates,
) -> Result<Vec<Case>, Wrong> {
    let at = turn.span().start;
    let mut turn = turn.into_inner();
    if turn.case.is_empty() {
        return Ok(vec![
            case(turn, latency_ms, templates).map_err(|message| (at, message))?,
        ]);
    }
    let inner = std::mem::take(&mut turn.case);
    let latency_ms = turn.latency_ms.take().unwrap_or(latency_ms);
    if !turn.is_empty() {
        let message = "a turn with cases holds nothing else but `latency_ms`; move the rest into a \
                       [[turn.case]]";
        return Err((at, message.to_owned()));
    }
    let cases = inner.into_iter().map(|inner| {
        let at = inner.span().start;
        let inner = inner.into_inner();
        if !inner.case.is_empty() {
            return Err((
                at,
                "a case has no cases of its own; write them one by one".to_owned(),
            ));
        }
        case(inner, latency_ms, templates).map_err(|message| (at, message))
    });
    cases.collect()
}

impl RawCase {
    pub(super) fn answer(text: &str) -> Self {
        Self {
            answer: Some(text.to_owned()),
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        let Self {
            when,
            text,
            answer,
            calls,
            finish,
            latency_ms,
            error,
            error_times,
            retry_after_ms,
            case,
        } = self;
        when.is_none()
            && text.is_none()
            && answer.is_none()
            && calls.is_empty()
            && finish.is_none()
            && latency_ms.is_none()
            && error.is_none()
            && error_times.is_none()
            && retry_after_ms.is_none()
            && case.is_empty()
    }
}

fn case(raw: RawCase, latency_ms: u64, templates: &mut Templates) -> Result<Case, String> {
    let when = raw.when.map(|source| {
        let compiled = templates.condition(source.clone());
        compiled
            .map_err(|error| format!("`when` is no expression ({}): `{source}`", explain(&error)))
    });
    let fault = match raw.error {
        Some(name) => Some(Fault {
            kind: kind(&name)?,
            retry_after: raw.retry_after_ms.map(Duration::from_millis),
        }),
        None if raw.error_times.is_some() || raw.retry_after_ms.is_some() => {
            return Err(
                "`error_times` and `retry_after_ms` go with an `error`; add one".to_owned(),
            );
        }
        None => None,
    };
    let says = raw.answer.is_some() || raw.text.is_some() || !raw.calls.is_empty();
    let act = match (fault, raw.error_times) {
        (Some(_), None) if says => {
            return Err(
                "this turn always fails, so it says nothing; add `error_times`, or take \
                        `answer`, `text` and `calls` away"
                    .to_owned(),
            );
        }
        (Some(fault), None) => Act::Fail(fault),
        (fault, times) => {
            let say = say(raw.answer, raw.text, raw.calls, raw.finish, templates)?;
            match fault {
                Some(fault) => Act::Falter(Falter {
                    fault,
                    left: times.unwrap_or(0).into(),
                    say,
                }),
                None => Act::Say(say),
            }
        }
    };
    Ok(Case {
        when: when.transpose()?,
        latency: Duration::from_millis(raw.latency_ms.unwrap_or(latency_ms)),
        act,
    })
}

fn say(
    answer: Option<String>,
    text: Option<String>,
    calls: Vec<RawCall>,
    finish: Option<FinishReason>,
    templates: &mut Templates,
) -> Result<Say, String> {
    let content = match (answer, text, calls.is_empty()) {
        (Some(answer), None, true) => answer,
        (None, text, false) => text.unwrap_or_default(),
        (Some(_), _, false) => {
            return Err(
                "a turn has an `answer` or `calls`, not both; use `text` for words beside \
                        calls"
                    .to_owned(),
            );
        }
        (Some(_), Some(_), true) => {
            return Err(
                "a turn has an `answer` or a `text`, not both; `text` stands beside calls"
                    .to_owned(),
            );
        }
        (None, _, true) => {
            return Err("the turn does nothing; add an `answer`, `calls` or an `error`".to_owned());
        }
    };
    let done = if calls.is_empty() {
        FinishReason::Stop
    } else {
        FinishReason::ToolCalls
    };
    Ok(Say {
        content: templates
            .text(content)
            .map_err(|error| format!("the text is no template: {}", explain(&error)))?,
        calls: calls
            .into_iter()
            .map(|raw| call(raw, templates))
            .collect::<Result<_, _>>()?,
        finish: finish.unwrap_or(done),
    })
}

fn call(raw: RawCall, templates: &mut Templates) -> Result<Call, String> {
    let arguments = match (raw.arguments, raw.malformed_arguments) {
        (Some(_), Some(_)) => {
            return Err(format!(
                "the call of `{}` has `arguments` or `malformed_arguments`, not both",
                raw.tool
            ));
        }
        (None, Some(text)) => Arguments::Plain(text),
        (arguments, None) => {
            let wrong = |what: String| format!("arguments of the call of `{}`: {what}", raw.tool);
            let value = json(toml::Value::Table(arguments.unwrap_or_default())).map_err(wrong)?;
            let wrong = |error| wrong(format!("no template, {}", explain(&error)));
            templates.json(value).map_err(wrong)?.into()
        }
    };
    Ok(Call {
        tool: raw.tool,
        arguments,
    })
}

/// TOML as JSON; dates and times become strings.
fn json(value: toml::Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) if number.is_finite() => number.into(),
        toml::Value::Float(number) => {
            return Err(format!(
                "JSON has no number `{number}`; write it as a string"
            ));
        }
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items
            .into_iter()
            .map(json)
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        toml::Value::Table(table) => {
            let entries = table
                .into_iter()
                .map(|(key, value)| Ok((key, json(value)?)));
            serde_json::Value::Object(entries.collect::<Result<_, String>>()?)
        }
    })
}

/// The failure that a name stands for: its code without `model_`.
fn kind(name: &str) -> Result<ModelErrorKind, String> {
    const KINDS: [ModelErrorKind; 12] = [
        ModelErrorKind::Unreachable,
        ModelErrorKind::Timeout,
        ModelErrorKind::Conflict,
        ModelErrorKind::RateLimited,
        ModelErrorKind::ServerError,
        ModelErrorKind::MalformedResponse,
        ModelErrorKind::Unauthorized,
        ModelErrorKind::QuotaExceeded,
        ModelErrorKind::NotFound,
        ModelErrorKind::ContextOverflow,
        ModelErrorKind::ContentFilter,
        ModelErrorKind::InvalidRequest,
    ];
    let plain = |kind: ModelErrorKind| kind.code().trim_start_matches("model_");
    KINDS
        .into_iter()
        .find(|kind| plain(*kind) == name)
        .ok_or_else(|| {
            format!(
                "`error = \"{name}\"` is not known; use one of {}",
                KINDS.map(plain).join(", ")
            )
        })
}
