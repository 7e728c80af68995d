//! Configuration: flag > `OPSPAWN_*` > version-1 variable > file > default.
//!
//! Every setting is declared once, in [`SETTINGS`]; the file's keys, the variables and the reference
//! page come from there.

mod budgets;
mod commands;
mod databases;
mod digests;
mod environment;
mod file;
#[cfg(test)]
pub(crate) mod fuzzing;
mod kind;
mod plainly;
mod queues;
#[cfg(test)]
mod reference;
mod reread;
mod setting;
mod settings;
mod writes;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use agentkit::model::Catalog;
use agentkit_tools::http::WriteRule;
use anyhow::{Context as _, Result, bail};
use ops_core::budget::Budget;
use ops_worker::QueueSettings;
use units::{duration, money, nearest};

pub(crate) use self::{
    commands::DeclaredCommand,
    file::parse_dotenv,
    kind::Kind,
    reread::Reread,
    setting::{Setting, setting},
    settings::SETTINGS,
};

/// Values with where they came from.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    values: BTreeMap<&'static str, (String, String)>,
    catalog: Catalog,
    queues: BTreeMap<String, QueueSettings>,
    budgets: Vec<Budget>,
    writes: Vec<WriteRule>,
    commands: Vec<DeclaredCommand>,
    databases: Vec<agentkit_sql::Declared>,
    /// The file that was read, or would be.
    file: PathBuf,
    /// Values of the command line, by key.
    flags: Vec<(&'static str, String)>,
    /// The file that the command line names.
    named: Option<PathBuf>,
}

/// Whether the file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layers {
    /// Every layer.
    All,
    /// All layers but the file.
    WithoutFile,
}

