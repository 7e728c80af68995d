//! Tools.

use clap::Subcommand;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Tool {
    /// List the tools that agents may have, and where they come from
    Ls,
}
