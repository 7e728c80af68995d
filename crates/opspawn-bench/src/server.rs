//! The server that is measured: the binary's `dev`, as a process of its own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::Instant,
};

use crate::process::Usage;

/// What the server sees of this process's environment. A key of a provider or a setting of the
/// operator would change what is measured.
const PASSED_ON: &[&str] = &["PATH", "TMPDIR", "RUST_BACKTRACE"];

/// The `opspawn` binary that is measured.
#[derive(Debug)]
pub(crate) struct Binary(PathBuf);

impl Binary {
    /// The file.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }

    /// The file that was named, else the `opspawn` beside this program.
    pub(crate) fn new(named: Option<PathBuf>) -> Result<Self> {
        let file = match named {
            Some(file) => file,
            None => {
                let own = env::current_exe().context("this program's own path is not known")?;
                own.with_file_name("opspawn")
            }
        };
        let file = file.canonicalize().with_context(|| {
            format!(
                "there is no binary {}: build it, or name one with --binary FILE",
                file.display()
            )
        })?;
        Ok(Self(file))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.env_clear();
        for name in PASSED_ON {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }
}

/// A running `opspawn dev`.
pub(crate) struct Server {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
    /// Where it answers.
    pub(crate) url: String,
    /// From its start to its `ready` line.
    pub(crate) ready: Duration,
}

impl Server {
    /// Starts one on a data folder, with the settings as variables.
    pub(crate) async fn start(
        binary: &Binary,
        dir: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let begin = Instant::now();
        let mut child = binary
            .command()
            .args(["dev", "--quiet", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir)
            // A file `.env` in the working folder would be read.
            .current_dir(dir)
            .env("HOME", dir)
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
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid()?).context("the server's usage cannot be read")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Kills it where it stands.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .context("the server cannot be killed")
    }

    /// Stops it in order, and gives what its database counted.
    pub(crate) async fn stop(mut self) -> Result<Value> {
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