impl Config {
    /// Reads every layer. `flags` are the ones given on the command line, by key.
    pub(crate) fn load(flags: &[(&'static str, String)], file: Option<&Path>) -> Result<Self> {
        let dotenv = file::dotenv(Path::new(".env"))?;
        let env = |name: &str| std::env::var(name).ok();
        Self::of(Layers::All, flags, file, &env, &dotenv)
    }

    /// Reads every layer but the file, which has a mistake, for a command that only asks a running server.
    pub(crate) fn without_file(
        flags: &[(&'static str, String)],
        file: Option<&Path>,
    ) -> Result<Self> {
        let dotenv = file::dotenv(Path::new(".env"))?;
        let env = |name: &str| std::env::var(name).ok();
        Self::of(Layers::WithoutFile, flags, file, &env, &dotenv)
    }

    #[cfg(test)]
    fn layered(
        flags: &[(&'static str, String)],
        file: Option<&Path>,
        env: &dyn Fn(&str) -> Option<String>,
        dotenv: &BTreeMap<String, String>,
    ) -> Result<Self> {
        Self::of(Layers::All, flags, file, env, dotenv)
    }

    fn of(
        layers: Layers,
        flags: &[(&'static str, String)],
        file: Option<&Path>,
        env: &dyn Fn(&str) -> Option<String>,
        dotenv: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut config = Self {
            values: BTreeMap::new(),
            catalog: Catalog::built_in(),
            queues: queues::none(),
            budgets: Vec::new(),
            writes: Vec::new(),
            commands: Vec::new(),
            databases: Vec::new(),
            file: PathBuf::new(),
            flags: flags.to_vec(),
            named: file.map(Path::to_path_buf),
        };
        for setting in SETTINGS {
            let found = flags
                .iter()
                .find(|(key, _)| *key == setting.key)
                .map(|(_, value)| (value.clone(), "flag".to_owned()));
            let found = match found {
                Some(found) => Some(found),
                None => setting.in_environment(env, dotenv)?,
            };
            if let Some(found) = found {
                config.values.insert(setting.key, found);
            }
        }
        config.file =
            file.map_or_else(|| config.data_dir().join("opspawn.toml"), Path::to_path_buf);
        if layers == Layers::All && (file.is_some() || config.file.exists()) {
            let path = config.file.clone();
            let file = file::toml(&path)?;
            let source = path.display().to_string();
            for (key, value) in file.values {
                config.values.entry(key).or_insert((value, source.clone()));
            }
            config
                .catalog
                .lay_over(file.models)
                .with_context(|| format!("`models` in {source}"))?;
            config.queues =
                queues::read(file.queues).with_context(|| format!("`queues` in {source}"))?;
            config.budgets =
                budgets::read(file.budgets).with_context(|| format!("`budgets` in {source}"))?;
            config.writes = writes::read(file.writes)
                .with_context(|| format!("`tools.http.writes` in {source}"))?;
            config.commands = file.commands;
            config.databases = file.databases;
        }
        config.validate()?;
        Ok(config)
    }

    /// Looks at every value once, so that a mistake is told at the start and not at its first use.
    fn validate(&self) -> Result<()> {
        for setting in SETTINGS {
            if let Some((value, source)) = self.values.get(setting.key) {
                setting.kind.check(value).with_context(|| {
                    format!("setting `{}` (from {source}) is not valid", setting.key)
                })?;
            }
        }
        Ok(())
    }

    /// The text of a setting that has no default.
    pub(crate) fn optional(&self, key: &'static str) -> Option<&str> {
        let given = self.values.get(key).map(|(value, _)| value.as_str());
        given
            .or_else(|| settings::find(key).default)
            .filter(|value| !value.is_empty())
    }

    /// The texts of a list.
    pub(crate) fn list(&self, key: &'static str) -> Vec<&str> {
        let text = self.optional(key).unwrap_or_default();
        let items = text.split([',', '\n']).map(str::trim);
        items.filter(|item| !item.is_empty()).collect()
    }

    /// The model table, with the user's rows over the built-in ones.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The budgets that tasks share, in the order of their names.
    pub(crate) fn budgets(&self) -> &[Budget] {
        &self.budgets
    }

    /// The queues that are served, by name.
    pub(crate) fn queues(&self) -> &BTreeMap<String, QueueSettings> {
        &self.queues
    }

    /// What is known of places that `http_request` writes to.
    pub(crate) fn writes(&self) -> &[WriteRule] {
        &self.writes
    }

    /// The command tools that the file declares.
    pub(crate) fn commands(&self) -> &[DeclaredCommand] {
        &self.commands
    }

    /// The databases that the file has agents ask.
    pub(crate) fn databases(&self) -> &[agentkit_sql::Declared] {
        &self.databases
    }

    /// The configuration file, whether it is there or not.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The folder of the configuration file, which relative folders of declarations are relative to.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.file.parent()
    }

    fn text(&self, key: &'static str) -> &str {
        self.optional(key).unwrap_or_default()
    }

    /// Where a value came from; none for the default.
    pub(crate) fn source(&self, key: &'static str) -> Option<&str> {
        self.values.get(key).map(|(_, source)| source.as_str())
    }

    /// A whole number; the value was checked when it was loaded.
    pub(crate) fn number(&self, key: &'static str) -> Option<u64> {
        self.optional(key).and_then(|text| text.parse().ok())
    }

    /// An amount of money, in micro-USD.
    pub(crate) fn usd(&self, key: &'static str) -> Option<u64> {
        self.optional(key).and_then(|text| money::parse(text).ok())
    }

    /// A duration.
    pub(crate) fn duration(&self, key: &'static str) -> Option<Duration> {
        self.optional(key)
            .and_then(|text| duration::parse(text).ok())
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(&self, key: &'static str) -> bool {
        self.optional(key) == Some("true")
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.text("data"))
    }

    /// The listen address.
    pub(crate) fn listen(&self) -> Result<std::net::SocketAddr> {
        address(self.text("listen"))
    }

    /// The address of gRPC.
    pub(crate) fn grpc_listen(&self) -> Result<crate::runtime::GrpcListen> {
        Ok(crate::runtime::GrpcListen {
            address: address(self.text("grpc_listen"))?,
            chosen: self.source("grpc_listen").is_some(),
        })
    }

    /// The address of a worker's health, if configured.
    pub(crate) fn health_listen(&self) -> Result<Option<std::net::SocketAddr>> {
        self.optional("worker.health_listen")
            .map(address)
            .transpose()
    }
}

fn address(text: &str) -> Result<std::net::SocketAddr> {
    text.parse()
        .with_context(|| format!("`{text}` is not an address like 127.0.0.1:8000"))
}

/// Variables of this program that are no settings.
const OTHER_VARIABLES: [&str; 1] = ["OPSPAWN_CONFIG"];

/// What to say of variables that look like this program's and are not.
pub(crate) fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let known = || {
        SETTINGS
            .iter()
            .map(|setting| setting.env)
            .chain(OTHER_VARIABLES)
    };
    let stranger = |name: &String| {
        let setting = name.strip_suffix("_FILE").unwrap_or(name);
        name.starts_with("OPSPAWN_")
            && !known().any(|own| own == name || own == setting)
            // Those of test builds.
            && !["OPSPAWN_TEST_", "OPSPAWN_CRASH"].iter().any(|test| name.starts_with(test))
    };
    let sentence = |name: String| match meant(&name) {
        Some(near) => format!("the variable {name} means nothing; did you mean {near}?"),
        None => format!("the variable {name} means nothing; see `opspawn config`"),
    };
    names.filter(stranger).map(sentence).collect()
}

/// The variable that was probably meant: that of a setting whose key it spells, else one whose name is
/// much like it. What all of them begin with makes none of them alike.
fn meant(name: &str) -> Option<&'static str> {
    let own = name.strip_prefix("OPSPAWN_")?;
    let key = own.to_ascii_lowercase();
    let spelt = |setting: &&setting::Setting| setting.key.replace('.', "_") == key;
    if let Some(setting) = SETTINGS.iter().find(spelt) {
        return Some(setting.env);
    }
    let known = SETTINGS.iter().map(|setting| setting.env);
    let known = known.chain(OTHER_VARIABLES);
    let near = nearest(
        own,
        known.clone().filter_map(|env| env.strip_prefix("OPSPAWN_")),
    )?;
    known
        .into_iter()
        .find(|env| env.strip_prefix("OPSPAWN_") == Some(near))
}

/// Keys that are no settings, and where such things are written.
const ELSEWHERE: [(&str, &str); 8] = [
    (
        "schedule",
        "a schedule is applied with `opspawn schedule apply -f FILE`",
    ),
    (
        "agent",
        "an agent is applied with `opspawn agent apply -f FILE`",
    ),
    (
        "agents",
        "agents are applied with `opspawn agent apply -f FILE`",
    ),
    (
        "schedules",
        "schedules are applied with `opspawn schedule apply -f FILE`",
    ),
    (
        "mcpServers",
        "MCP servers stand in mcp_servers.yaml of the data folder",
    ),
    (
        "mcp_servers",
        "MCP servers stand in mcp_servers.yaml of the data folder",
    ),
    ("rule", "rules stand in policy.toml of the data folder"),
    ("rules", "rules stand in policy.toml of the data folder"),
];

/// Fails with the nearest name for a key that does not exist.
fn unknown_key(key: &str, file: &str) -> Result<()> {
    let first = key.split('.').next().unwrap_or(key);
    let of_table = || {
        SETTINGS
            .iter()
            .filter(|setting| setting.key.split('.').next() == Some(first))
    };
    if of_table().next().is_none()
        && let Some((_, where_to)) = ELSEWHERE.iter().find(|(known, _)| *known == first)
    {
        bail!("unknown setting `{key}` in {file}; {where_to}");
    }
    if let Some(near) = nearest(key, SETTINGS.iter().map(|setting| setting.key)) {
        bail!("unknown setting `{key}` in {file}; did you mean `{near}`?");
    }
    let own: Vec<&str> = of_table().map(|setting| setting.key).collect();
    match own.as_slice() {
        [] => bail!("unknown setting `{key}` in {file}; `opspawn config` lists the settings"),
        own => bail!(
            "unknown setting `{key}` in {file}; known are {}",
            own.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests;
