use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::Context as _;

use crate::{CrashPlan, Http, Process, Signal, Stream, programs};

const START: Duration = Duration::from_secs(30);
/// What the product sees of the environment of the test.
const PASSED_ON: &[&str] = &[
    "PATH",
    "TMPDIR",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "OPSPAWN_MUTANT",
];

/// A script that answers any goal, for tests that are about something else than models.
pub fn echo() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/echo.toml").into()
}

/// How to start the product's binary.
#[derive(Clone, Debug)]
pub struct Launch {
    binary: Option<PathBuf>,
    folder: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    timeout: Duration,
}

impl Launch {
    /// `opspawn dev` on a data folder and a free port. Where no provider is configured, the script of
    /// [`echo`] answers.
    pub fn dev(data: impl AsRef<Path>) -> Self {
        let launch = Self::new("dev", data).args(["--listen", "127.0.0.1:0"]);
        launch.env("OPSPAWN_SCRIPT", echo())
    }

    /// `opspawn ROLE --data FOLDER`.
    ///
    /// The binary is the one in `OPSPAWN_TEST_BINARY`, else the `opspawn` that cargo built beside
    /// the test. Of the test's environment it sees only `PATH`, `TMPDIR`, `RUST_LOG` and
    /// `RUST_BACKTRACE`; its home and working folder are the data folder.
    pub fn new(role: &str, data: impl AsRef<Path>) -> Self {
        let folder = data.as_ref().to_owned();
        let launch = Self {
            binary: None,
            args: vec![],
            env: vec![],
            timeout: START,
            folder,
        };
        let data = launch.folder.clone();
        launch.args([role, "--data"]).args([data])
    }

    /// Another binary, for instance `env!("CARGO_BIN_EXE_opspawn")`.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// More arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// One more variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Arms a crash point.
    pub fn crash(self, plan: &CrashPlan) -> Self {
        plan.env()
            .into_iter()
            .fold(self, |launch, (name, value)| launch.env(name, value))
    }

    /// How long to wait for the ready line, instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The command as it will be started, for runs that never say that they are ready.
    pub fn command(&self) -> anyhow::Result<Command> {
        let binary = match (&self.binary, env::var_os("OPSPAWN_TEST_BINARY")) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) => PathBuf::from(path),
            (None, None) => programs::built("opspawn")?,
        };
        let mut command = Command::new(binary);
        command
            .env_clear()
            .current_dir(&self.folder)
            .env("HOME", &self.folder);
        for name in PASSED_ON {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command.args(&self.args).envs(self.env.iter().cloned());
        Ok(command)
    }

    /// Starts the binary and waits for its line `ready http=...` on standard error.
    pub async fn start(&self) -> anyhow::Result<Opspawn> {
        let (process, base) =
            Process::start(self.command()?, Stream::Stderr, self.timeout, ready).await?;
        Ok(Opspawn {
            process,
            http: Http::new(&base),
        })
    }
}

/// A running product. Dropping it kills it.
#[derive(Debug)]
pub struct Opspawn {
    process: Process,
    http: Http,
}

impl Opspawn {
    /// A client for its REST surface.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The process, for its id, its output and other signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it printed.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Every line that it printed of a panic or an error.
    pub fn alarms(&self) -> Vec<String> {
        self.process.alarms()
    }

    /// Kills it at once and waits until it is gone.
    pub fn sigkill(&mut self) -> anyhow::Result<()> {
        self.process.sigkill()
    }

    /// Waits until it ends by itself, for instance at a crash point.
    pub async fn wait_exit(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        self.process.wait_exit(timeout).await
    }

    /// Asks it to stop with `SIGTERM` and waits until it has.
    pub async fn stop(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        self.process.signal(Signal::TERM).context("stopping")?;
        self.process.wait_exit(timeout).await
    }
}

/// `ready http=http://127.0.0.1:8000 grpc=127.0.0.1:50051` -> the address after `http=`.
fn ready(line: &str) -> Option<String> {
    let mut words = line.strip_prefix("ready ")?.split_whitespace();
    words
        .find_map(|word| word.strip_prefix("http="))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_found_among_others() {
        let line = "ready http=http://127.0.0.1:8000 grpc=127.0.0.1:50051";
        assert_eq!(ready(line).as_deref(), Some("http://127.0.0.1:8000"));
        assert_eq!(
            ready("ready grpc=127.0.0.1:1 http=http://h:2").as_deref(),
            Some("http://h:2")
        );
        assert_eq!(ready("INFO almost ready http=x"), None);
        assert_eq!(ready("ready grpc=127.0.0.1:1"), None);
    }
}
