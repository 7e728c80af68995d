//! The table in a file of SQLite.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::mpsc::Sender;

use super::{BringError, NEEDED, OldTask, TABLES, TEXTS, TIMES};

/// Reads the tasks of a file, oldest first, and hands them over. Blocks.
pub fn read_file(file: &Path, rows: &Sender<Result<OldTask, BringError>>) {
    if let Err(error) = read(file, rows) {
        // Without a receiver nobody wants to know.
        let _ = rows.blocking_send(Err(error));
    }
}

fn read(file: &Path, rows: &Sender<Result<OldTask, BringError>>) -> Result<(), BringError> {
    if !file.is_file() {
        return Err(BringError::NoFile(file.to_owned()));
    }
    let shown = file.display().to_string();
    let failed = |error: rusqlite::Error| BringError::Source(shown.clone(), error.to_string());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags).map_err(failed)?;
    conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA busy_timeout = 5000; BEGIN")
        .map_err(failed)?;
    let columns = |table: &str| -> rusqlite::Result<Vec<String>> {
        let mut select = conn.prepare("SELECT name FROM pragma_table_info(?)")?;
        let names = select.query_map([table], |row| row.get(0))?;
        names.collect()
    };
    let mut found = None;
    for table in TABLES {
        let columns = columns(table).map_err(failed)?;
        let has = |column: &&str| columns.iter().any(|name| name == column);
        if found.is_none() && NEEDED.iter().all(has) {
            found = Some((table, columns));
        }
    }
    let Some((table, columns)) = found else {
        return Err(BringError::NoTable(shown));
    };
    let texts = TEXTS.map(|column| match columns.iter().any(|name| name == column) {
        true => format!("CAST({column} AS TEXT)"),
        false => "NULL".to_owned(),
    });
    // A time is text in UTC, with up to six digits behind the second.
    let times = TIMES.map(|column| match columns.iter().any(|name| name == column) {
        true => format!(
            "unixepoch({column}) * 1000000 + CASE instr({column}, '.') WHEN 0 THEN 0 ELSE \
             CAST(substr(substr({column}, instr({column}, '.') + 1) || '000000', 1, 6) AS INTEGER) END"
        ),
        false => "NULL".to_owned(),
    });
    let sql = format!(
        "SELECT {}, {} FROM {table} ORDER BY created_at, task_id",
        texts.join(", "),
        times.join(", ")
    );
    let mut select = conn.prepare(&sql).map_err(failed)?;
    let mut found = select.query(()).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        let mut texts: [Option<String>; 9] = Default::default();
        for (column, text) in texts.iter_mut().enumerate() {
            *text = row.get(column).map_err(failed)?;
        }
        let mut times = [None; 5];
        for (column, time) in times.iter_mut().enumerate() {
            *time = row.get(TEXTS.len() + column).map_err(failed)?;
        }
        if rows.blocking_send(Ok(OldTask::new(texts, times))).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
