//! Agents and their versions, and which of them a task is pinned to.

use ops_core::{
    AgentDigest, AgentName, Micros, TaskId, TenantId,
    agent::{self, Agent, AgentSpec, AgentVersion},
    ports::{AgentStore, Expected, Fut, NewAgent, StoreError, Stored},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::sqlite::{
    error::Fault,
    schema::rows::{document, named, signed, unreadable, unsigned},
    store::SqliteStore,
    values::blob::check_size,
    writer::batch::Batch,
};

impl AgentStore for SqliteStore {
    fn put_agent(&self, new: NewAgent) -> Fut<'_, Result<(Agent, Stored), StoreError>> {
        Box::pin(async move {
            check_size(new.spec.definition.as_str().len(), self.max_value_bytes)?;
            self.write(move |batch| put(batch, new)).await
        })
    }

    fn agent(&self, tenant: TenantId, name: AgentName) -> Fut<'_, Result<Agent, StoreError>> {
        Box::pin(async move {
            let found = self.readers.read(move |conn| one(conn, tenant, &name));
            found.await?.ok_or(StoreError::NotFound)
        })
    }

    fn agents(
        &self,
        tenant: TenantId,
        after: Option<AgentName>,
        limit: u32,
    ) -> Fut<'_, Result<Vec<Agent>, StoreError>> {
        Box::pin(
            self.readers
                .read(move |conn| page(conn, tenant, after.as_ref(), limit)),
        )
    }

    fn agent_versions(
        &self,
        tenant: TenantId,
        name: AgentName,
        limit: u32,
    ) -> Fut<'_, Result<Vec<AgentVersion>, StoreError>> {
        Box::pin(async move {
            let found = self
                .readers
                .read(move |conn| versions(conn, tenant, &name, limit))
                .await?;
            match found.is_empty() && limit > 0 {
                true => Err(StoreError::NotFound),
                false => Ok(found),
            }
        })
    }

    fn agent_version(
        &self,
        tenant: TenantId,
        digest: AgentDigest,
    ) -> Fut<'_, Result<AgentVersion, StoreError>> {
        Box::pin(async move {
            let found = self.readers.read(move |conn| {
                conn.prepare_cached(concat!(
                    "SELECT ",
                    version_columns!(),
                    " FROM agent_versions AS version WHERE tenant_id = ? AND digest = ?"
                ))?
                .query_row((tenant.0, digest.as_bytes()), version)
                .optional()
            });
            found.await?.ok_or(StoreError::NotFound)
        })
    }
}

/// What [`version`] reads, in its order.
macro_rules! version_columns {
    () => {
        "version.tenant_id, version.name, version.digest, version.definition, \
         version.description, version.agents, version.created_at"
    };
}
use version_columns;

fn version(row: &Row<'_>) -> rusqlite::Result<AgentVersion> {
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
            ", agents.revision, agents.created_at, agents.updated_at FROM agents \
             JOIN agent_versions AS version USING (version_row) WHERE agents.tenant_id = ? "
        )
    };
}

fn found(row: &Row<'_>) -> rusqlite::Result<Agent> {
    Ok(Agent {
        version: version(row)?,
        revision: unsigned(row, 7)?,
        created_at: Micros(row.get(8)?),
        updated_at: Micros(row.get(9)?),
    })
}

fn one(conn: &Connection, tenant: TenantId, name: &AgentName) -> rusqlite::Result<Option<Agent>> {
    conn.prepare_cached(concat!(agent_columns!(), "AND agents.name = ?"))?
        .query_row((tenant.0, name.as_str()), found)
        .optional()
}

fn page(
    conn: &Connection,
    tenant: TenantId,
    after: Option<&AgentName>,
    limit: u32,
) -> rusqlite::Result<Vec<Agent>> {
    let after = after.map_or("", AgentName::as_str);
    conn.prepare_cached(concat!(
        agent_columns!(),
        "AND agents.name > ? ORDER BY agents.name LIMIT ?"
    ))?
    .query_map((tenant.0, after, limit), found)?
    .collect()
}

fn versions(
    conn: &Connection,
    tenant: TenantId,
    name: &AgentName,
    limit: u32,
) -> rusqlite::Result<Vec<AgentVersion>> {
    conn.prepare_cached(concat!(
        "SELECT ",
        version_columns!(),
        " FROM agent_versions AS version WHERE tenant_id = ? AND name = ? \
         ORDER BY version_row DESC LIMIT ?"
    ))?
    .query_map((tenant.0, name.as_str(), limit), version)?
    .collect()
}

fn put(batch: &mut Batch<'_>, new: NewAgent) -> Result<(Agent, Stored), Fault> {
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
    batch
        .conn
        .prepare_cached(
            "INSERT INTO agents (tenant_id, name, version_row, revision, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT DO UPDATE \
             SET version_row = ?3, revision = ?4, updated_at = ?5",
        )?
        .execute(params![
            tenant.0,
            name.as_str(),
            row,
            signed(revision),
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
        .prepare_cached(
            "INSERT INTO agent_versions (tenant_id, name, digest, definition, description, agents, \
             created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
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

/// The version that a new task of an agent is pinned to; none if there is no such agent.
pub(crate) fn current(
    conn: &Connection,
    tenant: TenantId,
    agent: Option<&str>,
) -> rusqlite::Result<Option<AgentDigest>> {
    let Some(name) = agent else {
        return Ok(None);
    };
    conn.prepare_cached(
        "SELECT digest FROM agents JOIN agent_versions USING (version_row) \
         WHERE agents.tenant_id = ? AND agents.name = ?",
    )?
    .query_row((tenant.0, name), |row| row.get(0))
    .optional()
    .map(|digest| digest.map(AgentDigest::from_bytes))
}

/// The version that a task is pinned to.
pub(crate) fn pinned(
    conn: &Connection,
    tenant: TenantId,
    task: TaskId,
) -> rusqlite::Result<Option<AgentDigest>> {
    let digest: Option<Option<[u8; 32]>> = conn
        .prepare_cached(
            "SELECT agent_digest FROM tasks JOIN task_requests USING (task_row) \
             WHERE tasks.tenant_id = ? AND task_id = ?",
        )?
        .query_row((tenant.0, task.as_bytes()), |row| row.get(0))
        .optional()?;
    Ok(digest.flatten().map(AgentDigest::from_bytes))
}
