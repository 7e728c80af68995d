// The ledgers of budgets, a row for each window, and the calls beside them.

use ops_core::{
    Micros, TenantId,
    budget::{Amount, BudgetCall, Ledger, Most, Waiter, Window},
    ports::StoreError,
    verbs::Key,
};
use tokio_postgres::types::Type;

use super::Work;
use crate::postgres::{
    connection::{Connection, Param},
    queries::Found,
    schema::rows::{self, LIFE, LINKS, LOADED, signed},
};

const LEDGER: &str = "SELECT tokens, cost_micros FROM budget_ledgers \
    WHERE tenant_id = $1 AND budget = $2 AND since = $3";

const UNDER_WAY: &str = "SELECT coalesce(sum(tokens), 0)::int8, coalesce(sum(micros), 0)::int8 \
    FROM budget_calls JOIN tasks USING (tenant_id, task_id) \
    WHERE tenant_id = $1 AND budget = $2 AND since = $3 AND NOT waits \
    AND session_id IS NOT NULL AND epoch = call_epoch";

/// The ledger of a window; zero before the first reservation.
pub(crate) fn ledger(conn: &Connection, tenant: TenantId, window: &Window) -> Found<Ledger> {
    let (number, name) = (i64::from(tenant.0), window.budget.as_bytes());
    let params: [Param<'_>; 3] = [
        (&number, Type::INT8),
        (&name, Type::BYTEA),
        (&window.since.0, Type::INT8),
    ];
    let used = conn.query(LEDGER, &params)?;
    let under_way = conn.query(UNDER_WAY, &params)?;
    let read = || {
        Ok(Ledger {
            used: used.first().map(amount).transpose()?.unwrap_or_default(),
            under_way: under_way
                .first()
                .map(amount)
                .transpose()?
                .unwrap_or_default(),
        })
    };
    Ok(read())
}

fn amount(row: &tokio_postgres::Row) -> Result<Amount, StoreError> {
    Ok(Amount {
        tokens: rows::unsigned(row, 0)?,
        cost_micros: rows::unsigned(row, 1)?,
    })
}

