//! The command line.

mod agent;
mod approval;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};

pub(crate) use self::agent::Agent;
pub(crate) use self::approval::{Approval, DeadLetter, Step, Word};

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
    /// Start server and worker in one process, on SQLite
    Dev(Dev),
    /// Run a goal to its end and print the answer
    Run(Run),
    /// See and steer tasks
    #[command(subcommand)]
    Task(Task),
    /// Define agents
    #[command(subcommand)]
    Agent(Agent),
    /// Try an agent on cases, and compare two versions of it
    Eval(Eval),
    /// Run tasks at set times
    #[command(subcommand)]
    Schedule(Schedule),
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
    /// Make a data folder of a backup
    Restore {
        /// The backup
        file: PathBuf,
    },
    /// Check what this installation can do
    Doctor,
    /// Measure this machine
    #[command(subcommand)]
    Bench(Bench),
    /// Print the settings, where each value comes from, and its variable
    Config {
        /// `show`, which is what it does without a word
        #[arg(value_enum, hide_possible_values = true)]
        action: Option<ConfigAction>,
    },
    /// Print a completion script
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
    /// Keep nothing: the data is in a temporary folder that goes with the process
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Tasks that run at once
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
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
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Run {
    /// What the agent is to do; `-` reads it from standard input
    #[arg(required_unless_present = "example")]
    pub(crate) goal: Option<String>,
    /// Run an example that comes with the program
    #[arg(long, value_name = "NAME", conflicts_with = "goal")]
    pub(crate) example: Option<String>,
    /// The agent that works on it, of those that `opspawn agent ls` lists
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) agent: Option<String>,
    /// Submit, print the task id, and do not wait (needs a running server)
    #[arg(long)]
    pub(crate) detach: bool,
    /// The model
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// The planner: react, react_text, plan_execute or placeholder
    #[arg(long, value_name = "NAME")]
    pub(crate) planner: Option<String>,
    /// An image that the model is shown: a PNG, JPEG, GIF or WebP file, or its URL; may be repeated
    #[arg(long = "image", value_name = "FILE|URL")]
    pub(crate) images: Vec<String>,
    /// A file with a JSON Schema; the answer is JSON that matches it
    #[arg(long, value_name = "FILE")]
    pub(crate) output_schema: Option<PathBuf>,
    /// The longest that the task may take, such as 90s or 5m
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// The most steps that it may take
    #[arg(long, value_name = "N")]
    pub(crate) max_steps: Option<u32>,
    /// What it does where a limit is used up
    #[arg(long, value_name = "WHAT", value_parser = ["fail", "wait"])]
    pub(crate) on_exhausted: Option<String>,
    /// Submitting with the same key again finds the same task
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Task {
    /// List tasks, newest first
    Ls {
        /// Only tasks in this state
        #[arg(long)]
        state: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show one task
    Get {
        /// The task
        id: String,
    },
    /// Follow a task until it ends
    Watch {
        /// The task
        id: String,
    },
    /// Show the steps of a task
    Logs {
        /// The task
        id: String,
    },
    /// Write everything that is known of a task as lines of JSON
    Export {
        /// The task
        id: String,
        /// A file that is not there yet, in place of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Cancel a task
    Cancel {
        /// The task
        id: String,
    },
    /// Make a task stand still; a step that is under way ends first
    Pause {
        /// The task
        id: String,
    },
    /// Let a paused task go on
    Resume {
        /// The task
        id: String,
    },
    /// Give a task other limits; one that waits because a limit is used up goes on
    #[command(group(clap::ArgGroup::new("limit").required(true).multiple(true)))]
    Limit {
        /// The task
        id: String,
        /// Model and tool calls together
        #[arg(long, value_name = "N", group = "limit")]
        max_steps: Option<u32>,
        /// Input and output tokens together
        #[arg(long, value_name = "N", group = "limit")]
        max_tokens: Option<u64>,
        /// What its model calls may cost
        #[arg(long, value_name = "USD", group = "limit")]
        max_cost_usd: Option<f64>,
        /// Time from its first start, for instance `2h`
        #[arg(long, value_name = "DURATION", group = "limit")]
        timeout: Option<String>,
    },
    /// Do an ended task again, as a new one
    Retry {
        /// The task
        id: String,
    },
    /// Do a task again from one of its steps, as a new one
    Rerun {
        /// The task
        id: String,
        /// The first step that is done anew; what the ones before it returned is taken over
        #[arg(long, value_name = "N")]
        from_step: Option<u32>,
        /// Other arguments for that step, as JSON, if it is a tool call
        #[arg(long, value_name = "JSON", requires = "from_step")]
        input: Option<String>,
        /// A message to the model before that step, if it is a model call
        #[arg(long, value_name = "TEXT", requires = "from_step")]
        message: Option<String>,
        /// Another goal, if the task is done from its start
        #[arg(long, value_name = "TEXT", conflicts_with = "from_step")]
        goal: Option<String>,
    },
    /// Tell something to a task: answer a question of `ask_human`, or send a signal of any name
    Signal {
        /// The task
        id: String,
        /// The answer, as JSON or text
        payload: String,
        /// The signal's name [default: the one that the task waits for]
        #[arg(long)]
        name: Option<String>,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Schedule {
    /// List schedules by name
    Ls,
    /// Show one schedule, its next dates and its last runs
    Get {
        /// The schedule
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// So many next dates
        #[arg(long, default_value_t = 5)]
        next: u32,
        /// So many of its last runs
        #[arg(long, default_value_t = 10)]
        runs: u32,
    },
    /// Store the schedules of a file, in place of those of the same names
    Apply {
        /// A TOML file; `-` reads standard input
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Store nothing; show what would be stored, and its next dates
        #[arg(long)]
        dry_run: bool,
    },
    /// No runs until it is resumed
    Pause {
        /// The schedule
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Run again from now on
    Resume {
        /// The schedule
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Start a run now, beside its dates
    Run {
        /// The schedule
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Take a schedule away; its tasks stay
    Rm {
        /// The schedule
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Retention {
    /// Show how long tasks are kept, and what would be deleted now
    Show,
    /// Delete what has been kept long enough, now
    Run(RetentionRun),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RetentionRun {
    /// Delete nothing; show what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Completed tasks that ended this long ago, such as 30d; with any of these three, no configured
    /// one holds
    #[arg(long, value_name = "TIME")]
    pub(crate) completed: Option<String>,
    /// Failed tasks that ended this long ago
    #[arg(long, value_name = "TIME")]
    pub(crate) failed: Option<String>,
    /// Cancelled tasks that ended this long ago
    #[arg(long, value_name = "TIME")]
    pub(crate) cancelled: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Reconcile {
    /// List the steps whose outcome is unknown
    Ls,
    /// Decide what became of one
    Resolve {
        /// The task
        id: String,
        /// The step's number
        step: u32,
        /// What became of it
        #[arg(value_enum)]
        resolution: Resolution,
        /// What it returned, as JSON or text (for `done`), or what the model is told (for `failed`)
        #[arg(long)]
        output: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Resolution {
    /// It took effect
    Done,
    /// It did not take effect and is not tried again
    Failed,
    /// It did not take effect; run it again
    Retry,
}

#[derive(Debug, Clone, Subcommand)]
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
    /// Serve the stand-in for a model until standard input closes
    #[command(hide = true)]
    Model {
        /// Tool calls before the answer
        #[arg(long, default_value_t = 10)]
        turns: usize,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Long {
    /// Steps of the task
    #[arg(long, default_value_t = 10_000)]
    pub(crate) steps: usize,
    /// Tasks, one after the other
    #[arg(long, default_value_t = 3)]
    pub(crate) tasks: usize,
}

#[derive(Debug, Clone, Args)]
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

#[derive(Debug, Clone, Args)]
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

#[derive(Debug, Clone, Args)]
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
