//! One state of the database.
//!
//! A list of tasks by status is one query for each state. Between two of them the writer commits: a task
//! that is released meanwhile is found as running and as pending, or as neither. So whatever reads takes
//! a [`View`], and there is no view but within a transaction: a read of several statements that sees
//! several states cannot be written.

use std::ops::Deref;

use rusqlite::Connection;

/// One state of the database, however many statements look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'c>(&'c Connection);

impl<'c> View<'c> {
    /// What the transaction that is open on a connection sees.
    pub(crate) fn of_transaction(conn: &'c Connection) -> Self {
        debug_assert!(!conn.is_autocommit(), "a view needs a transaction");
        Self(conn)
    }
}

impl Deref for View<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

/// Reads in a transaction of its own: what was committed before the first statement.
pub(crate) fn read<T>(
    conn: &Connection,
    read: impl FnOnce(&View<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    if units::mutant!("ops-store.no_snapshot") {
        return read(&View(conn));
    }
    // It rolls back when it is dropped, also by a panic; there is nothing to commit.
    let transaction = conn.unchecked_transaction()?;
    read(&View::of_transaction(&transaction))
}
