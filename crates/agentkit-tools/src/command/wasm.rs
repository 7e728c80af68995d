//! Modules of WebAssembly as tools: tables `[tools.wasm.NAME]`.
//!
//! Such a tool is a command tool whose program is this one: it runs the module in the sandbox, with the grants and
//! limits of the declaration. The module itself sees less than its sandbox does: no program, no file but in its folders,
//! and no socket but one to the proxy of its sandbox, where the declaration names hosts.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, time::Duration};

use agentkit::{event::Failure, tool::Effect};
use agentkit_sandbox::{
    Call, Ended, Error, Grant, Network, Outcome,
    wasm::{self, Folder, RunRequest, code},
};
use serde::Deserialize;
use serde_json::Value;

use tokio::time::Instant;

use super::{
    definition::{self, Definition, Mistake, Probe, Touches, WorkspaceAccess},
    modules::{Compiled, Modules},
    tool::Base,
};
use crate::{declared, http::OnNotDone};

/// Memory of the process beside that of its module: the program and the runtime.
const RUNTIME_BYTES: u64 = 256 << 20;
/// Threads of the process.
const RUNTIME_THREADS: u32 = 16;
/// How much later than its time a module is killed that was not interrupted.
const KILLED_AFTER: Duration = Duration::from_secs(1);
/// The end of a process that had to run other code than was compiled.
const STALE: Ended = Ended::Exited(code::STALE);
/// Where the sandbox has the compiled code.
const CODE_FOLDER: &str = "/run/module";

/// A tool that is a module.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WasmDefinition {
    /// Description for the model.
    pub description: String,
    /// File of the module, binary or text: a component, or a module for WASI preview 1. Relative to the configuration
    /// file.
    pub module: PathBuf,
    /// Instructions that a call may execute, about; without it only time limits a call.
    #[serde(default)]
    pub fuel: Option<u64>,
    /// JSON Schema of the arguments; by default no arguments.
    #[serde(default = "definition::no_arguments")]
    pub input: Value,
    /// JSON Schema of the result.
    #[serde(default)]
    pub output: Option<Value>,
    /// Whether standard output is text and no JSON.
    #[serde(default)]
    pub text: bool,
    /// Effect of repeating a call; `write` by default.
    #[serde(default = "definition::write")]
    pub effect: Effect,
    /// The longest that a call may take.
    #[serde(
        default = "definition::minute",
        deserialize_with = "declared::duration"
    )]
    pub timeout: Duration,
    /// Calls of this tool at once, over all tasks.
    #[serde(default = "definition::four")]
    pub concurrency: u32,
    /// A folder with the tool's own files, which the module sees as `/tool`. Relative to the configuration file.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// Access to the task's files, which the module sees as `/workspace` and as its current folder.
    #[serde(default)]
    pub workspace: WorkspaceAccess,
    /// Further folders to read, at their own paths.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// Further folders to write.
    #[serde(default)]
    pub write: Vec<PathBuf>,
    /// Hosts to reach through the proxy, for a component: `api.example.com`, with port 443, or `api.example.com:8080`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Secrets that its environment has, by name.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Further variables of its environment.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Bytes of all memories of the module.
    #[serde(default = "sixty_four_mebibytes", deserialize_with = "declared::bytes")]
    pub memory: u64,
    /// Bytes of standard output.
    #[serde(default = "definition::mebibyte", deserialize_with = "declared::bytes")]
    pub output_bytes: u64,
    /// Resources of a call, where they are fewer than the grants.
    #[serde(default)]
    pub touches: Option<Touches>,
    /// How to see whether a call took effect.
    #[serde(default)]
    pub probe: Option<ModuleProbe>,
}

/// How to see whether a call took effect: a module that reads `{"arguments": .., "key": ..}` and writes `"done"`, `"not_done"`
/// or `"unknown"`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleProbe {
    /// File of the module; the tool's own module if left out, which knows by `OPSPAWN_TOOL` (`NAME_probe`) that it is to look.
    #[serde(default)]
    pub module: Option<PathBuf>,
    /// How long a lost call may still take effect; the timeout by default.
    #[serde(default, deserialize_with = "definition::some_duration")]
    pub settle: Option<Duration>,
    /// Consequence where a call of another class than `keyed` did not take effect.
    #[serde(default)]
    pub on_not_done: OnNotDone,
}

