//! Agents and their versions.

use std::path::PathBuf;

use clap::{Subcommand, builder::NonEmptyStringValueParser};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Agent {
    /// List agents by name
    Ls,
    /// Show one agent and its versions
    Get {
        /// The agent
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
    /// Show what an apply would change; exits with 1 if it would
    Diff {
        /// A definition in TOML or Markdown, or a folder of them; `-` reads standard input
        #[arg(short, long, value_name = "FILE|FOLDER")]
        file: PathBuf,
    },
}
