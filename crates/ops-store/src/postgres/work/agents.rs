//! Agents of a transaction.

use std::str::FromStr;

use ops_core::{
    AgentDigest, AgentName, TenantId,
    agent::{Agent, AgentVersion},
    ports::StoreError,
    schedule::ScheduleName,
    verbs::AgentRows,
};
use tokio_postgres::{Row, types::Type};

use super::Work;
use crate::postgres::{
    connection::Param,
    error::Failure,
    schema::rows::{self, AGENT, VERSION, signed},
};

type Result<T> = std::result::Result<T, StoreError>;

impl AgentRows for Work<'_> {
    fn agent(&mut self, tenant: TenantId, name: &AgentName) -> Result<Option<Agent>> {
        if let Some(known) = self.agents.get(&(tenant, name.clone())) {
            return Ok(known.clone());
        }
        let sql = format!(
            "SELECT {VERSION}, {AGENT} FROM agents AS agent JOIN agent_versions AS version \
             ON version.tenant_id = agent.tenant_id AND version.digest = agent.digest \
             WHERE agent.tenant_id = $1 AND agent.name = $2"
        );
        let (number, bytes) = (i64::from(tenant.0), name.as_str().as_bytes());
        let params: [Param<'_>; 2] = [(&number, Type::INT8), (&bytes, Type::BYTEA)];
        let found = self.look(&sql, &params)?;
        let found = found.first().map(rows::agent).transpose()?;
        self.agents.insert((tenant, name.clone()), found.clone());
        Ok(found)
    }

    fn version(&mut self, tenant: TenantId, digest: AgentDigest) -> Result<Option<AgentVersion>> {
        let sql = format!(
            "SELECT {VERSION} FROM agent_versions AS version \
             WHERE version.tenant_id = $1 AND version.digest = $2"
        );
        let (number, bytes) = (i64::from(tenant.0), &digest.as_bytes()[..]);
        let params: [Param<'_>; 2] = [(&number, Type::INT8), (&bytes, Type::BYTEA)];
        let found = self.ask(&sql, &params)?;
        found.first().map(rows::version).transpose()
    }

    fn put_version(&mut self, version: &AgentVersion) -> Result<()> {
        let sql = "INSERT INTO agent_versions (tenant_id, name, digest, definition, description, \
            agents, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let spec = &version.spec;
        let agents = serde_json::to_string(&spec.agents).unwrap_or_default();
        let (number, name) = (
            i64::from(version.tenant.0),
            version.name.as_str().as_bytes(),
        );
        let params: [Param<'_>; 7] = [
            (&number, Type::INT8),
            (&name, Type::BYTEA),
            (&&spec.digest.as_bytes()[..], Type::BYTEA),
            (&spec.definition.as_str(), Type::TEXT),
            (&spec.description.as_bytes(), Type::BYTEA),
            (&agents, Type::TEXT),
            (&version.created_at.0, Type::INT8),
        ];
        self.execute(sql, &params)?;
        Ok(())
    }

    fn put_agent(&mut self, agent: &Agent) -> Result<()> {
        // Another change of the agent meanwhile makes this one look again.
        let sql = "INSERT INTO agents (tenant_id, name, digest, revision, created_at, updated_at) \
            VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, name) DO UPDATE \
            SET digest = excluded.digest, revision = excluded.revision, \
            updated_at = excluded.updated_at WHERE agents.revision = excluded.revision - 1";
        let version = &agent.version;
        let (number, name) = (
            i64::from(version.tenant.0),
            version.name.as_str().as_bytes(),
        );
        let revision = signed(agent.revision);
        let params: [Param<'_>; 6] = [
            (&number, Type::INT8),
            (&name, Type::BYTEA),
            (&&version.spec.digest.as_bytes()[..], Type::BYTEA),
            (&revision, Type::INT8),
            (&agent.created_at.0, Type::INT8),
            (&agent.updated_at.0, Type::INT8),
        ];
        if self.execute(sql, &params)? == 0 {
            return Err(self.fail(Failure::again(
                "an agent was changed by somebody else meanwhile",
            )));
        }
        self.agents.clear();
        Ok(())
    }

    fn remove_agent(&mut self, tenant: TenantId, name: &AgentName) -> Result<()> {
        let (number, bytes) = (i64::from(tenant.0), name.as_str().as_bytes());
        let params: [Param<'_>; 2] = [(&number, Type::INT8), (&bytes, Type::BYTEA)];
        self.execute(
            "DELETE FROM agents WHERE tenant_id = $1 AND name = $2",
            &params,
        )?;
        self.agents.clear();
        Ok(())
    }

    fn agents_that_start(
        &mut self,
        tenant: TenantId,
        name: &AgentName,
        limit: u32,
    ) -> Result<Vec<AgentName>> {
        let sql = "SELECT agent.name FROM agents AS agent JOIN agent_versions AS version \
             ON version.tenant_id = agent.tenant_id AND version.digest = agent.digest \
             WHERE agent.tenant_id = $1 AND version.agents::jsonb ? $2 \
             ORDER BY agent.name LIMIT $3";
        let (number, text, limit) = (i64::from(tenant.0), name.as_str(), i64::from(limit));
        let params: [Param<'_>; 3] = [
            (&number, Type::INT8),
            (&text, Type::TEXT),
            (&limit, Type::INT8),
        ];
        let found = self.ask(sql, &params)?;
        found.iter().map(|row| parsed(row, 0)).collect()
    }

    fn schedules_of_agent(
        &mut self,
        tenant: TenantId,
        name: &AgentName,
        limit: u32,
    ) -> Result<Vec<ScheduleName>> {
        // The database narrows by text alone: its JSON functions fail on a template with a U+0000 in any string.
        let sql = "SELECT name, template FROM schedules WHERE tenant_id = $1 \
             AND position($2 IN template) > 0 ORDER BY name";
        let (number, text) = (i64::from(tenant.0), format!("\"{name}\""));
        let params: [Param<'_>; 2] = [(&number, Type::INT8), (&text.as_str(), Type::TEXT)];
        let mut names = Vec::new();
        for row in self.ask(sql, &params)? {
            let template = rows::document(&row, 1)?.map(|template| template.to_value());
            let is_of_agent =
                template.is_some_and(|template| template["agent_id"] == name.as_str());
            if is_of_agent && names.len() < limit as usize {
                names.push(parsed(&row, 0)?);
            }
        }
        Ok(names)
    }
}

/// A name of a column.
fn parsed<T: FromStr<Err: std::fmt::Display>>(row: &Row, column: usize) -> Result<T> {
    let name = rows::must_text(row, column)?.parse();
    name.map_err(|error| StoreError::Unreadable(format!("a name: {error}")))
}
