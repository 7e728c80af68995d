//! The one gate that every tool call goes through.
//!
//! The order is the same for every call: validate, deny, ask, profile, allow, run, cap. The first
//! five are [`Gate::admit`], which is pure and whose word is recorded before anything runs; the last
//! two are [`Gate::run`]. An earlier denial always wins.

mod arguments;
mod cap;
mod parts;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bounded::schema::CheckError;
use bytes::Bytes;
use futures_util::FutureExt as _;
use serde_json::Value;

pub use self::cap::json_prefix;
use super::{
    Effect, Registry, Resources, Then, ToolContext, ToolOutput,
    registry::{Entry, RegistryError},
};
use crate::{
    event::{ContentPart, Failure, FileDelta, Handle, StepId},
    policy::{Action, Permission, Policy, PolicyCheck, PolicyContext},
};

/// The largest result, in bytes, that is always shown whole. A page of a larger one keeps under it.
pub const INLINE_LIMIT: usize = 16 * 1024;

/// Judges tool calls and runs them within their limits. Cloning it is cheap.
#[derive(Clone)]
pub struct Gate {
    registry: Registry,
    policy: Arc<dyn Policy>,
    limits: GateLimits,
    /// The tool whose probe the calls are, if they are of one.
    probe_of: Option<Arc<str>>,
}

/// How large results may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateLimits {
    /// A result of more bytes than this is kept apart and read in pages; at least
    /// [`INLINE_LIMIT`], or the pages themselves would be kept apart.
    pub inline_limit: usize,
    /// A result, or a written file, of more bytes than this is an error.
    pub max_result: usize,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            inline_limit: INLINE_LIMIT,
            max_result: 64 * 1024 * 1024,
        }
    }
}

/// What the gate says of a call before it runs; the caller records it.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// The exact arguments that would run, keys sorted; a string with the raw text (or its
    /// beginning, if it is too large) if they are not JSON.
    pub input: Value,
    /// The tool's effect class; [`Effect::Write`], the careful one, for a tool that is not there.
    pub effect: Effect,
    /// Why it must not run; none if it may.
    pub error: Option<Failure>,
    /// Who has to be asked before it runs; none if nobody, or if it must not run.
    pub ask: Option<Ask>,
    /// The resources that it reads and writes; none if it must not run.
    pub resources: Option<Resources>,
}

/// A call that runs only once somebody has approved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Why, for that person.
    pub reason: String,
    /// How long to wait for an answer; none for the run's deadline.
    pub timeout: Option<Duration>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What the model is shown: the result, or its beginning and where the rest is.
    pub output: Value,
    /// The whole result, if it is too large to show.
    pub handle: Option<(Handle, Bytes)>,
    /// The parts of the result.
    pub parts: Vec<ContentPart>,
    /// The bytes of the parts, by digest.
    pub blobs: Vec<(String, Bytes)>,
    /// Files of the workspace that the call wrote, with their content; none for one it removed.
    pub files: Vec<(FileDelta, Option<Bytes>)>,
    /// What follows from the call.
    pub then: Option<Then>,
}

impl Gate {
    /// A gate for these tools, with the default limits.
    #[must_use]
    pub fn new(registry: Registry, policy: Arc<dyn Policy>) -> Self {
        Self {
            registry,
            policy,
            limits: GateLimits::default(),
            probe_of: None,
        }
    }

    /// With other limits.
    #[must_use]
    pub fn limits(mut self, limits: GateLimits) -> Self {
        self.limits = GateLimits {
            inline_limit: limits.inline_limit.max(INLINE_LIMIT),
            ..limits
        };
        self
    }

    /// The same gate for the probe of a tool: the probe's tool need not be one of the agent's.
    ///
    /// # Errors
    /// If the tool cannot be used.
    pub(crate) fn for_probe(
        &self,
        of: &str,
        tool: Arc<dyn super::Tool>,
    ) -> Result<Self, RegistryError> {
        Ok(Self {
            registry: self.registry.replace(tool)?,
            probe_of: Some(of.into()),
            ..self.clone()
        })
    }

    /// The tools.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Judges a call by its name and the arguments as the model wrote them; empty means `{}`.
    ///
    /// A whole number written as `3.0` becomes an integer where the schema wants one, and `null` for an
    /// argument that may be missing and does not take `null` is left out.
    ///
    /// The codes of a refusal are `unknown_tool`, `invalid_arguments`, `schema_too_costly` and
    /// `denied`.
    pub async fn admit(
        &self,
        name: &str,
        raw_arguments: &str,
        context: &PolicyContext<'_>,
    ) -> Admission {
        match arguments::parse(raw_arguments) {
            Ok(input) => match self.registry.entry(name) {
                Ok(entry) => {
                    let (input, checked) = entry.input.accept(input).await;
                    self.judged(entry, input, checked, context)
                }
                Err(error) => unknown(&error, input),
            },
            Err(arguments::Malformed { kept, error }) => self.unread(name, &kept, error),
        }
    }

