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
mod ci;
mod cmd;
mod deny;
mod deps;
mod library;
mod mutants;
mod npm;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
        /// Passed on to cargo-nextest, or to `cargo test` where nextest is missing.
        #[arg(last = true)]
        runner: Vec<String>,
    },
    /// Opspawn beside its peers in one run, or beside another binary of its own.
    Bench(bench::Args),
    /// Turns one named mistake after the other on, and fails if its test does not notice.
    Mutants(mutants::Choice),
    /// Calls the real model providers whose keys stand in the environment.
    Live,
    /// Which crate may import which.
    Deps,
    /// agentkit outside the workspace: the README's program, and each feature alone.
    Library,
    /// Licences, banned crates and sources.
    Deny,
    /// File length, markers, paths, whitespace, the index of decisions.
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
        Task::Test { runner } => test::run(&workspace, &runner),
        Task::Bench(args) => bench::run(&workspace, &args),
        Task::Mutants(choice) => mutants::run(&workspace, &choice),
        Task::Live => test::live(&workspace),
        Task::Deps => deps::run(&workspace),
        Task::Library => library::run(&workspace),
        Task::Deny => deny::run(&workspace),
        Task::Tidy => tidy::run(&workspace),
    }
}
