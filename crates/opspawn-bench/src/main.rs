//! Measures an `opspawn` binary from outside: it starts the binary, drives it over REST, and reads what
//! the kernel counted for its process. It links no part of the engine, so that it measures an older
//! binary as well. Each figure is one line of JSON that says what ran and with which durability.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its line"
)]

mod agents;
mod cli;
mod figures;
mod http;
mod long;
mod mcp;
mod process;
mod sandbox;
mod server;
mod sse;
mod start;
mod steps;
mod submit;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    cli::{Bench, Cli},
    server::Binary,
};

fn main() -> Result<()> {
    let Cli { binary, bench } = Cli::parse();
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    raise_open_files();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?
        .block_on(run(&Binary::new(binary)?, bench))
}

async fn run(binary: &Binary, bench: Bench) -> Result<()> {
    match bench {
        Bench::Submit(load) => submit::submit(binary, &load).await,
        Bench::Steps(load) => steps::steps(binary, &load).await,
        Bench::Long(load) => long::long(binary, &load).await,
        Bench::Agents(load) => agents::agents(binary, &load).await,
        Bench::Sse(load) => sse::sse(binary, &load).await,
        Bench::Start => start::start(binary).await,
        Bench::Sandbox(load) => sandbox::sandbox(binary, &load).await,
        Bench::Mcp(load) => mcp::mcp(binary, &load).await,
    }
}

/// Raises the soft limit on open files to the hard one, for this process and the servers that it
/// starts: each follower is a file on both sides.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("the limit on open files could not be raised: {error}");
    }
}
