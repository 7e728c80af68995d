//! The ledgers of budgets.

use ops_core::{
    TenantId,
    budget::{Amount, Window},
};
use rusqlite::OptionalExtension as _;

use crate::sqlite::{
    queries::view::View,
    schema::{
        rows::{intact, unsigned},
        sums::intact,
    },
};

/// The ledger of a window; zero before the first reservation.
pub(crate) fn ledger(
    conn: &View<'_>,
    tenant: TenantId,
    window: &Window,
) -> rusqlite::Result<Amount> {
    let found = conn
        .prepare_cached(concat!(
            "SELECT tokens, cost_micros, ",
            intact!(budget_ledgers),
            " FROM budget_ledgers WHERE tenant_id = ? AND budget = ? AND since = ?"
        ))?
        .query_row((tenant.0, &window.budget, window.since.0), |row| {
            intact(row, 2)?;
            Ok(Amount {
                tokens: unsigned(row, 0)?,
                cost_micros: unsigned(row, 1)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// The ledgers of windows.
pub(crate) fn ledgers(
    conn: &View<'_>,
    tenant: TenantId,
    windows: &[Window],
) -> rusqlite::Result<Vec<Amount>> {
    windows
        .iter()
        .map(|window| ledger(conn, tenant, window))
        .collect()
}
