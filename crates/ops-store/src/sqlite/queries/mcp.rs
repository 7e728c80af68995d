//! What is known of MCP servers.

use ops_core::{TenantId, mcp::McpPins};
use rusqlite::{OptionalExtension as _, Row};

use crate::sqlite::{
    queries::view::View,
    schema::{
        rows::{intact, unreadable},
        sums::intact,
    },
};

fn pins(row: &Row<'_>) -> rusqlite::Result<(String, McpPins)> {
    intact(row, 2)?;
    let pins = serde_json::from_str(row.get_ref(1)?.as_str()?);
    Ok((
        row.get(0)?,
        pins.map_err(|error| unreadable(1, error.into()))?,
    ))
}

pub(crate) fn one(
    conn: &View<'_>,
    tenant: TenantId,
    server: &str,
) -> rusqlite::Result<Option<McpPins>> {
    let found = conn
        .prepare_cached(concat!(
            "SELECT name, pins, ",
            intact!(mcp_servers),
            " FROM mcp_servers WHERE tenant_id = ? AND name = ?"
        ))?
        .query_row((tenant.0, server), pins)
        .optional()?;
    Ok(found.map(|(_, pins)| pins))
}

pub(crate) fn all(conn: &View<'_>, tenant: TenantId) -> rusqlite::Result<Vec<(String, McpPins)>> {
    conn.prepare_cached(concat!(
        "SELECT name, pins, ",
        intact!(mcp_servers),
        " FROM mcp_servers WHERE tenant_id = ? ORDER BY name"
    ))?
    .query_map([tenant.0], pins)?
    .collect()
}
