//! Agents and their versions.

use std::path::PathBuf;

use clap::{Subcommand, builder::NonEmptyStringValueParser};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Agent {
    /// List agents by name
    Ls,
    /// Show one agent and its versions
    Get {
        /// The agent, or NAME@DIGEST for one of its versions
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// This version in place of the current one: its digest, or how it begins
        #[arg(long, value_name = "DIGEST", value_parser = NonEmptyStringValueParser::new())]
        digest: Option<String>,
    },
    /// Make definitions the current versions of their agents; tasks that are there keep theirs
    Apply {
        /// A definition in TOML or Markdown, or a folder of them; `-` reads standard input
        #[arg(short, long, value_name = "FILE|FOLDER")]
        file: PathBuf,
    },
    /// Make an earlier version the current one again
    Rollback {
        /// The agent and the beginning of the version's digest
        #[arg(value_name = "NAME@DIGEST", value_parser = NonEmptyStringValueParser::new())]
        agent: String,
    },
    /// Show what an apply would change; exits with 1 if it would
    Diff {
        /// A definition in TOML or Markdown, or a folder of them; `-` reads standard input
        #[arg(short, long, value_name = "FILE|FOLDER")]
        file: PathBuf,
    },
}
