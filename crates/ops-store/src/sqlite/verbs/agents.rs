//! Agents: a definition becomes the current version of an agent, and an agent is taken away.

use std::sync::LazyLock;

use ops_core::{
    AgentName, TenantId,
    agent::{Agent, AgentSpec},
    ports::{Expected, NewAgent, StoreError, Stored},
    rules::agents::{self as rule, MAX_USES, Put, Uses},
};
use rusqlite::{OptionalExtension as _, params};

use crate::sqlite::{
    error::WriteError,
    queries::agents::{one, schedules_of, that_start},
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
        AGENTS.sum(&changed, Others::Unchanged),
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

pub(crate) fn put(batch: &mut Batch<'_>, new: NewAgent) -> Result<(Agent, Stored), WriteError> {
    let tenant = new.tenant;
    let before = one(&batch.view(), tenant, &new.name)?;
    let starts = |agent: &AgentName| {
        let found = one(&batch.view(), tenant, agent)?;
        Ok::<_, WriteError>(found.map(|agent| agent.version.spec.agents))
    };
    let change = match rule::put(before.as_ref(), &new, starts, batch.now)? {
        Put::Unchanged(agent) => return Ok((agent, Stored::Unchanged)),
        Put::Current(change) => change,
    };
    let NewAgent { name, spec, .. } = new;
    let row = version_row(batch, tenant, &name, &spec)?;
    batch.conn.prepare_cached(&PUT)?.execute(params![
        tenant.0,
        name.as_str(),
        row,
        signed(change.revision),
        change.created_at.0,
        change.updated_at.0,
    ])?;
    batch.changes.written = true;
    let after = one(&batch.view(), tenant, &name)?.ok_or(StoreError::NotFound)?;
    Ok((after, change.stored))
}

/// Takes an agent away; its versions stay.
pub(crate) fn remove(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    name: &AgentName,
    expected: Expected,
) -> Result<(), WriteError> {
    let view = batch.view();
    let before = one(&view, tenant, name)?;
    let uses = Uses {
        agents: that_start(&view, tenant, name, MAX_USES)?,
        schedules: schedules_of(&view, tenant, name, MAX_USES)?,
    };
    rule::remove(before.as_ref(), expected, uses)?;
    batch
        .conn
        .prepare_cached("DELETE FROM agents WHERE tenant_id = ? AND name = ?")?
        .execute((tenant.0, name.as_str()))?;
    batch.changes.written = true;
    Ok(())
}

/// The row of a version, which is new unless the agent had it before.
fn version_row(
    batch: &Batch<'_>,
    tenant: TenantId,
    name: &AgentName,
    spec: &AgentSpec,
) -> Result<i64, WriteError> {
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
