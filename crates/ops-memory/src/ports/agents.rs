//! The verbs of agents.

use ops_core::{
    AgentDigest, AgentName, TenantId,
    agent::{Agent, AgentVersion},
    ports::{AgentStore, Fut, Listed, NewAgent, StoreError, Stored},
    rules::agents::{self as rule, Put},
};

use crate::{
    check,
    store::{MemoryStore, ready},
    write::Write,
};

impl AgentStore for MemoryStore {
    fn put_agent(&self, new: NewAgent) -> Fut<'_, Result<(Agent, Stored), StoreError>> {
        let size = check::size(new.spec.definition.as_str().len(), self.cap);
        ready(size.and_then(|()| self.write(|write| put(write, new))))
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
        let found = self.read(|data| data.version(tenant, digest).cloned());
        ready(found.ok_or(StoreError::NotFound))
    }
}

fn put(write: &mut Write<'_>, new: NewAgent) -> Result<(Agent, Stored), StoreError> {
    let key = (new.tenant, new.name.clone());
    let before = write.data.agents.get(&key);
    let starts = |agent: &AgentName| {
        let found = write.data.agents.get(&(new.tenant, agent.clone()));
        Ok::<_, StoreError>(found.map(|agent| agent.version.spec.agents.clone()))
    };
    let change = match rule::put(before, &new, starts, write.now)? {
        Put::Unchanged(agent) => return Ok((agent, Stored::Unchanged)),
        Put::Current(change) => change,
    };
    let known = write.data.version(new.tenant, new.spec.digest).cloned();
    let version = known.unwrap_or_else(|| {
        let version = AgentVersion {
            tenant: new.tenant,
            name: new.name,
            spec: new.spec,
            created_at: write.now,
        };
        write.data.versions.push(version.clone());
        version
    });
    let agent = Agent {
        version,
        revision: change.revision,
        created_at: change.created_at,
        updated_at: change.updated_at,
    };
    write.data.agents.insert(key, agent.clone());
    Ok((agent, change.stored))
}
