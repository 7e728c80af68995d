//! The declaration of a command tool: a table `[tools.command.NAME]`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use agentkit::tool::Effect;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{argv::Template, scripts};
use crate::{
    declared::{bytes, duration},
    http::OnNotDone,
};

/// Names that the tool's own variables have.
const OWN_VARIABLES: &[&str] = &["PATH", "HOME", "TMPDIR", "LANG"];
/// The most entries of a list.
const MAX_LISTED: usize = 32;

/// A command tool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Description for the model.
    pub description: String,
    /// The program and its arguments; `{name}` stands for an argument of the call.
    pub command: Vec<String>,
    /// JSON Schema of the arguments; by default no arguments.
    #[serde(default = "no_arguments")]
    pub input: Value,
    /// JSON Schema of the result.
    #[serde(default)]
    pub output: Option<Value>,
    /// Whether standard output is text and no JSON.
    #[serde(default)]
    pub text: bool,
    /// Effect of repeating a call; `write` by default.
    #[serde(default = "write")]
    pub effect: Effect,
    /// The longest that a call may take.
    #[serde(default = "minute", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Calls of this tool at once, over all tasks.
    #[serde(default = "four")]
    pub concurrency: u32,
    /// A folder with the tool's own files, which the program sees as `/tool`. Relative to the configuration file.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// Access to the task's files, which the program sees as `/workspace` and starts in.
    #[serde(default)]
    pub workspace: WorkspaceAccess,
    /// Further folders to read, at their own paths.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// Further folders to write.
    #[serde(default)]
    pub write: Vec<PathBuf>,
    /// Hosts to reach through the proxy: `api.example.com`, with port 443, or `api.example.com:8080`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Secrets that its environment has, by name.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Further variables of its environment.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Processor time of all its processes; the timeout by default.
    #[serde(default, deserialize_with = "some_duration")]
    pub cpu: Option<Duration>,
    /// Bytes of memory.
    #[serde(default = "half_gibibyte", deserialize_with = "bytes")]
    pub memory: u64,
    /// Processes and threads at once.
    #[serde(default = "sixty_four")]
    pub processes: u32,
    /// Bytes of standard output.
    #[serde(default = "mebibyte", deserialize_with = "bytes")]
    pub output_bytes: u64,
    /// Resources of a call, where they are fewer than the grants.
    #[serde(default)]
    pub touches: Option<Touches>,
    /// How to see whether a call took effect.
    #[serde(default)]
    pub probe: Option<Probe>,
}

/// Access to the task's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceAccess {
    /// No access.
    None,
    /// The program reads the files.
    Read,
    /// The program reads and writes the files.
    #[default]
    Write,
}

/// The resources that a call touches: `file:PATH`, `folder:PATH`, `tree:PATH`, `url:URL` or `service:NAME`, in which
/// `{name}` stands for an argument.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Touches {
    /// Resources that are read.
    #[serde(default)]
    pub reads: Vec<String>,
    /// Resources that are written.
    #[serde(default)]
    pub writes: Vec<String>,
}

/// How to see whether a call took effect: a command that reads `{"arguments": .., "key": ..}` and writes `"done"`, `"not_done"`
/// or `"unknown"`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The program and its arguments; `{key}` stands for the call's key, `{/arguments/name}` for an argument.
    pub command: Vec<String>,
    /// How long a lost call may still take effect. In the sandbox a call ends with its server, but its request to a far
    /// side may not: the timeout by default.
    #[serde(default, deserialize_with = "some_duration")]
    pub settle: Option<Duration>,
    /// Consequence where a call of another class than `keyed` did not take effect.
    #[serde(default)]
    pub on_not_done: OnNotDone,
}

/// Mistake of a declaration: a sentence that names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(pub String);

pub(super) fn no_arguments() -> Value {
    json!({"type": "object", "properties": {}, "additionalProperties": false})
}

pub(super) fn write() -> Effect {
    Effect::Write
}

pub(super) fn minute() -> Duration {
    Duration::from_secs(60)
}

pub(super) fn four() -> u32 {
    4
}

fn half_gibibyte() -> u64 {
    512 << 20
}

pub(super) fn mebibyte() -> u64 {
    1 << 20
}

fn sixty_four() -> u32 {
    64
}

pub(super) fn some_duration<'de, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<Duration>, D::Error> {
    duration(value).map(Some)
}