fn sixty_four_mebibytes() -> u64 {
    64 << 20
}

impl WasmDefinition {
    /// Checks the declaration. The module is looked at when it is called.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), Mistake> {
        if wasm::VERSION.is_none() {
            let message = "this build runs no WebAssembly: build it with `--features wasm`, or declare a \
                           `[tools.command]`";
            return Err(Mistake(message.to_owned()));
        }
        if self.fuel == Some(0) {
            return Err(Mistake("`fuel` must be 1 or more".to_owned()));
        }
        if self.memory > 4 << 30 {
            let message = format!(
                "`memory` must be 4GiB at most, and is {} bytes",
                self.memory
            );
            return Err(Mistake(message));
        }
        self.as_command().check()
    }

    /// The command tool that runs the module.
    pub(super) fn as_command(&self) -> Definition {
        Definition {
            description: self.description.clone(),
            command: vec![wasm::PROGRAM.to_owned()],
            input: self.input.clone(),
            output: self.output.clone(),
            text: self.text,
            effect: self.effect,
            timeout: self.timeout,
            concurrency: self.concurrency,
            folder: self.folder.clone(),
            workspace: self.workspace,
            read: self.read.clone(),
            write: self.write.clone(),
            hosts: self.hosts.clone(),
            secrets: self.secrets.clone(),
            variables: self.variables.clone(),
            cpu: None,
            memory: self.memory,
            processes: RUNTIME_THREADS,
            output_bytes: self.output_bytes,
            touches: self.touches.clone(),
            probe: self.probe.as_ref().map(|probe| Probe {
                command: vec![wasm::PROGRAM.to_owned()],
                settle: probe.settle,
                on_not_done: probe.on_not_done,
            }),
        }
    }
}

/// The module of a tool.
#[derive(Clone)]
pub(super) struct Module {
    pub(super) file: PathBuf,
    pub(super) fuel: Option<u64>,
}

impl Module {
    /// The module of a declaration.
    pub(super) fn of(declared: &WasmDefinition, base: &Base) -> Result<Self, Mistake> {
        declared.check()?;
        let file = base.folder.join(&declared.module);
        if !file.is_file() {
            let message = format!("`module` names {}, which is no file", file.display());
            return Err(Mistake(message));
        }
        let fuel = declared.fuel;
        Ok(Self { file, fuel })
    }

    /// The module that looks whether a call of this one took effect.
    pub(super) fn of_probe(&self, probe: &ModuleProbe, base: &Base) -> Result<Self, Mistake> {
        let mut looks = self.clone();
        if let Some(module) = &probe.module {
            looks.file = base.folder.join(module);
        }
        match looks.file.is_file() {
            true => Ok(looks),
            false => Err(Mistake(format!(
                "`probe.module` names {}, which is no file",
                looks.file.display()
            ))),
        }
    }

    /// Runs the module in a call, until then. Code that changed since it was compiled is not run, but compiled once more.
    pub(super) async fn run(
        &self,
        base: &Base,
        call: Call,
        until: Instant,
    ) -> Result<Result<Outcome, Error>, Failure> {
        let mut is_second = false;
        loop {
            let with_fuel = self.fuel.is_some();
            let compiled = base.modules.compiled(&base.sandbox, &self.file, with_fuel);
            let compiled = tokio::time::timeout_at(until, compiled).await;
            let left = until.saturating_duration_since(Instant::now());
            let (Ok(compiled), false) = (compiled, left.is_zero()) else {
                return Err(not_compiled_yet());
            };
            let compiled = compiled?;
            let mut call = call.clone();
            self.prepare(&mut call, &compiled, left);
            let outcome = base.sandbox.run(call).await;
            let is_stale = matches!(&outcome, Ok(outcome) if outcome.ended == STALE);
            // A folder that was removed meanwhile cannot be mounted. Nothing has run in either case.
            let is_gone =
                matches!(&outcome, Err(Error::NotStarted(_))) && !compiled.folder.exists();
            if is_second || !(is_stale || is_gone) {
                return Ok(outcome);
            }
            base.modules.forget(&compiled);
            is_second = true;
        }
    }

