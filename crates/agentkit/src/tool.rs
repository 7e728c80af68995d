//! Tools: the actions of an agent, and the one gate for every call.

pub mod control;
mod follow_up;
mod function;
mod gate;
pub mod memory;
mod output;
mod probe;
mod registry;
mod resources;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub(crate) use self::gate::doubt;
pub use self::{
    follow_up::{FollowUp, Spawn},
    function::{Function, function, function_in},
    gate::{Admission, ApprovalRequest, Gate, GateLimits, INLINE_LIMIT, Outcome, json_prefix},
    output::{OutputPart, ToolOutput},
    probe::{NotDone, Probe},
    registry::{Registry, RegistryBuilder, RegistryError},
    resources::{MAX_RESOURCES, Resource, Resources},
};
pub use crate::effect::Effect;
use crate::{
    BoxFuture,
    event::{CallKey, Failure, Handle, Seen, StepId},
    memory::long_term::CallMemory,
    policy::{Permission, PolicyCheck},
};

/// The code of a failed call that may have taken effect all the same: it was sent, and its answer is lost. A
/// `write` that fails with it is in doubt, as after a crash: its probe settles it, or the run parks. A `keyed` call is
/// made again with its key, a few times. Only a tool that is asked a single time by whoever calls it may use the code.
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// A tool as the model and the gate see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Unique within an agent; `[a-zA-Z0-9_-]{1,64}`.
    pub name: String,
    /// The tool's purpose, for the model.
    pub description: String,
    /// JSON Schema of the arguments.
    pub input_schema: Value,
    /// JSON Schema of the result, if the result has a schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Effect of repeating a call.
    pub effect: Effect,
    /// The longest that a call may take.
    pub timeout: Duration,
    /// How calls whose outcome was lost are settled, place by place, for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settles: Vec<String>,
}

impl ToolSpec {
    /// A `write` tool with a timeout of 60 s: the careful defaults.
    pub fn new(name: &str, description: &str, input_schema: Value) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            input_schema,
            output_schema: None,
            effect: Effect::Write,
            timeout: Duration::from_secs(60),
            settles: Vec::new(),
        }
    }

    /// With another effect class.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// With another timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds the description of how lost calls are settled.
    #[must_use]
    pub fn settles(mut self, settles: Vec<String>) -> Self {
        self.settles = settles;
        self
    }

    /// SHA-256, in hex, of the definition that the model sees (RFC 8785 JSON).
    #[must_use]
    pub fn digest(&self) -> String {
        let definition = serde_json::json!({
            "name": self.name,
            "description": self.description,
            "input_schema": self.input_schema,
            "output_schema": self.output_schema,
        });
        canonical_digest(&definition)
    }
}

/// SHA-256, in hex, of a value as RFC 8785 JSON: equal values have equal digests.
pub(crate) fn canonical_digest(value: &impl Serialize) -> String {
    let text = serde_json_canonicalizer::to_vec(value)
        .expect("the value has string keys and finite numbers, so it always serialises");
    digest_hex(&text)
}

/// SHA-256 in lower-case hex.
#[must_use]
pub fn digest_hex(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    units::hex::encode(sha2::Sha256::digest(bytes))
}

/// An action that an agent can take.
pub trait Tool: Send + Sync {
    /// The tool's specification.
    fn spec(&self) -> &ToolSpec;

    /// Effect of repeating a call with these arguments, where the effect depends on them. Only
    /// configuration may lower the effect below [`ToolSpec::effect`]: the model's arguments cannot.
    fn effect(&self, arguments: &Value) -> Effect {
        let _ = arguments;
        self.spec().effect
    }

    /// The resources that a call with these arguments reads and writes. The arguments have passed the
    /// schema. The answer is recorded with the call: the calls of one answer of the model overlap only
    /// where neither writes a resource that the other reads or writes, and policy rules look at them.
    ///
    /// A tool without an answer may touch every resource, so its calls run in the model's order; only
    /// `pure` calls overlap with one another.
    fn resources(&self, arguments: &Value) -> Resources {
        let _ = arguments;
        Resources::unknown(self.spec().effect)
    }

    /// What the tool's own configuration says of a call with these arguments. The policy says its word as
    /// well, and the stricter of the two counts.
    fn permission(&self, arguments: &Value) -> Permission {
        let _ = arguments;
        Permission::Allow
    }

    /// A wait before the tool is asked about a call with these arguments, for a tool whose answers come from a party
    /// that may still be starting. The arguments have passed the schema. The tool bounds the wait; the end of the run's
    /// time and a cancel end it as well.
    fn ready<'a>(&'a self, arguments: &'a Value) -> Option<BoxFuture<'a, ()>> {
        let _ = arguments;
        None
    }

    /// The call that a call with these arguments passes on, for a tool that calls other tools by their names.
    /// The policy judges both, so that a rule about the other tool binds this way to it too.
    ///
    /// # Errors
    /// Why there is no such call: the model is told, and nobody is asked for an approval.
    fn delegates(&self, arguments: &Value) -> Result<Option<Delegated>, Failure> {
        let _ = arguments;
        Ok(None)
    }

    /// A read-only call that tells whether a call with these arguments and this key took effect, if the
    /// tool has such a call. The driver makes the probe when the call's outcome was lost in a crash, before
    /// it parks the run. Only configuration may declare a probe: the model's arguments fill in a template.
    fn probe(&self, arguments: &Value, key: &CallKey) -> Option<Probe> {
        let _ = (arguments, key);
        None
    }

    /// The meaning of the probe's result for a call with these arguments.
    fn probed(&self, arguments: &Value, result: &Value) -> Seen {
        let _ = (arguments, result);
        Seen::Unknown
    }

