//! The verbs of MCP servers.

use ops_core::{
    Actor, TenantId,
    mcp::{McpApproval, McpListed, McpPins},
    ports::{Fut, McpStore, StoreError},
};

use crate::postgres::{PostgresStore, verbs::mcp};

impl McpStore for PostgresStore {
    fn mcp_servers(&self, tenant: TenantId) -> Fut<'_, Result<Vec<(String, McpPins)>, StoreError>> {
        Box::pin(self.read(move |conn| mcp::all(conn, tenant)))
    }

    fn mcp_listed(
        &self,
        tenant: TenantId,
        server: String,
        listed: McpListed,
    ) -> Fut<'_, Result<McpPins, StoreError>> {
        Box::pin(self.work(Vec::new(), move |work| {
            mcp::listed(work, tenant, &server, &listed)
        }))
    }

    fn mcp_approve(
        &self,
        tenant: TenantId,
        server: String,
        approvals: Vec<McpApproval>,
        by: Actor,
    ) -> Fut<'_, Result<McpPins, StoreError>> {
        Box::pin(self.work(Vec::new(), move |work| {
            mcp::approve(work, tenant, &server, &approvals, &by)
        }))
    }
}
