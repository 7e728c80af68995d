//! The ledgers of budgets.

use ops_core::{
    TenantId,
    budget::{Ledger, Window},
    ports::{BudgetStore, Fut, StoreError},
    provider::{ProviderKey, ProviderState},
};

use crate::sqlite::{queries, store::SqliteStore};

impl BudgetStore for SqliteStore {
    fn ledgers(
        &self,
        tenant: TenantId,
        windows: Vec<Window>,
    ) -> Fut<'_, Result<Vec<Ledger>, StoreError>> {
        Box::pin(
            self.readers
                .read(move |conn| queries::budgets::ledgers(conn, tenant, &windows)),
        )
    }

    fn providers(&self, keys: Vec<ProviderKey>) -> Fut<'_, Result<Vec<ProviderState>, StoreError>> {
        Box::pin(self.readers.read(move |conn| {
            let states = keys
                .iter()
                .map(|key| queries::budgets::provider(conn, *key));
            states.collect()
        }))
    }
}
