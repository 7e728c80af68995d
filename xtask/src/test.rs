//! The test suite.
//!
//! Every build of it uses one set of features, all of them: a second set would build the
//! dependencies twice. So the `opspawn` binary that the fault tests start has its crash points in;
//! a plain `cargo build` does not (the stage `deps` checks that).

use std::{ffi::OsString, path::PathBuf, process::Command};

use anyhow::ensure;

use crate::{
    cmd::{self, Workspace},
    npm, pypi,
    servers::{Missing, Servers},
    wasi,
};

/// What every build of the tests has.
pub(crate) const ONE_SET: &[&str] = &["--workspace", "--all-features", "--locked"];

/// Tests are ignored if they need a tool or a right, and then say themselves that they are skipped.
/// The others that are ignored stay so: those that call real providers, and the process that another
/// test kills. (nextest reads the same from its `default-filter`.)
const IGNORED_TOO: [&str; 5] = [
    "--include-ignored",
    "--skip",
    "live::",
    "--skip",
    "child_writer",
];

/// Doc tests first, so that the output closes with the summary of the tests themselves.
pub(crate) fn run(
    workspace: &Workspace,
    missing: Missing,
    runner: &[String],
) -> anyhow::Result<()> {
    if runner.is_empty() {
        doc_tests(workspace)?;
    }
    tests(workspace, missing, runner)
}

/// The examples in the documentation.
pub(crate) fn doc_tests(workspace: &Workspace) -> anyhow::Result<()> {
    cmd::run(workspace.cargo(&["test", "--doc", "--quiet"]).args(ONE_SET))
}

/// Calls the real providers whose keys stand in the environment. It costs money, so nothing else
/// runs it.
pub(crate) fn live(workspace: &Workspace) -> anyhow::Result<()> {
    let only = [
        "--package",
        "opspawn-agentkit",
        "--all-features",
        "--locked",
        "--test",
        "it",
    ];
    let mut command = workspace.cargo(&["test"]);
    command
        .args(only)
        .args(["--", "--ignored", "--nocapture", "live::"]);
    cmd::run(&mut command)
}

/// Builds the binaries and starts the servers that tests use, then runs the unit and integration tests.
pub(crate) fn tests(
    workspace: &Workspace,
    missing: Missing,
    runner: &[String],
) -> anyhow::Result<()> {
    Suite::prepare(workspace, missing)?.run(runner)
}

/// The built tests and the servers that they use, for one run or several.
pub(crate) struct Suite<'a> {
    workspace: &'a Workspace,
    missing: Missing,
    aimock: Option<PathBuf>,
    servers: Servers,
}

impl<'a> Suite<'a> {
    /// Builds the binaries and the tests, and starts the servers. They stop with the suite.
    pub(crate) fn prepare(workspace: &'a Workspace, missing: Missing) -> anyhow::Result<Self> {
        let aimock = npm::aimock(workspace, missing)?;
        pypi::packages(workspace, missing)?;
        wasi::target(workspace, missing);
        cmd::run(
            workspace
                .cargo(&["build", "--bins", "--tests", "--examples"])
                .args(ONE_SET),
        )?;
        Ok(Self {
            workspace,
            missing,
            aimock,
            servers: Servers::start(workspace, missing)?,
        })
    }

    /// Runs the tests once, with these arguments for the runner.
    pub(crate) fn run(&self, runner: &[String]) -> anyhow::Result<()> {
        let workspace = self.workspace;
        let command = if self.has_nextest() {
            let mut command = workspace.cargo(&["nextest", "run"]);
            if cmd::in_ci() {
                command.args(["--profile", "ci"]);
            }
            command.args(["--run-ignored", "all"]);
            if !self.servers.without().is_empty() {
                let modules = self.servers.without().join("|");
                command.args(["-E", &format!("not test(/(^|::)({modules})::/)")]);
            }
            command.args(ONE_SET).args(runner);
            command
        } else {
            println!("cargo-nextest is not installed: running plain `cargo test`");
            let mut command = workspace.cargo(&["test", "--lib", "--bins", "--tests"]);
            command.args(ONE_SET).args(runner);
            if !runner.iter().any(|arg| arg == "--") {
                command.arg("--");
            }
            command.args(IGNORED_TOO);
            for module in self.servers.without() {
                command.args(["--skip", &format!("{module}::")]);
            }
            command
        };
        self.finish(command)
    }

    /// Runs one long test by hand, without a limit on its time, and shows what the test prints.
    pub(crate) fn run_alone(&self, name: &str, variable: (&str, &str)) -> anyhow::Result<()> {
        let mut command = if self.has_nextest() {
            let mut command = self.workspace.cargo(&["nextest", "run"]);
            command.args(["--profile", "by-hand", "--run-ignored", "all"]);
            command.args(ONE_SET).args(["--no-capture", name]);
            command
        } else {
            let mut command = self.workspace.cargo(&["test", "--tests"]);
            command.args(ONE_SET);
            command.args([name, "--", "--include-ignored", "--nocapture"]);
            command
        };
        command.env(variable.0, variable.1);
        self.finish(command)
    }

    fn has_nextest(&self) -> bool {
        cmd::answers(&mut self.workspace.cargo(&["nextest", "--version"]))
    }

    /// Tells a runner where servers and programs are, and runs it.
    fn finish(&self, mut command: Command) -> anyhow::Result<()> {
        self.servers.pass_on(&mut command);
        let skips = Skips::watch(self.workspace)?;
        skips.pass_on(&mut command);
        command.env(
            "OPSPAWN_TEST_BINARY",
            self.workspace.target.join("debug").join("opspawn"),
        );
        if let Some(aimock) = &self.aimock {
            command.env("OPSPAWN_AIMOCK", aimock);
        }
        let result = cmd::run(&mut command);
        let skipped = skips.report();
        result?;
        ensure!(
            skipped == 0 || self.missing == Missing::Skip,
            "{skipped} tests were skipped, though all that tests need was to be installed"
        );
        Ok(())
    }
}

/// The file in which tests that skip themselves write their names: a runner hides what a test
/// that passes has to say.
struct Skips(PathBuf);

impl Skips {
    fn watch(workspace: &Workspace) -> anyhow::Result<Self> {
        let folder = workspace.target.join("testkit");
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("skipped");
        std::fs::write(&file, "")?;
        Ok(Self(file))
    }

    fn pass_on(&self, command: &mut Command) {
        command.env("OPSPAWN_TEST_SKIPS", OsString::from(&self.0));
    }

    /// Prints them, and says how many there are.
    fn report(&self) -> usize {
        let list = std::fs::read_to_string(&self.0).unwrap_or_default();
        for line in list.lines() {
            println!("SKIPPED {line}");
        }
        list.lines().count()
    }
}
