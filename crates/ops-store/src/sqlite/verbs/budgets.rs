//! The ledgers of budgets: an append with reservations is refused as a whole, or changes them with its events.

use std::sync::LazyLock;

use ops_core::{
    Lifecycle, TenantId,
    budget::{Amount, BudgetCall, BudgetEntry, Window},
    provider::{ProviderKey, ProviderState},
    rules::{
        Cause,
        budget::{self, Changes, Look},
    },
    time::Micros,
};
use rusqlite::params;

use crate::sqlite::{
    error::WriteError,
    queries,
    schema::{
        rows::signed,
        sums::{BUDGET_CALLS, BUDGET_LEDGERS, Others},
    },
    verbs::follow::apply,
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

static PUT_CALL: LazyLock<String> = LazyLock::new(|| {
    let columns = [
        "tenant_id",
        "task_id",
        "budget",
        "since",
        "call_epoch",
        "waits",
        "tokens",
        "micros",
        "most_tokens",
        "most_micros",
    ];
    BUDGET_CALLS.insert(&columns, &[])
});

/// The effects of the entries of an append at this time. No row is written.
pub(crate) fn changes(
    batch: &Batch<'_>,
    tenant: TenantId,
    entries: &[BudgetEntry],
    at: Micros,
) -> Result<Changes, WriteError> {
    budget::changes(entries, at, |window, look| {
        let view = batch.view();
        Ok(match look {
            Look::Used => queries::budgets::used(&view, tenant, window)?,
            Look::UnderWay => queries::budgets::under_way(&view, tenant, window)?,
        })
    })
}

/// Writes the changes of ledgers by an append, and wakes the tasks that have room by them.
pub(crate) fn put(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    changes: Changes,
    after: &Lifecycle,
) -> Result<(), WriteError> {
    for (window, used) in &changes.ledgers {
        ledger(batch, tenant, (window, *used), after.updated_at)?;
    }
    if let Some(of_task) = &changes.calls {
        calls(batch, tenant, after, of_task)?;
    }
    for window in changes.look_for_waiters {
        let used = changes.ledgers.get(&window).copied().unwrap_or_default();
        let waiters = queries::budgets::waiters(&batch.view(), tenant, &window, budget::MAX_WOKEN)?;
        for task in budget::turns(waiters, used) {
            match apply(batch, tenant, task, Cause::BudgetSettled) {
                Ok(_) => {}
                Err(WriteError::Refused(error)) => {
                    tracing::error!(%task, %error, "a task that waits for a budget is left as it is");
                }
                Err(broken) => return Err(broken),
            }
        }
    }
    Ok(())
}

fn ledger(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    (window, used): (&Window, Amount),
    at: Micros,
) -> rusqlite::Result<()> {
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
    Ok(())
}

/// Stores the calls of a task in place of all its earlier calls.
fn calls(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    life: &Lifecycle,
    calls: &[BudgetCall],
) -> rusqlite::Result<()> {
    let task = life.id.as_bytes();
    let old = "DELETE FROM budget_calls WHERE tenant_id = ? AND task_id = ?";
    batch
        .conn
        .prepare_cached(old)?
        .execute(params![tenant.0, task])?;
    for call in calls {
        let most = call.waits.unwrap_or_default();
        batch.conn.prepare_cached(&PUT_CALL)?.execute(params![
            tenant.0,
            task,
            call.window.budget,
            call.window.since.0,
            signed(life.epoch),
            call.waits.is_some(),
            signed(call.amount.tokens),
            signed(call.amount.cost_micros),
            most.tokens.map(signed),
            most.cost_micros.map(signed),
        ])?;
    }
    batch.changes.written = true;
    Ok(())
}

/// Keeps how far the limits of a provider's key are used.
pub(crate) fn put_provider(
    batch: &mut Batch<'_>,
    key: ProviderKey,
    state: &ProviderState,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO provider_rates (key, requests_at, tokens_at, line_at, changed_at) VALUES (?, ?, ?, ?, ?) \
        ON CONFLICT DO UPDATE SET requests_at = excluded.requests_at, tokens_at = excluded.tokens_at, \
        line_at = excluded.line_at, changed_at = excluded.changed_at";
    batch.conn.prepare_cached(sql)?.execute((
        key.0,
        state.requests_at.0,
        state.tokens_at.0,
        state.line_at.0,
        state.changed_at.0,
    ))?;
    batch.changes.written = true;
    Ok(())
}
