//! Listing tasks, newest first.

use ops_core::{
    TenantId,
    ports::{TaskFilter, TaskRecord},
};
use rusqlite::{Connection, params_from_iter};

use super::{
    rows::{self, record_columns},
    search::{self, Place},
};

/// The most tasks that are read with one connection in one go.
pub(super) const PAGE: u32 = 128;

/// The tasks of a filter, newest first: a page of them, with the id to go on from.
pub(super) fn tasks(
    conn: &Connection,
    tenant: TenantId,
    filter: &TaskFilter,
) -> rusqlite::Result<Vec<TaskRecord>> {
    let limit = filter.limit.min(PAGE);
    let mut found = Vec::new();
    for place in search::places(tenant, filter) {
        found.append(&mut rows_of(conn, place, limit)?);
    }
    found.sort_unstable_by(|(left, _), (right, _)| right.cmp(left));
    found.truncate(limit as usize);
    let mut select = conn.prepare_cached(concat!(
        "SELECT ",
        record_columns!(),
        " FROM tasks JOIN task_requests USING (task_row) WHERE task_row = ?"
    ))?;
    let mut read = |row: i64| {
        let mut sparse = select.query_row([row], rows::record)?;
        sparse.fill(conn).map(|()| sparse.into_record())
    };
    found.into_iter().map(|(_, row)| read(row)).collect()
}

/// Ids and rows of a place, newest first.
fn rows_of(
    conn: &Connection,
    Place {
        sql,
        mut params,
        order,
        lone: _,
    }: Place,
    limit: u32,
) -> rusqlite::Result<Vec<([u8; 16], i64)>> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT tasks.task_id, tasks.task_row FROM {sql} ORDER BY {order} DESC LIMIT ?"
    ))?;
    params.push(limit.into());
    select
        .query_map(params_from_iter(params), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect()
}