impl Work<'_> {
    /// The ledger of a window. The lock is one of the budget's name, as the first row of a window is in no table yet.
    pub(super) fn ledger_row(
        &mut self,
        tenant: TenantId,
        window: &Window,
    ) -> Result<Amount, StoreError> {
        self.lock("budget", tenant, &window.budget)?;
        let (number, name) = (i64::from(tenant.0), window.budget.as_bytes());
        let params: [Param<'_>; 3] = [
            (&number, Type::INT8),
            (&name, Type::BYTEA),
            (&window.since.0, Type::INT8),
        ];
        let found = self.ask(LEDGER, &params)?;
        Ok(found.first().map(amount).transpose()?.unwrap_or_default())
    }

    pub(super) fn store_ledger(
        &mut self,
        tenant: TenantId,
        window: &Window,
        used: Amount,
        kept_from: Micros,
    ) -> Result<(), StoreError> {
        let (number, name) = (i64::from(tenant.0), window.budget.as_bytes());
        let (tokens, cost) = (signed(used.tokens), signed(used.cost_micros));
        let params: [Param<'_>; 6] = [
            (&number, Type::INT8),
            (&name, Type::BYTEA),
            (&window.since.0, Type::INT8),
            (&tokens, Type::INT8),
            (&cost, Type::INT8),
            (&kept_from.0, Type::INT8),
        ];
        let sql = "WITH old AS (DELETE FROM budget_ledgers WHERE tenant_id = $1 AND budget = $2 AND since < $6 \
              AND since <> 0 AND since <> $3) \
            INSERT INTO budget_ledgers (tenant_id, budget, since, tokens, cost_micros) VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (tenant_id, budget, since) DO UPDATE SET tokens = excluded.tokens, \
            cost_micros = excluded.cost_micros";
        self.execute(sql, &params)?;
        Ok(())
    }

    pub(super) fn reserved(
        &mut self,
        tenant: TenantId,
        window: &Window,
    ) -> Result<Amount, StoreError> {
        let (number, name) = (i64::from(tenant.0), window.budget.as_bytes());
        let params: [Param<'_>; 3] = [
            (&number, Type::INT8),
            (&name, Type::BYTEA),
            (&window.since.0, Type::INT8),
        ];
        let found = self.ask(UNDER_WAY, &params)?;
        Ok(found.first().map(amount).transpose()?.unwrap_or_default())
    }

    pub(super) fn store_calls(
        &mut self,
        key: Key,
        epoch: u64,
        calls: &[BudgetCall],
    ) -> Result<(), StoreError> {
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let names = calls.iter().map(|call| call.window.budget.as_bytes());
        let names: Vec<&[u8]> = names.collect();
        if calls.is_empty() {
            let params: [Param<'_>; 2] = [(&tenant, Type::INT8), (&task, Type::BYTEA)];
            let sql = "DELETE FROM budget_calls WHERE tenant_id = $1 AND task_id = $2";
            self.execute(sql, &params)?;
            return Ok(());
        }
        let number = |of: fn(&BudgetCall) -> i64| calls.iter().map(of).collect::<Vec<i64>>();
        let since = number(|call| call.window.since.0);
        let waits: Vec<bool> = calls.iter().map(|call| call.waits.is_some()).collect();
        let tokens = number(|call| signed(call.amount.tokens));
        let micros = number(|call| signed(call.amount.cost_micros));
        let most = |of: fn(Most) -> Option<u64>| {
            let most = calls.iter().map(|call| call.waits.and_then(of));
            most.map(|most| most.map(signed))
                .collect::<Vec<Option<i64>>>()
        };
        let (most_tokens, most_micros) = (most(|most| most.tokens), most(|most| most.cost_micros));
        let epoch = signed(epoch);
        let params: [Param<'_>; 10] = [
            (&tenant, Type::INT8),
            (&task, Type::BYTEA),
            (&names, Type::BYTEA_ARRAY),
            (&epoch, Type::INT8),
            (&since, Type::INT8_ARRAY),
            (&waits, Type::BOOL_ARRAY),
            (&tokens, Type::INT8_ARRAY),
            (&micros, Type::INT8_ARRAY),
            (&most_tokens, Type::INT8_ARRAY),
            (&most_micros, Type::INT8_ARRAY),
        ];
        let sql = "WITH old AS (DELETE FROM budget_calls WHERE tenant_id = $1 AND task_id = $2 AND budget <> ALL ($3)) \
            INSERT INTO budget_calls (tenant_id, task_id, budget, since, call_epoch, waits, tokens, micros, \
              most_tokens, most_micros) \
            SELECT $1, $2, made.budget, made.since, $4, made.waits, made.tokens, made.micros, made.most_tokens, \
              made.most_micros \
            FROM unnest($3, $5, $6, $7, $8, $9, $10) \
              AS made (budget, since, waits, tokens, micros, most_tokens, most_micros) \
            ON CONFLICT (tenant_id, task_id, budget) DO UPDATE SET since = excluded.since, \
            call_epoch = excluded.call_epoch, waits = excluded.waits, tokens = excluded.tokens, \
            micros = excluded.micros, most_tokens = excluded.most_tokens, most_micros = excluded.most_micros";
        self.execute(sql, &params)?;
        Ok(())
    }

    // A waiting task that another transaction has locked is looked at by that one, or with the next settlement. To wait
    // for its lock could be a deadlock: the other may wait for the lock of the budget.
    pub(super) fn waiters(
        &mut self,
        tenant: TenantId,
        window: &Window,
        limit: u32,
    ) -> Result<Vec<Waiter>, StoreError> {
        let sql = format!(
            "SELECT {LIFE}, {LINKS}, calls.tokens, calls.micros, calls.most_tokens, calls.most_micros \
             FROM budget_calls AS calls JOIN tasks USING (tenant_id, task_id) \
             WHERE calls.tenant_id = $1 AND calls.budget = $2 AND calls.since = $3 AND calls.waits \
             AND tasks.wait_on = 'budget' ORDER BY calls.task_id LIMIT $4 \
             FOR NO KEY UPDATE OF tasks SKIP LOCKED"
        );
        let (number, name) = (i64::from(tenant.0), window.budget.as_bytes());
        let limit = i64::from(limit);
        let params: [Param<'_>; 4] = [
            (&number, Type::INT8),
            (&name, Type::BYTEA),
            (&window.since.0, Type::INT8),
            (&limit, Type::INT8),
        ];
        let found = self.load_all(&sql, &params)?;
        let waiter = |(key, row): (Key, tokio_postgres::Row)| {
            let most = |column| {
                let most: Option<i64> = rows::get(&row, column)?;
                Ok::<_, StoreError>(most.map(|most| u64::try_from(most).unwrap_or(0)))
            };
            Ok(Waiter {
                task: key.1,
                amount: Amount {
                    tokens: rows::unsigned(&row, LOADED)?,
                    cost_micros: rows::unsigned(&row, LOADED + 1)?,
                },
                most: Most {
                    tokens: most(LOADED + 2)?,
                    cost_micros: most(LOADED + 3)?,
                },
            })
        };
        found.into_iter().map(waiter).collect()
    }
}
