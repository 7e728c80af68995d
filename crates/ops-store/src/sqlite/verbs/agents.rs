//! Agents: a definition becomes the current version of one.

use std::sync::LazyLock;

use ops_core::{
    AgentName, TenantId,
    agent::{self, Agent, AgentSpec},
    ports::{Expected, NewAgent, StoreError, Stored},
};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::sqlite::{
    error::Fault,
    queries::agents::one,
    schema::{
        rows::signed,
        sums::{AGENT_VERSIONS, AGENTS, Others},
    },
    writer::batch::Batch,
};

static PUT: LazyLock<String> = LazyLock::new(|| {
    let columns = [
        "tenant_id",
        "name",
        "version_row",
        "revision",
        "created_at",
        "updated_at",
    ];
    let changed = [
        ("version_row", "?3"),
        ("revision", "?4"),
        ("updated_at", "?6"),
    ];
    format!(
        "{} ON CONFLICT DO UPDATE SET version_row = ?3, revision = ?4, updated_at = ?6, sum = {}",
        AGENTS.insert(&columns, &[]),
        AGENTS.sum(&changed, Others::Kept),
    )
});

static INSERT_VERSION: LazyLock<String> = LazyLock::new(|| {
    let columns = [
        "tenant_id",
        "name",
        "digest",
        "definition",
        "description",
        "agents",
        "created_at",
    ];
    AGENT_VERSIONS.insert(&columns, &[])
});

pub(crate) fn put(batch: &mut Batch<'_>, new: NewAgent) -> Result<(Agent, Stored), Fault> {
    let NewAgent {
        tenant,
        name,
        spec,
        expected,
    } = new;
    let before = one(batch.conn, tenant, &name)?;
    let current = before.as_ref().map(|agent| agent.version.spec.digest);
    // A change that was made already is made again without harm.
    let repeats = current == Some(spec.digest);
    let fits = match expected {
        Expected::Any => true,
        Expected::Absent => current.is_none(),
        Expected::Version(digest) => current == Some(digest) || repeats,
    };
    if !fits {
        return Err(StoreError::AgentChanged(current).into());
    }
    if let Some(before) = before.as_ref().filter(|_| repeats) {
        return Ok((before.clone(), Stored::Unchanged));
    }
    check_agents(batch.conn, tenant, &name, &spec)?;
    let row = version_row(batch, tenant, &name, &spec)?;
    let revision = before.as_ref().map_or(1, |before| before.revision + 1);
    batch.conn.prepare_cached(&PUT)?.execute(params![
        tenant.0,
        name.as_str(),
        row,
        signed(revision),
        batch.now.0,
        batch.now.0,
    ])?;
    batch.changes.written = true;
    let stored = match before {
        Some(_) => Stored::Changed,
        None => Stored::Created,
    };
    let after = one(batch.conn, tenant, &name)?.ok_or(StoreError::NotFound)?;
    Ok((after, stored))
}

/// The agents that it may start are there, and none of them leads back to it.
fn check_agents(
    conn: &Connection,
    tenant: TenantId,
    name: &AgentName,
    spec: &AgentSpec,
) -> Result<(), Fault> {
    for agent in &spec.agents {
        if agent != name && one(conn, tenant, agent)?.is_none() {
            return Err(StoreError::NoAgent(agent.clone()).into());
        }
    }
    let starts = |agent: &AgentName| {
        let found = one(conn, tenant, agent)?;
        Ok::<_, Fault>(found.map_or_else(Vec::new, |agent| agent.version.spec.agents))
    };
    match agent::cycle(name, &spec.agents, starts)? {
        Some(circle) => Err(StoreError::AgentCycle(circle).into()),
        None => Ok(()),
    }
}

/// The row of a version, which is new unless the agent had it before.
fn version_row(
    batch: &Batch<'_>,
    tenant: TenantId,
    name: &AgentName,
    spec: &AgentSpec,
) -> Result<i64, Fault> {
    let known = batch
        .conn
        .prepare_cached(
            "SELECT version_row FROM agent_versions WHERE tenant_id = ? AND digest = ?",
        )?
        .query_row((tenant.0, spec.digest.as_bytes()), |row| row.get(0))
        .optional()?;
    if let Some(row) = known {
        return Ok(row);
    }
    let agents = serde_json::to_string(&spec.agents)
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    batch
        .conn
        .prepare_cached(&INSERT_VERSION)?
        .execute(params![
            tenant.0,
            name.as_str(),
            spec.digest.as_bytes(),
            spec.definition.as_str(),
            spec.description,
            agents,
            batch.now.0,
        ])?;
    Ok(batch.conn.last_insert_rowid())
}
