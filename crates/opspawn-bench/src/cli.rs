//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measures an `opspawn` binary from outside; `cargo xtask bench` runs it.
#[derive(Debug, Parser)]
pub(crate) struct Cli {
    /// The binary to measure [default: the `opspawn` beside this program]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) bench: Bench,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Submit no-op agent tasks over REST and wait until all are completed
    Submit(Load),
    /// Run agents of many steps and count the durable steps
    Steps(Load),
    /// Run one agent of very many steps: what a late step, a resume and a page cost
    Long(Long),
    /// Run agents against an HTTP stand-in for a model, as a library and durably
    Agents(Agents),
    /// Follow tasks with many clients, some of which do not read
    Sse(Sse),
    /// Start on an existing database, and idle
    Start,
    /// Run `true` and a module of WebAssembly in the sandbox, beside bubblewrap
    Sandbox(Calls),
    /// Start with many MCP servers, and call a tool over stdio beside the same messages by hand
    Mcp(Servers),
}

#[derive(Debug, Args)]
pub(crate) struct Calls {
    /// Calls of each, in turns of one hundred
    #[arg(long, default_value_t = 1_000)]
    pub(crate) calls: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Servers {
    /// Servers, each a process of its own
    #[arg(long, default_value_t = 50)]
    pub(crate) servers: usize,
    /// Tools of each
    #[arg(long, default_value_t = 20)]
    pub(crate) tools: usize,
    /// Calls on each side, in turns of one hundred
    #[arg(long, default_value_t = 2_000)]
    pub(crate) calls: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Long {
    /// Steps of the task
    #[arg(long, default_value_t = 10_000)]
    pub(crate) steps: usize,
    /// Tasks, one after the other
    #[arg(long, default_value_t = 3)]
    pub(crate) tasks: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Agents {
    /// Agents at once; a line for each number, as a library and durably
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1_000])]
    pub(crate) agents: Vec<usize>,
    /// Model and tool steps of each agent
    #[arg(long, default_value_t = 10)]
    pub(crate) turns: usize,
    /// The base URL of another stand-in for a model
    #[arg(long)]
    pub(crate) base_url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Sse {
    /// Followers
    #[arg(long, default_value_t = 10_000)]
    pub(crate) followers: usize,
    /// How many of them read nothing
    #[arg(long, default_value_t = 1_000)]
    pub(crate) stalled: usize,
    /// Tasks that are followed
    #[arg(long, default_value_t = 10)]
    pub(crate) tasks: usize,
    /// Seconds
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Clients (`submit`), or runs at once (`steps`)
    #[arg(long)]
    pub(crate) clients: Option<usize>,
    /// Tasks in all
    #[arg(long)]
    pub(crate) tasks: Option<usize>,
    /// Steps of each task (`steps`)
    #[arg(long, default_value_t = 200)]
    pub(crate) steps: usize,
}
