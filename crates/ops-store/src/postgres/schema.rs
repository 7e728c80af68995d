// Migrations: numbered files, forward only. What a database has stands in `schema_versions`, and changes in
// the same transaction as the tables.
//
// Several servers may start at once, and through a pooler: they take turns by a lock of the transaction, which
// goes with it, however it ends.
//
// All tables are in the schema `opspawn`: those of others in the same database, the first Opspawn's among
// them, are never touched. Each transaction says so anew, as a pooler forgets what a session was told.

pub(crate) mod rows;
pub(crate) mod terms;

use tokio_postgres::types::Type;

use crate::postgres::{connection::Connection, error::Failure, store::Inspection, url::Address};

/// The number that the first migration here has: SQLite's schema of that number.
const FIRST: u32 = 12;
/// Each migration's text; the first has the number [`FIRST`].
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/postgres/0012_start.sql"),
    include_str!("../../migrations/postgres/0013_mcp.sql"),
    include_str!("../../migrations/postgres/0014_approval_details.sql"),
    include_str!("../../migrations/postgres/0015_served_queues.sql"),
    include_str!("../../migrations/postgres/0016_budgets.sql"),
    include_str!("../../migrations/postgres/0017_budget_calls.sql"),
    include_str!("../../migrations/postgres/0018_providers.sql"),
    include_str!("../../migrations/postgres/0019_turns.sql"),
    include_str!("../../migrations/postgres/0020_configurations.sql"),
];

/// The schema that this release writes.
pub const SCHEMA_VERSION: u32 = FIRST + MIGRATIONS.len() as u32 - 1;
// The oldest schema for which a release must have been made to work with the one of this release.
const WORKS_FROM: u32 = FIRST;

/// Stands for all of Opspawn among the locks of a database.
const LOCK: i64 = 0x6f70_7370_6177_6e01;

/// Why a database cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The database does not answer, or refuses.
    #[error("the database {database} cannot be used: {why}")]
    Unavailable {
        /// The URL without its password.
        database: String,
        /// The answer of the database.
        why: String,
    },
    /// The database is of a newer release.
    #[error(
        "the database {database} has schema {found}, which needs a release for schema {needed} or later; \
         this one is for {SCHEMA_VERSION}: use the newer release"
    )]
    Newer {
        /// The URL without its password.
        database: String,
        /// The schema of the database.
        found: u32,
        /// The schema that a release must know.
        needed: u32,
    },
    /// A timeout that was set has no effect.
    #[error(
        "the database {database} does not end a statement that takes longer than its `statement_timeout`; \
         a pooler in between must pass SET LOCAL on"
    )]
    NoTimeout {
        /// The URL without its password.
        database: String,
    },
}

impl OpenError {
    pub(crate) fn failed(address: &Address, failure: Failure) -> Self {
        Self::Unavailable {
            database: address.to_string(),
            why: failure.message,
        }
    }
}

/// Brings a database to the newest schema.
pub(crate) fn migrate(conn: &Connection, address: &Address) -> Result<(), OpenError> {
    let failed = |failure| OpenError::failed(address, failure);
    let done = in_transaction(conn, address);
    if done.is_err() {
        // What the transaction did is gone with it.
        let _ = conn.rollback();
        return done;
    }
    conn.commit().map_err(failed)
}

