//! `cargo xtask e2e`: the whole system end to end, as often in a row as asked.
//!
//! Each run starts `opspawn serve`, `opspawn worker`, PostgreSQL and RabbitMQ anew for each test; the servers of
//! the machine are not used.

use std::time::Instant;

use anyhow::bail;

use crate::{cmd::Workspace, servers::Missing, test::Suite};

/// The tests of the roles, and of all parts together. Names of tests as plain `cargo test` takes them, too.
const GROUPS: [&str; 2] = ["e2e::system::", "e2e::roles::"];

/// Arguments of `cargo xtask e2e`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often the tests run, one run after the other. All runs are made, also after one that failed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
}

/// Runs the tests, and fails unless each run is green.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    let suite = Suite::prepare(workspace, Missing::Install)?;
    let began = Instant::now();
    let mut green = 0;
    for number in 1..=args.repeat {
        match suite.run(&GROUPS.map(str::to_owned)) {
            Ok(()) => green += 1,
            Err(error) => println!("e2e: run {number} FAILED: {error:#}"),
        }
        println!(
            "e2e: {green} of {number} green after {:.0} s",
            began.elapsed().as_secs_f64()
        );
    }
    if green < args.repeat {
        bail!("{green} of {} runs are green", args.repeat);
    }
    println!("e2e: {green} of {}, in a row", args.repeat);
    Ok(())
}
