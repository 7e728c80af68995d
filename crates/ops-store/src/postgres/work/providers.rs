// The states of providers: a row for each key.

use ops_core::{
    Micros, TenantId,
    ports::StoreError,
    provider::{ProviderKey, ProviderState},
};
use tokio_postgres::types::Type;

use super::Work;
use crate::postgres::{
    connection::{Connection, Param},
    queries::Found,
    schema::rows,
};

const STATE: &str =
    "SELECT requests_at, tokens_at, line_at, changed_at FROM provider_rates WHERE key = $1";

/// How far the limits of a key are used.
pub(crate) fn provider(conn: &Connection, key: ProviderKey) -> Found<ProviderState> {
    let found = conn.query(STATE, &[(&&key.0[..], Type::BYTEA)])?;
    Ok(found
        .first()
        .map(state)
        .transpose()
        .map(Option::unwrap_or_default))
}

fn state(row: &tokio_postgres::Row) -> Result<ProviderState, StoreError> {
    let at = |column| rows::get(row, column).map(Micros);
    Ok(ProviderState {
        requests_at: at(0)?,
        tokens_at: at(1)?,
        line_at: at(2)?,
        changed_at: at(3)?,
    })
}

impl Work<'_> {
    /// How far the limits of a key are used. The lock is one of the key, as the first row is in no table yet; a key is one of
    /// all tenants.
    pub(super) fn provider_row(&mut self, key: ProviderKey) -> Result<ProviderState, StoreError> {
        let name: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.lock("provider", TenantId::DEFAULT, &name)?;
        let found = self.ask(STATE, &[(&&key.0[..], Type::BYTEA)])?;
        Ok(found.first().map(state).transpose()?.unwrap_or_default())
    }

    pub(super) fn store_provider(
        &mut self,
        key: ProviderKey,
        state: &ProviderState,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO provider_rates (key, requests_at, tokens_at, line_at, changed_at) \
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key) DO UPDATE SET requests_at = excluded.requests_at, \
            tokens_at = excluded.tokens_at, line_at = excluded.line_at, changed_at = excluded.changed_at";
        let bytes = &key.0[..];
        let params: [Param<'_>; 5] = [
            (&bytes, Type::BYTEA),
            (&state.requests_at.0, Type::INT8),
            (&state.tokens_at.0, Type::INT8),
            (&state.line_at.0, Type::INT8),
            (&state.changed_at.0, Type::INT8),
        ];
        self.execute(sql, &params)?;
        Ok(())
    }
}
