//! The verbs of agents.

use ops_core::{
    AgentDigest, AgentName, TenantId,
    agent::{Agent, AgentVersion},
    ports::{AgentStore, Expected, Fut, Listed, NewAgent, StoreError, Stored},
    verbs::size,
};

use super::there;
use crate::postgres::{PostgresStore, queries::agents};

impl AgentStore for PostgresStore {
    fn put_agent(&self, new: NewAgent) -> Fut<'_, Result<(Agent, Stored), StoreError>> {
        Box::pin(async move {
            let bytes = new.spec.definition.as_str().len();
            size::size(bytes, self.shared.options.max_value_bytes)?;
            self.work(Vec::new(), move |work| {
                // Two that start one another would each be stored if they came at once.
                work.lock("agents", new.tenant, "")?;
                work.verb(|write| write.put_agent(new.clone()))
            })
            .await
        })
    }

    fn remove_agent(
        &self,
        tenant: TenantId,
        name: AgentName,
        expected: Expected,
    ) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(self.work(Vec::new(), move |work| {
            // An agent that may start this one could be stored meanwhile.
            work.lock("agents", tenant, "")?;
            work.verb(|write| write.remove_agent(tenant, &name, expected))
        }))
    }

    fn agent(&self, tenant: TenantId, name: AgentName) -> Fut<'_, Result<Agent, StoreError>> {
        Box::pin(async move {
            let found = self
                .read(move |conn| agents::one(conn, tenant, &name))
                .await?;
            there(found)
        })
    }

    fn agents(
        &self,
        tenant: TenantId,
        after: Option<AgentName>,
        limit: u32,
    ) -> Fut<'_, Result<Listed<Agent>, StoreError>> {
        Box::pin(self.read(move |conn| agents::page(conn, tenant, after.as_ref(), limit)))
    }

    fn agent_versions(
        &self,
        tenant: TenantId,
        name: AgentName,
        limit: u32,
    ) -> Fut<'_, Result<Vec<AgentVersion>, StoreError>> {
        Box::pin(async move {
            let found = self
                .read(move |conn| agents::versions(conn, tenant, &name, limit))
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
            let found = self
                .read(move |conn| agents::version(conn, tenant, digest))
                .await?;
            there(found)
        })
    }
}
