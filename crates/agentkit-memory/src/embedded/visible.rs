//! Which facts searches find: chunks and words of a fact come and go with its state.

use agentkit::memory::long_term::{FactState, text};
use rusqlite::Connection;

use super::{rows::number, search::owner_word, threads::Failed};

/// Gives a fact another state, and a number above every change so far.
pub(super) fn mark(connection: &Connection, n: i64, state: FactState) -> Result<(), Failed> {
    connection
        .prepare_cached(
            "UPDATE facts SET state = ?2, change = (SELECT coalesce(max(change), 0) + 1 FROM facts) WHERE n = ?1",
        )?
        .execute((n, number(state)))?;
    Ok(())
}

/// Lets searches find a fact.
pub(super) fn show(connection: &Connection, n: i64, owner: i64, text: &str) -> Result<(), Failed> {
    let base = text.as_ptr() as usize;
    for chunk in text::chunks(text) {
        let start = chunk.as_ptr() as usize - base;
        connection
            .prepare_cached("INSERT INTO chunks (fact, start, length) VALUES (?1, ?2, ?3)")?
            .execute((n, place(start), place(chunk.len())))?;
        let row = connection.last_insert_rowid();
        connection
            .prepare_cached("INSERT INTO words (rowid, owner, text) VALUES (?1, ?2, ?3)")?
            .execute((row, owner_word(owner), chunk))?;
    }
    connection
        .prepare_cached("UPDATE namespaces SET facts = facts + 1 WHERE n = ?1")?
        .execute([owner])?;
    Ok(())
}

/// Lets no search find a fact any more.
pub(super) fn hide(
    connection: &Connection,
    n: i64,
    owner: i64,
    state: FactState,
) -> Result<(), Failed> {
    let was: i64 = connection
        .prepare_cached("SELECT state FROM facts WHERE n = ?1")?
        .query_row([n], |row| row.get(0))?;
    mark(connection, n, state)?;
    if was != number(FactState::Current) {
        return Ok(());
    }
    for table in [
        "words WHERE rowid",
        "codes WHERE chunk",
        "vectors WHERE chunk",
    ] {
        connection
            .prepare_cached(&format!(
                "DELETE FROM {table} IN (SELECT n FROM chunks WHERE fact = ?1)"
            ))?
            .execute([n])?;
    }
    connection
        .prepare_cached("DELETE FROM chunks WHERE fact = ?1")?
        .execute([n])?;
    connection
        .prepare_cached("UPDATE namespaces SET facts = facts - 1 WHERE n = ?1")?
        .execute([owner])?;
    Ok(())
}

/// A place in a text as a column.
fn place(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
