//! Tools: what an agent can do, and the one gate every call goes through.

pub mod control;
mod function;
mod gate;
mod output;
mod probe;
mod registry;
mod resources;
mod then;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub(crate) use self::gate::doubt;
pub use self::{
    function::{Function, function, function_in},
    gate::{Admission, Ask, Gate, GateLimits, INLINE_LIMIT, Outcome, json_prefix},
    output::{OutputPart, ToolOutput},
    probe::{NotDone, Probe},
    registry::{Registry, RegistryBuilder, RegistryError},
    resources::{MAX_RESOURCES, Resource, Resources},
    then::{Spawn, Then},
};
pub use crate::effect::Effect;
use crate::{
    BoxFuture,
    event::{CallKey, Failure, Handle, Seen, StepId},
    policy::PolicyCheck,
};

/// A tool as the model and the gate see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Unique within an agent; `[a-zA-Z0-9_-]{1,64}`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of the arguments.
    pub input_schema: Value,
    /// JSON Schema of the result, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// What repeating a call does.
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

    /// With what is said of how lost calls are settled.
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

/// Something an agent can do.
pub trait Tool: Send + Sync {
    /// What it is.
    fn spec(&self) -> &ToolSpec;

    /// What repeating a call with these arguments does, where that depends on them. Only configuration
    /// may make it less than what [`ToolSpec::effect`] says: what the model writes cannot.
    fn effect(&self, arguments: &Value) -> Effect {
        let _ = arguments;
        self.spec().effect
    }

    /// The resources that a call with these arguments reads and writes. The arguments have passed the
    /// schema. The answer is recorded with the call: the calls of one answer of the model overlap only
    /// where neither writes what the other one reads or writes, and policy rules judge it.
    ///
    /// A tool that does not say may touch everything, so its calls run in the model's order; only
    /// `pure` ones overlap with one another.
    fn resources(&self, arguments: &Value) -> Resources {
        let _ = arguments;
        Resources::unknown(self.spec().effect)
    }

    /// A read-only call that says whether a call with these arguments and this key took effect, if
    /// there is one. The driver makes it when the call's outcome was lost in a crash, before it parks
    /// the run. Only configuration may declare it: the model's arguments fill in a template.
    fn probe(&self, arguments: &Value, key: &CallKey) -> Option<Probe> {
        let _ = (arguments, key);
        None
    }

    /// What the result of the probe says of a call with these arguments.
    fn probed(&self, arguments: &Value, result: &Value) -> Seen {
        let _ = (arguments, result);
        Seen::Unknown
    }

    /// Does it. The arguments have passed the schema. A failed call does not end the run: the model is told
    /// the failure's message, and decides whether to call again. The gate bounds the time and drops the future
    /// when that is over, or when the run is cancelled.
    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>>;
}

impl<T: Tool + ?Sized> Tool for Arc<T> {
    fn spec(&self) -> &ToolSpec {
        (**self).spec()
    }

    fn effect(&self, arguments: &Value) -> Effect {
        (**self).effect(arguments)
    }

    fn resources(&self, arguments: &Value) -> Resources {
        (**self).resources(arguments)
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

impl<T: Tool + ?Sized> Tool for Box<T> {
    fn spec(&self) -> &ToolSpec {
        (**self).spec()
    }

    fn effect(&self, arguments: &Value) -> Effect {
        (**self).effect(arguments)
    }

    fn resources(&self, arguments: &Value) -> Resources {
        (**self).resources(arguments)
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

/// What a tool may use.
#[derive(Clone)]
pub struct ToolContext {
    /// The call.
    pub step: StepId,
    /// The call's key: the same for every attempt, and for no other call. A tool of the class
    /// [`Effect::Keyed`] sends it along.
    pub key: CallKey,
    /// What repeating the call does, as it is recorded.
    pub effect: Effect,
    /// The task's own folder, and the only one that file tools may touch.
    pub workspace: PathBuf,
    /// Fires when the run is cancelled.
    pub cancel: CancellationToken,
    /// UTC now, in microseconds.
    pub now_micros: i64,
    /// Large results of calls of earlier turns of the run, by call.
    pub results: Arc<std::collections::BTreeMap<StepId, Handle>>,
    /// Where large results are kept.
    pub blobs: Arc<dyn BlobReader>,
    /// Asks whether the call may touch what its arguments do not name.
    pub policy: PolicyCheck,
}

/// Reads what earlier calls left in the blob store.
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
