//! MCP servers.

use clap::Subcommand;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Mcp {
    /// List the MCP servers, how they are, and how many of their tools are held
    Ls,
    /// Connect to a server from here and show what it says; with a tool, call that
    Test {
        /// The server's name in the file of servers
        name: String,
        /// Call this tool of it
        #[arg(long)]
        tool: Option<String>,
        /// The tool's arguments, as JSON
        #[arg(long, requires = "tool", default_value = "{}")]
        arguments: String,
        /// How long to wait for the server
        #[arg(long, default_value = "60s")]
        wait: String,
    },
    /// Allow this installation to use a server that is authorized by OAuth
    Login {
        /// The server's name in the file of servers
        name: String,
    },
    /// Show what is held: definitions that are new or have changed, with what differs
    Diff {
        /// The server; all of them without it
        name: Option<String>,
    },
    /// Give definitions that are held to agents
    Approve {
        /// The server's name in the file of servers
        name: String,
        /// The tools, by the names that the server gives them
        #[arg(required_unless_present = "all")]
        tools: Vec<String>,
        /// Everything of the server that is held, prompts and instructions too
        #[arg(long, conflicts_with = "tools")]
        all: bool,
    },
}
