// The ledgers of budgets: a row for each window.

use ops_core::{
    Micros, TenantId,
    budget::{Amount, Window},
    ports::StoreError,
};
use tokio_postgres::types::Type;

use super::Work;
use crate::postgres::{
    connection::{Connection, Param},
    queries::Found,
    schema::rows::{self, signed},
};

const LEDGER: &str = "SELECT tokens, cost_micros FROM budget_ledgers \
    WHERE tenant_id = $1 AND budget = $2 AND since = $3";

/// The ledger of a window; none before the first reservation.
pub(crate) fn ledger(
    conn: &Connection,
    tenant: TenantId,
    window: &Window,
) -> Found<Option<Amount>> {
    let (number, name) = (i64::from(tenant.0), window.budget.as_bytes());
    let params: [Param<'_>; 3] = [
        (&number, Type::INT8),
        (&name, Type::BYTEA),
        (&window.since.0, Type::INT8),
    ];
    let found = conn.query(LEDGER, &params)?;
    Ok(found.first().map(amount).transpose())
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
}