    /// The word on a call whose arguments were not read, for this reason.
    pub(crate) fn unread(&self, name: &str, raw_arguments: &str, error: Failure) -> Admission {
        let (effect, error) = match self.registry.entry(name) {
            Ok(entry) => (entry.spec.effect, error),
            Err(unknown) => (Effect::Write, unknown_tool(&unknown)),
        };
        Admission {
            input: Value::String(arguments::kept(raw_arguments).to_owned()),
            effect,
            error: Some(error),
            ask: None,
            resources: None,
        }
    }

    /// Judges a call by arguments that are a value already: those that a person gave, or approved.
    /// They are taken as they are; otherwise as [`Gate::admit`].
    pub async fn judge(&self, name: &str, input: Value, context: &PolicyContext<'_>) -> Admission {
        match self.registry.entry(name) {
            Ok(entry) => {
                let checked = entry.input.check(&input).await;
                self.judged(entry, input, checked, context)
            }
            Err(error) => unknown(&error, input),
        }
    }

    fn judged(
        &self,
        entry: &Entry,
        input: Value,
        checked: Result<(), CheckError>,
        context: &PolicyContext<'_>,
    ) -> Admission {
        let verdict = match checked {
            Ok(()) => self.verdict(entry, &input, context),
            Err(error) => Err(arguments::refused(entry, &error)),
        };
        match verdict {
            Ok(Admitted {
                effect,
                resources,
                ask,
            }) => Admission {
                input,
                effect,
                error: None,
                ask,
                resources: Some(resources),
            },
            Err(error) => Admission {
                input,
                effect: entry.spec.effect,
                error: Some(error),
                ask: None,
                resources: None,
            },
        }
    }

    fn verdict(
        &self,
        entry: &Entry,
        arguments: &Value,
        context: &PolicyContext<'_>,
    ) -> Result<Admitted, Failure> {
        let (effect, resources) = said(entry, arguments);
        let action = Action {
            tool: &entry.spec,
            effect,
            arguments,
            resources: &resources,
            probe_of: self.probe_of.as_deref(),
        };
        let ask = match self.policy.check_permissions(&action, context) {
            Permission::Allow => None,
            Permission::Ask { reason, timeout } => Some(Ask { reason, timeout }),
            Permission::Deny { reason } => return Err(Failure::last("denied", reason)),
        };
        Ok(Admitted {
            effect,
            resources,
            ask,
        })
    }

    /// Lets a running call ask about other arguments of its own making, such as the address of a
    /// redirect: the policy judges them, the schema does not. `agent` is the agent's name.
    #[must_use]
    pub fn policy_check(&self, name: &str, agent: &str) -> PolicyCheck {
        let (gate, name, agent) = (self.clone(), name.to_owned(), agent.to_owned());
        PolicyCheck::new(move |arguments| {
            let context = PolicyContext { agent: &agent };
            let verdict = gate
                .registry
                .entry(&name)
                .map_err(|error| unknown_tool(&error))
                .and_then(|entry| gate.verdict(entry, &arguments, &context));
            match verdict {
                Err(error) => Permission::Deny {
                    reason: error.message,
                },
                Ok(Admitted {
                    ask: Some(Ask { reason, timeout }),
                    ..
                }) => Permission::Ask { reason, timeout },
                Ok(Admitted { ask: None, .. }) => Permission::Allow,
            }
        })
    }

    /// Caps a result that comes from outside, for a call that waited for it.
    ///
    /// # Errors
    /// `result_too_large`.
    pub fn cap(&self, name: &str, content: Value, step: StepId) -> Result<Outcome, Failure> {
        cap::output(name, content.into(), step, self.limits)
    }

    /// Runs a call that was admitted, within its time, and caps its result.
    ///
    /// # Errors
    /// What the tool failed with, or one of the codes `unknown_tool` (it is no longer there),
    /// `tool_timeout`, `cancelled`, `tool_panicked`, `invalid_output`, `schema_too_costly` and
    /// `result_too_large`.
    pub async fn run(
        &self,
        name: &str,
        input: Value,
        context: ToolContext,
    ) -> Result<Outcome, Failure> {
        let entry = self
            .registry
            .entry(name)
            .map_err(|error| unknown_tool(&error))?;
        let output = perform(entry, input, &context)
            .await
            .map_err(cap::failure)?;
        match &output.then {
            // The result is yet to come.
            Some(Then::Wait(_)) => check_wait(entry, &output)?,
            Some(Then::Spawn(_)) | None => check_output(entry, &output, &context).await?,
        }
        cap::output(name, output, context.step, self.limits)
    }
}

