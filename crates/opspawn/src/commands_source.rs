//! Command tools as a source of tools, and the sandbox that they run in.

use std::{
    future::pending,
    sync::{Arc, OnceLock},
};

use agentkit::{BoxFuture, Tool};
use agentkit_sandbox::{Options, Sandbox, State};
use agentkit_tools::{
    command::{Base, Modules},
    http::Listeners,
};
use anyhow::{Context as _, Result};
use ops_agents::{Health, SourceContext, SourceError, ToolSource};
use ops_core::stats::{Metric, Value};

use crate::{config::Config, secrets::FileAndEnvironment, tools};

/// The one sandbox of this process. The helper process starts with the first call, or [`Sandbox::start`].
pub(crate) fn sandbox(config: &Config) -> Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    let concurrency = config.number("sandbox.concurrency").unwrap_or(32);
    let made = SANDBOX.get_or_init(|| {
        Sandbox::new(Options {
            concurrency: u32::try_from(concurrency).unwrap_or(32),
            ..Options::default()
        })
    });
    made.clone()
}

static MODULES: OnceLock<Arc<Modules>> = OnceLock::new();

/// The compiled modules of this process.
fn modules(config: &Config) -> Arc<Modules> {
    let folder = || config.data_dir().join("cache").join("wasm");
    Arc::clone(MODULES.get_or_init(|| Arc::new(Modules::new(folder()))))
}

/// The command tools of this configuration.
///
/// # Errors
/// If a folder of a declaration cannot be used; the message has the line.
pub(crate) fn commands(config: &Config, own: &Listeners) -> Result<Vec<Arc<dyn Tool>>> {
    let Some(folder) = config.folder().filter(|_| !config.commands().is_empty()) else {
        return Ok(Vec::new());
    };
    let base = Base {
        sandbox: sandbox(config),
        secrets: Arc::new(FileAndEnvironment::new(config)),
        http: tools::http(config, own),
        quota: tools::quota(config),
        modules: modules(config),
        folder: folder.to_owned(),
    };
    let tool = |declared: &crate::config::DeclaredCommand| -> Result<Arc<dyn Tool>> {
        let tool = declared.definition.tool(&declared.name, &base);
        let tool = tool.with_context(|| format!("{}: tool `{}`", declared.at, declared.name))?;
        Ok(Arc::new(tool))
    };
    config.commands().iter().map(tool).collect()
}

/// The source `command`.
pub(crate) struct Commands {
    tools: Vec<Arc<dyn Tool>>,
    sandbox: Sandbox,
}

impl Commands {
    /// A source of these tools; `None` without command tools.
    pub(crate) fn source(config: &Config, own: &Listeners) -> Result<Option<Arc<dyn ToolSource>>> {
        let tools = commands(config, own)?;
        let source = Self {
            sandbox: sandbox(config),
            tools,
        };
        Ok((!source.tools.is_empty()).then(|| Arc::new(source) as _))
    }
}

impl ToolSource for Commands {
    fn name(&self) -> &str {
        "command"
    }

    fn fixed(&self) -> Option<Vec<Arc<dyn Tool>>> {
        Some(self.tools.clone())
    }

    fn tools<'a>(
        &'a self,
        _: &'a SourceContext,
    ) -> BoxFuture<'a, Result<Vec<Arc<dyn Tool>>, SourceError>> {
        Box::pin(std::future::ready(Ok(self.tools.clone())))
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }

    fn health(&self) -> Health {
        match self.sandbox.state() {
            State::NotStarted | State::Ready(_) => Health::Ready,
            State::Refused(error) => Health::Away {
                message: format!("the sandbox cannot be used: {error}"),
            },
        }
    }
}

/// The tier of the sandbox, or the reason of its refusal, for people.
pub(crate) fn describe(state: &State) -> String {
    match state {
        State::NotStarted => "not started: no call has needed it".to_owned(),
        State::Ready(report) => report.to_string(),
        State::Refused(error) => format!("refused: {error}"),
    }
}

/// The sandbox as a part of the server.
pub(crate) struct SandboxPart(pub(crate) Sandbox);

impl ops_server::Part for SandboxPart {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    fn state(&self) -> String {
        describe(&self.0.state())
    }

    fn warning(&self) -> Option<String> {
        match self.0.state() {
            State::NotStarted | State::Ready(_) => None,
            State::Refused(error) => Some(format!("command tools are refused: {error}")),
        }
    }

    fn metrics(&self) -> Vec<Metric> {
        let count = self.0.counts();
        let (compiled, forgotten) = MODULES.get().map_or((0, 0), |modules| modules.counts());
        let counter = |name, help, value| Metric {
            name,
            help,
            value: Value::Counter(value),
        };
        vec![
            counter(
                "opspawn_sandbox_calls",
                "Programs that ran in the sandbox",
                count.calls,
            ),
            counter(
                "opspawn_sandbox_limits_passed",
                "Programs that were killed because they passed a limit",
                count.limits_passed,
            ),
            counter(
                "opspawn_sandbox_refused",
                "Programs that did not run, because the sandbox could not be made or they could not be started",
                count.refused,
            ),
            counter(
                "opspawn_sandbox_lost",
                "Programs whose end is not known",
                count.lost,
            ),
            counter(
                "opspawn_wasm_compiled",
                "Modules of WebAssembly that were compiled",
                compiled,
            ),
            counter(
                "opspawn_wasm_forgotten",
                "Compiled modules that were not run, because their code had changed on the disk",
                forgotten,
            ),
            counter(
                "opspawn_sandbox_cpu_millis",
                "Processor time of programs",
                count.cpu_millis,
            ),
        ]
    }
}
