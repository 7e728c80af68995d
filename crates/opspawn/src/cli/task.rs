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
        /// The task: its id, how it begins, or `last`
        id: String,
    },
    /// Follow a task until it ends
    Watch {
        /// The task: its id, how it begins, or `last`
        id: String,
    },
    /// Show the steps of a task
    Logs {
        /// The task: its id, how it begins, or `last`
        id: String,
    },
    /// List the questions of agents that nobody has answered
    Questions,
    /// Write everything that is known of a task as lines of JSON
    Export {
        /// The task: its id, how it begins, or `last`
        id: String,
        /// A file that is not there yet, in place of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Cancel a task, or all that a filter fits
    Cancel(Which),
    /// Make a task stand still, or all that a filter fits; a step that is under way ends first
    Pause(Which),
    /// Let a paused task go on, or all that a filter fits
    Resume(Which),
    /// Give a task other limits; one that waits because a limit is used up goes on
    #[command(group(clap::ArgGroup::new("limit").required(true).multiple(true)))]
    Limit {
        /// The task: its id, how it begins, or `last`
        id: String,
        /// Model and tool calls together
        #[arg(long, value_name = "N", group = "limit")]
        max_steps: Option<u32>,
        /// Input and output tokens together
        #[arg(long, value_name = "N", group = "limit")]
        max_tokens: Option<u64>,
        /// What its model calls may cost
        #[arg(long, value_name = "USD", group = "limit", value_parser = usd)]
        max_cost_usd: Option<u64>,
        /// Time from its first start, for instance `2h`
        #[arg(long, value_name = "DURATION", group = "limit", value_parser = duration)]
        timeout: Option<String>,
    },
    /// Do an ended task again, as a new one
    Retry {
        /// The task: its id, how it begins, or `last`
        id: String,
    },
    /// Do a task again from one of its steps, as a new one
    Rerun {
        /// The task: its id, how it begins, or `last`
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
        /// The task: its id, how it begins, or `last`
        id: String,
        /// The answer, as JSON or text
        payload: String,
        /// The signal's name [default: the one that the task waits for]
        #[arg(long)]
        name: Option<String>,
    },
}

/// One task, or those that a filter fits.
#[derive(Debug, Clone, Args)]
pub(crate) struct Which {
    /// The task: its id, how it begins, or `last`
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// With a filter, only name the tasks
    #[arg(long, conflicts_with = "id")]
    pub(crate) dry_run: bool,
}

/// Which tasks are listed.
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
    /// Only tasks whose name has this text within it, or whose id begins with it
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
