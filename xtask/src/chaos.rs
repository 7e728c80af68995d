//! `cargo xtask chaos`: all faults at once on a whole system, as many as asked.
//!
//! The test is the one of the suite (`fault::chaos`), which runs a small plan; the numbers reach it by a variable.

use crate::{cmd::Workspace, servers::Missing, test::Suite};

const TEST: &str = "fault::chaos::rabbitmq::postgres_15::";
/// The variable with the plan, as the test reads it.
const PLAN: &str = "OPSPAWN_CHAOS";

/// Arguments of `cargo xtask chaos`. The run ends with an error unless every acknowledged task ends, no recorded
/// call is repeated, and 95 % complete.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Decides what the tasks do and when which fault lands.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Tasks of eleven steps.
    #[arg(long, default_value_t = 200)]
    tasks: u32,
    /// Servers and workers that are killed by SIGKILL, and started again.
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Restarts of PostgreSQL, in turn as a power cut and as an operator does.
    #[arg(long, default_value_t = 5)]
    database_restarts: u32,
    /// Restarts of RabbitMQ; before each, messages are added and the queue is purged.
    #[arg(long, default_value_t = 2)]
    broker_restarts: u32,
    /// Servers and workers that are stopped by SIGSTOP for longer than a lease holds, and go on.
    #[arg(long, default_value_t = 10)]
    freezes: u32,
    /// How often all connections to PostgreSQL are cut; a fifth of the kills unless said.
    #[arg(long)]
    cuts: Option<u32>,
}

/// Runs the test with these numbers.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    let suite = Suite::prepare(workspace, Missing::Install)?;
    suite.run_alone(TEST, (PLAN, &plan(args)))
}

fn plan(args: &Args) -> String {
    format!(
        "seed={},tasks={},kills={},database_restarts={},broker_restarts={},freezes={},cuts={}",
        args.seed,
        args.tasks,
        args.kills,
        args.database_restarts,
        args.broker_restarts,
        args.freezes,
        args.cuts.unwrap_or(args.kills / 5)
    )
}
