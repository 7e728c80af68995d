//! The table in a PostgreSQL database.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio_postgres::types::Type;

use super::{BringError, NEEDED, OldTask, TABLES, TEXTS, TIMES};
use crate::postgres::{
    Address,
    connection::{Connection, runtime},
    error::Failure,
};

/// The longest that one statement may take.
const STATEMENT: Duration = Duration::from_secs(600);
/// Rows that are read at once.
const BATCH: usize = 100;

/// Reads the tasks of a database, oldest first, in a transaction that only reads, and hands them over. Blocks; the
/// thread is in no runtime.
pub fn read_server(address: &Address, rows: &Sender<Result<OldTask, BringError>>) {
    if let Err(error) = read(address, rows) {
        // Without a receiver nobody wants to know.
        let _ = rows.blocking_send(Err(error));
    }
}

fn read(address: &Address, rows: &Sender<Result<OldTask, BringError>>) -> Result<(), BringError> {
    let shown = || address.to_string();
    let failed = |failure: Failure| BringError::Source(shown(), failure.message);
    let unread = |error: tokio_postgres::Error| BringError::Source(shown(), error.to_string());
    let runtime = runtime().map_err(|error| BringError::Source(shown(), error.to_string()))?;
    let conn = Connection::open(&runtime, address, STATEMENT).map_err(failed)?;
    conn.begin_reading().map_err(failed)?;
    let (table, columns) = table(&conn, address)?;
    let has = |column: &str| columns.iter().any(|name| name == column);
    let texts = TEXTS.map(|column| match has(column) {
        true => format!("{column}::text"),
        false => "NULL::text".to_owned(),
    });
    // A time without a time zone is UTC.
    let times = TIMES.map(|column| match has(column) {
        true => format!(
            "CASE WHEN isfinite({column}) THEN (extract(epoch FROM {column}) * 1000000)::int8 END"
        ),
        false => "NULL::int8".to_owned(),
    });
    let declare = format!(
        "DECLARE old NO SCROLL CURSOR FOR SELECT {}, {} FROM {table} ORDER BY created_at, task_id",
        texts.join(", "),
        times.join(", ")
    );
    conn.execute_all(&declare).map_err(failed)?;
    loop {
        let found = conn
            .query(&format!("FETCH FORWARD {BATCH} FROM old"), &[])
            .map_err(failed)?;
        for row in &found {
            let mut texts: [Option<String>; 9] = Default::default();
            for (column, text) in texts.iter_mut().enumerate() {
                *text = row.try_get(column).map_err(unread)?;
            }
            let mut times = [None; 5];
            for (column, time) in times.iter_mut().enumerate() {
                *time = row.try_get(TEXTS.len() + column).map_err(unread)?;
            }
            if rows.blocking_send(Ok(OldTask::new(texts, times))).is_err() {
                return Ok(());
            }
        }
        if found.len() < BATCH {
            let _ = conn.rollback();
            return Ok(());
        }
    }
}

/// The table with its schema, quoted, and its columns. Tables of this release are in a schema of their own.
fn table(conn: &Connection, address: &Address) -> Result<(String, Vec<String>), BringError> {
    let sql = "SELECT format('%I.%I', n.nspname, c.relname), array_agg(a.attname::text) \
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
        WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relname = ANY ($1) \
          AND n.nspname NOT IN ('opspawn', 'pg_catalog', 'information_schema') \
          AND has_table_privilege(c.oid, 'SELECT') \
        GROUP BY 1 HAVING array_agg(a.attname::text) @> $2 ORDER BY 1";
    let (tables, needed) = (&TABLES[..], &NEEDED[..]);
    let params = [
        (
            &tables as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT_ARRAY,
        ),
        (&needed, Type::TEXT_ARRAY),
    ];
    let found = conn
        .query(sql, &params)
        .map_err(|failure| BringError::Source(address.to_string(), failure.message))?;
    let unread =
        |error: tokio_postgres::Error| BringError::Source(address.to_string(), error.to_string());
    match &found[..] {
        [] => Err(BringError::NoTable(address.to_string())),
        [row] => Ok((
            row.try_get(0).map_err(unread)?,
            row.try_get(1).map_err(unread)?,
        )),
        several => {
            let names: Vec<String> = several
                .iter()
                .filter_map(|row| row.try_get(0).ok())
                .collect();
            Err(BringError::SeveralTables(
                address.to_string(),
                names.join(", "),
            ))
        }
    }
}
