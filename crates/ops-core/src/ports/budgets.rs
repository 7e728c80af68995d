//! The store's verbs for the ledgers of budgets and the states of providers. Both are written by [`RunStore::record`](super::RunStore::record).

use super::{Fut, StoreError};
use crate::{
    budget::{Ledger, Window},
    id::TenantId,
    provider::{ProviderKey, ProviderState},
};

/// Reads ledgers, and states of providers.
pub trait BudgetStore: Send + Sync {
    /// The ledger of each window.
    fn ledgers(
        &self,
        tenant: TenantId,
        windows: Vec<Window>,
    ) -> Fut<'_, Result<Vec<Ledger>, StoreError>>;

    /// How far the limits of each key are used.
    fn providers(&self, keys: Vec<ProviderKey>) -> Fut<'_, Result<Vec<ProviderState>, StoreError>>;
}