    /// Performs the call. The arguments have passed the schema. A failed call does not end the run: the
    /// model gets the failure's message, and decides whether to call again. The gate bounds the time and
    /// drops the future when the time is over, or when the run is cancelled.
    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>>;
}

macro_rules! forward {
    ($($pointer:ident),*) => {
        $(
            impl<T: Tool + ?Sized> Tool for $pointer<T> {
                fn spec(&self) -> &ToolSpec {
                    (**self).spec()
                }

                fn effect(&self, arguments: &Value) -> Effect {
                    (**self).effect(arguments)
                }

                fn resources(&self, arguments: &Value) -> Resources {
                    (**self).resources(arguments)
                }

                fn permission(&self, arguments: &Value) -> Permission {
                    (**self).permission(arguments)
                }

                fn ready<'a>(&'a self, arguments: &'a Value) -> Option<BoxFuture<'a, ()>> {
                    (**self).ready(arguments)
                }

                fn delegates(&self, arguments: &Value) -> Result<Option<Delegated>, Failure> {
                    (**self).delegates(arguments)
                }

                fn probe(&self, arguments: &Value, key: &CallKey) -> Option<Probe> {
                    (**self).probe(arguments, key)
                }

                fn probed(&self, arguments: &Value, result: &Value) -> Seen {
                    (**self).probed(arguments, result)
                }

                fn call<'a>(
                    &'a self,
                    context: &'a ToolContext,
                    arguments: Value,
                ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
                    (**self).call(context, arguments)
                }
            }
        )*
    };
}

forward!(Arc, Box);

/// A call that a tool passes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Delegated {
    /// The tool that is called in the end, as rules name it.
    pub spec: ToolSpec,
    /// Its arguments, which fit its schema.
    pub arguments: Value,
}

/// The context of a call.
#[derive(Clone)]
pub struct ToolContext {
    /// The call.
    pub step: StepId,
    /// The call's key: the same for every attempt, and for no other call. A tool of the class
    /// [`Effect::Keyed`] sends it along.
    pub key: CallKey,
    /// Effect of repeating the call, as recorded.
    pub effect: Effect,
    /// The task's own folder, and the only folder that file tools may touch.
    pub workspace: PathBuf,
    /// Workspaces of the task's tree, for limits that hold for a tree.
    pub tree: TreeWorkspaces,
    /// Fires when the run is cancelled.
    pub cancel: CancellationToken,
    /// UTC now, in microseconds.
    pub now_micros: i64,
    /// Large results of calls of earlier turns of the run, by call.
    pub results: Arc<std::collections::BTreeMap<StepId, Handle>>,
    /// Where large results are kept.
    pub blobs: Arc<dyn BlobReader>,
    /// Asks whether the call may touch resources beyond its arguments.
    pub policy: PolicyCheck,
    /// What the call waited for, if it is called again for that reason.
    pub resumed: Option<Resumed>,
    /// The run's long-term memory; `None` for a run without long-term memory.
    pub memory: Option<CallMemory>,
}

impl ToolContext {
    /// The context of a call outside of a run: without results of other calls, at the beginning of 1970, and
    /// allowed to touch everything. The key is made of the step's number.
    #[must_use]
    pub fn outside_of_runs(step: StepId, effect: Effect, workspace: PathBuf) -> Self {
        let mut key = [0; 16];
        key[12..].copy_from_slice(&step.0.to_be_bytes());
        Self {
            step,
            key: CallKey::new(key),
            effect,
            tree: TreeWorkspaces::alone(workspace.clone()),
            workspace,
            cancel: CancellationToken::new(),
            now_micros: 0,
            results: Arc::default(),
            blobs: Arc::new(NoBlobs),
            policy: PolicyCheck::allow_all(),
            resumed: None,
            memory: None,
        }
    }
}

/// Tells the workspaces of a tree of tasks: of a task, its parents, and all their children. Children that
/// begin later are among them.
#[derive(Clone)]
pub struct TreeWorkspaces(Arc<dyn Fn() -> Vec<PathBuf> + Send + Sync>);

impl TreeWorkspaces {
    /// A tree whose workspaces a function tells, the first task's workspace first.
    pub fn new(paths: impl Fn() -> Vec<PathBuf> + Send + Sync + 'static) -> Self {
        Self(Arc::new(paths))
    }

    /// The tree of a task without parents and children.
    #[must_use]
    pub fn alone(workspace: PathBuf) -> Self {
        Self::new(move || vec![workspace.clone()])
    }

    /// The workspaces; some of them may not exist.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        (self.0)()
    }
}

/// Has no blob.
struct NoBlobs;

impl BlobReader for NoBlobs {
    fn read<'a>(
        &'a self,
        digest: &'a str,
        _: u64,
        _: u64,
    ) -> BoxFuture<'a, Result<Bytes, Failure>> {
        let message = format!("a call outside of a run has no earlier result {digest}");
        let failure = Failure::last("result_not_found", message);
        Box::pin(std::future::ready(Err(failure)))
    }
}

/// What a call waited for, see [`CallWait::Signal`](crate::event::CallWait::Signal).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resumed {
    /// What the tool wanted to know again.
    pub state: Value,
    /// What the signal carried.
    pub answer: Value,
}

/// Reads the blobs of earlier calls.
pub trait BlobReader: Send + Sync {
    /// Up to `len` bytes of the blob from `offset` on; empty past its end.
    fn read<'a>(
        &'a self,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, Failure>>;
}

/// The result of a tool call, as the version-1 toolkit names its parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The tool.
    pub tool_name: String,
    /// The arguments.
    pub tool_args: Value,
    /// The result, if it succeeded.
    pub output: Option<Value>,
    /// The error, if it failed.
    pub error: Option<String>,
    /// 200 for success, else an HTTP-like status.
    pub status_code: u16,
}
