//! MCP servers: what they list is recorded, and what a person approves.

use std::sync::LazyLock;

use ops_core::{
    Actor, TenantId,
    mcp::{McpApproval, McpListed, McpPins},
    ports::StoreError,
    rules::mcp as rule,
};
use rusqlite::params;

use crate::sqlite::{
    error::WriteError,
    queries::mcp::one,
    schema::sums::{MCP_SERVERS, Others},
    writer::batch::Batch,
};

static PUT: LazyLock<String> = LazyLock::new(|| {
    let columns = ["tenant_id", "name", "pins", "updated_at"];
    let changed = [("pins", "?3"), ("updated_at", "?4")];
    format!(
        "{} ON CONFLICT DO UPDATE SET pins = ?3, updated_at = ?4, sum = {}",
        MCP_SERVERS.insert(&columns, &[]),
        MCP_SERVERS.sum(&changed, Others::Unchanged),
    )
});

pub(crate) fn listed(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    server: &str,
    listed: &McpListed,
) -> Result<McpPins, WriteError> {
    let before = one(&batch.view(), tenant, server)?;
    match (rule::listed(before.as_ref(), listed, batch.now), before) {
        (Some(after), _) => put(batch, tenant, server, after),
        (None, Some(before)) => Ok(before),
        (None, None) => Err(StoreError::NotFound.into()),
    }
}

pub(crate) fn approve(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    server: &str,
    approvals: &[McpApproval],
    by: &Actor,
) -> Result<McpPins, WriteError> {
    let before = one(&batch.view(), tenant, server)?.ok_or(StoreError::NotFound)?;
    let after = rule::approve(&before, approvals, by, batch.now).map_err(StoreError::from)?;
    match after == before {
        true => Ok(before),
        false => put(batch, tenant, server, after),
    }
}

fn put(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    server: &str,
    pins: McpPins,
) -> Result<McpPins, WriteError> {
    let text =
        serde_json::to_string(&pins).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    batch
        .conn
        .prepare_cached(&PUT)?
        .execute(params![tenant.0, server, text, batch.now.0])?;
    batch.changes.written = true;
    Ok(pins)
}
