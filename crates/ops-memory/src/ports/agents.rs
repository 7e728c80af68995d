//! The verbs of agents.

use ops_core::{
    AgentDigest, AgentName, TenantId,
    agent::{Agent, AgentVersion},
    ports::{AgentStore, Expected, Fut, Listed, NewAgent, StoreError, Stored},
    verbs::size,
};

use crate::store::{MemoryStore, ready};

impl AgentStore for MemoryStore {
    fn put_agent(&self, new: NewAgent) -> Fut<'_, Result<(Agent, Stored), StoreError>> {
        let fits = size::size(new.spec.definition.as_str().len(), self.cap);
        ready(fits.and_then(|()| self.write(|write| write.put_agent(new))))
    }

    fn remove_agent(
        &self,
        tenant: TenantId,
        name: AgentName,
        expected: Expected,
    ) -> Fut<'_, Result<(), StoreError>> {
        ready(self.write(|write| write.remove_agent(tenant, &name, expected)))
    }

    fn agent(&self, tenant: TenantId, name: AgentName) -> Fut<'_, Result<Agent, StoreError>> {
        let found = self.read(|data| data.agents.get(&(tenant, name)).cloned());
        ready(found.ok_or(StoreError::NotFound))
    }

    fn agents(
        &self,
        tenant: TenantId,
        after: Option<AgentName>,
        limit: u32,
    ) -> Fut<'_, Result<Listed<Agent>, StoreError>> {
        let found: Vec<Agent> = self.read(|data| {
            let agents = data.agents.iter().filter(|((owner, name), _)| {
                *owner == tenant && after.as_ref().is_none_or(|after| name > after)
            });
            let agents = agents.map(|(_, agent)| agent.clone());
            agents.take(limit as usize).collect()
        });
        ready(Ok(found.into()))
    }

    fn agent_versions(
        &self,
        tenant: TenantId,
        name: AgentName,
        limit: u32,
    ) -> Fut<'_, Result<Vec<AgentVersion>, StoreError>> {
        let found: Vec<AgentVersion> = self.read(|data| {
            let versions = data.versions.iter().rev();
            let versions = versions.filter(|of| of.tenant == tenant && of.name == name);
            versions.take(limit as usize).cloned().collect()
        });
        ready(match found.is_empty() && limit > 0 {
            true => Err(StoreError::NotFound),
            false => Ok(found),
        })
    }

    fn agent_version(
        &self,
        tenant: TenantId,
        digest: AgentDigest,
    ) -> Fut<'_, Result<AgentVersion, StoreError>> {
        let found = self.read(|data| data.version_of(tenant, digest).cloned());
        ready(found.ok_or(StoreError::NotFound))
    }
}