/// A call that may run.
struct Admitted {
    effect: Effect,
    resources: Resources,
    ask: Option<Ask>,
}

/// What the tool says that repeating a call does, and what the call touches. One that panics has said
/// nothing.
fn said(entry: &Entry, arguments: &Value) -> (Effect, Resources) {
    let said = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let effect = entry.tool.effect(arguments);
        (effect, entry.tool.resources(arguments).bounded())
    }));
    said.unwrap_or_else(|_| (Effect::Write, Resources::everything()))
}

/// The careful word on a call of a tool that is not there.
fn unknown(error: &RegistryError, input: Value) -> Admission {
    Admission {
        input,
        effect: Effect::Write,
        error: Some(unknown_tool(error)),
        ask: None,
        resources: None,
    }
}

fn unknown_tool(error: &RegistryError) -> Failure {
    Failure::last("unknown_tool", error.to_string())
}

/// Calls the tool; its future is dropped when the time is over or the run is cancelled.
async fn perform(
    entry: &Entry,
    input: Value,
    context: &ToolContext,
) -> Result<ToolOutput, Failure> {
    let name = &entry.spec.name;
    if context.cancel.is_cancelled() {
        let message = format!("the run was cancelled before tool `{name}` started");
        return Err(Failure::last("cancelled", message));
    }
    // The call itself is inside as well: a tool may panic before it returns its future.
    let call = AssertUnwindSafe(async { entry.tool.call(context, input).await }).catch_unwind();
    let timeout = entry.spec.timeout;
    tokio::select! {
        // A result that is there counts, even if the run was cancelled meanwhile.
        biased;
        result = call => result.unwrap_or_else(|_| Err(panicked(entry, context.effect))),
        () = context.cancel.cancelled() => Err(Failure::last("cancelled", format!(
            "the run was cancelled while tool `{name}` was running{}", doubt(context.effect),
        ))),
        () = tokio::time::sleep(timeout) => Err(timed_out(entry, context.effect)),
    }
}

fn timed_out(entry: &Entry, effect: Effect) -> Failure {
    let message = format!(
        "tool `{}` did not finish within its timeout of {:?}{}",
        entry.spec.name,
        entry.spec.timeout,
        doubt(effect),
    );
    match effect.is_write() {
        false => Failure::passing("tool_timeout", message),
        true => Failure::last("tool_timeout", message),
    }
}

fn panicked(entry: &Entry, effect: Effect) -> Failure {
    let message = format!(
        "tool `{}` panicked, which is a defect of the tool{}",
        entry.spec.name,
        doubt(effect),
    );
    Failure::last("tool_panicked", message)
}

/// What has to be said of a call that was broken off.
pub(crate) fn doubt(effect: Effect) -> &'static str {
    match effect.is_write() {
        false => "",
        // A call of the model's has a key of its own, so nobody takes it for the same one.
        true => "; it may have taken effect: check before calling it again",
    }
}

async fn check_output(
    entry: &Entry,
    output: &ToolOutput,
    context: &ToolContext,
) -> Result<(), Failure> {
    let Some(schema) = &entry.output else {
        return Ok(());
    };
    let name = &entry.spec.name;
    let checked = tokio::select! {
        biased;
        checked = schema.check(&output.content) => checked,
        () = context.cancel.cancelled() => {
            let message = format!(
                "the run was cancelled before the result of tool `{name}` was checked{}",
                doubt(entry.spec.effect),
            );
            return Err(Failure::last("cancelled", message));
        }
    };
    checked.map_err(|error| match error {
        CheckError::Violations(violations) => Failure::last(
            "invalid_output",
            format!(
                "tool `{name}` ran, but its result does not match its output_schema: {violations}"
            ),
        ),
        CheckError::TooCostly => Failure::last(
            error.code(),
            format!("tool `{name}` ran, but its result cannot be checked: {error}"),
        ),
    })
}

fn check_wait(entry: &Entry, output: &ToolOutput) -> Result<(), Failure> {
    if output.content.is_null() && output.parts.is_empty() && output.files.is_empty() {
        return Ok(());
    }
    let message = format!(
        "tool `{}` ran, but returned a result although it waits for one",
        entry.spec.name,
    );
    Err(Failure::last("invalid_output", message))
}

#[cfg(test)]
mod tests;
