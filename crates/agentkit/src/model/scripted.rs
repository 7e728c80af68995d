//! A model that follows a script instead of an LLM: for examples, tests and load.
//!
//! A script is TOML. Each model call takes the next turn:
//!
//! ```toml
//! name = "sales"        # optional: the second part of the model's name
//! latency_ms = 5        # optional: duration of each turn
//!
//! [[turn]]
//! text = "I look at the file first."     # optional words beside calls
//! calls = [ { tool = "read_file", arguments = { path = "data/sales.csv" } } ]
//!
//! [[turn]]                               # a turn with cases: the first true case counts
//!   [[turn.case]]
//!   when = "'north' in last"
//!   calls = [ { tool = "calculator", arguments = { expression = "{{ last | column('amount') | join('+') }}" } } ]
//!   [[turn.case]]                        # always true without `when`
//!   answer = "There are no sales in the north."
//!
//! [[turn]]
//! answer = "Total {{ result(2) }}"
//! ```
//!
//! # A turn, or a case of a turn
//! - `answer`: the run's answer; or `calls`: the tools to call, each with `tool` and `arguments`,
//!   and beside them optionally `text`.
//! - `when`: an expression; the turn or case counts only if the expression is true.
//! - `latency_ms`: in place of the script's own.
//! - `finish`: reason of the stop, `stop`, `tool_calls`, `length` or `content_filter`.
//!
//! A table `[summary]` has the fields of a turn: the answer to a request to sum up a conversation that no longer
//! fits the context. Without the table the model answers that there are no notes.
//!
//! `repeat_from = 1` beside the name goes on at the given turn (the first is 1) after the last turn, for
//! runs of any length; a case such as `when = "turn > 5000"` with an `answer` ends the run. Without
//! `repeat_from`, a run with more turns fails with [`ModelErrorKind::ScriptExhausted`].
//!
//! # Templates
//! Each string in `answer`, `text` and `arguments` may be a [minijinja](https://docs.rs/minijinja)
//! template, and gives a string. For an argument of a further kind of JSON, a table with the
//! only key `$expr` gives the value of an expression: `{ "$expr" = "rows | length" }`. An undefined name is an
//! error. There are, besides minijinja's own filters:
//! - `goal`: the goal of the run.
//! - `turn`: the number of this turn in the run; the first is 1.
//! - `last`: the results of the turn before, as text, each on lines of its own.
//! - `result(n)`: the text of the n-th tool result of the run; `result(-1)` is the newest.
//! - `results`: all results, each with `tool`, `text` and `error` (whether the call failed). Results outside a
//!   compacted conversation are missing here.
//! - `csv | rows`: a list of maps from the CSV's header row (RFC 4180) to the fields of a row.
//! - `csv | column(name)`: the fields of a column, without the header; a number counts from 1.
//! - `text | fromjson`: the value of JSON text. The built-in tools answer with JSON
//!   objects: the text of `read_file` is `(last | fromjson).text`.
//!
//! # Faults
//! - `error = "rate_limited"` makes the call fail: `unreachable`, `timeout`, `conflict`,
//!   `rate_limited`, `server_error`, `malformed_response`, `unauthorized`, `quota_exceeded`,
//!   `not_found`, `context_overflow`, `content_filter` or `invalid_request`, optionally with
//!   `retry_after_ms`. With `error_times = 2` only the first two calls of this turn fail (counted over all
//!   runs with the same loaded script), and later calls get the rest of the turn.
//! - `malformed_arguments = "{oops"` in place of a call's `arguments` is sent unchanged.
//!
//! # Position
//! The model keeps no state of a run, so a resumed run goes on at its turn. A run counts its
//! answers and sends the count with each request ([`Request::answers`]). Without the count, the turn follows from
//! the conversation: each call's provider id names its turn, and without an id the model's messages
//! are counted.

mod compile;
mod csv;
mod script;
mod template;

use std::{sync::Arc, time::Duration};

pub use self::script::{Script, ScriptError};
use self::{
    script::{Act, Case, Fault, Say},
    template::{Effort, Scene},
};
use super::{DeltaSink, Message, Model, ModelError, ModelErrorKind, Request, Response};
use crate::{
    BoxFuture,
    event::{Purpose, Usage},
    memory::estimate_tokens,
    model::ResponseCall,
};

