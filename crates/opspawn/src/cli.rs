//! The command line.

mod agent;
mod approval;
mod bench;
mod mcp;
mod memory;
mod run;
mod schedule;
mod task;
mod tool;
mod upkeep;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};

pub(crate) use self::{
    agent::Agent,
    approval::{Approval, DeadLetter, DecisionArgs, Step},
    bench::Bench,
    mcp::Mcp,
    memory::{Memory, Mode as MemoryMode, Whose},
    run::Run,
    schedule::Schedule,
    task::{Filter, List, Task, Which},
    tool::{Kind, Language, Tool},
    upkeep::{Budget, Reconcile, Resolution, Retention, RetentionRun},
};

/// Durable LLM agent tasks in one binary.
#[derive(Debug, Parser)]
#[command(
    name = "opspawn",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The data folder [default: ./opspawn-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The server to talk to; without one, that of the data folder, or an embedded one
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A configuration file [default: opspawn.toml in the data folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start server and worker in one process, on SQLite or the database of `store.url`
    Dev(Dev),
    /// Start a server whose tasks `opspawn worker` runs; on SQLite it runs them itself
    Serve(Serve),
    /// Start a worker on the PostgreSQL database of servers
    Worker(Worker),
    /// Run a goal to its end and print the answer
    Run(Box<Run>),
    /// See and steer tasks
    #[command(subcommand)]
    Task(Task),
    /// Define agents
    #[command(subcommand)]
    Agent(Agent),
    /// See and call the tools that agents may have, and write your own
    #[command(subcommand)]
    Tool(Tool),
    /// See MCP servers, and approve definitions of their tools that are held
    #[command(subcommand)]
    Mcp(Mcp),
    /// Find, add and forget facts of long-term memory
    #[command(subcommand)]
    Memory(Memory),
    /// Try an agent on cases, and compare two versions of it
    Eval(Eval),
    /// Run tasks at set times
    #[command(subcommand)]
    Schedule(Schedule),
    /// See what tasks may spend together, and have spent
    #[command(subcommand)]
    Budget(Budget),
    /// Delete tasks that have been kept long enough
    #[command(subcommand)]
    Retention(Retention),
    /// Decide what became of steps whose outcome is unknown
    #[command(subcommand)]
    Reconcile(Reconcile),
    /// Give or refuse leave to steps that ask for it
    #[command(subcommand)]
    Approval(Approval),
    /// See tasks that were given up, and go on from them
    #[command(subcommand)]
    DeadLetter(DeadLetter),
    /// Copy the database into one file, also while a server runs
    Backup {
        /// The file, which must not be there yet; or a folder, in which it is named by the time
        #[arg(value_name = "FILE|DIR", default_value = ".")]
        target: PathBuf,
    },
    /// Make a data folder of a backup, or fill the empty database of `store.url` with it
    Restore {
        /// The backup; its SHA-256 is compared with FILE.sha256, if that is there
        file: PathBuf,
        /// Take what can be read of a backup that is damaged or is not as it was written
        #[arg(long)]
        accept_damage: bool,
    },
    /// Give the room of deleted tasks in the database back to the disk; no server may have the folder
    Compact,
    /// Bring the schema of the PostgreSQL database up to date; a server that starts does so by itself
    Migrate {
        /// `sqlite` and a data folder: copy everything into the database, which must be empty. `v1` and the URL or the file of
        /// the first Opspawn's database: bring over its tasks that have ended
        #[arg(long, num_args = 2, value_names = ["KIND", "PLACE"])]
        from: Option<Vec<PathBuf>>,
    },
    /// Check what this installation can do, or the server of `--url`
    Doctor,
    /// Write a configuration file, an agent and its evaluation to begin with
    Init {
        /// Where `agents` and `evals` are written
        #[arg(value_name = "DIR", default_value = ".")]
        folder: PathBuf,
    },
    /// Have the server of the data folder read tools, MCP servers and policy anew, for runs that have not begun
    Reload,
    /// Stop the server of the data folder; its tasks go on at the next start
    Stop,
    /// Measure how many tasks and durable steps a second this machine and its disk take
    Bench(Bench),
    /// Print the settings, where each value comes from, and its variable
    Config {
        /// `show`, which is what it does without a word
        #[arg(value_enum, hide_possible_values = true)]
        action: Option<ConfigAction>,
    },
    /// Print a completion script, which also knows the names of agents, tasks, schedules and tools
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

/// What `opspawn config` does.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ConfigAction {
    /// Prints the settings.
    Show,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Dev {
    /// Address of the REST surface; loopback only; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Address of gRPC; loopback only; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) grpc_listen: Option<String>,
    /// Keep nothing: the data is in a temporary folder that goes with the process
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Tasks that run at once
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    /// No line for each task that starts, waits or ends
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Address of the REST surface; loopback only; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Address of gRPC; loopback only; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) grpc_listen: Option<String>,
    /// No line for each task that starts, waits or ends
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Worker {
    /// Tasks that run at once
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    /// Address of `/health`, `/ready` and `/metrics`; loopback only; port 0 picks a free one; none unless set
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) health_listen: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Eval {
    /// The cases, a TOML file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The agent: a definition's file, or NAME or NAME@DIGEST of the server
    #[arg(long, value_name = "FILE|NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) agent: Option<String>,
    /// What it must not be worse than: a definition's file, a digest, or NAME of the server
    #[arg(long, value_name = "FILE|DIGEST|NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) baseline: Option<String>,
    /// The model that decides about `judge`, or a definition's file; else the configured model
    #[arg(long, value_name = "MODEL|FILE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) judge: Option<String>,
    /// Run each case so many times, whatever the file says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::eval::file::MAX_REPEAT)))]
    pub(crate) repeat: Option<u32>,
    /// Show the steps of a case that does not hold; with --json, those of each run
    #[arg(long)]
    pub(crate) transcript: bool,
}