impl Definition {
    /// Checks the declaration.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), Mistake> {
        self.checked().map_err(Mistake)
    }

    fn checked(&self) -> Result<(), String> {
        if self.description.trim().is_empty() {
            return Err("`description` must tell a model what the tool does".to_owned());
        }
        let known = self.properties();
        check_command("command", &self.command, |name| match &known {
            Some(known) if !known.contains(&name) => {
                Some(units::nearest::hint(name, known.clone()))
            }
            Some(_) | None => None,
        })?;
        if self.input.get("type").and_then(Value::as_str) != Some("object") {
            return Err("`input` must be a JSON Schema with `type = \"object\"`".to_owned());
        }
        if self.text && self.output.is_some() {
            return Err(
                "`output` is a schema of JSON, and `text = true` says that there is none"
                    .to_owned(),
            );
        }
        let limits = [
            ("concurrency", u64::from(self.concurrency), 1, 64),
            ("processes", u64::from(self.processes), 1, 4096),
            ("memory", self.memory, 1 << 20, 1 << 40),
            ("output_bytes", self.output_bytes, 1, 32 << 20),
            ("timeout", self.timeout.as_secs(), 0, 24 * 3600),
        ];
        for (name, value, least, most) in limits {
            if !(least..=most).contains(&value) {
                return Err(format!(
                    "`{name}` must be {least} to {most}, and is {value}"
                ));
            }
        }
        if self.timeout.is_zero() {
            return Err("`timeout` must be more than nothing".to_owned());
        }
        for (name, list) in [("read", &self.read), ("write", &self.write)] {
            if list.len() > MAX_LISTED {
                return Err(format!("`{name}` lists more than {MAX_LISTED} folders"));
            }
            if let Some(path) = list.iter().find(|path| !path.is_absolute()) {
                return Err(format!(
                    "`{name}` must list absolute paths, and not `{}`",
                    path.display()
                ));
            }
        }
        if self.hosts.len() > MAX_LISTED {
            return Err(format!("`hosts` lists more than {MAX_LISTED} hosts"));
        }
        for host in &self.hosts {
            split_host(host).ok_or_else(|| {
                format!("`hosts` has `{host}`, which is no host such as `api.example.com` or `api.example.com:8080`")
            })?;
        }
        for name in self.secrets.iter().chain(self.variables.keys()) {
            if !is_variable(name) {
                return Err(format!(
                    "`{name}` is no name of a variable: use A-Z, 0-9 and `_`"
                ));
            }
            if OWN_VARIABLES.contains(&name.as_str()) || name.starts_with("OPSPAWN_") {
                return Err(format!("the variable `{name}` is set by the sandbox"));
            }
        }
        if let Some(twice) = self
            .secrets
            .iter()
            .find(|name| self.variables.contains_key(*name))
        {
            return Err(format!("`{twice}` is both a secret and a variable"));
        }
        for (name, list) in self.touches.iter().flat_map(|touches| {
            [
                ("touches.reads", &touches.reads),
                ("touches.writes", &touches.writes),
            ]
        }) {
            for text in list {
                let kinds = ["file:", "folder:", "tree:", "url:", "service:"];
                if !kinds.iter().any(|kind| text.starts_with(kind)) {
                    return Err(format!(
                        "`{name}` has `{text}`; write one of {}",
                        kinds.join(", ")
                    ));
                }
                Template::parse(text)?;
            }
        }
        if let Some(probe) = &self.probe {
            if !self.effect.is_write() {
                let effect = "`probe` is for calls of the classes `write` and `keyed`";
                return Err(effect.to_owned());
            }
            check_command("probe.command", &probe.command, |name| {
                let known = ["key", "arguments"];
                (!known.contains(&name)).then(|| units::nearest::hint(name, known))
            })?;
        }
        Ok(())
    }

    /// The names of arguments that the schema has, if it says which.
    fn properties(&self) -> Option<Vec<&str>> {
        let open = self
            .input
            .get("additionalProperties")
            .is_none_or(|more| more != &Value::Bool(false));
        let properties = self.input.get("properties").and_then(Value::as_object);
        match properties {
            None if open => None,
            None => Some(Vec::new()),
            Some(properties) => Some(properties.keys().map(String::as_str).collect()),
        }
    }
}

