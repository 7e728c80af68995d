//! Opspawn: durable LLM agent tasks in one binary.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line prints"
)]

mod agents;
mod bench;
mod cli;
mod client;
mod commands;
mod config;
mod example;
mod exit;
#[cfg(feature = "failpoints")]
mod faults;
mod output;
mod runtime;
mod system;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // Only fails if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[cfg(feature = "failpoints")]
    faults::arm();
    match commands::dispatch(cli) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            exit::code_of(&error).into()
        }
    }
}
