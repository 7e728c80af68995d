//! Vectors of chunks, made beside the writes.
//!
//! What is pending follows from the rows: chunks without a code of the present embedder. So a fact is found by its words
//! at once, an embedder that was away is caught up with, and another embedder begins anew, wherever the last process
//! stopped.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use agentkit::memory::long_term::MemoryError;
use rusqlite::{Connection, OptionalExtension as _};

use super::{Opened, threads::Failed};
use crate::{
    embedder::{EmbedError, Embedder},
    vector,
};

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LAST_DELAY: Duration = Duration::from_secs(60);

/// A chunk without a vector.
struct Pending {
    chunk: i64,
    fact: i64,
    text: String,
}

/// The result for one chunk; `Err` if the embedder refuses it.
type Made = (i64, i64, Result<Vec<f32>, String>);

/// The number and the dimension of an embedder that the file knows.
pub(super) fn known(
    connection: &Connection,
    fingerprint: &str,
) -> rusqlite::Result<Option<(i64, Option<i64>)>> {
    let mut statement =
        connection.prepare_cached("SELECT n, dimension FROM embedders WHERE fingerprint = ?1")?;
    statement
        .query_row([fingerprint], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn pending(
    connection: &Connection,
    fingerprint: &str,
    count: usize,
) -> Result<Vec<Pending>, Failed> {
    let embedder = known(connection, fingerprint)?.map_or(-1, |(n, _)| n);
    let mut statement = connection.prepare_cached(
        "SELECT c.n, c.fact, substr(CAST(f.text AS BLOB), c.start + 1, c.length) FROM chunks c
         JOIN facts f ON f.n = c.fact
         LEFT JOIN codes k ON k.chunk = c.n AND k.embedder = ?1
         WHERE k.chunk IS NULL ORDER BY c.n LIMIT ?2",
    )?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let rows = statement.query_map((embedder, count), |row| {
        let bytes: Vec<u8> = row.get(2)?;
        Ok(Pending {
            chunk: row.get(0)?,
            fact: row.get(1)?,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes vectors, if their chunks are still there.
fn keep(connection: &Connection, fingerprint: &str, made: &[Made]) -> Result<(), Failed> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO embedders (fingerprint) VALUES (?1)")?
        .execute([fingerprint])?;
    let (embedder, mut dimension) = known(connection, fingerprint)?.unwrap_or_default();
    for (chunk, fact, vector) in made {
        let is_there = connection
            .prepare_cached("SELECT 1 FROM chunks WHERE n = ?1")?
            .exists([chunk])?;
        if !is_there {
            continue;
        }
        let length = vector
            .as_ref()
            .ok()
            .map(|vector| i64::try_from(vector.len()).unwrap_or(i64::MAX));
        if let (Some(length), None) = (length, dimension) {
            connection
                .prepare_cached("UPDATE embedders SET dimension = ?2 WHERE n = ?1")?
                .execute((embedder, length))?;
            dimension = Some(length);
        }
        if let (Some(length), Some(known)) = (length, dimension)
            && length != known
        {
            return Err(Failed::Told(MemoryError::Vector(format!(
                "the embedder `{fingerprint}` gave {known} numbers before, and now {length}"
            ))));
        }
        let code = vector.as_ref().ok().map(|vector| vector::encode(vector));
        let (code, scale) = code.unzip();
        let code: Option<Vec<u8>> =
            code.map(|code| code.iter().map(|number| number.cast_unsigned()).collect());
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO codes (chunk, embedder, scale, code) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((chunk, embedder, scale.map(f64::from), code))?;
        connection
            .prepare_cached("DELETE FROM vectors WHERE chunk = ?1")?
            .execute([chunk])?;
        if let Ok(vector) = vector {
            connection
                .prepare_cached("INSERT INTO vectors (chunk, vector) VALUES (?1, ?2)")?
                .execute((chunk, vector::to_bytes(vector)))?;
        }
        connection
            .prepare_cached(
                "UPDATE facts SET change = (SELECT coalesce(max(change), 0) + 1 FROM facts) WHERE n = ?1",
            )?
            .execute([fact])?;
    }
    Ok(())
}

/// Embeds one batch of what is pending; returns how many chunks it was.
pub(super) async fn batch(
    opened: &Opened,
    embedder: &Arc<dyn Embedder>,
) -> Result<usize, MemoryError> {
    let fingerprint = embedder.fingerprint().to_owned();
    let count = embedder.batch();
    let named = fingerprint.clone();
    let pending = opened
        .threads
        .read(move |connection| pending(connection, &named, count))
        .await?;
    if pending.is_empty() {
        return Ok(0);
    }
    let made = made(&**embedder, pending).await?;
    let count = made.len();
    opened
        .threads
        .write(move |connection| keep(connection, &fingerprint, &made))
        .await?;
    Ok(count)
}

/// The vectors of chunks. A batch that is refused is halved, until the chunks that the embedder refuses stand alone.
async fn made(embedder: &dyn Embedder, pending: Vec<Pending>) -> Result<Vec<Made>, MemoryError> {
    let mut made = Vec::with_capacity(pending.len());
    let mut batches = vec![pending];
    while let Some(mut batch) = batches.pop() {
        let texts: Vec<String> = batch.iter().map(|one| one.text.clone()).collect();
        match embedder.embed(&texts).await {
            Ok(vectors) if vectors.len() == batch.len() => {
                for (one, vector) in batch.into_iter().zip(vectors) {
                    let vector = vector::unit(vector);
                    if let Err(reason) = &vector {
                        tracing::warn!(
                            chunk = one.chunk,
                            reason,
                            "the embedder gave a vector that cannot be used"
                        );
                    }
                    made.push((one.chunk, one.fact, vector));
                }
            }
            Ok(vectors) => {
                let (count, wanted) = (vectors.len(), batch.len());
                return Err(MemoryError::Embedder(format!(
                    "{count} vectors came for {wanted} texts"
                )));
            }
            Err(EmbedError::Away(message)) => return Err(MemoryError::Embedder(message)),
            Err(EmbedError::Refused(reason)) if batch.len() == 1 => {
                let one = batch.remove(0);
                tracing::warn!(
                    chunk = one.chunk,
                    reason,
                    "the embedder refuses a part of a fact"
                );
                made.push((one.chunk, one.fact, Err(reason)));
            }
            Err(EmbedError::Refused(_)) => {
                let rest = batch.split_off(batch.len() / 2);
                batches.push(rest);
                batches.push(batch);
            }
        }
    }
    Ok(made)
}

/// The vector of a query.
pub(super) async fn query(
    embedder: &Arc<dyn Embedder>,
    text: &str,
) -> Result<Vec<f32>, MemoryError> {
    let vectors = embedder.embed(&[text.to_owned()]).await;
    let vectors = vectors.map_err(|error| MemoryError::Embedder(error.to_string()))?;
    let [vector] = <[Vec<f32>; 1]>::try_from(vectors).map_err(|vectors| {
        MemoryError::Embedder(format!("{} vectors came for a query", vectors.len()))
    })?;
    vector::unit(vector).map_err(MemoryError::Vector)
}

/// Embeds what is pending whenever there is something, until the store is dropped.
pub(super) async fn keep_up(store: Weak<Opened>, embedder: Arc<dyn Embedder>) {
    let mut delay = FIRST_DELAY;
    loop {
        let Some(opened) = store.upgrade() else {
            return;
        };
        let turn = opened.embedding.lock().await;
        let outcome = batch(&opened, &embedder).await;
        drop(turn);
        let added = Arc::clone(&opened.added);
        drop(opened);
        match outcome {
            Ok(0) => {
                delay = FIRST_DELAY;
                // Another process may have added facts.
                let _ = tokio::time::timeout(LAST_DELAY, added.notified()).await;
            }
            Ok(_) => delay = FIRST_DELAY,
            Err(error) => {
                tracing::warn!(%error, "facts of long-term memory wait for their vectors; words find them meanwhile");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LAST_DELAY);
            }
        }
    }
}
