//! The one gate for every tool call.
//!
//! The order is the same for every call: validate, deny, ask, profile, allow, run, cap. The first five are
//! [`Gate::admit`], which is pure and whose decision is recorded before the call runs; the last two are
//! [`Gate::run`]. An earlier denial always wins.

mod arguments;
mod cap;
mod checks;
mod guarded;
mod parts;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bounded::schema::CheckError;
use bytes::Bytes;
use futures_util::FutureExt as _;
use serde_json::Value;

pub use self::cap::json_prefix;
use self::checks::{check_output, check_wait};
use super::{
    Delegated, Effect, FollowUp, OUTCOME_UNKNOWN, Registry, Resources, ToolContext, ToolOutput,
    registry::{Entry, RegistryError},
};
use crate::{
    event::{ContentPart, Failure, FileDelta, Handle, StepId},
    policy::{Action, ApprovalTerms, Permission, Policy, PolicyCheck, PolicyContext},
};

/// The largest result, in bytes, that is always shown whole. A page of a larger one keeps under it.
pub const INLINE_LIMIT: usize = 16 * 1024;

/// Admits tool calls and runs them within their limits. A clone is cheap.
#[derive(Clone)]
pub struct Gate {
    registry: Registry,
    policy: Arc<dyn Policy>,
    limits: GateLimits,
    /// The tool whose probe the calls are, for a probe's gate.
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

/// The gate's decision about a call before the call runs; the caller records the decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// The exact arguments that would run, keys sorted; a string with the raw text (or its
    /// beginning, if it is too large) if they are not JSON.
    pub input: Value,
    /// The tool's effect class; [`Effect::Write`], the careful class, for an unknown tool.
    pub effect: Effect,
    /// Why the call must not run; `None` if the call may.
    pub error: Option<Failure>,
    /// The approval that the call needs; `None` without need, or if the call must not run.
    pub approval: Option<ApprovalRequest>,
    /// The resources that the call reads and writes; `None` if the call must not run.
    pub resources: Option<Resources>,
}

/// A call that runs only after a person's approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// Why, for that person.
    pub reason: String,
    /// How long to wait, whom to ask next, and what to show.
    pub terms: ApprovalTerms,
}

