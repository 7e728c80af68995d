//! `opspawn approval` and `opspawn dead-letter`.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Approval {
    /// List the steps that wait for leave to run
    Ls {
        /// List decided approvals as well
        #[arg(long)]
        all: bool,
        /// List only the approvals of this task
        #[arg(long, value_name = "TASK")]
        task: Option<String>,
    },
    /// Show an approval with its exact arguments
    Get {
        #[command(flatten)]
        step: Step,
    },
    /// Let a step run, once, with exactly the arguments that are shown
    Approve {
        #[command(flatten)]
        step: Step,
        #[command(flatten)]
        decision: DecisionArgs,
    },
    /// Forbid a step; the agent is told why
    Deny {
        #[command(flatten)]
        step: Step,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        decision: DecisionArgs,
    },
    /// Edit a step's arguments; the new arguments need approval as well
    Edit {
        #[command(flatten)]
        step: Step,
        /// The arguments as JSON; `-` reads them from standard input
        #[arg(long, value_name = "JSON")]
        input: String,
        /// Approve the new arguments at once
        #[arg(long)]
        approve: bool,
        #[command(flatten)]
        decision: DecisionArgs,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Step {
    /// The task: its id, the beginning of its id, or `last`
    pub(crate) id: String,
    /// The step's number
    pub(crate) step: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DecisionArgs {
    /// Who decides [default: the user that runs the command]
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
    /// The revision that you looked at; another one refuses
    #[arg(long, value_name = "N")]
    pub(crate) revision: Option<u32>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DeadLetter {
    /// List the tasks that were given up
    Ls {
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Redrive a task that was given up: a new task goes on from its log
    Redrive {
        /// The task
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All of them
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// With --all, only name them
        #[arg(long, requires = "all")]
        dry_run: bool,
    },
}
