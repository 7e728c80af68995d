//! Sizing a machine.

use std::path::PathBuf;

use clap::{Args, value_parser};

#[derive(Debug, Clone, Args)]
pub(crate) struct Bench {
    /// The folder whose disk is measured; the database is in a temporary folder in it
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Tasks that run at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) at_once: u32,
    /// Tasks in all
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) tasks: u32,
    /// Steps of each task: model calls and tool calls in turn
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(2..=100_000))]
    pub(crate) steps: u32,
}
