//! `opspawn budget`, `opspawn retention` and `opspawn reconcile`.

use clap::{Args, Subcommand, ValueEnum};

use super::values::duration;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Budget {
    /// List the budgets, with how much of their present windows is used and left
    Ls,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Retention {
    /// Show how long tasks are kept, and the tasks that a deletion would take now
    Show,
    /// Delete expired tasks now
    Run(RetentionRun),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RetentionRun {
    /// Delete no task; show the tasks that would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Completed tasks that ended this long ago, such as 30d; with any of these three, no configured
    /// one holds
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) completed: Option<String>,
    /// Failed tasks that ended this long ago
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) failed: Option<String>,
    /// Cancelled tasks that ended this long ago
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) cancelled: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Reconcile {
    /// List the steps whose outcome is unknown
    Ls,
    /// Settle a step in doubt
    Resolve {
        /// The task: its id, the beginning of its id, or `last`
        id: String,
        /// The step's number
        step: u32,
        /// The outcome of the step
        #[arg(value_enum)]
        resolution: Resolution,
        /// The return value, as JSON or text (for `done`), or the message to the model (for `failed`)
        #[arg(long)]
        output: Option<String>,
        /// Who decides [default: the user that runs the command]
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Resolution {
    /// The call took effect
    Done,
    /// The call did not take effect and is not tried again
    Failed,
    /// The call did not take effect; run the call again
    Retry,
}