/// Before the turn in the provider ids of this model's calls.
const ID: &str = "script_";

/// The model of a [`Script`]: no LLM.
#[derive(Debug, Clone)]
pub struct Scripted {
    script: Arc<Script>,
    name: String,
}

impl Scripted {
    /// The model of a script, named `scripted/` and the script's name.
    #[must_use]
    pub fn new(script: Arc<Script>) -> Self {
        let name = format!("scripted/{}", script.name());
        Self { script, name }
    }

    /// The model of a script in TOML.
    ///
    /// # Errors
    /// As [`Script::parse`].
    pub fn parse(script: &str) -> Result<Self, ScriptError> {
        Script::parse(script).map(|script| Self::new(Arc::new(script)))
    }

    /// The response of a case, without usage.
    fn written(&self, say: &Say, turn: Turn, scene: &Scene<'_>) -> Result<Response, ScriptFailure> {
        let wrong = |error: minijinja::Error| {
            ScriptFailure::of(&error, |what| {
                format!(
                    "{turn} of script `{}` cannot be written: {what}; correct its template",
                    self.script.name(),
                )
            })
        };
        let content = say
            .content
            .render(&self.script.templates, scene)
            .map_err(wrong)?;
        let mut calls = Vec::with_capacity(say.calls.len());
        for (index, call) in say.calls.iter().enumerate() {
            calls.push(ResponseCall {
                provider_id: format!("{ID}{}_{}", turn.number(), index + 1),
                name: call.tool.clone(),
                arguments: call
                    .arguments
                    .render(&self.script.templates, scene)
                    .map_err(wrong)?,
            });
        }
        let said: usize = calls
            .iter()
            .map(|call| call.name.len() + call.arguments.len())
            .sum();
        Ok(Response {
            usage: Usage {
                output_tokens: tokens(content.len() + said),
                ..Usage::default()
            },
            content,
            calls,
            finish: say.finish,
            model: self.name.clone(),
            parts: None,
            request_id: None,
        })
    }

    fn cases(&self, turn: Turn) -> Result<&[Case], ModelError> {
        match turn {
            Turn::Of(number) => self
                .script
                .cases(number)
                .ok_or_else(|| self.exhausted(number)),
            Turn::Summary => Ok(self.script.summary()),
        }
    }

    /// Index of the first true case.
    fn case(&self, turn: Turn, scene: &Scene<'_>) -> Result<usize, ScriptFailure> {
        let cases = self.cases(turn).map_err(ScriptFailure::Model)?;
        for (place, case) in cases.iter().enumerate() {
            let Some(when) = &case.when else {
                return Ok(place);
            };
            let holds = when.holds(&self.script.templates, scene).map_err(|error| {
                ScriptFailure::of(&error, |what| {
                    format!(
                        "in {turn} of script `{}` the condition `{}` has no value: {what}; correct it",
                        self.script.name(),
                        when.source,
                    )
                })
            })?;
            if holds {
                return Ok(place);
            }
        }
        let conditions: Vec<String> = cases
            .iter()
            .flat_map(|c| &c.when)
            .map(|w| format!("`{}`", w.source))
            .collect();
        let message = format!(
            "in {turn} of script `{}` no condition holds ({}); add a [[turn.case]] without \
             `when`",
            self.script.name(),
            conditions.join(", ")
        );
        let error = ModelError::new(ModelErrorKind::ScriptExhausted, message);
        Err(ScriptFailure::Model(error))
    }

    fn say(&self, turn: Turn, place: usize) -> Option<&Say> {
        match &self.cases(turn).ok()?.get(place)?.act {
            Act::Say(say) => Some(say),
            Act::Falter(falter) => Some(&falter.say),
            Act::Fail(_) => None,
        }
    }

    /// Renders a part of the script: here if the part is small, else on the pool.
    async fn write<T: Send + 'static>(
        &self,
        messages: &[Arc<Message>],
        turn: Turn,
        write: impl Fn(&Self, &Scene<'_>) -> Result<T, ScriptFailure> + Send + 'static,
    ) -> Result<T, ModelError> {
        {
            let scene = Scene::new(messages, turn.number(), Effort::Small);
            match write(self, &scene) {
                Ok(written) => return Ok(written),
                Err(ScriptFailure::Model(error)) => return Err(error),
                Err(ScriptFailure::Spent(_)) => {}
            }
        }
        let (model, messages) = (self.clone(), messages.to_vec());
        let written = bounded::pool::run(move |_| {
            let scene = Scene::new(&messages, turn.number(), Effort::Full);
            write(&model, &scene)
        });
        written.await.map_err(|failure| match failure {
            ScriptFailure::Model(error) | ScriptFailure::Spent(error) => error,
        })
    }

