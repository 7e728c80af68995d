//! The store's verbs for the ledgers of budgets. Ledgers are written by [`RunStore::record`](super::RunStore::record).

use super::{Fut, StoreError};
use crate::{
    budget::{Amount, Window},
    id::TenantId,
};

/// Reads ledgers.
pub trait BudgetStore: Send + Sync {
    /// How much of each window is used, with the worst cases of calls under way.
    fn ledgers(
        &self,
        tenant: TenantId,
        windows: Vec<Window>,
    ) -> Fut<'_, Result<Vec<Amount>, StoreError>>;
}
