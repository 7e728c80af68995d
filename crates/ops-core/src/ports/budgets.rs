//! The store's verbs for the ledgers of budgets. Ledgers are written by [`RunStore::record`](super::RunStore::record).

use super::{Fut, StoreError};
use crate::{
    budget::{Ledger, Window},
    id::TenantId,
};

/// Reads ledgers.
pub trait BudgetStore: Send + Sync {
    /// The ledger of each window.
    fn ledgers(
        &self,
        tenant: TenantId,
        windows: Vec<Window>,
    ) -> Fut<'_, Result<Vec<Ledger>, StoreError>>;
}
