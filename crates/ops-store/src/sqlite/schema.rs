//! Migrations: numbered files, forward only. The number of the last one is the database's
//! `user_version`, and it changes in the same transaction as the tables.

#[cfg(test)]
mod literals;
pub(crate) mod rows;
pub(crate) mod sums;
pub(crate) mod terms;

use rusqlite::Connection;

/// Each migration's text; the first is number 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    include_str!("../../migrations/sqlite/0002_ties.sql"),
    include_str!("../../migrations/sqlite/0003_terms.sql"),
    include_str!("../../migrations/sqlite/0004_schedules.sql"),
    include_str!("../../migrations/sqlite/0005_retention.sql"),
    include_str!("../../migrations/sqlite/0006_rates.sql"),
    include_str!("../../migrations/sqlite/0007_agents.sql"),
    include_str!("../../migrations/sqlite/0008_restarted.sql"),
    include_str!("../../migrations/sqlite/0009_engine_keys.sql"),
    include_str!("../../migrations/sqlite/0010_checksums.sql"),
    include_str!("../../migrations/sqlite/0011_key_sums.sql"),
    include_str!("../../migrations/sqlite/0012_deadlines.sql"),
    include_str!("../../migrations/sqlite/0013_mcp.sql"),
    include_str!("../../migrations/sqlite/0014_approval_details.sql"),
    include_str!("../../migrations/sqlite/0015_served_queues.sql"),
    include_str!("../../migrations/sqlite/0016_budgets.sql"),
    include_str!("../../migrations/sqlite/0017_budget_calls.sql"),
    include_str!("../../migrations/sqlite/0018_providers.sql"),
    include_str!("../../migrations/sqlite/0019_turns.sql"),
    include_str!("../../migrations/sqlite/0020_configurations.sql"),
];

/// The schema that this release writes.
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// What a database file turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Ours, and now of the newest schema.
    Current,
    /// Ours, of a newer release.
    Newer(u32),
    /// Another program's.
    Foreign,
}

/// Brings a database to the newest schema.
pub(crate) fn migrate(conn: &Connection) -> rusqlite::Result<Found> {
    let version = version(conn)?;
    if version > SCHEMA_VERSION {
        return Ok(Found::Newer(version));
    }
    if version == 0 {
        let tables: u32 =
            conn.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
        if tables > 0 {
            return Ok(Found::Foreign);
        }
    }
    // Migrations compute sums; rows are judged by what the newest schema says of old ones.
    sums::register(conn)?;
    for (number, text) in (1..).zip(MIGRATIONS).skip(version as usize) {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let done = conn
            .execute_batch(text)
            .and_then(|()| conn.pragma_update(None, "user_version", number))
            .and_then(|()| conn.execute_batch("COMMIT"));
        if let Err(error) = done {
            if !conn.is_autocommit() {
                conn.execute_batch("ROLLBACK")?;
            }
            return Err(error);
        }
        tracing::info!(number, "migrated the database");
    }
    sums::register(conn)?;
    Ok(Found::Current)
}

/// The schema that a database has; 0 for an empty one.
pub(crate) fn version(conn: &Connection) -> rusqlite::Result<u32> {
    conn.query_row("PRAGMA user_version", (), |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database as a release wrote it whose newest migration had this number.
    fn of_release(version: u32) -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        for text in &MIGRATIONS[..version as usize] {
            conn.execute_batch(text).unwrap();
        }
        conn.pragma_update(None, "user_version", version).unwrap();
        conn
    }

    #[test]
    fn a_redrive_of_an_older_release_is_found_and_a_clients_key_stays_its_own() {
        let conn = of_release(8);
        for (key, digest) in [
            ("opspawn:redrive:task_1", vec![0; 32]),
            ("opspawn:redrive:task_2", vec![7; 32]),
            ("k", vec![0; 32]),
        ] {
            conn.execute(
                "INSERT INTO idempotency (tenant_id, key, digest, task_id, created_at) \
                 VALUES (1, ?, ?, zeroblob(16), 0)",
                (key, digest),
            )
            .unwrap();
        }
        assert_eq!(migrate(&conn).unwrap(), Found::Current);
        let mut keys = conn
            .prepare("SELECT key FROM idempotency ORDER BY key")
            .unwrap();
        let keys: Vec<String> = keys
            .query_map((), |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(keys, ["\u{1}redrive:task_1", "k", "opspawn:redrive:task_2"]);
    }
}
