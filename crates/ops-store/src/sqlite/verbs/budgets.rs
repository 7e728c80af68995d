//! The ledgers of budgets: an append with reservations is refused as a whole, or changes them with its events.

use std::{collections::BTreeMap, sync::LazyLock};

use ops_core::{
    Micros, TenantId,
    budget::{Amount, BudgetEntry, Window},
    rules::budget,
};
use rusqlite::params;

use crate::sqlite::{
    error::WriteError,
    queries,
    schema::{
        rows::signed,
        sums::{BUDGET_LEDGERS, Others},
    },
    writer::batch::Batch,
};

static PUT: LazyLock<String> = LazyLock::new(|| {
    let columns = ["tenant_id", "budget", "since", "tokens", "cost_micros"];
    let changed = [("tokens", "?4"), ("cost_micros", "?5")];
    format!(
        "{} ON CONFLICT DO UPDATE SET tokens = ?4, cost_micros = ?5, sum = {}",
        BUDGET_LEDGERS.insert(&columns, &[]),
        BUDGET_LEDGERS.sum(&changed, Others::Unchanged),
    )
});

/// The ledgers after the entries of an append at this time. Writes nothing.
pub(crate) fn after(
    batch: &Batch<'_>,
    tenant: TenantId,
    entries: &[BudgetEntry],
    at: Micros,
) -> Result<BTreeMap<Window, Amount>, WriteError> {
    budget::ledgers(entries, at, |window| {
        Ok(queries::budgets::ledger(&batch.view(), tenant, window)?)
    })
}

pub(crate) fn put(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    ledgers: BTreeMap<Window, Amount>,
    at: Micros,
) -> Result<(), WriteError> {
    for (window, used) in ledgers {
        batch.conn.prepare_cached(&PUT)?.execute(params![
            tenant.0,
            window.budget,
            window.since.0,
            signed(used.tokens),
            signed(used.cost_micros),
        ])?;
        let kept_from = at.plus(-budget::KEPT_MICROS);
        let old = "DELETE FROM budget_ledgers WHERE tenant_id = ? AND budget = ? AND since < ? AND since <> 0 \
            AND since <> ?";
        batch.conn.prepare_cached(old)?.execute(params![
            tenant.0,
            window.budget,
            kept_from.0,
            window.since.0,
        ])?;
        batch.changes.written = true;
    }
    Ok(())
}
