//! A PostgreSQL server of one test, for tests that end the server.

use std::{
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{Process, Stream};

/// `nobody` and `nogroup` of Debian, and of most other systems: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;
/// The longest that a server may take to begin or to stop.
const TIMEOUT: Duration = Duration::from_secs(60);
const SOCKET: u16 = 5_432;

/// A PostgreSQL 15 in a temporary folder, reached by a socket in the folder: the URL is the same after each restart.
pub struct Private {
    process: Option<Process>,
    programs: PathBuf,
    folder: TempDir,
}

impl Private {
    /// Makes a cluster and starts the server.
    ///
    /// # Errors
    /// PostgreSQL 15 is not installed, or does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("opspawn-pg-").tempdir()?;
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let mut started = Self {
            process: None,
            programs: programs()?,
            folder,
        };
        let mut initdb = started.command("initdb");
        initdb
            .arg("--pgdata")
            .arg(started.data())
            .args(["--username=opspawn", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync", "--data-checksums"])
            .stdout(Stdio::null());
        ensure!(initdb.status()?.success(), "initdb failed");
        started.restart().await?;
        Ok(started)
    }

    /// The URL of the database `postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        let folder = self.folder.path().to_string_lossy().replace('/', "%2F");
        format!("postgres://opspawn@{folder}:{SOCKET}/postgres")
    }

    /// Ends the server as a power cut does: the server writes nothing more, and the next start recovers from the log.
    ///
    /// # Errors
    /// The server does not run.
    pub async fn die(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("the server does not run")?;
        process.signal(Signal::QUIT)?;
        process.wait_exit(TIMEOUT).await?;
        Ok(())
    }

    /// Stops the server with a fast shutdown: clients are disconnected, and a checkpoint is written.
    ///
    /// # Errors
    /// The server does not run.
    pub async fn shut_down(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("the server does not run")?;
        process.signal(Signal::INT)?;
        process.wait_exit(TIMEOUT).await?;
        Ok(())
    }

    /// Starts the server again.
    ///
    /// # Errors
    /// The server does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let mut server = self.command("postgres");
        server
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path())
            .args(["-p", &SOCKET.to_string()])
            .args(["-c", "listen_addresses=", "-c", "fsync=off"])
            .args(["-c", "max_connections=1000"]);
        let ready = |line: &str| {
            line.contains("database system is ready to accept connections")
                .then_some(())
        };
        let (process, ()) = Process::start(server, Stream::Stderr, TIMEOUT, ready).await?;
        self.process = Some(process);
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = Command::new("setpriv");
        if is_root() {
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
        }
        command
            .arg("--pdeathsig=QUIT")
            .arg(program)
            .current_dir(self.folder.path());
        command
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Its children end with it, and it with them.
            let _ = process.signal(Signal::QUIT);
            let began = std::time::Instant::now();
            while matches!(process.exited(), Ok(None)) && began.elapsed() < TIMEOUT {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where Debian has the programs of PostgreSQL 15, or the search path.
fn programs() -> anyhow::Result<PathBuf> {
    let debian = PathBuf::from("/usr/lib/postgresql/15/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(debian).chain(std::env::split_paths(&path));
    let is_15 = |folder: &Path| {
        let said = Command::new(folder.join("postgres"))
            .arg("--version")
            .output();
        said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(") 15."))
    };
    let mut whole = folders.filter(|folder| folder.join("initdb").is_file());
    whole
        .find(|folder| is_15(folder))
        .context("PostgreSQL 15 is not installed: run the tests by `cargo xtask test --install`")
}
