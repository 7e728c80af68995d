//! Schedules.

use std::path::PathBuf;

use clap::{Subcommand, builder::NonEmptyStringValueParser};

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
    /// Store the schedules of a file, in place of the schedules of the same names
    Apply {
        /// A TOML file; `-` reads standard input
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Store no schedule; show the schedules as they would be stored, and their next dates
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
