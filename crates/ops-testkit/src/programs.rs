use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{DataDir, Effect, Http, ModelRequest, Process, Stream, read_log};

const START: Duration = Duration::from_secs(10);

/// A running `opspawn-model-stub`; see its `--help` for what it can do.
#[derive(Debug)]
pub struct ModelStub {
    process: Process,
    http: Http,
    log: Option<PathBuf>,
}

impl ModelStub {
    /// Starts it on a free port with a log file and more arguments, for instance
    /// `["--latency-ms", "20", "--faults", "429,hang"]`.
    pub async fn start(log: impl Into<PathBuf>, args: &[&str]) -> anyhow::Result<Self> {
        let log = log.into();
        let (process, http) = start("opspawn-model-stub", Some(&log), args).await?;
        Ok(Self {
            process,
            http,
            log: Some(log),
        })
    }

    /// Starts it without a log, for benchmarks. `script` is `{"turns": [CALL, ..], "answer": "text"}` and
    /// answers every conversation whose goal brings no plan.
    pub async fn start_unlogged(script: &Value) -> anyhow::Result<Self> {
        let folder = DataDir::new()?;
        let file = folder.join("script.json");
        std::fs::write(&file, serde_json::to_vec(script)?)?;
        let file = file.to_str().context("the temporary folder is not UTF-8")?;
        // The stub has read the file once it is ready.
        let (process, http) = start("opspawn-model-stub", None, &["--script", file]).await?;
        Ok(Self {
            process,
            http,
            log: None,
        })
    }

    /// What a client takes as the base URL of an OpenAI-compatible provider.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.http.base())
    }

    /// A client for the stub itself.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The process, to stop or kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Every request so far.
    ///
    /// # Errors
    /// The stub was started without a log, or the log cannot be read.
    pub fn requests(&self) -> anyhow::Result<Vec<ModelRequest>> {
        read_log(self.log.as_ref().context("the stub keeps no log")?)
    }
}

/// A running `opspawn-ledger`.
#[derive(Debug)]
pub struct Ledger {
    process: Process,
    http: Http,
    log: PathBuf,
}

impl Ledger {
    /// Starts it on a free port with a log file and more arguments, for instance
    /// `["--latency-ms", "20"]`. It takes up the counts of a log that is already there.
    pub async fn start(log: impl Into<PathBuf>, args: &[&str]) -> anyhow::Result<Self> {
        let log = log.into();
        let (process, http) = start("opspawn-ledger", Some(&log), args).await?;
        Ok(Self { process, http, log })
    }

    /// Where effects are posted.
    pub fn url(&self) -> String {
        format!("{}/effect", self.http.base())
    }

    /// A client for the ledger itself.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The process, to stop or kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Every effect so far.
    pub fn effects(&self) -> anyhow::Result<Vec<Effect>> {
        read_log(&self.log)
    }
}

/// Where `opspawn-mcp-stub` is: an MCP server over stdio that misbehaves by a plan, its argument.
///
/// # Errors
/// It is not built.
pub fn mcp_stub() -> anyhow::Result<PathBuf> {
    built("opspawn-mcp-stub")
}

/// A running `opspawn-mcp-stub` over streamable HTTP.
#[derive(Debug)]
pub struct McpStub {
    process: Process,
    http: Http,
}

impl McpStub {
    /// Starts it on a free port with a plan.
    pub async fn start(plan: &Value) -> anyhow::Result<Self> {
        let mut command = Command::new(mcp_stub()?);
        command.arg("--http").arg(plan.to_string());
        let (process, base) = Process::start(command, Stream::Stdout, START, ready).await?;
        Ok(Self {
            process,
            http: Http::new(&base),
        })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("{}/mcp", self.http.base())
    }

    /// A client for the stub itself.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The process, to stop or kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

async fn start(name: &str, log: Option<&Path>, args: &[&str]) -> anyhow::Result<(Process, Http)> {
    let mut command = Command::new(built(name)?);
    command.arg("--until-stdin-closes").args(args);
    if let Some(log) = log {
        command.arg("--log").arg(log);
    }
    let (process, base) = Process::start(command, Stream::Stdout, START, ready).await?;
    Ok((process, Http::new(&base)))
}

/// The address in a ready line.
fn ready(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line.get("ready")?.as_str()?.to_owned())
}

/// A program of the workspace that cargo built beside the running test.
pub(crate) fn built(name: &str) -> anyhow::Result<PathBuf> {
    let test = env::current_exe().context("where is this test?")?;
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    // A test is at debug/deps/TEST, a program at debug/PROGRAM.
    for folder in test.ancestors().skip(1).take(2) {
        let program = folder.join(&file);
        if program.is_file() {
            return Ok(program);
        }
    }
    bail!("{name} is not built: run `cargo build --workspace --all-features --bins` first");
}

/// Cargo's target folder, as seen from the running test.
pub(crate) fn target() -> Option<PathBuf> {
    let test = env::current_exe().ok()?;
    test.ancestors()
        .find(|folder| folder.join("testkit").is_dir())
        .map(Path::to_owned)
}
