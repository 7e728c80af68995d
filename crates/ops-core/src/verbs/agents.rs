//! The verbs of agents that write.

use super::{rows::Rows, write::Write};
use crate::{
    AgentName, TenantId,
    agent::{Agent, AgentVersion},
    ports::{Expected, NewAgent, StoreError, Stored},
    rules::agents::{self as rule, MAX_USES, Put, Uses},
};

impl<R: Rows> Write<'_, R> {
    /// Makes a definition an agent's current version.
    ///
    /// # Errors
    /// The agent is not as expected, starts an agent that is not there, or closes a circle.
    pub fn put_agent(&mut self, new: NewAgent) -> Result<(Agent, Stored), StoreError> {
        let before = self.rows.agent(new.tenant, &new.name)?;
        let starts = |agent: &AgentName| {
            let found = self.rows.agent(new.tenant, agent)?;
            Ok::<_, StoreError>(found.map(|agent| agent.version.spec.agents))
        };
        let change = match rule::put(before.as_ref(), &new, starts, self.now)? {
            Put::Unchanged(agent) => return Ok((agent, Stored::Unchanged)),
            Put::Current(change) => change,
        };
        let version = match self.rows.version(new.tenant, new.spec.digest)? {
            Some(known) => known,
            None => {
                let version = AgentVersion {
                    tenant: new.tenant,
                    name: new.name,
                    spec: new.spec,
                    created_at: self.now,
                };
                self.rows.put_version(&version)?;
                version
            }
        };
        let agent = Agent {
            version,
            revision: change.revision,
            created_at: change.created_at,
            updated_at: change.updated_at,
        };
        self.rows.put_agent(&agent)?;
        Ok((agent, change.stored))
    }

    /// Takes an agent away; its versions and its tasks stay.
    ///
    /// # Errors
    /// The agent is not there, not as expected, or named by agents or schedules.
    pub fn remove_agent(
        &mut self,
        tenant: TenantId,
        name: &AgentName,
        expected: Expected,
    ) -> Result<(), StoreError> {
        let before = self.rows.agent(tenant, name)?;
        let uses = Uses {
            agents: self.rows.agents_that_start(tenant, name, MAX_USES)?,
            schedules: self.rows.schedules_of_agent(tenant, name, MAX_USES)?,
        };
        rule::remove(before.as_ref(), expected, uses)?;
        self.rows.remove_agent(tenant, name)
    }
}
