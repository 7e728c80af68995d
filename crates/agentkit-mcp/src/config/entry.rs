//! One server of a file, in the words of whichever program the file was written for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use serde_json::{Map, Value};
use url::Url;

use super::{OauthConfig, ServerConfig, Transport, credential, read::Whole, rules::rules, vars};
use crate::{names::Glob, process::Program, text::shown};

const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_TIMEOUT: Duration = Duration::from_secs(600);
const START_TIMEOUT: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(120);
/// Numbers from this on are milliseconds: nobody waits for a thousand seconds for a call, and everybody who
/// writes 60000 means a minute.
const MILLIS_FROM: f64 = 1_000.0;

/// Keys that are read. Others are named in a note.
const KNOWN: [&str; 40] = [
    "enabled",
    "disabled",
    "command",
    "script_path",
    "args",
    "env",
    "cwd",
    "url",
    "httpUrl",
    "serverUrl",
    "headers",
    "http_headers",
    "type",
    "transport",
    "transportType",
    "timeout",
    "max_timeout",
    "start_timeout",
    "startup_timeout_sec",
    "tool_timeout_sec",
    "elicitation_timeout",
    "tools",
    "allow",
    "deny",
    "allowedTools",
    "includeTools",
    "excludeTools",
    "enabled_tools",
    "disabled_tools",
    "oauth",
    "sampling",
    "description",
    "name",
    "autoApprove",
    "alwaysAllow",
    "trust",
    "disabledTools",
    "gallery",
    "version",
    "icon",
];
/// Keys that other programs read, and this program does not.
const FOREIGN: [&str; 11] = [
    "envFile",
    "dev",
    "id",
    "label",
    "required",
    "env_vars",
    "env_http_headers",
    "bearer_token_env_var",
    "scopes",
    "instructions",
    "capabilities",
];
/// Keys by which other programs let calls run without approval.
const APPROVALS: [&str; 3] = ["autoApprove", "alwaysAllow", "trust"];

/// A server that was read.
pub(super) struct Read {
    pub(super) server: ServerConfig,
    pub(super) notes: Vec<String>,
}

/// Reads an entry. None if it is switched off.
pub(super) fn read(name: &str, entry: &Value, whole: &Whole<'_>) -> Result<Option<Read>, String> {
    let Value::Object(fields) = entry else {
        return Err("it is not a table of settings".to_owned());
    };
    if name.is_empty() || name.len() > 200 {
        return Err("its name has no characters, or more than 200".to_owned());
    }
    if is_off(fields)? {
        return Ok(None);
    }
    let mut reader = Reader {
        fields,
        whole,
        secrets: BTreeSet::new(),
        credentials: BTreeSet::new(),
    };
    let mut notes = Vec::new();
    for key in fields.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
        let is_foreign = FOREIGN.contains(&key.as_str());
        let meant = units::nearest(key, KNOWN).filter(|_| !is_foreign);
        // A misspelt limit or guard that is passed over would permit what the limit or guard forbids.
        if let Some(near) = meant {
            return Err(format!(
                "`{}` is not known; did you mean `{near}`?",
                shown(key, 60)
            ));
        }
        notes.push(format!(
            "the key `{}` is not read; the keys of a server are in docs/mcp.md",
            shown(key, 60)
        ));
    }
    if let Some(key) = APPROVALS.iter().find(|key| fields.contains_key(**key)) {
        notes.push(format!(
            "`{key}` approves nothing here; `tools: {{PATTERN: {{policy: allow}}}}` and the policy file do"
        ));
    }
    match fields.get("sampling") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(_) => {
            return Err(
                "`sampling` cannot be switched on: no model is called for servers (docs/mcp.md)"
                    .to_owned(),
            );
        }
    }
    let transport = reader.transport()?;
    let duration = |key: &str| duration(fields, key);
    let timeout = match duration("timeout")?.or(duration("tool_timeout_sec")?) {
        Some(timeout) => timeout,
        None => whole.timeout.unwrap_or(TIMEOUT),
    };
    let start = duration("start_timeout")?.or(duration("startup_timeout_sec")?);
    let server = ServerConfig {
        name: name.to_owned(),
        transport,
        timeout,
        max_timeout: duration("max_timeout")?.unwrap_or(MAX_TIMEOUT).max(timeout),
        start_timeout: start.unwrap_or(START_TIMEOUT),
        patience: duration("elicitation_timeout")?.unwrap_or(PATIENCE),
        allow: reader.globs(&["allow", "allowedTools", "includeTools", "enabled_tools"])?,
        deny: reader
            .globs(&["deny", "excludeTools", "disabledTools", "disabled_tools"])?
            .unwrap_or_default(),
        tools: rules(fields)?,
        secrets: reader.secrets.into_iter().collect(),
        credentials: reader.credentials.into_iter().collect(),
    };
    Ok(Some(Read { server, notes }))
}

