//! The verbs of agents.

use ops_core::{
    AgentDigest, AgentName, TenantId,
    agent::{Agent, AgentVersion},
    ports::{AgentStore, Expected, Fut, Listed, NewAgent, StoreError, Stored},
};

use crate::sqlite::{queries::agents, store::SqliteStore, values::blob::check_size, verbs};

impl AgentStore for SqliteStore {
    fn put_agent(&self, new: NewAgent) -> Fut<'_, Result<(Agent, Stored), StoreError>> {
        Box::pin(async move {
            check_size(new.spec.definition.as_str().len(), self.max_value_bytes)?;
            self.write(move |batch| verbs::agents::put(batch, new))
                .await
        })
    }

    fn remove_agent(
        &self,
        tenant: TenantId,
        name: AgentName,
        expected: Expected,
    ) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |batch| verbs::agents::remove(batch, tenant, &name, expected)))
    }

    fn agent(&self, tenant: TenantId, name: AgentName) -> Fut<'_, Result<Agent, StoreError>> {
        Box::pin(async move {
            let found = self
                .readers
                .read(move |conn| agents::one(conn, tenant, &name));
            found.await?.ok_or(StoreError::NotFound)
        })
    }

    fn agents(
        &self,
        tenant: TenantId,
        after: Option<AgentName>,
        limit: u32,
    ) -> Fut<'_, Result<Listed<Agent>, StoreError>> {
        Box::pin(
            self.readers
                .read(move |conn| agents::page(conn, tenant, after.as_ref(), limit)),
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
                .readers
                .read(move |conn| agents::by_digest(conn, tenant, digest));
            found.await?.ok_or(StoreError::NotFound)
        })
    }
}
