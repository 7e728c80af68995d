//! The ledgers of budgets.

use ops_core::{
    TenantId,
    budget::{Ledger, Window},
    ports::{BudgetStore, Fut, StoreError},
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
}