/// Outcome of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The output for the model: the result, or its beginning and where the rest is.
    pub output: Value,
    /// The whole result, if it is too large to show.
    pub handle: Option<(Handle, Bytes)>,
    /// The parts of the result.
    pub parts: Vec<ContentPart>,
    /// The bytes of the parts, by digest.
    pub blobs: Vec<(String, Bytes)>,
    /// Files of the workspace that the call wrote, with their content; `None` for a removed file.
    pub files: Vec<(FileDelta, Option<Bytes>)>,
    /// Request that follows the call.
    pub follow_up: Option<FollowUp>,
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

    /// The same gate for the probe of a tool: the probe's tool need not be a tool of the agent.
    ///
    /// # Errors
    /// If the tool is invalid.
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

    /// Admits a call by its name and the arguments as the model wrote them; empty means `{}`.
    ///
    /// A whole number written as `3.0` becomes an integer where the schema wants an integer, and `null` for
    /// an argument that may be missing and does not take `null` is left out.
    ///
    /// The codes of a refusal are `unknown_tool`, `tool_held`, `invalid_arguments`, `schema_too_costly` and `denied`.
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
                    if checked.is_ok() {
                        ready(entry, &input).await;
                    }
                    self.checked_admission(entry, input, checked, context)
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
            approval: None,
            resources: None,
        }
    }

    /// Admits a call by arguments that are a value already: arguments that a person gave, or approved. The
    /// gate takes them unchanged; otherwise as [`Gate::admit`].
    pub async fn recheck(
        &self,
        name: &str,
        input: Value,
        context: &PolicyContext<'_>,
    ) -> Admission {
        match self.registry.entry(name) {
            Ok(entry) => {
                let checked = entry.input.check(&input).await;
                if checked.is_ok() {
                    ready(entry, &input).await;
                }
                self.checked_admission(entry, input, checked, context)
            }
            Err(error) => unknown(&error, input),
        }
    }

    fn checked_admission(
        &self,
        entry: &Entry,
        input: Value,
        checked: Result<(), CheckError>,
        context: &PolicyContext<'_>,
    ) -> Admission {
        let decision = match checked {
            Ok(()) => self.decision(entry, &input, context),
            Err(error) => Err(arguments::refused(entry, &error)),
        };
        match decision {
            Ok(Admitted {
                effect,
                resources,
                approval,
            }) => Admission {
                input,
                effect,
                error: None,
                approval,
                resources: Some(resources),
            },
            Err(error) => Admission {
                input,
                effect: entry.spec.effect,
                error: Some(error),
                approval: None,
                resources: None,
            },
        }
    }

    fn decision(
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
        let mut permission = self.policy.check_permissions(&action, context);
        permission = permission.and(configured(entry, arguments));
        if let Some(delegated) = delegated(entry, arguments)? {
            let action = Action {
                tool: &delegated.spec,
                arguments: &delegated.arguments,
                // It is configured as far as the tool is that passes it on.
                probe_of: Some(&entry.spec.name),
                ..action
            };
            permission = permission.and(self.policy.check_permissions(&action, context));
        }
        let approval = match permission {
            Permission::Allow => None,
            Permission::Ask { reason, terms } => Some(ApprovalRequest { reason, terms }),
            Permission::Deny { reason } => return Err(Failure::last("denied", reason)),
        };
        Ok(Admitted {
            effect,
            resources,
            approval,
        })
    }

    /// Lets a running call ask about other arguments of its own making, such as the address of a
    /// redirect: the policy judges them, the schema does not. `agent` is the agent's name.
    #[must_use]
    pub fn policy_check(&self, name: &str, agent: &str) -> PolicyCheck {
        let (gate, name, agent) = (self.clone(), name.to_owned(), agent.to_owned());
        PolicyCheck::new(move |arguments| {
            let context = PolicyContext { agent: &agent };
            let decision = gate
                .registry
                .entry(&name)
                .map_err(|error| unknown_tool(&error))
                .and_then(|entry| gate.decision(entry, &arguments, &context));
            match decision {
                Err(error) => Permission::Deny {
                    reason: error.message,
                },
                Ok(Admitted {
                    approval: Some(ApprovalRequest { reason, terms }),
                    ..
                }) => Permission::Ask { reason, terms },
                Ok(Admitted { approval: None, .. }) => Permission::Allow,
            }
        })
    }

    /// Caps a result that comes from outside, for a call that waited for it.
    ///
    /// # Errors
    /// `result_too_large`.
    pub fn cap(&self, name: &str, content: Value, step: StepId) -> Result<Outcome, Failure> {
        let guards = self.policy.result_guards(name);
        let content = guards.value(content);
        let content = content.map_err(|why| guarded::withheld(name, &why, Effect::Pure))?;
        cap::output(name, content.into(), step, self.limits)
    }

    /// Runs a call that was admitted, within its time, and caps its result.
    ///
    /// # Errors
    /// The tool's failure, or one of the codes `unknown_tool` (the tool is no longer there),
    /// `tool_timeout` ([`OUTCOME_UNKNOWN`] for a call that may have changed something), `cancelled`, `tool_panicked`, `invalid_output`, `schema_too_costly` and
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
        let limits = self.policy.limits(name);
        // Held until the call is over.
        let _places = guarded::places(name, &limits, &context).await?;
        let timeouts = limits.iter().filter_map(|limit| limit.timeout);
        let timeout = timeouts.chain([entry.spec.timeout]).min();
        let timeout = timeout.unwrap_or(entry.spec.timeout);
        let guards = self.policy.result_guards(name);
        let output = perform(entry, input, &context, timeout).await;
        let output = guarded::output(name, guards, output, context.effect)
            .await
            .map_err(cap::failure)?;
        match &output.follow_up {
            // The result is yet to come.
            Some(FollowUp::Wait(_)) => check_wait(entry, &output)?,
            Some(FollowUp::Spawn(_)) | None => check_output(entry, &output, &context).await?,
        }
        cap::output(name, output, context.step, self.limits)
    }
}

