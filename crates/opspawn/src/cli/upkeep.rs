//! `opspawn retention` and `opspawn reconcile`.

use clap::{Args, Subcommand, ValueEnum};

use super::values::duration;

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
    /// Decide what became of one
    Resolve {
        /// The task: its id, how it begins, or `last`
        id: String,
        /// The step's number
        step: u32,
        /// What became of it
        #[arg(value_enum)]
        resolution: Resolution,
        /// What it returned, as JSON or text (for `done`), or what the model is told (for `failed`)
        #[arg(long)]
        output: Option<String>,
        /// Who decides [default: the user that runs the command]
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
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
