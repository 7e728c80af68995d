//! A PostgreSQL of its own.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use super::{folder::Folder, free_port, stop, unprivileged, wait_until};
use crate::cmd;

/// The superuser of the instance.
pub(super) const USER: &str = "opspawn";
/// A password with characters that a URL must escape. Only this machine reaches the instance.
pub(super) const PASSWORD: &str = "p@ss:word#1";
const PASSWORD_IN_URL: &str = "p%40ss%3Aword%231";

/// A running instance.
pub(super) struct Postgres {
    child: Child,
    pub(super) port: u16,
    _folder: Folder,
}

impl Postgres {
    /// Makes a cluster in the folder, and starts it. It does not wait for the disk: what is tested is a
    /// server that dies, not a machine that does.
    pub(super) fn start(programs: &Path, folder: Folder) -> anyhow::Result<Self> {
        let data = folder.path().join("data");
        let password = folder.write("password", PASSWORD)?;
        let mut initdb = unprivileged(&programs.join("initdb"), "KILL");
        initdb
            .current_dir(folder.path())
            .arg("--pgdata")
            .arg(&data)
            .arg("--pwfile")
            .arg(&password)
            .args(["--username", USER, "--auth=scram-sha-256"])
            .args(["--encoding=UTF8", "--no-sync", "--data-checksums"])
            // Not the order of bytes, so that a column without its own order shows itself.
            .args(locale(programs))
            .stdout(Stdio::null());
        cmd::run(&mut initdb)?;
        let port = free_port()?;
        let log = folder.write("server.log", "")?;
        let mut server = unprivileged(&programs.join("postgres"), "QUIT");
        server
            .current_dir(folder.path())
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "fsync=off", "-c", "max_connections=300"])
            .args(["-c", "restart_after_crash=on"])
            .stdout(Stdio::null())
            .stderr(fs::OpenOptions::new().append(true).open(&log)?);
        let child = server.spawn().context("could not start postgres")?;
        let mut started = Self {
            child,
            port,
            _folder: folder,
        };
        let pid_file = data.join("postmaster.pid");
        let is_ready = || {
            let state = fs::read_to_string(&pid_file).unwrap_or_default();
            state
                .lines()
                .nth(7)
                .is_some_and(|line| line.trim() == "ready")
        };
        wait_until(&mut started.child, &log, is_ready)?;
        Ok(started)
    }

    pub(super) fn url(&self) -> String {
        url(self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        stop(&mut self.child, Signal::QUIT);
    }
}

/// Where an instance, or a pooler before one, is reached.
pub(super) fn url(port: u16) -> String {
    format!("postgres://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{port}/postgres")
}

/// English by ICU where the server has it.
fn locale(programs: &Path) -> Vec<&'static str> {
    let has_icu =
        cmd::output(std::process::Command::new(programs.join("pg_config")).arg("--configure"))
            .is_ok_and(|said| String::from_utf8_lossy(&said).contains("--with-icu"));
    match has_icu {
        true => vec![
            "--locale=C.UTF-8",
            "--locale-provider=icu",
            "--icu-locale=en-US",
        ],
        false => vec!["--locale=C.UTF-8"],
    }
}

/// The version that programs say they are, for instance `15`.
pub(super) fn version(programs: &Path) -> anyhow::Result<u32> {
    let said = cmd::output(std::process::Command::new(programs.join("postgres")).arg("--version"))?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let number = said.split_whitespace().find_map(|word| {
        let digits = word.split('.').next()?;
        digits.parse().ok()
    });
    ensure!(number.is_some(), "postgres says no version: {said}");
    Ok(number.unwrap_or_default())
}
