//! The verbs of MCP servers.

use ops_core::{
    Actor, TenantId,
    mcp::{McpApproval, McpListed, McpPins},
    ports::{Fut, McpStore, StoreError},
};

use crate::sqlite::{queries, store::SqliteStore, verbs};

impl McpStore for SqliteStore {
    fn mcp_servers(&self, tenant: TenantId) -> Fut<'_, Result<Vec<(String, McpPins)>, StoreError>> {
        Box::pin(
            self.readers
                .read(move |conn| queries::mcp::all(conn, tenant)),
        )
    }

    fn mcp_listed(
        &self,
        tenant: TenantId,
        server: String,
        listed: McpListed,
    ) -> Fut<'_, Result<McpPins, StoreError>> {
        Box::pin(self.write(move |batch| verbs::mcp::listed(batch, tenant, &server, &listed)))
    }

    fn mcp_approve(
        &self,
        tenant: TenantId,
        server: String,
        approvals: Vec<McpApproval>,
        by: Actor,
    ) -> Fut<'_, Result<McpPins, StoreError>> {
        Box::pin(
            self.write(move |batch| verbs::mcp::approve(batch, tenant, &server, &approvals, &by)),
        )
    }
}
