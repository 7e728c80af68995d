//! A command as a tool: its resources and its calls.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::{CallKey, Failure, Seen},
    tool::{Effect, Probe, Resource, Resources, ToolContext, ToolOutput},
};
use agentkit_sandbox::{Call, Grant, Limits, Network, Sandbox};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{
    argv::{self, Template},
    changes,
    definition::{Definition, Mistake, Touches, WorkspaceAccess, split_host},
    grants::grants,
    modules::Modules,
    secrets::{Redaction, Secret, Secrets},
    wasm::{Module, WasmDefinition},
};
use crate::{http, quota::Quota, workspace::blocking};
use tokio::time::Instant;

/// Time that the gate adds to a tool's timeout, so that the sandbox tells of the end first.
const GRACE: Duration = Duration::from_secs(3);
/// Where the program sees the task's files, and its own.
const WORKSPACE: &str = "/workspace";
pub(super) const TOOL: &str = "/tool";

/// Parts that all command tools share.
#[derive(Clone)]
pub struct Base {
    /// Where programs run.
    pub sandbox: Sandbox,
    /// Where secrets come from.
    pub secrets: Arc<dyn Secrets>,
    /// Network settings: a host that a tool names has to be public, or allowed here, as for the HTTP tools.
    pub http: http::Settings,
    /// Limits of workspaces.
    pub quota: Arc<Quota>,
    /// Compiled modules.
    pub modules: Arc<Modules>,
    /// Base of relative folders.
    pub folder: PathBuf,
}

/// A tool that is a program.
pub struct CommandTool {
    spec: ToolSpec,
    program: Arc<Program>,
    touches: Option<(Vec<Template>, Vec<Template>)>,
    probe: Option<DeclaredProbe>,
}

struct DeclaredProbe {
    tool: Arc<dyn Tool>,
    settle: Duration,
    not_done: crate::http::OnNotDone,
}

/// A program with its grants.
pub(super) struct Program {
    pub(super) definition: Definition,
    words: Vec<Template>,
    /// The module that the program runs.
    pub(super) module: Option<Module>,
    base: Base,
    /// Without links, as they were when the tool was declared.
    grants: Vec<Grant>,
    permits: Semaphore,
}

impl CommandTool {
    /// The tool of a declaration.
    ///
    /// # Errors
    /// Mistakes of the declaration, absent folders included.
    pub fn new(name: &str, definition: &Definition, base: &Base) -> Result<Self, Mistake> {
        definition.check()?;
        Self::made(name, definition, None, None, base)
    }

    /// The tool of a declaration of a module.
    ///
    /// # Errors
    /// Mistakes of the declaration, absent folders and an absent module included.
    pub fn of_module(name: &str, declared: &WasmDefinition, base: &Base) -> Result<Self, Mistake> {
        let module = Module::of(declared, base)?;
        let looks = match &declared.probe {
            Some(probe) => Some(module.of_probe(probe, base)?),
            None => None,
        };
        Self::made(name, &declared.as_command(), Some(module), looks, base)
    }

    /// `looks` is the module of the probe, where the tool is a module.
    fn made(
        name: &str,
        definition: &Definition,
        module: Option<Module>,
        looks: Option<Module>,
        base: &Base,
    ) -> Result<Self, Mistake> {
        let parse = |texts: &[String]| -> Result<Vec<Template>, Mistake> {
            texts
                .iter()
                .map(|text| Template::parse(text).map_err(Mistake))
                .collect()
        };
        let grants = grants(definition, base)?;
        let program = |words, module, definition: Definition| {
            Arc::new(Program {
                module,
                permits: Semaphore::new(definition.concurrency as usize),
                definition,
                words,
                base: base.clone(),
                grants: grants.clone(),
            })
        };
        let touches = match &definition.touches {
            Some(Touches { reads, writes }) => Some((parse(reads)?, parse(writes)?)),
            None => None,
        };
        let looking_at = looks
            .as_ref()
            .map(|module| module.file.display().to_string());
        let probe = match &definition.probe {
            Some(probe) => {
                let looking = Definition {
                    workspace: match definition.workspace {
                        WorkspaceAccess::None => WorkspaceAccess::None,
                        WorkspaceAccess::Read | WorkspaceAccess::Write => WorkspaceAccess::Read,
                    },
                    text: false,
                    ..definition.clone()
                };
                let schema = json!({
                    "type": "object",
                    "properties": {"arguments": {"type": "object"}, "key": {"type": "string"}},
                    "required": ["arguments", "key"],
                });
                let about = format!("Looks whether a call of `{name}` took effect");
                let spec = ToolSpec::new(&format!("{name}_probe"), &about, schema);
                Some(DeclaredProbe {
                    tool: Arc::new(Self {
                        spec: spec
                            .effect(Effect::Pure)
                            .timeout(definition.timeout + GRACE),
                        program: program(parse(&probe.command)?, looks, looking),
                        touches: None,
                        probe: None,
                    }),
                    settle: probe.settle.unwrap_or(definition.timeout),
                    not_done: probe.on_not_done,
                })
            }
            None => None,
        };
        let settles = definition.probe.iter().map(|probe| {
            let reruns = match (definition.effect, probe.on_not_done) {
                (Effect::Keyed, _) | (_, http::OnNotDone::Rerun) => "runs again",
                (_, http::OnNotDone::Park) => "parks",
            };
            let look = looking_at
                .clone()
                .unwrap_or_else(|| probe.command.join(" "));
            format!("probe `{look}` (not done: {reruns})")
        });
        let mut spec = ToolSpec::new(name, &definition.description, definition.input.clone())
            .effect(definition.effect)
            .timeout(definition.timeout + GRACE)
            .settles(settles.collect());
        spec.output_schema.clone_from(&definition.output);
        Ok(Self {
            spec,
            program: program(parse(&definition.command)?, module, definition.clone()),
            touches,
            probe,
        })
    }
}