fn in_transaction(conn: &Connection, address: &Address) -> Result<(), OpenError> {
    let failed = |failure| OpenError::failed(address, failure);
    let database = || address.to_string();
    conn.execute_all("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        .map_err(failed)?;
    conn.query(
        "SELECT pg_advisory_xact_lock($1)::text",
        &[(&LOCK, Type::INT8)],
    )
    .map_err(failed)?;
    let own = "SELECT to_regclass('opspawn.schema_versions') IS NOT NULL";
    let rows = conn.query(own, &[]).map_err(failed)?;
    let is_own = rows
        .first()
        .is_some_and(|row| row.try_get::<_, bool>(0).unwrap_or(false));
    let mut found = FIRST - 1;
    if is_own {
        let sql = "SELECT version, works_from FROM opspawn.schema_versions";
        let rows = conn.query(sql, &[]).map_err(failed)?;
        let number = |column| {
            let row = rows.first();
            let found: Option<i64> = row.and_then(|row| row.try_get(column).ok());
            u32::try_from(found.unwrap_or_default()).unwrap_or(u32::MAX)
        };
        found = number(0);
        let needed = number(1);
        if found > SCHEMA_VERSION && needed > SCHEMA_VERSION {
            return Err(OpenError::Newer {
                database: database(),
                found,
                needed,
            });
        }
    } else {
        conn.execute_all(
            "CREATE SCHEMA IF NOT EXISTS opspawn; \
             CREATE TABLE opspawn.schema_versions (version BIGINT NOT NULL, works_from BIGINT NOT NULL); \
             INSERT INTO opspawn.schema_versions VALUES (0, 0)",
        )
        .map_err(failed)?;
    }
    conn.execute_all("SET LOCAL search_path = opspawn")
        .map_err(failed)?;
    for (number, text) in (FIRST..).zip(MIGRATIONS) {
        if number <= found {
            continue;
        }
        conn.execute_all(text).map_err(failed)?;
        let sql = "UPDATE schema_versions SET version = $1, works_from = $2";
        let (version, works_from) = (i64::from(number), i64::from(WORKS_FROM));
        let params = [
            (
                &version as &(dyn tokio_postgres::types::ToSql + Sync),
                Type::INT8,
            ),
            (&works_from, Type::INT8),
        ];
        conn.execute(sql, &params).map_err(failed)?;
        tracing::info!(number, "migrated the database");
    }
    Ok(())
}

/// Fails if a statement timeout of a transaction has no effect: without one a request could wait for ever.
pub(crate) fn check_timeout(conn: &Connection, address: &Address) -> Result<(), OpenError> {
    let begin = "BEGIN; SET LOCAL statement_timeout = 50";
    let asked = conn
        .execute_all(begin)
        .map_err(|failure| OpenError::failed(address, failure))
        .map(|()| conn.query("SELECT pg_sleep(2)::text", &[]).is_err());
    let _ = conn.rollback();
    match asked? {
        true => Ok(()),
        false => Err(OpenError::NoTimeout {
            database: address.to_string(),
        }),
    }
}

/// The schema of a database; none before the first migration.
pub(crate) fn version(conn: &Connection) -> Result<Option<u32>, Failure> {
    let own = "SELECT to_regclass('opspawn.schema_versions') IS NOT NULL";
    let rows = conn.query(own, &[])?;
    let is_own = rows.first().map(|row| row.try_get::<_, bool>(0));
    if !matches!(is_own, Some(Ok(true))) {
        return Ok(None);
    }
    let rows = conn.query("SELECT version FROM opspawn.schema_versions", &[])?;
    let found: Option<i64> = rows.first().and_then(|row| row.try_get(0).ok());
    Ok(found.and_then(|found| u32::try_from(found).ok()))
}

// What a database is like.
pub(crate) fn inspect(conn: &Connection) -> Result<Inspection, Failure> {
    let rows = conn.query("SELECT split_part(version(), ' on ', 1)", &[])?;
    let row = rows.first();
    Ok(Inspection {
        server: row.and_then(|row| row.try_get(0).ok()).unwrap_or_default(),
        schema: version(conn)?,
        warnings: warnings(conn)?,
    })
}

// What a person should see to, though the database works.
pub(crate) fn warnings(conn: &Connection) -> Result<Vec<String>, Failure> {
    let sql = "SELECT current_setting('data_checksums'), current_setting('fsync'), \
        current_setting('full_page_writes'), current_setting('server_version_num')::int8";
    let rows = conn.query(sql, &[])?;
    let Some(row) = rows.first() else {
        return Ok(Vec::new());
    };
    let is_off = |column| {
        row.try_get::<_, &str>(column)
            .is_ok_and(|value| value == "off")
    };
    let mut warnings = Vec::new();
    if is_off(0) {
        warnings.push(
            "the database has no data checksums: a flipped bit on its disk may be read as if it had been \
             written; enable them with `pg_checksums --enable` while it is stopped"
                .to_owned(),
        );
    }
    if is_off(1) || is_off(2) {
        warnings.push(
            "the database does not wait for its disk (`fsync` or `full_page_writes` is off): a machine \
             that loses power loses what was acknowledged"
                .to_owned(),
        );
    }
    if row.try_get::<_, i64>(3).unwrap_or_default() < 150_000 {
        warnings.push("the database is older than PostgreSQL 15, which is not tested".to_owned());
    }
    Ok(warnings)
}
