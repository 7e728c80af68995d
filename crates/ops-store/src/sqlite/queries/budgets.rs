//! The ledgers of budgets with the calls beside them, and the states of providers.

use ops_core::{
    Micros, TaskId, TenantId,
    budget::{Amount, Ledger, Most, Waiter, Window},
    provider::{ProviderKey, ProviderState},
};
use rusqlite::OptionalExtension as _;

use crate::sqlite::{
    queries::view::View,
    schema::{
        rows::{intact, unsigned},
        sums::intact,
    },
};

/// How much of a window is used; zero before the first reservation.
pub(crate) fn used(conn: &View<'_>, tenant: TenantId, window: &Window) -> rusqlite::Result<Amount> {
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

/// The worst cases of the calls whose tasks still have the lease that the calls were stored under.
pub(crate) fn under_way(
    conn: &View<'_>,
    tenant: TenantId,
    window: &Window,
) -> rusqlite::Result<Amount> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT tokens, micros, ",
        intact!(budget_calls),
        " FROM budget_calls INDEXED BY budget_calls_window \
         JOIN tasks ON tasks.tenant_id = budget_calls.tenant_id AND tasks.task_id = budget_calls.task_id \
         WHERE budget_calls.tenant_id = ? AND budget = ? AND since = ? AND waits = 0 \
         AND session_id IS NOT NULL AND epoch = call_epoch"
    ))?;
    let mut rows = select.query((tenant.0, &window.budget, window.since.0))?;
    let mut sum = Amount::default();
    while let Some(row) = rows.next()? {
        intact(row, 2)?;
        sum.tokens = sum.tokens.saturating_add(unsigned(row, 0)?);
        sum.cost_micros = sum.cost_micros.saturating_add(unsigned(row, 1)?);
    }
    Ok(sum)
}

/// The oldest tasks that wait for room.
pub(crate) fn waiters(
    conn: &View<'_>,
    tenant: TenantId,
    window: &Window,
    limit: u32,
) -> rusqlite::Result<Vec<Waiter>> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT budget_calls.task_id, tokens, micros, most_tokens, most_micros, ",
        intact!(budget_calls),
        " FROM budget_calls INDEXED BY budget_calls_window \
         JOIN tasks ON tasks.tenant_id = budget_calls.tenant_id AND tasks.task_id = budget_calls.task_id \
         WHERE budget_calls.tenant_id = ? AND budget = ? AND since = ? AND waits = 1 AND wait_on = 'budget' \
         ORDER BY budget_calls.task_id LIMIT ?"
    ))?;
    let waiter = |row: &rusqlite::Row<'_>| {
        intact(row, 5)?;
        let most = |column| {
            let most: Option<i64> = row.get(column)?;
            Ok::<_, rusqlite::Error>(most.map(|most| u64::try_from(most).unwrap_or(0)))
        };
        Ok(Waiter {
            task: TaskId::from_bytes(row.get(0)?),
            amount: Amount {
                tokens: unsigned(row, 1)?,
                cost_micros: unsigned(row, 2)?,
            },
            most: Most {
                tokens: most(3)?,
                cost_micros: most(4)?,
            },
        })
    };
    select
        .query_map((tenant.0, &window.budget, window.since.0, limit), waiter)?
        .collect()
}

/// The ledgers of windows.
pub(crate) fn ledgers(
    conn: &View<'_>,
    tenant: TenantId,
    windows: &[Window],
) -> rusqlite::Result<Vec<Ledger>> {
    let ledger = |window| {
        Ok(Ledger {
            used: used(conn, tenant, window)?,
            under_way: under_way(conn, tenant, window)?,
        })
    };
    windows.iter().map(ledger).collect()
}

/// How far the limits of a provider's key are used.
pub(crate) fn provider(conn: &View<'_>, key: ProviderKey) -> rusqlite::Result<ProviderState> {
    let found = conn
        .prepare_cached(
            "SELECT requests_at, tokens_at, line_at, changed_at FROM provider_rates WHERE key = ?",
        )?
        .query_row([key.0], |row| {
            Ok(ProviderState {
                requests_at: Micros(row.get(0)?),
                tokens_at: Micros(row.get(1)?),
                line_at: Micros(row.get(2)?),
                changed_at: Micros(row.get(3)?),
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}
