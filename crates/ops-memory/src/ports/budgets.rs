//! The ledgers of budgets.

use ops_core::{
    TenantId,
    budget::{Ledger, Window},
    ports::{BudgetStore, Fut, StoreError},
    provider::{ProviderKey, ProviderState},
};

use crate::store::{MemoryStore, ready};

impl BudgetStore for MemoryStore {
    fn ledgers(
        &self,
        tenant: TenantId,
        windows: Vec<Window>,
    ) -> Fut<'_, Result<Vec<Ledger>, StoreError>> {
        ready(Ok(self.read(|data| {
            let ledger = |window: Window| Ledger {
                used: data.used(tenant, &window),
                under_way: data.reserved(tenant, &window),
            };
            windows.into_iter().map(ledger).collect()
        })))
    }

    fn providers(&self, keys: Vec<ProviderKey>) -> Fut<'_, Result<Vec<ProviderState>, StoreError>> {
        ready(Ok(self.read(|data| {
            let state = |key| data.providers.get(key).copied().unwrap_or_default();
            keys.iter().map(state).collect()
        })))
    }
}
