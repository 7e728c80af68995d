//! Reads of facts by id and in pages.

use std::collections::{BTreeSet, VecDeque};

use agentkit::memory::long_term::{Fact, MemoryError, MemoryStatus, Namespace, Page, Why};
use rusqlite::{Connection, OptionalExtension as _};

use super::{rows, threads::Failed};

/// Texts of a page, in bytes, the last text left out.
const MAX_PAGE_BYTES: usize = 8 << 20;
/// The last reads of a fact that are told.
const MAX_READS: u32 = 100;
/// The facts of a chain that are told.
const MAX_CHAIN: usize = 1_000;

pub(super) fn get(
    connection: &Connection,
    namespace: &Namespace,
    id: &str,
) -> Result<Fact, Failed> {
    let found = rows::by_id(connection, namespace, id)?;
    Ok(found.ok_or_else(|| MemoryError::NotFound(id.to_owned()))?.1)
}

pub(super) fn list(
    connection: &Connection,
    namespace: &Namespace,
    after: Option<&str>,
    limit: u32,
) -> Result<Page, Failed> {
    let Some(owner) = rows::namespace(connection, namespace)? else {
        return Ok(Page::default());
    };
    let after: i64 = match after {
        None => 0,
        Some(id) => {
            let mut statement = connection
                .prepare_cached("SELECT n FROM facts WHERE id = ?1 AND namespace = ?2")?;
            let found = statement
                .query_row((id, owner), |row| row.get(0))
                .optional()?;
            found.ok_or_else(|| MemoryError::NotFound(id.to_owned()))?
        }
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM facts f JOIN namespaces s ON s.n = f.namespace
         WHERE f.namespace = ?1 AND f.n > ?2 ORDER BY f.n LIMIT ?3",
        rows::COLUMNS
    ))?;
    let found = statement.query_map((owner, after, i64::from(limit) + 1), rows::fact)?;
    let (mut facts, mut bytes) = (Vec::new(), 0);
    for row in found {
        let (n, mut fact) = row?;
        // A page of long texts is short.
        if bytes > MAX_PAGE_BYTES {
            break;
        }
        bytes += fact.text.len();
        fact.provenance.derived_from = rows::origins(connection, n)?;
        facts.push(fact);
    }
    let has_more = facts.len() > limit as usize || bytes > MAX_PAGE_BYTES;
    facts.truncate(limit as usize);
    let next = facts
        .last()
        .filter(|_| has_more)
        .map(|fact| fact.id.clone());
    Ok(Page { facts, next })
}

pub(super) fn why(connection: &Connection, namespace: &Namespace, id: &str) -> Result<Why, Failed> {
    let found = rows::by_id(connection, namespace, id)?;
    let (n, fact) = found.ok_or_else(|| MemoryError::NotFound(id.to_owned()))?;
    let mut statement = connection.prepare_cached(
        "SELECT task, step, at FROM reads WHERE fact = ?1 ORDER BY at DESC LIMIT ?2",
    )?;
    let read_by = statement
        .query_map((n, MAX_READS), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    Ok(Why {
        fact,
        derived_from: chain(connection, n, "SELECT origin FROM derived WHERE fact = ?1")?,
        led_to: chain(connection, n, "SELECT fact FROM derived WHERE origin = ?1")?,
        read_by,
    })
}

/// Ids along the links of a fact, the nearest first.
fn chain(connection: &Connection, n: i64, links: &str) -> Result<Vec<String>, Failed> {
    let mut seen = BTreeSet::from([n]);
    let mut next = VecDeque::from([n]);
    let mut ids = Vec::new();
    while let Some(n) = next.pop_front() {
        let mut statement = connection.prepare_cached(links)?;
        for linked in statement.query_map([n], |row| row.get::<_, i64>(0))? {
            let linked = linked?;
            if ids.len() >= MAX_CHAIN || !seen.insert(linked) {
                continue;
            }
            let mut statement = connection.prepare_cached("SELECT id FROM facts WHERE n = ?1")?;
            ids.push(statement.query_row([linked], |row| row.get(0))?);
            next.push_back(linked);
        }
    }
    Ok(ids)
}

pub(super) fn status(
    connection: &Connection,
    fingerprint: Option<&str>,
) -> Result<MemoryStatus, Failed> {
    let count = |sql: &str, n: i64| -> rusqlite::Result<u64> {
        let count: i64 = connection
            .prepare_cached(sql)?
            .query_row([n], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    };
    let facts = count(
        "SELECT coalesce(sum(facts), 0) FROM namespaces WHERE ?1 = 0",
        0,
    )?;
    let (mut pending, mut refused) = (0, 0);
    if let Some(fingerprint) = fingerprint {
        let embedder = super::embed::known(connection, fingerprint)?.map_or(-1, |(n, _)| n);
        pending = count(
            "SELECT count(*) FROM chunks c LEFT JOIN codes k ON k.chunk = c.n AND k.embedder = ?1 WHERE k.chunk IS NULL",
            embedder,
        )?;
        refused = count(
            "SELECT count(*) FROM codes WHERE embedder = ?1 AND code IS NULL",
            embedder,
        )?;
    }
    Ok(MemoryStatus {
        facts,
        pending,
        refused,
        embedder: fingerprint.map(str::to_owned),
    })
}
