use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// One request that the model stub received: a line of its log, written before it answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRequest {
    /// The ordinal of the request in the life of the stub, from 1.
    pub n: u64,
    /// Which conversation it belongs to: the `key` of the plan, else a hash of the first user
    /// message. It is the same for every call of one task, across restarts of either side.
    pub conversation: String,
    /// The ordinal of the request in its conversation, from 1.
    pub call: u64,
    /// How many assistant messages the request carries: the same turn twice is a repeated call.
    pub turn: usize,
    /// What the stub did: `tools`, `answer`, or the fault's name.
    pub did: String,
    /// When it arrived, in microseconds of `CLOCK_MONOTONIC`.
    pub mono_us: i64,
    /// When it arrived, in microseconds since 1970.
    pub wall_us: i64,
    /// The body as it came.
    pub request: Value,
}

/// One effect that the ledger received: a line of its log, written before it answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// How often this `key` has been written, from 1; more than 1 is an effect that ran twice.
    pub n: u64,
    /// When it arrived, in microseconds of `CLOCK_MONOTONIC`.
    #[serde(default)]
    pub mono_us: i64,
    /// When it arrived, in microseconds since 1970.
    #[serde(default)]
    pub wall_us: i64,
    /// The task that the effect belongs to.
    #[serde(default)]
    pub task: Value,
    /// Its step.
    #[serde(default)]
    pub step: Value,
    /// What makes the effect one effect.
    pub key: String,
    /// The tool that had it.
    #[serde(default)]
    pub tool: Value,
    /// Its class or its text; the ledger does not read it.
    #[serde(default)]
    pub effect: Value,
    /// The key of the call, which is the same however often the call is made.
    #[serde(default)]
    pub call_key: Value,
}

/// A log that a witness writes: one JSON object a line, each line with one `write(2)`.
#[derive(Debug)]
pub struct LogFile(Option<File>);

impl LogFile {
    /// Opens a log for appending; without a path, lines go nowhere.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(Some(
            file.with_context(|| format!("opening {}", path.display()))?,
        )))
    }

    /// Whether lines go to a file.
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a line to the kernel; it outlives this process from then on.
    pub fn append(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let Some(file) = &mut self.0 else {
            return Ok(());
        };
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        file.write_all(&bytes)?;
        Ok(())
    }
}

/// Appends one line to a log.
pub fn append_line(path: &Path, line: &impl Serialize) -> anyhow::Result<()> {
    LogFile::open(Some(path))?.append(line)
}

/// Reads the whole lines of a log; a file that is not there yet has none.
pub fn read_log<T: DeserializeOwned>(path: impl Into<PathBuf>) -> anyhow::Result<Vec<T>> {
    let path = path.into();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().map(|line| {
        serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))
    });
    lines.collect()
}
