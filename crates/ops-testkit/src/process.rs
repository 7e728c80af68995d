use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

const MAX_LINES: usize = 2_000;
const DEATH: Duration = Duration::from_secs(5);

/// Which of its two outputs a program says on that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A child process of the test: started, watched, and killed by its id when dropped.
///
/// Its output is read by threads, so a test that blocks cannot block the child. Its standard input
/// is a pipe that closes when the test dies, however the test dies.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Lines>>,
}

/// What a process printed.
#[derive(Debug, Default)]
struct Lines {
    last: VecDeque<String>,
    /// Lines that tell of a panic or an error, however long ago.
    alarms: Vec<String>,
}

impl Lines {
    fn push(&mut self, line: String) {
        let is_alarm = line.contains("panicked") || line.contains(" ERROR ");
        if is_alarm && self.alarms.len() < MAX_LINES {
            self.alarms.push(line.clone());
        }
        if self.last.len() == MAX_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

impl Process {
    /// Starts a program and waits until `ready` finds what it looks for in a line of `stream`.
    ///
    /// The error of a program that ends or stays silent shows what it printed.
    pub async fn start<T>(
        mut command: Command,
        stream: Stream,
        timeout: Duration,
        ready: impl Fn(&str) -> Option<T>,
    ) -> anyhow::Result<(Self, T)> {
        let name = command.get_program().display().to_string();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("could not start {name}"))?;
        let lines = Arc::new(Mutex::new(Lines::default()));
        let (to_us, mut from_child) = mpsc::unbounded_channel();
        let stdout = child.stdout.take().context("stdout was piped")?;
        let stderr = child.stderr.take().context("stderr was piped")?;
        let (on_stdout, on_stderr) = match stream {
            Stream::Stdout => (Some(to_us), None),
            Stream::Stderr => (None, Some(to_us)),
        };
        read_lines(stdout, Arc::clone(&lines), on_stdout);
        read_lines(stderr, Arc::clone(&lines), on_stderr);
        let process = Self { name, child, lines };

        let found = tokio::time::timeout(timeout, async {
            while let Some(line) = from_child.recv().await {
                if let Some(found) = ready(&line) {
                    return Some(found);
                }
            }
            None
        });
        match found.await {
            Ok(Some(found)) => Ok((process, found)),
            Ok(None) => bail!(
                "{} ended before it was ready:\n{}",
                process.name,
                process.output()
            ),
            Err(_) => bail!(
                "{} was not ready after {timeout:?}:\n{}",
                process.name,
                process.output()
            ),
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The last 2,000 lines that the process printed on either output.
    pub fn output(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = lines.last.iter();
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// Every line so far that tells of a panic, or is logged as an error.
    pub fn alarms(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.alarms.clone()
    }

    /// Sends a signal, for instance [`Signal::STOP`], [`Signal::CONT`] or [`Signal::TERM`].
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("a child has an id")?, signal)
            .with_context(|| format!("could not signal {}", self.name))
    }

    /// Kills the process at once and waits until it is gone, so that what it held is free.
    pub fn sigkill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// How the process ended, or `None` while it runs.
    pub fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until the process ends by itself.
    pub async fn wait_exit(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!(
                    "{} still runs after {timeout:?}:\n{}",
                    self.name,
                    self.output()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let end = Instant::now() + DEATH;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn read_lines(
    from: impl Read + Send + 'static,
    kept: Arc<Mutex<Lines>>,
    to: Option<mpsc::UnboundedSender<String>>,
) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while matches!(from.read_until(b'\n', &mut bytes), Ok(read) if read > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if let Some(to) = &to {
                // Nobody listens any more once the process is ready.
                let _ = to.send(line.clone());
            }
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(line);
        }
    });
}