fn check_command(
    field: &str,
    command: &[String],
    unknown: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let Some(program) = command.first().filter(|program| !program.is_empty()) else {
        return Err(format!(
            "`{field}` names no program; write [\"program\", \"argument\"]"
        ));
    };
    if program.contains('{') {
        return Err(format!(
            "`{field}` must name its program, and not have an argument choose it"
        ));
    }
    for text in command {
        let word = Template::parse(text).map_err(|mistake| format!("`{field}`: {mistake}"))?;
        if let Some((name, hint)) = word.names().find_map(|name| Some((name, unknown(name)?))) {
            return Err(format!(
                "`{field}` names an argument `{name}` that `input` does not have ({hint}); a brace of the program's own is written twice"
            ));
        }
    }
    match scripts::injected(command) {
        Some(mistake) => Err(format!("`{field}`: {mistake}")),
        None => Ok(()),
    }
}

fn is_variable(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(fits)
}

/// Host and port of a place that a tool may reach; 443 unless the text names a port.
pub(super) fn split_host(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
        None => (text, 443),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty() && host.chars().all(fits)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(fields: Value) -> Result<Definition, String> {
        let mut whole = json!({"description": "Does it", "command": ["run"]});
        for (name, value) in fields.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let read: Definition = serde_json::from_value(whole).map_err(|error| error.to_string())?;
        read.check().map(|()| read).map_err(|mistake| mistake.0)
    }

    #[test]
    fn the_careful_defaults_hold_unless_the_declaration_says_otherwise() {
        let plain = definition(json!({})).unwrap();
        assert_eq!(plain.effect, Effect::Write);
        assert_eq!(plain.workspace, WorkspaceAccess::Write);
        assert_eq!((plain.timeout, plain.memory), (minute(), 512 << 20));
        assert!(plain.hosts.is_empty() && plain.secrets.is_empty() && !plain.text);
        let own = definition(json!({
            "timeout": "5s", "memory": "2GiB", "output_bytes": 100, "effect": "pure",
            "workspace": "read", "hosts": ["A.example", "b.example:8080"],
        }));
        let own = own.unwrap();
        assert_eq!(
            (own.timeout.as_secs(), own.memory, own.output_bytes),
            (5, 2 << 30, 100)
        );
        let hosts: Vec<_> = own
            .hosts
            .iter()
            .filter_map(|host| split_host(host))
            .collect();
        assert_eq!(
            hosts,
            [
                ("a.example".to_owned(), 443),
                ("b.example".to_owned(), 8080)
            ]
        );
    }

    #[test]
    fn mistakes_are_told_with_the_field() {
        let input =
            json!({"type": "object", "properties": {"path": {}}, "additionalProperties": false});
        for (fields, says) in [
            (json!({"description": " "}), "`description`"),
            (json!({"command": []}), "`command` names no program"),
            (json!({"command": ["{x}"]}), "must name its program"),
            (
                json!({"command": ["a", "{"]}),
                "`command`: `{` has a single `{`",
            ),
            (
                json!({"command": ["a", "{pth}"], "input": input}),
                "did you mean `path`",
            ),
            (
                json!({"command": ["a", "{x}"]}),
                "argument `x` that `input` does not have",
            ),
            (json!({"input": {"type": "array"}}), "`input` must be"),
            (json!({"text": true, "output": {}}), "`output`"),
            (json!({"concurrency": 0}), "`concurrency` must be 1 to 64"),
            (json!({"memory": "1 potato"}), "512MiB"),
            (json!({"memory": 5}), "`memory` must be"),
            (json!({"timeout": "0s"}), "`timeout`"),
            (json!({"read": ["data"]}), "`read` must list absolute paths"),
            (json!({"hosts": ["https://a.example"]}), "`hosts` has"),
            (json!({"hosts": ["*.example"]}), "`hosts` has"),
            (json!({"secrets": ["a-b"]}), "`a-b` is no name"),
            (json!({"secrets": ["PATH"]}), "is set by the sandbox"),
            (
                json!({"variables": {"OPSPAWN_CALL_KEY": "x"}}),
                "is set by the sandbox",
            ),
            (
                json!({"secrets": ["A"], "variables": {"A": "x"}}),
                "both a secret and a variable",
            ),
            (json!({"touches": {"reads": ["x"]}}), "`touches.reads`"),
            (
                json!({"effect": "pure", "probe": {"command": ["p"]}}),
                "`probe` is for",
            ),
            (
                json!({"probe": {"command": ["p", "{kye}"]}}),
                "did you mean `key`",
            ),
            (
                json!({"probe": {"command": ["sh", "-c", "look {key}"]}}),
                "is code of `sh`",
            ),
            (json!({"comand": ["a"]}), "unknown field `comand`"),
            (json!({"effect": "writes"}), "unknown variant"),
        ] {
            let mistake = definition(fields.clone()).unwrap_err();
            assert!(mistake.contains(says), "{fields}: {mistake}");
        }
    }
}
