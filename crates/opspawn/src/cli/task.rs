//! Tasks.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};

use super::values::{duration, usd};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Task {
    /// List tasks, newest first
    Ls(List),
    /// Show one task
    Get {
        /// The task: its id, the beginning of its id, or `last`
        id: String,
    },
    /// Follow a task until it ends
    Watch {
        /// The task: its id, the beginning of its id, or `last`
        id: String,
    },
    /// Show the steps of a task
    Logs {
        /// The task: its id, the beginning of its id, or `last`
        id: String,
    },
    /// Show the prompt of a model step
    Step {
        /// The task: its id, the beginning of its id, or `last`
        id: String,
        /// The number of a model step, as `task logs` shows it
        step: u32,
    },
    /// List the open questions of agents
    Questions,
    /// Write all records of a task as lines of JSON
    Export {
        /// The task: its id, the beginning of its id, or `last`
        id: String,
        /// A new file, in place of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Cancel a task, or all tasks of a filter
    Cancel(Which),
    /// Pause a task, or all tasks of a filter; a running step ends first
    Pause(Which),
    /// Resume a paused task, or all tasks of a filter
    Resume(Which),
    /// Change the limits of a task; a task that waits for a higher limit goes on
    #[command(group(clap::ArgGroup::new("limit").required(true).multiple(true)))]
    Limit {
        /// The task: its id, the beginning of its id, or `last`
        id: String,
        /// Model and tool calls together
        #[arg(long, value_name = "N", group = "limit")]
        max_steps: Option<u32>,
        /// Input and output tokens together
        #[arg(long, value_name = "N", group = "limit")]
        max_tokens: Option<u64>,
        /// Highest cost of the model calls in USD, such as 0.25; a model without a known price fails the task
        #[arg(long, value_name = "USD", group = "limit", value_parser = usd)]
        max_cost_usd: Option<u64>,
        /// Time from its first start, for instance `2h`
        #[arg(long, value_name = "DURATION", group = "limit", value_parser = duration)]
        timeout: Option<String>,
    },
    /// Repeat an ended task as a new task
    Retry {
        /// The task: its id, the beginning of its id, or `last`
        id: String,
    },
    /// Repeat a task from a step on, as a new task
    Rerun {
        /// The task: its id, the beginning of its id, or `last`
        id: String,
        /// The first step to do anew; results of the steps before are taken over
        #[arg(long, value_name = "N")]
        from_step: Option<u32>,
        /// New arguments for the step, as JSON, if the step is a tool call
        #[arg(long, value_name = "JSON", requires = "from_step")]
        input: Option<String>,
        /// A message to the model before the step, if the step is a model call
        #[arg(long, value_name = "TEXT", requires = "from_step")]
        message: Option<String>,
        /// A new goal, without `--from-step`
        #[arg(long, value_name = "TEXT", conflicts_with = "from_step")]
        goal: Option<String>,
    },
    /// Tell something to a task: answer a question of `ask_human`, or send a signal of any name
    Signal {
        /// The task: its id, the beginning of its id, or `last`
        id: String,
        /// The answer, as JSON or text
        payload: String,
        /// The signal's name [default: the signal that the task waits for]
        #[arg(long)]
        name: Option<String>,
    },
}

/// A task, or the tasks of a filter.
#[derive(Debug, Clone, Args)]
pub(crate) struct Which {
    /// The task: its id, the beginning of its id, or `last`
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// With a filter, only name the tasks
    #[arg(long, conflicts_with = "id")]
    pub(crate) dry_run: bool,
}

/// A filter of tasks.
#[derive(Debug, Clone, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: u32,
    /// Go on where the page before ended, with the same filter
    #[arg(long, value_name = "CURSOR")]
    pub(crate) cursor: Option<String>,
}

/// A filter of tasks.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct Filter {
    /// Only tasks in this state; several with commas between
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// Only tasks with this status: pending, running, completed, failed or cancelled
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<String>,
    /// Only tasks of this agent
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) agent: Option<String>,
    /// Only tasks with this label; of several, with all of them
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Only tasks with this text in their name, or at the beginning of their id
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) query: Option<String>,
    /// Only tasks submitted since then: a time (RFC 3339), or so long ago, such as 2h
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only tasks submitted before then
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only the children of this task
    #[arg(long, value_name = "TASK")]
    pub(crate) parent: Option<String>,
}
