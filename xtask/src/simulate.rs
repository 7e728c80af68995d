//! `cargo xtask simulate`: many histories of the rules and the store's semantics, one for each seed.
//!
//! The test is the one of the suite (`simulation` of ops-memory), which plays a few; the numbers reach it by variables.

use crate::cmd::{self, Workspace};

/// Arguments of `cargo xtask simulate`. A seed that fails is named, and `--from SEED --seeds 1` plays it again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    from: u64,
}

/// Plays the seeds.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    let mut command = workspace.cargo(&["test"]);
    command
        .args(["--package", "ops-memory", "--all-features", "--locked"])
        .args(["--release", "--test", "it"])
        .args(["--", "--nocapture", "simulation::every_history_is_right"])
        .env("OPSPAWN_SIMULATE_SEEDS", args.seeds.to_string())
        .env("OPSPAWN_SIMULATE_FROM", args.from.to_string());
    cmd::run(&mut command)
}
