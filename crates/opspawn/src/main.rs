//! Opspawn: durable LLM agent tasks in one binary.

mod agents;
mod broker;
mod cli;
mod client;
mod commands;
mod commands_source;
mod config;
mod database;
mod eval;
mod example;
mod exit;
#[cfg(feature = "failpoints")]
mod faults;
#[cfg(test)]
mod fuzzing;
mod input;
mod mcp;
mod memory;
mod narrate;
mod output;
mod policy;
mod runtime;
mod secrets;
mod sql_query;
mod system;
mod telemetry;
mod tools;
mod version_1;

use std::process::ExitCode;

use clap::Parser as _;

/// A profile of durable steps had a quarter of its samples in the system's allocator.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The process that makes sandboxes is this program as well, and has one thread.
    agentkit_sandbox::helper();
    agentkit_sql::helper();
    end_without_reader();
    commands::completion::answer();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && std::env::args_os().any(|arg| arg == "--json") => {
            return ended(Err(usage(&error)), true);
        }
        Err(error) => error.exit(),
    };
    // Only fails if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[cfg(feature = "failpoints")]
    faults::arm();
    let json = cli.common.json;
    let done = commands::dispatch(cli);
    telemetry::stop();
    ended(done, json)
}

/// A mistake on the command line, in a sentence or two.
fn usage(error: &clap::Error) -> anyhow::Error {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let text = lines.collect::<Vec<_>>().join(" ");
    let text = text.strip_prefix("error: ").unwrap_or(&text).to_owned();
    exit::error(exit::Exit::Usage, text)
}

fn ended(done: anyhow::Result<exit::Exit>, json: bool) -> ExitCode {
    match done {
        Ok(code) => code.into(),
        Err(error) => {
            if json {
                output::status!("{}", output::clean_json(&exit::json_of(&error).to_string()));
            } else {
                output::status!("error: {error:#}");
            }
            exit::code_of(&error).into()
        }
    }
}

/// A reader that has seen enough (`opspawn task ls | head`) or a full disk behind standard output
/// is no defect: the command ends without a trace, as a program that takes SIGPIPE does.
fn end_without_reader() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        match message.strip_prefix("failed printing to stdout: ") {
            Some(cause) if cause.contains("Broken pipe") => std::process::exit(141),
            Some(cause) => {
                output::status!("error: the result cannot be printed: {cause}");
                std::process::exit(1)
            }
            None => report(panic),
        }
    }));
}