    /// Makes a call of a program a call of compiled code.
    fn prepare(&self, call: &mut Call, code: &Compiled, left: Duration) {
        let folders = call.grants.iter().map(|grant| Folder {
            path: grant.target.clone(),
            name: grant.target.display().to_string(),
            writable: grant.writable,
        });
        let request = RunRequest {
            code: PathBuf::from(CODE_FOLDER).join(Modules::CODE),
            digest: code.digest.clone(),
            memory: call.limits.memory,
            fuel: self.fuel,
            time_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            folders: folders.collect(),
            network: matches!(call.network, Network::Proxy(_)),
        };
        call.arguments = request.arguments();
        call.grants.push(Grant {
            source: code.folder.clone(),
            target: CODE_FOLDER.into(),
            writable: false,
        });
        call.limits.memory += RUNTIME_BYTES;
        call.limits.wall = left + KILLED_AFTER;
    }
}

/// The arguments of the call that compiles, for the cache.
pub(super) fn compiling(with_fuel: bool) -> Vec<OsString> {
    wasm::compile_arguments(with_fuel)
}

/// Why a module failed, by the end of its process: a code of the failure, and a sentence about the tool. `None` for an end that
/// any program may have.
pub(super) fn failure(
    ended: Ended,
    module: &Module,
    memory: u64,
    timeout: Duration,
) -> Option<(&'static str, String)> {
    let Ended::Exited(number) = ended else {
        return None;
    };
    let limit = |what: String| Some(("limit_passed", format!("was stopped: it {what}")));
    match number {
        code::FUEL => limit(format!(
            "used up its {} of `fuel`",
            module.fuel.unwrap_or(0)
        )),
        code::TIME => limit(format!("did not end within its timeout of {timeout:?}")),
        code::MEMORY => limit(format!(
            "wanted more memory than its limit of {memory} bytes"
        )),
        code::TRAP => Some(("command_failed", "trapped".to_owned())),
        code::INVALID | code::STALE | code::USAGE => {
            Some(("invalid_module", "could not be run".to_owned()))
        }
        _ => None,
    }
}

/// The failure of a call whose time was over before its module could run.
fn not_compiled_yet() -> Failure {
    let message = "the timeout was over while the module was still being compiled, and nothing ran; compiling goes on, \
                   and a later call finds the module compiled, or raise `timeout`";
    Failure::passing("module_not_compiled", message)
}

/// The failure of a tool whose module cannot be used.
pub(super) fn invalid(why: impl std::fmt::Display) -> Failure {
    Failure::last(
        "invalid_module",
        format!("the module cannot be used: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_declaration_is_one_of_a_command_with_less() {
        let read = |fields: Value| -> Result<WasmDefinition, String> {
            let mut whole = json!({"description": "Does it", "module": "a.wasm"});
            for (name, value) in fields.as_object().unwrap() {
                whole[name] = value.clone();
            }
            let read: WasmDefinition =
                serde_json::from_value(whole).map_err(|error| error.to_string())?;
            read.check().map(|()| read).map_err(|mistake| mistake.0)
        };
        if wasm::VERSION.is_none() {
            assert!(read(json!({})).unwrap_err().contains("--features wasm"));
            return;
        }
        let plain = read(json!({})).unwrap();
        assert_eq!((plain.memory, plain.fuel), (64 << 20, None));
        assert!(plain.as_command().hosts.is_empty());
        for (fields, says) in [
            (json!({"fuel": 0}), "`fuel` must be"),
            (json!({"memory": "5GiB"}), "`memory` must be 4GiB at most"),
            (json!({"memory": 1}), "`memory` must be"),
            (json!({"hosts": ["https://a.example"]}), "`hosts` has"),
            (json!({"effect": "pure", "probe": {}}), "`probe` is for"),
            (
                json!({"probe": {"command": ["a"]}}),
                "unknown field `command`",
            ),
            (json!({"command": ["a"]}), "unknown field `command`"),
            (json!({"read": ["data"]}), "`read` must list absolute paths"),
            (json!({"description": ""}), "`description`"),
        ] {
            let mistake = read(fields.clone()).unwrap_err();
            assert!(mistake.contains(says), "{fields}: {mistake}");
        }
    }
}
