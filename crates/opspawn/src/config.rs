//! Configuration: flag > `OPSPAWN_*` > version-1 variable > file > default.
//!
//! Every setting is declared once, in [`SETTINGS`]; the file's keys, the variables and the reference
//! page come from there.

mod environment;
mod file;
mod kind;
mod queues;
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
use ops_worker::QueueSettings;
use units::{duration, money, nearest};

pub(crate) use self::{kind::Kind, settings::SETTINGS};

/// Values with where they came from.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    values: BTreeMap<&'static str, (String, String)>,
    catalog: Catalog,
    queues: BTreeMap<String, QueueSettings>,
    writes: Vec<WriteRule>,
}

impl Config {
    /// Reads every layer. `flags` are the ones given on the command line, by key.
    pub(crate) fn load(flags: &[(&'static str, String)], file: Option<&Path>) -> Result<Self> {
        let dotenv = file::dotenv(Path::new(".env"))?;
        Self::layered(flags, file, &|name| std::env::var(name).ok(), &dotenv)
    }

    fn layered(
        flags: &[(&'static str, String)],
        file: Option<&Path>,
        env: &dyn Fn(&str) -> Option<String>,
        dotenv: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut config = Self {
            values: BTreeMap::new(),
            catalog: Catalog::built_in(),
            queues: queues::none(),
            writes: Vec::new(),
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
        let path = match file {
            Some(path) => Some(path.to_path_buf()),
            None => Some(config.data_dir().join("opspawn.toml")).filter(|path| path.exists()),
        };
        if let Some(path) = path {
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
            config.writes = writes::read(file.writes)
                .with_context(|| format!("`tools.http.writes` in {source}"))?;
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

    /// The queues that are served, by name.
    pub(crate) fn queues(&self) -> &BTreeMap<String, QueueSettings> {
        &self.queues
    }

    /// What is known of places that `http_request` writes to.
    pub(crate) fn writes(&self) -> &[WriteRule] {
        &self.writes
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
        let text = self.text("listen");
        text.parse()
            .with_context(|| format!("`{text}` is not an address like 127.0.0.1:8000"))
    }
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
    let spelt = |setting: &&settings::Setting| setting.key.replace('.', "_") == key;
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

/// Fails with the nearest name for a key that does not exist.
fn unknown_key(key: &str, place: &str) -> Result<()> {
    match nearest(key, SETTINGS.iter().map(|setting| setting.key)) {
        Some(near) => bail!("unknown setting `{key}` in {place}; did you mean `{near}`?"),
        None => bail!(
            "unknown setting `{key}` in {place}; known are {}",
            SETTINGS
                .iter()
                .map(|setting| setting.key)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

#[cfg(test)]
mod tests;
