//! Everything that must be green before a change lands.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::{
    cmd::{self, Workspace},
    deny, deps, library, mutants,
    servers::Missing,
    test, tidy,
};

type Stage = (&'static str, fn(&Workspace) -> anyhow::Result<()>);

/// Cheap stages first; the tests last, so that the output closes with their summary.
const STAGES: &[Stage] = &[
    ("fmt", fmt),
    ("tidy", tidy::run),
    ("deps", deps::run),
    ("deny", deny::run),
    ("clippy", clippy),
    ("default build", default_build),
    ("library", library::run),
    ("rustdoc", rustdoc),
    ("doc tests", test::doc_tests),
    ("mutants", |workspace| {
        mutants::run(workspace, Missing::Install, &mutants::Choice::default())
    }),
    ("tests", |workspace| {
        test::tests(workspace, Missing::Install, &[])
    }),
];

/// Runs the stages in order and stops at the first that fails.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut done = Vec::new();
    for (name, stage) in STAGES {
        println!("ci: {name} ...");
        let began = Instant::now();
        let result = stage(workspace);
        let took = seconds(began.elapsed());
        if let Err(error) = result {
            println!("ci: {name} FAILED after {took}");
            bail!("ci stopped at stage `{name}`: {error:#}");
        }
        println!("ci: {name} ok in {took}");
        done.push(format!("{name} {took}"));
    }
    println!(
        "ci: green in {} ({})",
        seconds(start.elapsed()),
        done.join(", ")
    );
    Ok(())
}

fn fmt(workspace: &Workspace) -> anyhow::Result<()> {
    cmd::run(&mut workspace.cargo(&["fmt", "--all", "--check"]))
}

fn clippy(workspace: &Workspace) -> anyhow::Result<()> {
    let args = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
    ];
    cmd::run(workspace.cargo(&args).args(["--", "-D", "warnings"]))
}

/// The first command of the README: the build without features.
fn default_build(workspace: &Workspace) -> anyhow::Result<()> {
    let args = ["clippy", "--package", "opspawn", "--bins", "--locked"];
    cmd::run(workspace.cargo(&args).args(["--", "-D", "warnings"]))
}

fn rustdoc(workspace: &Workspace) -> anyhow::Result<()> {
    let args = [
        "doc",
        "--workspace",
        "--no-deps",
        "--all-features",
        "--locked",
    ];
    cmd::run(workspace.cargo(&args).env("RUSTDOCFLAGS", "-D warnings"))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
