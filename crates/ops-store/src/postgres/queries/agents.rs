//! Agents as they are read.

use ops_core::{
    AgentDigest, AgentName, Json, TenantId,
    agent::{Agent, AgentVersion},
    ports::Listed,
};
use tokio_postgres::types::Type;

use super::{Found, bounded, shown};
use crate::postgres::{
    connection::{Connection, Param},
    schema::rows::{self, AGENT, VERSION},
};

fn sql(condition: &str) -> String {
    format!(
        "SELECT {VERSION}, {AGENT} FROM agents AS agent JOIN agent_versions AS version \
         ON version.tenant_id = agent.tenant_id AND version.digest = agent.digest \
         WHERE agent.tenant_id = $1 AND {condition}"
    )
}

/// One agent.
pub(crate) fn one(conn: &Connection, tenant: TenantId, name: &AgentName) -> Found<Option<Agent>> {
    let (number, name) = (i64::from(tenant.0), name.as_str().as_bytes());
    let params: [Param<'_>; 2] = [(&number, Type::INT8), (&name, Type::BYTEA)];
    let found = conn.query(&sql("agent.name = $2"), &params)?;
    Ok(found.first().map(rows::agent).transpose())
}

/// Agents by name.
pub(crate) fn page(
    conn: &Connection,
    tenant: TenantId,
    after: Option<&AgentName>,
    limit: u32,
) -> Found<Listed<Agent>> {
    let after = after.map_or("", AgentName::as_str).as_bytes();
    let (number, limit) = (i64::from(tenant.0), i64::from(limit));
    let params: [Param<'_>; 3] = [
        (&number, Type::INT8),
        (&after, Type::BYTEA),
        (&limit, Type::INT8),
    ];
    let sql = sql("agent.name > $2 ORDER BY agent.name LIMIT $3");
    let found = conn.query(&sql, &params)?;
    Ok(Ok(bounded(&found, &[3], |row| shown(row, 1), rows::agent)))
}

/// The versions of an agent, the newest first.
pub(crate) fn versions(
    conn: &Connection,
    tenant: TenantId,
    name: &AgentName,
    limit: u32,
) -> Found<Vec<AgentVersion>> {
    let sql = format!(
        "SELECT {VERSION} FROM agent_versions AS version \
         WHERE version.tenant_id = $1 AND version.name = $2 ORDER BY version_row DESC LIMIT $3"
    );
    let (number, name, limit) = (
        i64::from(tenant.0),
        name.as_str().as_bytes(),
        i64::from(limit),
    );
    let params: [Param<'_>; 3] = [
        (&number, Type::INT8),
        (&name, Type::BYTEA),
        (&limit, Type::INT8),
    ];
    let found = conn.query(&sql, &params)?;
    Ok(found.iter().map(rows::version).collect())
}

/// The version of a digest.
pub(crate) fn version(
    conn: &Connection,
    tenant: TenantId,
    digest: AgentDigest,
) -> Found<Option<AgentVersion>> {
    let sql = format!(
        "SELECT {VERSION} FROM agent_versions AS version \
         WHERE version.tenant_id = $1 AND version.digest = $2"
    );
    let (number, digest) = (i64::from(tenant.0), &digest.as_bytes()[..]);
    let params: [Param<'_>; 2] = [(&number, Type::INT8), (&digest, Type::BYTEA)];
    let found = conn.query(&sql, &params)?;
    Ok(found.first().map(rows::version).transpose())
}

/// The definition of a version.
pub(crate) fn definition(
    conn: &Connection,
    tenant: TenantId,
    digest: AgentDigest,
) -> Found<Option<Json>> {
    let found = version(conn, tenant, digest)?;
    Ok(found.map(|found| found.map(|version| version.spec.definition)))
}
