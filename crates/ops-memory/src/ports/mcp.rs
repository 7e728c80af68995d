//! The verbs of MCP servers.

use ops_core::{
    Actor, TenantId,
    mcp::{McpApproval, McpListed, McpPins},
    ports::{Fut, McpStore, StoreError},
    rules::mcp as rule,
};

use crate::store::{MemoryStore, ready};

impl McpStore for MemoryStore {
    fn mcp_servers(&self, tenant: TenantId) -> Fut<'_, Result<Vec<(String, McpPins)>, StoreError>> {
        let found = self.read(|data| {
            let servers = data
                .mcp_servers
                .iter()
                .filter(|((owner, _), _)| *owner == tenant);
            servers
                .map(|((_, name), pins)| (name.clone(), pins.clone()))
                .collect()
        });
        ready(Ok(found))
    }

    fn mcp_listed(
        &self,
        tenant: TenantId,
        server: String,
        listed: McpListed,
    ) -> Fut<'_, Result<McpPins, StoreError>> {
        ready(self.write(|write| {
            let key = (tenant, server);
            let after = rule::listed(write.rows.mcp_servers.get(&key), &listed, write.now);
            if let Some(after) = after {
                write.rows.mcp_servers.insert(key.clone(), after);
            }
            write
                .rows
                .mcp_servers
                .get(&key)
                .cloned()
                .ok_or(StoreError::NotFound)
        }))
    }

    fn mcp_approve(
        &self,
        tenant: TenantId,
        server: String,
        approvals: Vec<McpApproval>,
        by: Actor,
    ) -> Fut<'_, Result<McpPins, StoreError>> {
        ready(self.write(|write| {
            let key = (tenant, server);
            let before = write
                .rows
                .mcp_servers
                .get(&key)
                .ok_or(StoreError::NotFound)?;
            let after = rule::approve(before, &approvals, &by, write.now)?;
            write.rows.mcp_servers.insert(key, after.clone());
            Ok(after)
        }))
    }
}
