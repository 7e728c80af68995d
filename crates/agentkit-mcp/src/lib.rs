//! An MCP host: the tools of servers, over stdio and streamable HTTP, as tools of agents.
//!
//! Servers are parties that are not trusted, and that break in many ways. Each has a task of its own that
//! connects, lists and connects again; a server that is slow or gone costs no other one anything. What a
//! server lists is judged tool by tool and pinned by whoever uses this crate; calls go by the pinned text.
//! A call that changes the world is sent once: where its answer is lost, its outcome is unknown, and is never
//! made known by asking again.
//!
//! Reading order: `config` (which servers there are), `wire` and `link` (JSON-RPC, and what both transports
//! share), `process`, `leftovers` and `stdio`, `http`, `connect` and `session` (how to speak to a server), `pages`
//! and `definition` (what it lists), `server` (the task of one), `content` (results), `questions` (of servers to persons), `tool` and `proxy` (both ways
//! for agents to call), `host` (all servers).

pub mod config;
mod connect;
pub mod content;
pub mod definition;
mod headers;
mod host;
mod http;
mod input;
mod leftovers;
mod link;
pub mod names;
pub mod oauth;
mod pages;
mod process;
mod proxy;
mod questions;
mod server;
mod session;
mod stdio;
pub mod text;
mod tool;
mod wire;

pub use self::{
    config::{Config, ConfigError, ServerConfig},
    definition::{Definition, Definitions, Kind, Listed},
    host::{Host, HostSettings, Used},
    http::reach::Reach,
    leftovers::Records,
    link::{Answers, Nobody},
    process::{Program, StartError},
    questions::Questions,
    server::{Counts, Listing, Outcome, Server, Status, ToolCall},
    session::ServerInfo,
    tool::McpTool,
    wire::{Era, LEGACY, MODERN},
};
