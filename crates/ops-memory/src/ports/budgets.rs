//! The ledgers of budgets.

use ops_core::{
    TenantId,
    budget::{Amount, Window},
    ports::{BudgetStore, Fut, StoreError},
};

use crate::store::{MemoryStore, ready};

impl BudgetStore for MemoryStore {
    fn ledgers(
        &self,
        tenant: TenantId,
        windows: Vec<Window>,
    ) -> Fut<'_, Result<Vec<Amount>, StoreError>> {
        ready(Ok(self.read(|data| {
            let used = |window: Window| data.ledgers.get(&(tenant, window)).copied();
            windows
                .into_iter()
                .map(|window| used(window).unwrap_or_default())
                .collect()
        })))
    }
}
