//! The store's verbs for MCP servers, and the port that tells the servers' states.

use super::{Fut, StoreError};
use crate::{
    actor::{Actor, Caller},
    id::TenantId,
    mcp::{McpApproval, McpListed, McpPins},
};

/// The verbs of a store for MCP servers. Each is one atomic step.
pub trait McpStore: Send + Sync {
    /// The records of all servers, by name.
    fn mcp_servers(&self, tenant: TenantId) -> Fut<'_, Result<Vec<(String, McpPins)>, StoreError>>;
    /// Records a server's list, and gives the server's record as the list leaves it.
    fn mcp_listed(
        &self,
        tenant: TenantId,
        server: String,
        listed: McpListed,
    ) -> Fut<'_, Result<McpPins, StoreError>>;
    /// Approves definitions of a server: all the given definitions, or an error.
    fn mcp_approve(
        &self,
        tenant: TenantId,
        server: String,
        approvals: Vec<McpApproval>,
        by: Actor,
    ) -> Fut<'_, Result<McpPins, StoreError>>;
}

/// Tells the states of the configured MCP servers. The binary implements the trait: the binary has the host.
pub trait McpServers: Send + Sync {
    /// Every server, in the order of the names.
    fn servers(&self, tenant: TenantId) -> Fut<'_, Result<Vec<McpServerView>, StoreError>>;
    /// Approves definitions, and gives the server as the approval leaves it; `None` if there is no such server.
    fn approve<'a>(
        &'a self,
        caller: Caller,
        server: &'a str,
        approvals: Vec<McpApproval>,
    ) -> Fut<'a, Result<Option<McpServerView>, StoreError>>;
}

/// There are no servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMcpServers;

impl McpServers for NoMcpServers {
    fn servers(&self, _: TenantId) -> Fut<'_, Result<Vec<McpServerView>, StoreError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn approve<'a>(
        &'a self,
        _: Caller,
        _: &'a str,
        _: Vec<McpApproval>,
    ) -> Fut<'a, Result<Option<McpServerView>, StoreError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// A configured server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServerView {
    /// Its name.
    pub name: String,
    /// The source that its tools come from, as agents name it.
    pub source: String,
    /// `stdio` or `http`.
    pub transport: String,
    /// Its program or its URL, without the parts that may be secret.
    pub place: String,
    /// `starting`, `ready`, `away`, `unauthorized` or `refused`.
    pub status: String,
    /// Why the server is not ready.
    pub reason: Option<String>,
    /// Name and version as the server gives them.
    pub info: Option<String>,
    /// The protocol that was agreed on.
    pub protocol: Option<String>,
    /// Definitions that cannot be used, each with the reason.
    pub unusable: Vec<(String, String)>,
    /// Further oddities of the server.
    pub notes: Vec<String>,
    /// The server's record; null before its first list.
    pub pins: Option<McpPins>,
    /// Calls since the start; failed calls; calls with an unknown outcome.
    pub calls: [u64; 3],
}