fn is_off(fields: &Map<String, Value>) -> Result<bool, String> {
    let flag = |key: &str| match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(format!("`{key}` is neither true nor false")),
    };
    Ok(flag("enabled")? == Some(false) || flag("disabled")? == Some(true))
}

struct Reader<'a> {
    fields: &'a Map<String, Value>,
    whole: &'a Whole<'a>,
    /// Values that logs and errors do not show.
    secrets: BTreeSet<String>,
    /// Values that results do not show either.
    credentials: BTreeSet<String>,
}

impl Reader<'_> {
    /// Text with its variables filled in. What came from a variable may be a secret.
    fn fill(&mut self, field: &str, text: &str) -> Result<String, String> {
        let filled = vars::fill(text, self.whole.lookup);
        let filled = filled.map_err(|error| format!("`{field}`: {error}"))?;
        for (name, found) in filled.values {
            self.may_be_credential(&name, &found.value);
            if found.is_secret && !units::mutant!("agentkit-mcp.secrets_by_name_alone") {
                self.credentials.insert(found.value.clone());
            }
            self.secrets.insert(found.value);
        }
        Ok(filled.text)
    }

    /// Keeps a value out of results if its name says that it is a credential.
    fn may_be_credential(&mut self, name: &str, value: &str) {
        if credential::is_named(name) && !credential::is_path(value) {
            self.credentials.insert(value.to_owned());
        }
    }

    fn text(&mut self, field: &str) -> Result<Option<String>, String> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => self.fill(field, text).map(Some),
            Some(_) => Err(format!("`{field}` is not a text")),
        }
    }

    /// A table of texts, numbers and flags.
    fn table(&mut self, field: &str) -> Result<BTreeMap<String, String>, String> {
        let Some(Value::Object(table)) = self.fields.get(field).filter(|value| !value.is_null())
        else {
            return match self.fields.get(field) {
                None | Some(Value::Null) => Ok(BTreeMap::new()),
                Some(_) => Err(format!("`{field}` is not a table")),
            };
        };
        let mut read = BTreeMap::new();
        for (key, value) in table {
            let at = format!("{field}.{key}");
            let value = match value {
                Value::String(text) => self.fill(&at, text)?,
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                Value::Null => continue,
                Value::Array(_) | Value::Object(_) => return Err(format!("`{at}` is not a text")),
            };
            read.insert(key.clone(), value);
        }
        Ok(read)
    }

    fn transport(&mut self) -> Result<Transport, String> {
        let mut kind = None;
        for key in ["type", "transport", "transportType"] {
            kind = kind.or(self.text(key)?.map(|kind| (key, kind)));
        }
        let mut url = None;
        for key in ["url", "httpUrl", "serverUrl"] {
            url = url.or(self.text(key)?.map(|url| (key, url)));
        }
        let command = self.text("command")?;
        let script = self.text("script_path")?;
        if let (None, Some((key, _)), true) = (&kind, &url, command.is_some() || script.is_some()) {
            return Err(format!(
                "it has both a program and `{key}`; leave one out, or say which by `type`"
            ));
        }
        let is_http = match kind
            .as_ref()
            .map(|(_, kind)| kind.to_lowercase().replace(['-', '_'], ""))
        {
            None => url.is_some() && command.is_none() && script.is_none(),
            Some(kind) if kind == "stdio" || kind == "local" => false,
            Some(kind) if ["http", "sse", "streamablehttp", "remote"].contains(&kind.as_str()) => {
                true
            }
            Some(_) => {
                let (key, kind) = kind.unwrap_or_default();
                return Err(format!(
                    "`{key}: {}` is not known; use `stdio` or `http`",
                    shown(&kind, 40)
                ));
            }
        };
        match is_http {
            true => {
                let (key, url) = url.ok_or("it has no `url`")?;
                self.http(key, &url)
            }
            false => self.stdio(command, script),
        }
    }

    fn stdio(
        &mut self,
        command: Option<String>,
        script: Option<String>,
    ) -> Result<Transport, String> {
        let mut args = match self.fields.get("args") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(args)) => {
                let mut read = Vec::with_capacity(args.len());
                for (at, arg) in args.iter().enumerate() {
                    let text = match arg {
                        Value::String(text) => text.clone(),
                        Value::Number(number) => number.to_string(),
                        Value::Bool(flag) => flag.to_string(),
                        _ => return Err(format!("`args[{at}]` is not a text")),
                    };
                    read.push(self.fill(&format!("args[{at}]"), &text)?);
                }
                read
            }
            Some(_) => return Err("`args` is not a list".to_owned()),
        };
        let env = self.table("env")?;
        // What stands there is a secret more often than not.
        self.secrets.extend(env.values().cloned());
        for (name, value) in &env {
            self.may_be_credential(name, value);
        }
        let base = &self.whole.base;
        let script = script.map(|path| base.join(path));
        let command = match (
            command.filter(|command| !command.trim().is_empty()),
            &script,
        ) {
            (Some(command), _) => command,
            (None, Some(script)) => interpreter(script).ok_or("it has no `command`")?.to_owned(),
            (None, None) => return Err("it has neither `command` nor `url`".to_owned()),
        };
        if let Some(script) = script {
            args.insert(0, script.to_string_lossy().into_owned());
        }
        let cwd = self.text("cwd")?.map(|cwd| base.join(cwd));
        Ok(Transport::Stdio(Program {
            command,
            args,
            env,
            cwd,
        }))
    }

    fn http(&mut self, key: &str, text: &str) -> Result<Transport, String> {
        let url = Url::parse(text).map_err(|error| format!("`{key}` is not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(format!("`{key}` is not a URL of http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!(
                "`{key}` holds a user name or password; set the header `Authorization`"
            ));
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for field in ["headers", "http_headers"] {
            for (name, value) in self.table(field)? {
                // An empty bearer asks as nobody in particular, and looks like a wrong key.
                let secret = value.trim().trim_start_matches("Bearer").trim();
                if secret.is_empty() {
                    return Err(format!(
                        "`{field}.{name}` is empty once its variables are filled in"
                    ));
                }
                if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err()
                    || reqwest::header::HeaderValue::from_str(&value).is_err()
                {
                    return Err(format!("`{field}.{name}` is not a header"));
                }
                self.may_be_credential(&name, secret);
                self.secrets.insert(secret.to_owned());
                self.secrets.insert(value.clone());
                headers.push((name, value));
            }
        }
        let oauth = self.oauth()?;
        Ok(Transport::Http {
            url,
            headers,
            oauth,
        })
    }

    fn oauth(&mut self) -> Result<Option<OauthConfig>, String> {
        let fields = match self.fields.get("oauth") {
            None | Some(Value::Null | Value::Bool(false)) => return Ok(None),
            Some(Value::Bool(true)) => return Ok(Some(OauthConfig::default())),
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err("`oauth` is neither true nor a table".to_owned()),
        };
        let known = [
            "client_id",
            "client_secret",
            "scope",
            "client_metadata_url",
            "issuer",
        ];
        if let Some(key) = fields.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!(
                "`oauth.{key}` is not known; {}",
                units::nearest::hint(key, known)
            ));
        }
        let mut read = |key: &str| match fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => self.fill(&format!("oauth.{key}"), text).map(Some),
            Some(_) => Err(format!("`oauth.{key}` is not a text")),
        };
        let oauth = OauthConfig {
            client_id: read("client_id")?,
            client_secret: read("client_secret")?,
            scope: read("scope")?,
            client_metadata_url: read("client_metadata_url")?,
            issuer: match read("issuer")? {
                None => None,
                Some(text) => {
                    let url = Url::parse(&text)
                        .map_err(|error| format!("`oauth.issuer` is not a URL: {error}"))?;
                    Some(url)
                }
            },
        };
        self.secrets.extend(oauth.client_secret.clone());
        self.credentials.extend(oauth.client_secret.clone());
        Ok(Some(oauth))
    }

    fn globs(&self, keys: &[&str]) -> Result<Option<Vec<Glob>>, String> {
        let mut given = keys
            .iter()
            .filter_map(|key| Some((key, self.fields.get(*key)?)));
        let Some((key, value)) = given.next() else {
            return Ok(None);
        };
        if let Some((other, _)) = given.next() {
            return Err(format!(
                "`{key}` and `{other}` are the same list; write one"
            ));
        }
        let wrong = || format!("`{key}` is not a list of names of tools");
        let all = value.as_array().ok_or_else(wrong)?;
        let globs = all.iter().map(|one| {
            one.as_str()
                .map(|one| Glob(one.to_owned()))
                .ok_or_else(wrong)
        });
        globs.collect::<Result<_, _>>().map(Some)
    }
}

/// The program of a script, by the script's name.
fn interpreter(script: &Path) -> Option<&'static str> {
    match script.extension()?.to_str()? {
        "py" => Some("python3"),
        "js" | "mjs" | "cjs" => Some("node"),
        "sh" => Some("sh"),
        _ => None,
    }
}

pub(super) fn duration(fields: &Map<String, Value>, key: &str) -> Result<Option<Duration>, String> {
    let wrong = || format!("`{key}` is not a time: write 60, \"60s\" or \"2m\"");
    let read = match fields.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => {
            let number = number.as_f64().ok_or_else(wrong)?;
            let seconds = if number >= MILLIS_FROM {
                number / 1_000.0
            } else {
                number
            };
            units::duration::from_seconds(seconds).map_err(|_| wrong())?
        }
        Some(Value::String(text)) => units::duration::parse(text).map_err(|_| wrong())?,
        Some(_) => return Err(wrong()),
    };
    match read.is_zero() {
        true => Err(format!("`{key}` is 0; leave it out for the usual time")),
        false => Ok(Some(read)),
    }
}
