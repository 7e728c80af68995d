//! The tables, and how a file is opened.
//!
//! Facts are the truth. Chunks, words, codes and vectors exist for current facts alone, and are written and removed in
//! the transaction that changes the fact: what is forgotten is not found. `facts.change` grows with each write, so a
//! reader brings its index up to date with the rows above the last change that the index has.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

/// How long a statement waits for another process.
const BUSY: Duration = Duration::from_secs(5);
/// Prepared statements of one connection.
const STATEMENTS: usize = 64;

/// Migrations; the file's `user_version` is the number of those applied.
const MIGRATIONS: &[&str] = &["
CREATE TABLE namespaces (
    n INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    agent TEXT NOT NULL,
    user TEXT NOT NULL,
    facts INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, agent, user)
);
CREATE TABLE facts (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    namespace INTEGER NOT NULL,
    text TEXT NOT NULL,
    digest TEXT NOT NULL,
    subject TEXT,
    relation TEXT,
    labels TEXT NOT NULL,
    state INTEGER NOT NULL,
    created INTEGER NOT NULL,
    valid INTEGER NOT NULL,
    expires INTEGER,
    superseded_by TEXT,
    reason TEXT,
    hidden_with TEXT,
    source TEXT NOT NULL,
    task TEXT,
    step INTEGER,
    learnt INTEGER NOT NULL,
    change INTEGER NOT NULL
);
CREATE UNIQUE INDEX facts_current ON facts (namespace, digest) WHERE state = 0;
CREATE INDEX facts_pair ON facts (namespace, subject, relation) WHERE state = 0 AND subject IS NOT NULL;
CREATE INDEX facts_page ON facts (namespace, n);
CREATE UNIQUE INDEX facts_change ON facts (change);
CREATE INDEX facts_expires ON facts (expires) WHERE state = 0 AND expires IS NOT NULL;
CREATE TABLE labels (
    fact INTEGER NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (fact, label)
) WITHOUT ROWID;
CREATE TABLE derived (
    fact INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    PRIMARY KEY (fact, origin)
) WITHOUT ROWID;
CREATE INDEX derived_origin ON derived (origin, fact);
CREATE TABLE reads (
    task TEXT NOT NULL,
    fact INTEGER NOT NULL,
    step INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (task, fact, step)
) WITHOUT ROWID;
CREATE INDEX reads_fact ON reads (fact, at);
CREATE TABLE chunks (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    fact INTEGER NOT NULL,
    start INTEGER NOT NULL,
    length INTEGER NOT NULL
);
CREATE INDEX chunks_fact ON chunks (fact);
CREATE VIRTUAL TABLE words USING fts5 (
    owner, text, content = '', contentless_delete = 1, tokenize = \"porter unicode61 remove_diacritics 2\"
);
CREATE TABLE embedders (
    n INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    dimension INTEGER
);
CREATE TABLE codes (
    chunk INTEGER PRIMARY KEY,
    embedder INTEGER NOT NULL,
    scale REAL,
    code BLOB
);
CREATE TABLE vectors (
    chunk INTEGER PRIMARY KEY,
    vector BLOB NOT NULL
);
"];

/// Opens the file for writing, and brings its tables up to date. Blocks.
///
/// # Errors
/// What a person can act on.
pub(super) fn open(path: &Path) -> Result<Connection, String> {
    let told = |error: rusqlite::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    make(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut connection = Connection::open(path).map_err(told)?;
    connection.busy_timeout(BUSY).map_err(told)?;
    let version = check_version(&connection, path)?;
    let wal = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
    wal.map_err(told)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(told)?;
    // A text that is erased is overwritten.
    connection
        .pragma_update(None, "secure_delete", true)
        .map_err(told)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    if version < MIGRATIONS.len() {
        migrate(&mut connection).map_err(told)?;
    }
    Ok(connection)
}

/// Makes a file that its owner alone may read. The files of its write-ahead log have the same rights.
pub(super) fn make(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been quicker.
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let applied = usize::try_from(version).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(applied) {
        transaction.execute_batch(migration)?;
    }
    let now = i64::try_from(applied.max(MIGRATIONS.len())).unwrap_or(i64::MAX);
    transaction.pragma_update(None, "user_version", now)?;
    transaction.commit()
}

/// Refuses the file of a newer release.
pub(super) fn check_version(connection: &Connection, path: &Path) -> Result<usize, String> {
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > MIGRATIONS.len() {
        return Err(format!(
            "{}: a newer release wrote the file; use that release",
            path.display()
        ));
    }
    Ok(version)
}

/// Opens the file for reading. Blocks.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, String> {
    let told = |error: rusqlite::Error| format!("{}: {error}", path.display());
    // Not read-only: the last reader of a write-ahead log has to be able to remove it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(told)?;
    connection.busy_timeout(BUSY).map_err(told)?;
    connection
        .pragma_update(None, "query_only", true)
        .map_err(told)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}
