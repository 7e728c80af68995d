//! Agents and their versions, and which of them a task is pinned to.

use ops_core::{
    AgentDigest, AgentName, Micros, TaskId, TenantId,
    agent::{self, Agent, AgentSpec, AgentVersion},
    ports::Listed,
    schedule::ScheduleName,
};
use rusqlite::{OptionalExtension as _, Row};

use crate::sqlite::{
    queries::view::View,
    schema::{
        rows::{bounded, document, intact, named, shown, unreadable, unsigned},
        sums::intact,
    },
};

/// What [`version`] reads, in its order.
macro_rules! version_columns {
    () => {
        concat!(
            "agent_versions.tenant_id, agent_versions.name, digest, definition, description, \
             agent_versions.agents, agent_versions.created_at, ",
            intact!(agent_versions)
        )
    };
}

fn version(row: &Row<'_>) -> rusqlite::Result<AgentVersion> {
    intact(row, 7)?;
    let agents: Vec<String> = serde_json::from_str(row.get_ref(5)?.as_str()?)
        .map_err(|error| unreadable(5, error.into()))?;
    let agents = agents.iter().map(|name| name.parse());
    Ok(AgentVersion {
        tenant: TenantId(row.get(0)?),
        name: named(row, 1, |name| name.parse().ok())?,
        spec: AgentSpec {
            digest: AgentDigest::from_bytes(row.get(2)?),
            definition: document(row, 3)?
                .ok_or_else(|| unreadable(3, "a definition is missing".into()))?,
            description: row.get(4)?,
            agents: agents
                .collect::<Result<_, _>>()
                .map_err(|error: agent::AgentNameError| unreadable(5, error.into()))?,
        },
        created_at: Micros(row.get(6)?),
    })
}

/// What [`found`] reads, in its order.
macro_rules! agent_columns {
    () => {
        concat!(
            "SELECT ",
            version_columns!(),
            ", agents.revision, agents.created_at, agents.updated_at, ",
            intact!(agents),
            " FROM agents JOIN agent_versions USING (version_row) WHERE agents.tenant_id = ? "
        )
    };
}

fn found(row: &Row<'_>) -> rusqlite::Result<Agent> {
    intact(row, 11)?;
    Ok(Agent {
        version: version(row)?,
        revision: unsigned(row, 8)?,
        created_at: Micros(row.get(9)?),
        updated_at: Micros(row.get(10)?),
    })
}

pub(crate) fn one(
    conn: &View<'_>,
    tenant: TenantId,
    name: &AgentName,
) -> rusqlite::Result<Option<Agent>> {
    let tenant = match units::mutant!("ops-store.agents_are_everybodys") {
        true => TenantId::DEFAULT,
        false => tenant,
    };
    conn.prepare_cached(concat!(agent_columns!(), "AND agents.name = ?"))?
        .query_row((tenant.0, name.as_str()), found)
        .optional()
}

pub(crate) fn page(
    conn: &View<'_>,
    tenant: TenantId,
    after: Option<&AgentName>,
    limit: u32,
) -> rusqlite::Result<Listed<Agent>> {
    let after = after.map_or("", AgentName::as_str);
    let mut select = conn.prepare_cached(concat!(
        agent_columns!(),
        "AND agents.name > ? ORDER BY agents.name"
    ))?;
    let rows = select.query((tenant.0, after))?;
    bounded(rows, limit, &[], |row| shown(row, 1), found)
}

pub(crate) fn versions(
    conn: &View<'_>,
    tenant: TenantId,
    name: &AgentName,
    limit: u32,
) -> rusqlite::Result<Vec<AgentVersion>> {
    conn.prepare_cached(concat!(
        "SELECT ",
        version_columns!(),
        " FROM agent_versions WHERE tenant_id = ? AND name = ? \
         ORDER BY version_row DESC LIMIT ?"
    ))?
    .query_map((tenant.0, name.as_str(), limit), version)?
    .collect()
}

/// The version of a digest.
pub(crate) fn by_digest(
    conn: &View<'_>,
    tenant: TenantId,
    digest: AgentDigest,
) -> rusqlite::Result<Option<AgentVersion>> {
    conn.prepare_cached(concat!(
        "SELECT ",
        version_columns!(),
        " FROM agent_versions WHERE tenant_id = ? AND digest = ?"
    ))?
    .query_row((tenant.0, digest.as_bytes()), version)
    .optional()
}

/// Agents whose current version may start this agent, by name.
pub(crate) fn that_start(
    conn: &View<'_>,
    tenant: TenantId,
    name: &AgentName,
    limit: u32,
) -> rusqlite::Result<Vec<AgentName>> {
    conn.prepare_cached(concat!(
        "SELECT agents.name, ",
        intact!(agents),
        ", ",
        intact!(agent_versions),
        " FROM agents JOIN agent_versions USING (version_row) WHERE agents.tenant_id = ? \
         AND EXISTS (SELECT 1 FROM json_each(agent_versions.agents) AS started \
           WHERE started.value = ?) \
         ORDER BY agents.name LIMIT ?"
    ))?
    .query_map((tenant.0, name.as_str(), limit), |row| {
        intact(row, 1)?;
        intact(row, 2)?;
        named(row, 0, |name| name.parse().ok())
    })?
    .collect()
}

/// Schedules whose tasks run this agent, by name.
pub(crate) fn schedules_of(
    conn: &View<'_>,
    tenant: TenantId,
    name: &AgentName,
    limit: u32,
) -> rusqlite::Result<Vec<ScheduleName>> {
    conn.prepare_cached(concat!(
        "SELECT name, ",
        intact!(schedules),
        " FROM schedules WHERE tenant_id = ? \
         AND json_extract(template, '$.agent_id') = ? ORDER BY name LIMIT ?"
    ))?
    .query_map((tenant.0, name.as_str(), limit), |row| {
        intact(row, 1)?;
        named(row, 0, |name| name.parse().ok())
    })?
    .collect()
}

/// The version that a new task of an agent is pinned to; none if there is no such agent.
pub(crate) fn current(
    conn: &View<'_>,
    tenant: TenantId,
    name: &str,
) -> rusqlite::Result<Option<AgentDigest>> {
    conn.prepare_cached(concat!(
        "SELECT digest, ",
        intact!(agents),
        ", ",
        intact!(agent_versions),
        " FROM agents JOIN agent_versions USING (version_row) \
         WHERE agents.tenant_id = ? AND agents.name = ?"
    ))?
    .query_row((tenant.0, name), |row| {
        intact(row, 1)?;
        intact(row, 2)?;
        row.get(0)
    })
    .optional()
    .map(|digest| digest.map(AgentDigest::from_bytes))
}

/// The version that a task is pinned to.
pub(crate) fn pinned(
    conn: &View<'_>,
    tenant: TenantId,
    task: TaskId,
) -> rusqlite::Result<Option<AgentDigest>> {
    let digest: Option<Option<[u8; 32]>> = conn
        .prepare_cached(concat!(
            "SELECT agent_digest, ",
            intact!(task_requests),
            " FROM tasks JOIN task_requests USING (task_row) \
             WHERE tasks.tenant_id = ? AND task_id = ?"
        ))?
        .query_row((tenant.0, task.as_bytes()), |row| {
            intact(row, 1)?;
            row.get(0)
        })
        .optional()?;
    Ok(digest.flatten().map(AgentDigest::from_bytes))
}
