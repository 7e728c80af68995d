//! `opspawn tool call`: a tool of this configuration, without a task.

use std::{io::Read as _, path::Path, sync::Arc};

use agentkit::{
    StepId,
    event::{CallKey, Failure},
    policy::PolicyContext,
    tool::{Gate, Registry, ToolContext},
};
use agentkit_tools::http::Listeners;
use anyhow::{Context as _, Result};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    exit::{self, Exit},
    output::{self, show, status},
    policy, tools,
};

/// Whom rules see that are about agents.
const AGENT: &str = "opspawn-tool-call";

/// Calls the tool and prints its result.
pub(super) async fn call(
    config: &Config,
    name: &str,
    input: &str,
    workspace: Option<&Path>,
    json: bool,
) -> Result<Exit> {
    needs_more(config, name)?;
    let gate = gate(config)?;
    let input = match input {
        "-" => {
            let mut text = String::new();
            let read = std::io::stdin()
                .lock()
                .take(2 << 20)
                .read_to_string(&mut text);
            read.context("the arguments cannot be read from standard input")?;
            text
        }
        text => text.to_owned(),
    };
    let admission = gate
        .admit(name, &input, &PolicyContext { agent: AGENT })
        .await;
    if let Some(error) = admission.error {
        return Err(failed(name, &error));
    }
    if let Some(request) = &admission.approval {
        status!(
            "note: of an agent, a rule would ask for leave first: {}",
            output::one_line(&request.reason)
        );
    }
    let empty = tempfile::tempdir().context("cannot make a temporary folder")?;
    let workspace = workspace.unwrap_or_else(|| empty.path());
    let cancel = CancellationToken::new();
    let workspace = std::path::absolute(workspace).context("the workspace has no path")?;
    let context = ToolContext {
        key: CallKey::new(rand::random()),
        cancel: cancel.clone(),
        now_micros: agentkit::drive::RunClock::now_micros(&agentkit::drive::SystemClock),
        policy: gate.policy_check(name, AGENT),
        ..ToolContext::outside_of_runs(StepId(1), admission.effect, workspace)
    };
    let called = gate.run(name, admission.input, context);
    let outcome = tokio::select! {
        outcome = called => outcome.map_err(|error| failed(name, &error))?,
        stopped = crate::commands::stop_requested() => {
            cancel.cancel();
            return stopped.map(|_| Exit::Interrupted);
        }
    };
    let files: Vec<&str> = outcome
        .files
        .iter()
        .map(|(file, _)| file.path.as_str())
        .collect();
    if json {
        output::json(&json!({"tool": name, "output": outcome.output, "files": files}));
        return Ok(Exit::Ok);
    }
    match outcome.output.as_str() {
        Some(text) => show!("{}", output::clean(text)),
        None => {
            let text = serde_json::to_string_pretty(&outcome.output).unwrap_or_default();
            show!("{}", output::clean(&text));
        }
    }
    if !files.is_empty() {
        status!("changed: {}", output::one_line(&files.join(", ")));
    }
    Ok(Exit::Ok)
}

/// Refuses tools that a call without a task and without a server cannot have, and says how to try them.
fn needs_more(config: &Config, name: &str) -> Result<()> {
    let mut control = agentkit::tool::control::all().into_iter();
    if control.any(|tool| tool.spec().name == name) {
        let message = format!(
            "`{name}` is a part of a run, so a call without a task does nothing; have an agent call it: `opspawn run`"
        );
        return Err(exit::error(Exit::Usage, message));
    }
    // A file that cannot be read is told by the commands that use it.
    let servers = crate::mcp::load(config).unwrap_or_default().config.servers;
    let of = |server: &&String| name.starts_with(&agentkit_mcp::names::prefix(server));
    if let Some(server) = servers.keys().find(of) {
        let tool = &name[agentkit_mcp::names::prefix(server).len()..];
        let message = format!(
            "`{name}` is a tool of the MCP server `{server}`; try it with `opspawn mcp test {server} {tool} ARGUMENTS`"
        );
        return Err(exit::error(Exit::Usage, message));
    }
    Ok(())
}

/// The gate of an agent that has every tool.
fn gate(config: &Config) -> Result<Gate> {
    let all = tools::all(config, &Listeners::default())
        .map_err(|error| exit::error(Exit::Usage, format!("{error:#}")))?;
    let names: Vec<String> = all.iter().map(|tool| tool.spec().name.clone()).collect();
    let registry =
        Registry::new(all).map_err(|error| exit::error(Exit::Usage, error.to_string()))?;
    let policy = policy::load(config)?.file.policy(names);
    Ok(Gate::new(registry, Arc::new(policy)))
}

fn failed(name: &str, failure: &Failure) -> anyhow::Error {
    exit::error(
        Exit::Failed,
        format!("{name}: {} ({})", failure.message, failure.code),
    )
}