    fn exhausted(&self, turn: usize) -> ModelError {
        let message = format!(
            "script `{}` ends after turn {}, but the run asks for turn {turn}; end it with an \
             `answer`, add a [[turn]], or set `repeat_from`",
            self.script.name(),
            self.script.len()
        );
        ModelError::new(ModelErrorKind::ScriptExhausted, message)
    }
}

impl Model for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_llm(&self) -> bool {
        false
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        Box::pin(async move {
            let turn = match (&request.purpose, request.answers) {
                (Purpose::Summary { .. }, _) => Turn::Summary,
                (_, Some(answers)) => Turn::Of(answers as usize + 1),
                (_, None) => Turn::Of(turn(&request.messages)),
            };
            let choose = move |model: &Self, scene: &Scene<'_>| model.case(turn, scene);
            let place = self.write(&request.messages, turn, choose).await?;
            let case = self.cases(turn)?.get(place);
            let case = case.expect("a case that holds is one of the turn's");
            if case.latency > Duration::ZERO {
                tokio::time::sleep(case.latency).await;
            }
            match &case.act {
                Act::Fail(fault) => return Err(error(fault, turn)),
                Act::Falter(falter) if falter.fails() => return Err(error(&falter.fault, turn)),
                Act::Say(_) | Act::Falter(_) => {}
            }
            let say = move |model: &Self, scene: &Scene<'_>| {
                let say = model.say(turn, place);
                model.written(say.expect("the case says something"), turn, scene)
            };
            let written = self.write(&request.messages, turn, say).await?;
            if !written.content.is_empty() {
                deltas.text(&written.content);
            }
            let input_tokens = request.message_tokens.unwrap_or_else(|| {
                let messages = request.messages.iter();
                messages.map(|message| estimate_tokens(message)).sum()
            });
            Ok(Response {
                usage: Usage {
                    input_tokens,
                    ..written.usage
                },
                ..written
            })
        })
    }
}

/// Why something of a script was not written.
enum ScriptFailure {
    /// The part cannot be rendered with any budget.
    Model(ModelError),
    /// The part takes more than its budget.
    Spent(ModelError),
}

impl ScriptFailure {
    fn of(error: &minijinja::Error, message: impl FnOnce(&str) -> String) -> Self {
        let message = message(&template::explain(error));
        let failure = ModelError::new(ModelErrorKind::InvalidRequest, message);
        match error.kind() {
            minijinja::ErrorKind::OutOfFuel => Self::Spent(failure),
            _ => Self::Model(failure),
        }
    }
}

/// Request of a call to a script.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// A turn of the run; the first is 1.
    Of(usize),
    /// A summary.
    Summary,
}

impl Turn {
    fn number(self) -> usize {
        match self {
            Self::Of(number) => number,
            Self::Summary => 0,
        }
    }
}

impl std::fmt::Display for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Of(number) => write!(f, "turn {number}"),
            Self::Summary => f.write_str("the summary"),
        }
    }
}

fn error(fault: &Fault, turn: Turn) -> ModelError {
    let served = matches!(
        fault.kind,
        ModelErrorKind::Timeout | ModelErrorKind::MalformedResponse
    );
    ModelError {
        retry_after: fault.retry_after,
        maybe_charged: served,
        ..ModelError::new(
            fault.kind,
            format!("the script asks for this failure in {turn}"),
        )
    }
}

/// Number of the present turn of the conversation; the first is 1.
fn turn(messages: &[Arc<Message>]) -> usize {
    let mut newer = 0;
    for message in messages.iter().rev() {
        if let Message::Assistant { calls, .. } = &**message {
            let id = calls
                .first()
                .and_then(|call| call.provider_id.strip_prefix(ID));
            let known = id.and_then(|id| id.split_once('_')?.0.parse::<usize>().ok());
            newer += 1;
            if let Some(turn) = known {
                return turn.saturating_add(newer);
            }
        }
    }
    newer + 1
}

/// Four bytes a token, as for any text with an unknown tokenizer.
fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}
