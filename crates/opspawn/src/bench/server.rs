//! The server that is measured: this program's `dev`, as a process of its own.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::Instant,
};

use super::process::Usage;

/// A running `opspawn dev`.
pub(super) struct Server {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
    /// Where it answers.
    pub(super) url: String,
    /// From its start to its `ready` line.
    pub(super) ready: Duration,
}

impl Server {
    /// Starts one on a data folder, with the settings as variables.
    pub(super) async fn start(dir: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own path is not known")?;
        let begin = Instant::now();
        let mut child = Command::new(program)
            .args(["dev", "--quiet", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir)
            .env("OPSPAWN_LOG", "opspawn=info")
            .env("NO_COLOR", "1")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the server cannot be started")?;
        let stderr = child.stderr.take().context("the server has no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some(url) = line.strip_prefix("ready http=") {
                let url = url.split(' ').next().unwrap_or(url).to_owned();
                return Ok(Self {
                    child,
                    lines,
                    url,
                    ready: begin.elapsed(),
                });
            }
            eprintln!("server: {line}");
        }
        bail!("the server ended before it was ready")
    }

    /// What it has used so far.
    pub(super) fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid()?).context("the server's usage cannot be read")
    }

    /// Its process.
    pub(super) fn pid(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Kills it where it stands.
    pub(super) async fn kill(mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .context("the server cannot be killed")
    }

    /// Stops it in order, and gives what its database counted.
    pub(super) async fn stop(mut self) -> Result<Value> {
        let pid = i32::try_from(self.pid()?)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("the server's process id is odd")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .context("the server cannot be stopped")?;
        let mut counted = Value::Null;
        while let Some(line) = self.lines.next_line().await? {
            if let Some((_, figures)) = line.split_once("database closed") {
                counted = figures
                    .split_whitespace()
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(key, value)| (key.to_owned(), json!(value.parse::<u64>().unwrap_or(0))))
                    .collect::<serde_json::Map<_, _>>()
                    .into();
            }
        }
        let status = self.child.wait().await?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(counted)
    }
}
