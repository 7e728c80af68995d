//! A workspace, a gate with every built-in tool, and a blob store in memory.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use agentkit::{
    BoxFuture, StepId, Tool,
    event::{CallKey, Failure, Handle},
    policy::{ConfiguredPolicy, Policy, PolicyContext, PolicyFile},
    tool::{BlobReader, Effect, Gate, Outcome, Registry, ToolContext},
};
use agentkit_tools::http::Settings;
use bytes::Bytes;
use serde_json::Value;

#[derive(Default)]
struct Blobs(Mutex<BTreeMap<String, Bytes>>);

impl BlobReader for Blobs {
    fn read<'a>(
        &'a self,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, Failure>> {
        Box::pin(async move {
            let blobs = self.0.lock().unwrap();
            let blob = blobs
                .get(digest)
                .ok_or_else(|| Failure::last("not_found", digest))?;
            let start = (offset as usize).min(blob.len());
            let end = (start + len as usize).min(blob.len());
            Ok(blob.slice(start..end))
        })
    }
}

/// One run of an agent with every tool.
pub(crate) struct Harness {
    pub(crate) folder: tempfile::TempDir,
    gate: Gate,
    next: u32,
    results: BTreeMap<StepId, Handle>,
    blobs: Arc<Blobs>,
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with([])
    }

    /// With these tools as well.
    pub(crate) fn with(more: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        Self::of(&Settings::default(), more)
    }

    /// With these settings of the HTTP tools.
    pub(crate) fn http(settings: &Settings) -> Self {
        Self::of(settings, [])
    }

    /// The same tools under the policy that this file describes.
    pub(crate) fn under(mut self, policy: &str) -> Self {
        let registry = self.gate.registry().clone();
        let names = registry.specs().into_iter().map(|spec| spec.name.clone());
        let policy = PolicyFile::parse(policy).unwrap().policy(names);
        self.gate = Gate::new(registry, Arc::new(policy) as Arc<dyn Policy>);
        self
    }

    fn of(settings: &Settings, more: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        let standard = agentkit_tools::standard(settings);
        let registry = Registry::new(standard.into_iter().chain(more)).unwrap();
        let policy = ConfiguredPolicy::new(registry.specs().iter().map(|spec| spec.name.clone()));
        Self {
            folder: tempfile::tempdir().unwrap(),
            gate: Gate::new(registry, Arc::new(policy)),
            next: 1,
            results: BTreeMap::new(),
            blobs: Arc::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn context(&self) -> ToolContext {
        let step = StepId(self.next);
        ToolContext {
            key: CallKey::new([self.next.to_be_bytes()[3]; 16]),
            now_micros: 1_744_452_000_000_000,
            results: Arc::new(self.results.clone()),
            blobs: Arc::clone(&self.blobs) as Arc<dyn BlobReader>,
            ..ToolContext::outside_of_runs(step, Effect::Write, self.path().to_owned())
        }
    }

    /// Makes a call like a driver does, and keeps its large result.
    pub(crate) async fn call(&mut self, name: &str, arguments: Value) -> Result<Outcome, Failure> {
        let raw = arguments.to_string();
        let admission = self
            .gate
            .admit(name, &raw, &PolicyContext { agent: "tester" })
            .await;
        if let Some(error) = admission.error {
            return Err(error);
        }
        let mut context = self.context();
        context.effect = admission.effect;
        context.policy = self.gate.policy_check(name, "tester");
        let outcome = self.gate.run(name, admission.input, context).await?;
        if let Some((handle, bytes)) = &outcome.handle {
            self.results.insert(StepId(self.next), handle.clone());
            self.blobs
                .0
                .lock()
                .unwrap()
                .insert(handle.digest.clone(), bytes.clone());
        }
        self.next += 1;
        Ok(outcome)
    }

    /// What a call that succeeds shows.
    pub(crate) async fn ok(&mut self, name: &str, arguments: Value) -> Value {
        self.call(name, arguments).await.unwrap().output
    }

    /// The code of a call that fails.
    pub(crate) async fn code(&mut self, name: &str, arguments: Value) -> String {
        self.call(name, arguments).await.unwrap_err().code
    }
}