/// A call that may run.
struct Admitted {
    effect: Effect,
    resources: Resources,
    approval: Option<ApprovalRequest>,
}

/// Waits until the tool can be asked about the call. A tool that panics is asked at once.
async fn ready(entry: &Entry, arguments: &Value) {
    let wait = AssertUnwindSafe(async {
        if let Some(ready) = entry.tool.ready(arguments) {
            ready.await;
        }
    });
    let _ = wait.catch_unwind().await;
}

/// The effect of a repetition by the tool's word, and the call's resources. A tool that panics gives
/// neither.
fn said(entry: &Entry, arguments: &Value) -> (Effect, Resources) {
    let said = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let effect = entry.tool.effect(arguments);
        (effect, entry.tool.resources(arguments).bounded())
    }));
    said.unwrap_or_else(|_| (Effect::Write, Resources::everything()))
}

/// What the tool's own configuration says. One that panics has said no.
fn configured(entry: &Entry, arguments: &Value) -> Permission {
    let said = std::panic::catch_unwind(AssertUnwindSafe(|| entry.tool.permission(arguments)));
    said.unwrap_or_else(|_| Permission::Deny {
        reason: format!(
            "tool `{}` cannot say whether it may be called",
            entry.spec.name
        ),
    })
}

fn delegated(entry: &Entry, arguments: &Value) -> Result<Option<Delegated>, Failure> {
    let said = std::panic::catch_unwind(AssertUnwindSafe(|| entry.tool.delegates(arguments)));
    said.unwrap_or_else(|_| {
        let message = format!("tool `{}` cannot say what it calls", entry.spec.name);
        Err(Failure::last("denied", message))
    })
}

/// The careful word on a call of a tool that is not there.
fn unknown(error: &RegistryError, input: Value) -> Admission {
    Admission {
        input,
        effect: Effect::Write,
        error: Some(unknown_tool(error)),
        approval: None,
        resources: None,
    }
}

fn unknown_tool(error: &RegistryError) -> Failure {
    let code = if matches!(error, RegistryError::Held { .. }) {
        "tool_held"
    } else {
        "unknown_tool"
    };
    Failure::last(code, error.to_string())
}

/// Calls the tool; its future is dropped when the time is over or the run is cancelled.
async fn perform(
    entry: &Entry,
    input: Value,
    context: &ToolContext,
    timeout: Duration,
) -> Result<ToolOutput, Failure> {
    let name = &entry.spec.name;
    if context.cancel.is_cancelled() {
        let message = format!("the run was cancelled before tool `{name}` started");
        return Err(Failure::last("cancelled", message));
    }
    // The call itself is inside as well: a tool may panic before it returns its future.
    let call = AssertUnwindSafe(async { entry.tool.call(context, input).await }).catch_unwind();
    tokio::select! {
        // A result that is there counts, even if the run was cancelled meanwhile.
        biased;
        result = call => result.unwrap_or_else(|_| Err(panicked(entry, context.effect))),
        () = context.cancel.cancelled() => Err(Failure::last("cancelled", format!(
            "the run was cancelled while tool `{name}` was running{}", doubt(context.effect),
        ))),
        () = tokio::time::sleep(timeout) => Err(timed_out(entry, timeout, context.effect)),
    }
}

fn timed_out(entry: &Entry, timeout: Duration, effect: Effect) -> Failure {
    let message = format!(
        "tool `{}` did not finish within its timeout of {:?}{}",
        entry.spec.name,
        timeout,
        doubt(effect),
    );
    match effect.is_write() {
        false => Failure::passing("tool_timeout", message),
        // Dropped in the middle: whether it took effect is not known, as after a crash.
        true => Failure::last(OUTCOME_UNKNOWN, message),
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

/// The remark about a call that was broken off.
pub(crate) fn doubt(effect: Effect) -> &'static str {
    match effect.is_write() {
        false => "",
        // A call of the model's has a key of its own, so nobody takes it for the same one.
        true => "; it may have taken effect: check before calling it again",
    }
}

#[cfg(test)]
mod tests;
