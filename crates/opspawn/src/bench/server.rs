//! The server that is measured: this program's `dev`, as a process of its own.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::Instant,
};

/// A running `opspawn dev`.
pub(super) struct Server {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
    /// Where it answers.
    pub(super) url: String,
    /// From its start to its `ready` line.
    pub(super) ready: Duration,
}

/// What the kernel has counted for a process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// CPU seconds, user and system.
    pub(super) cpu: f64,
    /// Resident memory now, in MiB.
    pub(super) rss: f64,
    /// Resident memory at its highest, in MiB.
    pub(super) peak: f64,
    /// Bytes written.
    pub(super) written: u64,
}

impl Server {
    /// Starts one on a data folder, with the settings as variables.
    pub(super) async fn start(dir: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let program = std::env::current_exe().context("this program's own path is not known")?;
        let begin = Instant::now();
        let mut child = Command::new(program)
            .args(["dev", "--listen", "127.0.0.1:0", "--data"])
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
        let pid = self.child.id().context("the server has ended")?;
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let stat = read("stat").context("the server's usage cannot be read")?;
        // After the program's name in parentheses: utime and stime are fields 14 and 15 (proc(5)).
        let after = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u32 = after
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u32>().ok())
            .sum();
        let status = fields(&read("status")?);
        let mib = |key: &str| {
            let text = status.get(key).map_or("0", String::as_str);
            text.trim_end_matches(" kB")
                .trim()
                .parse::<f64>()
                .unwrap_or(0.0)
                / 1_024.0
        };
        let written = fields(&read("io").unwrap_or_default());
        Ok(Usage {
            cpu: f64::from(ticks) / 100.0,
            rss: mib("VmRSS"),
            peak: mib("VmHWM"),
            written: written
                .get("wchar")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
        })
    }

    /// Stops it in order, and gives what its database counted.
    pub(super) async fn stop(mut self) -> Result<Value> {
        let pid = self.child.id().context("the server has ended")?;
        let pid = i32::try_from(pid)
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

fn fields(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}
