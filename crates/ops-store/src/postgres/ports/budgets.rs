//! The ledgers of budgets.

use ops_core::{
    TenantId,
    budget::{Ledger, Window},
    ports::{BudgetStore, Fut, StoreError},
    provider::{ProviderKey, ProviderState},
};

use crate::postgres::{
    PostgresStore,
    work::{ledger, provider},
};

impl BudgetStore for PostgresStore {
    fn ledgers(
        &self,
        tenant: TenantId,
        windows: Vec<Window>,
    ) -> Fut<'_, Result<Vec<Ledger>, StoreError>> {
        Box::pin(self.read(move |conn| {
            let mut found = Vec::with_capacity(windows.len());
            for window in &windows {
                match ledger(conn, tenant, window)? {
                    Ok(ledger) => found.push(ledger),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok(found))
        }))
    }

    fn providers(&self, keys: Vec<ProviderKey>) -> Fut<'_, Result<Vec<ProviderState>, StoreError>> {
        Box::pin(self.read(move |conn| {
            let mut found = Vec::with_capacity(keys.len());
            for key in &keys {
                match provider(conn, *key)? {
                    Ok(state) => found.push(state),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok(found))
        }))
    }
}
