//! Definitions of MCP servers.

use ops_core::{
    Actor, TenantId,
    mcp::{McpApproval, McpListed, McpPins},
    ports::StoreError,
    rules::mcp as rule,
};
use tokio_postgres::{Row, types::Type};

use crate::postgres::{
    connection::{Connection, Param},
    queries::Found,
    schema::rows,
    work::Work,
};

fn pins(row: &Row) -> Result<(String, McpPins), StoreError> {
    let text: &str = rows::get(row, 1)?;
    let pins = serde_json::from_str(text).map_err(|error| {
        StoreError::Unreadable(format!("the definitions of an MCP server: {error}"))
    })?;
    Ok((rows::must_text(row, 0)?, pins))
}

pub(crate) fn all(conn: &Connection, tenant: TenantId) -> Found<Vec<(String, McpPins)>> {
    let sql = "SELECT name, pins FROM mcp_servers WHERE tenant_id = $1 ORDER BY name";
    let number = i64::from(tenant.0);
    let found = conn.query(sql, &[(&number, Type::INT8)])?;
    Ok(found.iter().map(pins).collect())
}

/// One server's record. Others who list or approve it wait until the transaction ends.
fn one(work: &mut Work<'_>, tenant: TenantId, server: &str) -> Result<Option<McpPins>, StoreError> {
    work.lock("mcp", tenant, server)?;
    let sql = "SELECT name, pins FROM mcp_servers WHERE tenant_id = $1 AND name = $2";
    let (number, name) = (i64::from(tenant.0), server.as_bytes());
    let params: [Param<'_>; 2] = [(&number, Type::INT8), (&name, Type::BYTEA)];
    let found = work.ask(sql, &params)?;
    let found = found.first().map(pins).transpose()?;
    Ok(found.map(|(_, pins)| pins))
}

pub(crate) fn listed(
    work: &mut Work<'_>,
    tenant: TenantId,
    server: &str,
    listed: &McpListed,
) -> Result<McpPins, StoreError> {
    let before = one(work, tenant, server)?;
    match (rule::listed(before.as_ref(), listed, work.now), before) {
        (Some(after), _) => put(work, tenant, server, after),
        (None, Some(before)) => Ok(before),
        (None, None) => Err(StoreError::NotFound),
    }
}

pub(crate) fn approve(
    work: &mut Work<'_>,
    tenant: TenantId,
    server: &str,
    approvals: &[McpApproval],
    by: &Actor,
) -> Result<McpPins, StoreError> {
    let before = one(work, tenant, server)?.ok_or(StoreError::NotFound)?;
    let after = rule::approve(&before, approvals, by, work.now)?;
    match after == before {
        true => Ok(before),
        false => put(work, tenant, server, after),
    }
}

fn put(
    work: &mut Work<'_>,
    tenant: TenantId,
    server: &str,
    pins: McpPins,
) -> Result<McpPins, StoreError> {
    let sql = "INSERT INTO mcp_servers (tenant_id, name, pins, updated_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (tenant_id, name) DO UPDATE SET pins = excluded.pins, \
        updated_at = excluded.updated_at";
    let text = serde_json::to_string(&pins);
    let text = text.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let (number, name, now) = (i64::from(tenant.0), server.as_bytes(), work.now.0);
    let params: [Param<'_>; 4] = [
        (&number, Type::INT8),
        (&name, Type::BYTEA),
        (&text, Type::TEXT),
        (&now, Type::INT8),
    ];
    work.execute(sql, &params)?;
    Ok(pins)
}