impl Tool for CommandTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, arguments: &Value) -> Resources {
        match &self.touches {
            Some((reads, writes)) => {
                let all = |words: &[Template]| -> Vec<Resource> {
                    words.iter().map(|word| resource(word, arguments)).collect()
                };
                Resources::reads(all(reads)).and_writes(all(writes))
            }
            None => self.program.granted(),
        }
    }

    fn probe(&self, arguments: &Value, key: &CallKey) -> Option<Probe> {
        let probe = self.probe.as_ref()?;
        Some(Probe {
            tool: Arc::clone(&probe.tool),
            input: json!({"arguments": arguments, "key": key.as_str()}),
            settle: probe.settle,
            not_done: probe.not_done.into(),
        })
    }

    fn probed(&self, _: &Value, result: &Value) -> Seen {
        match result.as_str() {
            Some("done") => Seen::Done,
            Some("not_done") => Seen::NotDone,
            Some(_) | None => Seen::Unknown,
        }
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(self.program.call(&self.spec, context, arguments))
    }
}

/// A declared resource of a call; [`Resource::Everything`] where an argument cannot be filled in.
fn resource(word: &Template, arguments: &Value) -> Resource {
    let filled = argv::fill(std::slice::from_ref(word), arguments);
    let text = filled
        .ok()
        .and_then(|mut words| words.pop())
        .unwrap_or_default();
    match text.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Resource::file(path),
        Some(("folder", path)) if !path.is_empty() => Resource::folder(path),
        Some(("tree", path)) if !path.is_empty() => Resource::tree(path),
        Some(("url", url)) => Resource::url(url),
        Some(("service", name)) => Resource::service(name),
        Some(_) | None => Resource::Everything,
    }
}

impl Program {
    /// The most that the sandbox lets a call touch.
    fn granted(&self) -> Resources {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        match self.definition.workspace {
            WorkspaceAccess::None => {}
            WorkspaceAccess::Read => reads.push(Resource::tree(".")),
            WorkspaceAccess::Write => {
                reads.push(Resource::tree("."));
                writes.push(Resource::tree("."));
            }
        }
        for grant in self
            .grants
            .iter()
            .filter(|grant| grant.target != Path::new(TOOL))
        {
            let folder = Resource::service(&format!("folder {}", grant.target.display()));
            match grant.writable {
                true => writes.push(folder),
                false => reads.push(folder),
            }
        }
        // Requests may change what is there, whatever the program calls them.
        let hosts = self
            .definition
            .hosts
            .iter()
            .filter_map(|host| split_host(host));
        for (host, port) in hosts {
            let scheme = if port == 80 { "http" } else { "https" };
            let url = Resource::url(&format!("{scheme}://{host}:{port}/"));
            match self.definition.effect {
                Effect::Pure | Effect::Idempotent => reads.push(url),
                Effect::Keyed | Effect::Write => writes.push(url),
            }
        }
        Resources::reads(reads).and_writes(writes)
    }

