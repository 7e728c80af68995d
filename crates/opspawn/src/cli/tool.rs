//! Tools.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Tool {
    /// List the tools that agents may have, and where they come from
    Ls,
    /// Show a tool: its description, arguments and effect class
    Show {
        /// The tool
        name: String,
    },
    /// Call a tool of this configuration, here and without a task, as an agent would
    Call {
        /// The tool
        name: String,
        /// Its arguments as JSON; `-` reads them from standard input
        #[arg(value_name = "JSON", default_value = "{}")]
        input: String,
        /// The folder that it works in [default: an empty one, removed afterwards]
        #[arg(long, value_name = "DIR")]
        workspace: Option<PathBuf>,
    },
    /// Write a tool of your own to begin with, and its declaration
    New {
        /// The tool's name
        name: String,
        /// Whether it is a program, or a module of WebAssembly
        #[arg(long, value_enum, default_value_t = Kind::Command)]
        kind: Kind,
        /// Language of the program [default: shell; of a module: its text form]
        #[arg(long, value_enum)]
        language: Option<Language>,
    },
}

/// Kind of a new tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A program
    Command,
    /// A module of WebAssembly, in its text form or in Rust
    Wasm,
}

/// Language of a new tool's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// A shell script
    Shell,
    /// Python 3
    Python,
    /// Rust, built by rustc
    Rust,
}
