//! Completion on a shell's command line, with the names of the server: its agents, tasks, schedules, tools
//! and MCP servers.
//!
//! The script of a shell asks this program what may follow, with [`VARIABLE`] set. The names are those of the
//! server that is named, or that the data folder has. No server is started for them, and one that does not
//! answer at once has none.

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::{
    ArgValueCompleter, CompletionCandidate,
    env::{CompleteEnv, Shells},
};
use ops_store::sqlite;
use serde_json::Value;

use crate::{
    cli::Cli,
    client,
    config::Config,
    output::{self, field},
};

/// Set by the scripts of shells.
const VARIABLE: &str = "OPSPAWN_COMPLETE";
/// Longer than this nobody waits for a name.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Tasks that are offered, the newest first.
const TASKS: u32 = 100;

/// Answers the script of a shell, and ends the process then.
pub(crate) fn answer() {
    CompleteEnv::with_factory(command)
        .var(VARIABLE)
        .completer("opspawn")
        .complete();
}

/// Prints the script of a shell.
///
/// # Errors
/// If the script cannot be made.
pub(super) fn script(shell: clap_complete::Shell) -> Result<()> {
    let shell = shell.to_string();
    let shells = Shells::builtins();
    let completer = shells.completer(&shell).context("the shell is not known")?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "opspawn", "opspawn", "opspawn", &mut script)?;
    output::raw(&String::from_utf8_lossy(&script));
    Ok(())
}

/// Names that complete an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Agents,
    McpServers,
    Planners,
    Schedules,
    Tasks,
    Tools,
}

impl Names {
    /// Names for an argument of a command, if there are any.
    fn of(path: &[String], argument: &str) -> Option<Self> {
        let command: Vec<&str> = path.iter().map(String::as_str).collect();
        Some(match (command.as_slice(), argument) {
            (["agent", "get" | "rm"], "name")
            | (["agent", "rollback"], "agent")
            | (["run"] | ["task", _], "agent") => Self::Agents,
            (["mcp", _], "name") => Self::McpServers,
            (["run"], "planner") => Self::Planners,
            (["schedule", _], "name") => Self::Schedules,
            (["task" | "approval" | "reconcile" | "dead-letter", _], "id")
            | (["approval", _], "task") => Self::Tasks,
            (["tool", "show" | "call"], "name") => Self::Tools,
            _ => return None,
        })
    }

    /// Path of the list, the field with the name, and the field that explains it.
    fn list(self) -> Option<(String, &'static str, &'static str)> {
        Some(match self {
            Self::Agents => ("/api/v1/agents".to_owned(), "name", "description"),
            Self::McpServers => ("/api/v1/mcp/servers".to_owned(), "name", "state"),
            Self::Planners => return None,
            Self::Schedules => ("/api/v1/schedules".to_owned(), "name", "cron"),
            Self::Tasks => (format!("/api/v1/tasks?limit={TASKS}"), "task_id", "state"),
            Self::Tools => ("/api/v1/tools".to_owned(), "name", "description"),
        })
    }

    fn candidates(self, current: &OsStr) -> Vec<CompletionCandidate> {
        let Some(current) = current.to_str() else {
            return Vec::new();
        };
        let found = match self.list() {
            None => agentkit::planner::NAMES
                .iter()
                .map(|name| ((*name).to_owned(), String::new()))
                .collect(),
            Some((path, name, about)) => names(&path, name, about).unwrap_or_default(),
        };
        let fits = |(name, _): &(String, String)| name.starts_with(current);
        let shown = |(name, about): (String, String)| {
            let about = (!about.is_empty()).then(|| about.into());
            CompletionCandidate::new(name).help(about)
        };
        found.into_iter().filter(fits).map(shown).collect()
    }
}

/// The commands, with names where arguments take names.
fn command() -> Command {
    with_names(Cli::command(), &mut Vec::new())
}

fn with_names(command: Command, path: &mut Vec<String>) -> Command {
    let below: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let command =
        command.mut_args(
            |argument: Arg| match Names::of(path, argument.get_id().as_str()) {
                Some(names) => argument.add(ArgValueCompleter::new(move |current: &OsStr| {
                    names.candidates(current)
                })),
                None => argument,
            },
        );
    below.into_iter().fold(command, |command, name| {
        command.mut_subcommand(&name, |inner| {
            path.push(name.clone());
            let inner = with_names(inner, path);
            path.pop();
            inner
        })
    })
}

/// Names of a list of the server with what explains each; none without a server.
fn names(path: &str, name: &str, about: &str) -> Option<Vec<(String, String)>> {
    let base = server(&std::env::args().collect::<Vec<_>>())?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let page = runtime.block_on(async {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().ok()?;
        let answer = http.get(format!("{base}{path}")).send().await.ok()?;
        answer.error_for_status().ok()?.bytes().await.ok()
    })?;
    let page: Value = serde_json::from_slice(&page).ok()?;
    // A page has its list under the last word of the path.
    let list = path.split('?').next()?.rsplit('/').next()?;
    let rows = page[list].as_array()?;
    Some(
        rows.iter()
            .map(|row| (field(row, name), field(row, about)))
            .filter(|(name, _)| !name.is_empty())
            .collect(),
    )
}

/// The server that the words of the command line name, or the one of their data folder.
fn server(words: &[String]) -> Option<String> {
    let flag = |name: &str| {
        let mut after = words.iter().skip_while(|word| *word != name);
        let joined = words
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        joined.or_else(|| after.nth(1).map(String::as_str))
    };
    let mut flags = Vec::new();
    for (key, name) in [("data", "--data"), ("url", "--url")] {
        flags.extend(flag(name).map(|value| (key, value.to_owned())));
    }
    let file = flag("--config").map(PathBuf::from);
    let file = file.or_else(|| std::env::var_os("OPSPAWN_CONFIG").map(Into::into));
    let config = Config::load(&flags, file.as_deref()).ok()?;
    match config.optional("url") {
        Some(url) => client::base_of(url).ok(),
        None => sqlite::running_server(&config.data_dir())?.url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command or an argument that is renamed would be completed no longer, without a word.
    #[test]
    fn names_complete_arguments_that_exist() {
        fn collect(command: &Command, path: &mut Vec<String>, found: &mut Vec<String>) {
            for argument in command.get_arguments() {
                if let Some(names) = Names::of(path, argument.get_id().as_str()) {
                    found.push(format!(
                        "{} {}: {names:?}",
                        path.join(" "),
                        argument.get_id()
                    ));
                }
            }
            for inner in command.get_subcommands() {
                path.push(inner.get_name().to_owned());
                collect(inner, path, found);
                path.pop();
            }
        }
        let mut found = Vec::new();
        collect(&command(), &mut Vec::new(), &mut found);
        for expected in [
            "agent get name: Agents",
            "agent rollback agent: Agents",
            "run agent: Agents",
            "run planner: Planners",
            "task ls agent: Agents",
            "task get id: Tasks",
            "task cancel id: Tasks",
            "approval approve id: Tasks",
            "reconcile resolve id: Tasks",
            "dead-letter redrive id: Tasks",
            "schedule run name: Schedules",
            "mcp approve name: McpServers",
            "tool call name: Tools",
        ] {
            assert!(
                found.iter().any(|one| one == expected),
                "{expected}: {found:#?}"
            );
        }
    }
}