    async fn call(
        &self,
        spec: &ToolSpec,
        context: &ToolContext,
        arguments: Value,
    ) -> Result<ToolOutput, Failure> {
        let words = argv::fill(&self.words, &arguments)
            .map_err(|why| Failure::last("invalid_arguments", why))?;
        // Everything counts: the wait for other calls, compiling a module, and the program itself.
        let until = Instant::now() + self.definition.timeout;
        let secrets = self.secrets().await?;
        let permit = tokio::time::timeout_at(until, self.permits.acquire()).await;
        let permit = permit.map_err(|_| {
            let (name, many) = (&spec.name, self.definition.concurrency);
            let message = format!(
                "tool `{name}` has its {many} calls at once (`concurrency`) under way for all of its timeout; \
                 nothing ran"
            );
            Failure::passing("tool_busy", message)
        })?;
        let _permit = permit.map_err(|_| Failure::passing("cancelled", "the tool was closed"))?;
        let writes = self.definition.workspace == WorkspaceAccess::Write;
        let before = match writes {
            true => Some(Arc::new(blocking(context, changes::snapshot).await?)),
            false => None,
        };
        let mut call = self.sandboxed(spec, context, words, &arguments, &secrets)?;
        let outcome = match &self.module {
            Some(module) => module.run(&self.base, call, until).await?,
            None => {
                call.limits.wall = until.saturating_duration_since(Instant::now());
                self.base.sandbox.run(call).await
            }
        };
        let redaction = Redaction(&secrets);
        let outcome = outcome.map_err(|error| self.not_run(spec, &error))?;
        tracing::debug!(
            tool = spec.name,
            wall_ms = outcome.wall.as_millis(),
            cpu_ms = outcome.cpu.as_millis(),
            max_rss = outcome.max_rss,
            "a command tool ended"
        );
        let result = self.result(spec, &outcome, &redaction);
        let files = match before {
            Some(before) => {
                let changed = blocking(context, move |root, abandoned| {
                    changes::since(&before, root, abandoned)
                });
                // A message may name a file, and the program chose its name.
                changed.await.map_err(|failure| Failure {
                    message: redaction.text(&failure.message),
                    ..failure
                })?
            }
            None => Vec::new(),
        };
        for (path, content) in &files {
            let content = content.as_deref().unwrap_or_default();
            let found = redaction.found_in(path.as_bytes());
            if let Some(name) = found.or_else(|| redaction.found_in(content)) {
                let message = format!(
                    "the program ran, but it wrote the secret {name} to `{}`, so that its files are not kept \
                     with the task{}",
                    redaction.text(path),
                    self.doubt()
                );
                return Err(Failure::last("secret_in_file", message));
            }
        }
        Ok(ToolOutput {
            content: result?,
            files,
            ..ToolOutput::default()
        })
    }

    /// The secrets of a call, by name.
    async fn secrets(&self) -> Result<Vec<(String, Secret)>, Failure> {
        if self.definition.secrets.is_empty() {
            return Ok(Vec::new());
        }
        let (source, names) = (
            Arc::clone(&self.base.secrets),
            self.definition.secrets.clone(),
        );
        // A source may read files.
        let found = tokio::task::spawn_blocking(move || {
            let get = |name: String| source.get(&name).map(|secret| (name, secret));
            names.into_iter().map(get).collect::<Result<Vec<_>, _>>()
        });
        match found.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(Failure::last("secret_missing", error.to_string())),
            Err(_) => Err(Failure::passing("cancelled", "the secrets were not read")),
        }
    }

    fn sandboxed(
        &self,
        spec: &ToolSpec,
        context: &ToolContext,
        words: Vec<String>,
        arguments: &Value,
        secrets: &[(String, Secret)],
    ) -> Result<Call, Failure> {
        let definition = &self.definition;
        let mut call = Call::new(words);
        call.input = arguments.to_string().into();
        let text = |name: &str, value: &str| (name.to_owned(), OsString::from(value));
        let variables = definition.variables.iter();
        call.variables
            .extend(variables.map(|(name, value)| text(name, value)));
        let revealed = secrets
            .iter()
            .map(|(name, secret)| text(name, secret.reveal()));
        call.variables.extend(revealed);
        call.variables
            .push(text("OPSPAWN_CALL_KEY", context.key.as_str()));
        call.variables.push(text("OPSPAWN_TOOL", &spec.name));
        call.grants.clone_from(&self.grants);
        if definition.workspace != WorkspaceAccess::None {
            // The folder is the server's own; what is above it no program can write.
            let source = context.workspace.canonicalize().map_err(|error| {
                let message = format!("the workspace of this task cannot be opened: {error}");
                Failure::passing("workspace_unavailable", message)
            })?;
            call.grants.insert(
                0,
                Grant {
                    source,
                    target: WORKSPACE.into(),
                    writable: definition.workspace == WorkspaceAccess::Write,
                },
            );
            call.folder = WORKSPACE.into();
        } else if definition.folder.is_some() {
            call.folder = TOOL.into();
        }
        if !definition.hosts.is_empty() {
            let hosts = definition.hosts.iter().filter_map(|host| split_host(host));
            let dial = http::Hosts::new(hosts.collect(), self.base.http.clone());
            call.network = Network::Proxy(Arc::new(dial));
        }
        let limits = self.base.quota.limits();
        let room =
            match definition.write.is_empty() && definition.workspace == WorkspaceAccess::Write {
                true => self.base.quota.room(&context.workspace, &context.tree)?,
                false => limits.task_bytes,
            };
        call.limits = Limits {
            wall: definition.timeout,
            cpu: definition.cpu.unwrap_or(definition.timeout * 4),
            memory: definition.memory,
            processes: definition.processes,
            output: definition.output_bytes,
            file: limits.task_bytes.min(1 << 40),
            // Quotas are of the workspace; a folder that is granted beside it has what it has.
            disk: match definition.write.is_empty() {
                true => room,
                false => u64::MAX,
            },
            files: match definition.write.is_empty() {
                true => limits.task_files,
                false => u64::MAX,
            },
        };
        Ok(call)
    }
}
