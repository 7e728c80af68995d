//! `opspawn memory`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Memory {
    /// Find facts, best first
    Search {
        /// Words or a question
        query: String,
        #[command(flatten)]
        whose: Whose,
        /// The most facts
        #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// A label that facts must have; may stand more than once
        #[arg(long, value_name = "LABEL")]
        label: Vec<String>,
        /// How to rank
        #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
        mode: Mode,
    },
    /// Add a fact
    Add {
        /// The fact; `-` reads it from standard input
        text: String,
        #[command(flatten)]
        whose: Whose,
        /// What the fact is about; with --relation, it takes the place of the fact with the same pair
        #[arg(long, requires = "relation")]
        subject: Option<String>,
        /// What is said of the subject, such as `employer`
        #[arg(long, requires = "subject")]
        relation: Option<String>,
        /// A label; may stand more than once
        #[arg(long, value_name = "LABEL")]
        label: Vec<String>,
    },
    /// Hide a fact and the facts derived from it, or erase them
    Forget {
        /// The fact
        id: String,
        #[command(flatten)]
        whose: Whose,
        /// Why
        #[arg(long, default_value = "forgotten by a person")]
        reason: String,
        /// Erase the texts; this cannot be undone
        #[arg(long)]
        erase: bool,
    },
    /// Undo `memory forget` without --erase
    Restore {
        /// The fact
        id: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Show where a fact comes from, what it led to, and who read it
    Why {
        /// The fact
        id: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Print all facts, a line of JSON each
    Export {
        #[command(flatten)]
        whose: Whose,
    },
    /// Add the facts of an export, or of lines of JSON with `text`
    Import {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        whose: Whose,
    },
    /// Make the vectors that the configured embedder has yet to make
    Reembed,
    /// Look for stale facts, facts that say nearly the same, and secrets
    Audit {
        #[command(flatten)]
        whose: Whose,
    },
}

/// Whose facts.
#[derive(Debug, Clone, Args)]
pub(crate) struct Whose {
    /// The agent, or the name that agents share
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) agent: String,
    /// The user on whose behalf the agent worked
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
}

/// How to rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Words and vectors
    Hybrid,
    /// Vectors alone
    Dense,
    /// Words alone
    Text,
}
