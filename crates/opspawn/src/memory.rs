//! Long-term memory of this configuration: the store, and its part in a server.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use agentkit::{
    drive::{RunClock as _, SystemClock},
    memory::long_term::LongTermMemory as _,
};
use agentkit_memory::{
    Embedded, Embedder, Options, Stored,
    embedder::http::{self, HttpEmbedder},
};
use anyhow::{Result, bail};
use ops_agents::LongTermSettings;
use ops_core::stats::{Metric, Value};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// The file in the data folder.
pub(crate) const FILE: &str = "memory.db";
const OPENAI: &str = "https://api.openai.com/v1";
/// The longest that one try of a call to the embedder may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often facts whose time is over are hidden.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// The data folder of this process, where it is not the configured one.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Keeps facts in this folder, whatever the configuration says: that of a server that keeps nothing.
pub(crate) fn keep_in(folder: &Path) {
    // One runtime runs in a process; tests may start several on folders of their own.
    let _ = FOLDER.set(folder.to_path_buf());
}

/// Long-term memory, as agents are made with it.
///
/// # Errors
/// Settings that cannot work together.
pub(crate) fn settings(config: &Config) -> Result<LongTermSettings> {
    let everywhere = config.optional("memory.provider") == Some("embedded");
    let store = store(config)?;
    if everywhere && store.is_none() {
        bail!(
            "setting `memory.provider`: `embedded` keeps facts in a file of one machine, and the tasks are in \
             PostgreSQL (`store.url`); long-term memory in PostgreSQL (`postgres`) is not served by this release, so use \
             `none`"
        );
    }
    Ok(LongTermSettings {
        store: store.map(|store| store as _),
        everywhere,
    })
}

/// The store; `None` beside a PostgreSQL database. Made once for equal settings: its threads and its index are shared by
/// all agents.
///
/// # Errors
/// An embedder that cannot be used.
pub(crate) fn store(config: &Config) -> Result<Option<Arc<Embedded>>> {
    static LAST: Mutex<Option<(String, Arc<Embedded>)>> = Mutex::new(None);
    if config.optional("store.url").is_some() {
        return Ok(None);
    }
    let path = path(config);
    let text = |key| config.optional(key).unwrap_or_default();
    let keys = [
        "memory.embedder",
        "memory.embedder_url",
        "memory.embedder_key",
        "memory.embedder_model",
        "memory.embedder_dimensions",
        "memory.embedder_path",
        "memory.max_facts",
        "openai.base_url",
        "openai.api_key",
    ];
    let key = format!("{}\n{}", path.display(), keys.map(text).join("\n"));
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, store)) = &*last
        && *known == key
    {
        return Ok(Some(Arc::clone(store)));
    }
    let mut options = Options::new(path);
    options.embedder = embedder(config)?;
    if let Some(most) = config.number("memory.max_facts") {
        options.max_facts = most;
    }
    let store = Arc::new(Embedded::new(options));
    *last = Some((key, Arc::clone(&store)));
    Ok(Some(store))
}

/// The file.
pub(crate) fn path(config: &Config) -> PathBuf {
    let folder = FOLDER.get().cloned().unwrap_or_else(|| config.data_dir());
    folder.join(FILE)
}

fn embedder(config: &Config) -> Result<Option<Arc<dyn Embedder>>> {
    match config.optional("memory.embedder") {
        Some("openai") => {
            let own_url = config.optional("memory.embedder_url");
            let url = own_url.or_else(|| config.optional("openai.base_url"));
            // A key for OpenAI is not sent to another endpoint.
            let usual_key = config
                .optional("openai.api_key")
                .filter(|_| own_url.is_none());
            let key = config.optional("memory.embedder_key").or(usual_key);
            let settings = http::Settings {
                base_url: url.unwrap_or(OPENAI).to_owned(),
                api_key: key.map(str::to_owned),
                model: config
                    .optional("memory.embedder_model")
                    .unwrap_or_default()
                    .to_owned(),
                dimensions: config
                    .number("memory.embedder_dimensions")
                    .and_then(|number| u32::try_from(number).ok()),
                batch: None,
                timeout: TIMEOUT,
            };
            match HttpEmbedder::new(settings) {
                Ok(embedder) => Ok(Some(Arc::new(embedder))),
                Err(message) => bail!("setting `memory.embedder_url`: {message}"),
            }
        }
        Some("local") => local(config).map(Some),
        Some(_) | None => Ok(None),
    }
}

#[cfg(feature = "model2vec")]
fn local(config: &Config) -> Result<Arc<dyn Embedder>> {
    let Some(folder) = config.optional("memory.embedder_path") else {
        bail!("setting `memory.embedder_path` is missing: the folder of the model2vec model");
    };
    match agentkit_memory::embedder::local::LocalEmbedder::load(Path::new(folder)) {
        Ok(embedder) => Ok(Arc::new(embedder)),
        Err(message) => bail!("setting `memory.embedder_path`: {message}"),
    }
}

#[cfg(not(feature = "model2vec"))]
fn local(_: &Config) -> Result<Arc<dyn Embedder>> {
    bail!(
        "setting `memory.embedder`: this build has no local embedder; `--features model2vec` builds one that has"
    )
}

/// Hides facts whose time is over, now and then, until the process stops.
pub(crate) async fn expire(config: Config, stop: CancellationToken) {
    let Ok(Some(store)) = store(&config) else {
        return;
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EXPIRE_EVERY) => {}
        }
        if let Err(error) = store.expire(SystemClock.now_micros()).await {
            tracing::warn!(%error, "facts of long-term memory cannot be expired");
        }
    }
}

/// Long-term memory as a part of the server, where there is a store.
///
/// # Errors
/// As [`store`].
pub(crate) fn part(config: &Config) -> Result<Option<Arc<dyn ops_server::Part>>> {
    Ok(store(config)?.map(|store| Arc::new(MemoryPart(store)) as _))
}

struct MemoryPart(Arc<Embedded>);

impl ops_server::Part for MemoryPart {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn state(&self) -> String {
        told(&self.0)
    }

    fn warning(&self) -> Option<String> {
        is_damaged(self.0.path()).then(|| {
            format!(
                "long-term memory is away: {} is no database; put a copy of a backup in its place, or remove it",
                self.0.path().display()
            )
        })
    }

    fn metrics(&self) -> Vec<Metric> {
        let counts = self.0.counts();
        let counter = |name, help, value| Metric {
            name,
            help,
            value: Value::Counter(value),
        };
        vec![
            counter(
                "opspawn_memory_searches",
                "Searches of long-term memory by this process",
                counts.searches,
            ),
            counter(
                "opspawn_memory_added",
                "Facts that this process added to long-term memory",
                counts.added,
            ),
            counter(
                "opspawn_memory_failures",
                "Calls of long-term memory that failed in this process",
                counts.failures,
            ),
        ]
    }
}

/// Whether a file that is not empty does not begin as a SQLite database does.
pub(crate) fn is_damaged(path: &Path) -> bool {
    let mut header = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(16).read_to_end(&mut header));
    read.is_ok() && !header.is_empty() && header != b"SQLite format 3\0"
}

/// State of a store, without opening its file.
pub(crate) fn told(store: &Embedded) -> String {
    if is_damaged(store.path()) {
        return "away: the file is no database".to_owned();
    }
    let embedder = store.embedder().unwrap_or("words alone");
    match store.stored() {
        Stored::Absent => format!("no facts so far ({embedder})"),
        Stored::Bytes(bytes) => format!("{bytes} bytes of facts ({embedder})"),
    }
}
