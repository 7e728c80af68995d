//! Agents and their versions.

use std::path::PathBuf;

use clap::{Subcommand, builder::NonEmptyStringValueParser};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Agent {
    /// List agents by name
    Ls,
    /// Show one agent and its versions
    Get {
        /// The agent, or NAME@DIGEST for a version of the agent
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// This version in place of the current version: its digest, or the beginning of its digest
        #[arg(long, value_name = "DIGEST", value_parser = NonEmptyStringValueParser::new())]
        digest: Option<String>,
    },
    /// Make definitions the current versions of their agents; tasks that are there keep theirs
    Apply {
        /// A definition in TOML or Markdown, or a folder of them; `-` reads standard input
        #[arg(short, long, value_name = "FILE|FOLDER")]
        file: PathBuf,
    },
    /// Make an earlier version current again
    Rollback {
        /// The agent and the beginning of the version's digest
        #[arg(value_name = "NAME@DIGEST", value_parser = NonEmptyStringValueParser::new())]
        agent: String,
    },
    /// Take an agent away; its tasks keep their versions, and go on
    Rm {
        /// The agent
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Show the changes of an apply; exits with 1 if the apply would change an agent
    Diff {
        /// A definition in TOML or Markdown, or a folder of them; `-` reads standard input
        #[arg(short, long, value_name = "FILE|FOLDER")]
        file: PathBuf,
    },
}
