//! Searches: words, vectors, or both.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    sync::{PoisonError, RwLock},
};

use agentkit::memory::long_term::{Filter, Found, Hit, Mode, Scores, Search, fuse, text};
use rusqlite::{Connection, OptionalExtension as _, params_from_iter, types::Value};

use super::{index::Index, rows, threads::Failed};
use crate::vector;

/// Of a text, so much is shown with a hit, in characters.
const EXCERPT_LIMIT: u32 = 16_384;
/// Words of a query that count.
const MAX_QUERY_WORDS: usize = 64;
/// Each list is this many times as long as the result before both are fused.
const DEPTH: usize = 4;
/// The shortest list.
const LEAST_DEPTH: usize = 50;

/// A query's vector and its embedder.
pub(super) struct QueryVector {
    pub(super) embedder: i64,
    pub(super) vector: Vec<f32>,
}

/// A fact, its best chunk, and the chunk's score.
type Ranked = (i64, i64, f64);

/// The word by which chunks of a namespace are found.
pub(super) fn owner_word(owner: i64) -> String {
    format!("n{owner}")
}

/// The numbers of the namespaces of a search.
pub(super) fn owners(connection: &Connection, search: &Search) -> Result<Vec<i64>, Failed> {
    let mut owners = Vec::new();
    for namespace in &search.namespaces {
        if let Some(owner) = rows::namespace(connection, namespace)?
            && !owners.contains(&owner)
        {
            owners.push(owner);
        }
    }
    Ok(owners)
}

/// Runs a search, with the query's vector where there is one. Returns the hits' numbers as well.
pub(super) fn run(
    connection: &Connection,
    index: &RwLock<Index>,
    search: &Search,
    vector: Option<&QueryVector>,
) -> Result<(Found, Vec<i64>), Failed> {
    let owners = owners(connection, search)?;
    let limit = search.limit as usize;
    let mode = match (search.mode, vector) {
        (Mode::Hybrid, None) => Mode::Text,
        (mode, _) => mode,
    };
    let depth = (limit * DEPTH).max(LEAST_DEPTH);
    let words = match mode {
        Mode::Hybrid | Mode::Text if !owners.is_empty() => {
            by_words(connection, &owners, search, depth)?
        }
        Mode::Hybrid | Mode::Text | Mode::Dense => Vec::new(),
    };
    let dense = match (mode, vector) {
        (Mode::Hybrid | Mode::Dense, Some(query)) if !owners.is_empty() => {
            by_vector(connection, index, &owners, search, query, depth)?
        }
        _ => Vec::new(),
    };
    let list = |ranked: &[Ranked]| -> Vec<(i64, f64)> {
        ranked
            .iter()
            .map(|(fact, _, score)| (*fact, *score))
            .collect()
    };
    let mut fused: Vec<(i64, Scores)> = fuse(&list(&words), &list(&dense));
    fused.truncate(limit);
    // The vector's chunk is the one that means the most; the words' chunk where there is no vector.
    let chunks: BTreeMap<i64, i64> = words
        .iter()
        .chain(&dense)
        .map(|(fact, chunk, _)| (*fact, *chunk))
        .collect();
    let (mut hits, mut numbers) = (
        Vec::with_capacity(fused.len()),
        Vec::with_capacity(fused.len()),
    );
    // Of a long text, a hit holds the beginning and the part that matched.
    let columns = rows::COLUMNS.replace("f.text", &format!("substr(f.text, 1, {EXCERPT_LIMIT})"));
    for (n, scores) in fused {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {columns} FROM facts f JOIN namespaces s ON s.n = f.namespace WHERE f.n = ?1 AND f.state = 0"
        ))?;
        let Some((_, mut fact)) = statement.query_row([n], rows::fact).optional()? else {
            continue;
        };
        fact.provenance.derived_from = rows::origins(connection, n)?;
        let part = excerpt(connection, chunks.get(&n).copied())?;
        let excerpt = part.unwrap_or_else(|| fact.text.clone());
        hits.push(Hit {
            fact,
            excerpt,
            scores,
        });
        numbers.push(n);
    }
    let found = Found {
        hits,
        mode,
        notice: None,
    };
    Ok((found, numbers))
}

/// The text of a chunk.
fn excerpt(connection: &Connection, chunk: Option<i64>) -> Result<Option<String>, Failed> {
    let mut statement = connection.prepare_cached(
        "SELECT substr(CAST(f.text AS BLOB), c.start + 1, c.length) FROM chunks c
         JOIN facts f ON f.n = c.fact WHERE c.n = ?1",
    )?;
    let bytes: Option<Vec<u8>> = statement.query_row([chunk], |row| row.get(0)).optional()?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The expression of FTS5 for a query: its words, each quoted, any of them; `None` for a query without words. Nothing of
/// the query is syntax.
fn expression(owners: &[i64], query: &str) -> Option<String> {
    let all: Vec<&str> = query
        .split(|c: char| c.is_whitespace() || c == '\0')
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .collect();
    let is_telling = |word: &&&str| {
        let mut parts = text::words(word);
        parts.any(|part| !text::is_common(&part))
    };
    let telling: Vec<&str> = all.iter().filter(is_telling).copied().collect();
    let words = if telling.is_empty() { all } else { telling };
    if words.is_empty() {
        return None;
    }
    let mut seen = HashSet::new();
    let mut expression = String::from("owner : (");
    for (at, owner) in owners.iter().enumerate() {
        let or = if at == 0 { "" } else { " OR " };
        let _ = write!(expression, "{or}{}", owner_word(*owner));
    }
    expression.push_str(") AND text : (");
    for word in words
        .into_iter()
        .filter(|word| seen.insert(word.to_lowercase()))
        .take(MAX_QUERY_WORDS)
    {
        let or = if expression.ends_with('(') {
            ""
        } else {
            " OR "
        };
        let _ = write!(expression, "{or}\"{}\"", word.replace('"', " "));
    }
    expression.push(')');
    Some(expression)
}

/// The conditions of a filter on `facts f`, and their values.
fn conditions(filter: &Filter) -> (String, Vec<Value>) {
    let (mut sql, mut values) = (String::new(), Vec::new());
    if let Some(from) = filter.from_micros {
        sql.push_str(" AND f.created >= ?");
        values.push(Value::from(from));
    }
    if let Some(until) = filter.until_micros {
        sql.push_str(" AND f.created < ?");
        values.push(Value::from(until));
    }
    for label in &filter.labels {
        sql.push_str(" AND EXISTS (SELECT 1 FROM labels l WHERE l.fact = f.n AND l.label = ?)");
        values.push(Value::from(label.clone()));
    }
    (sql, values)
}

/// Facts by BM25 of their best chunk, best first.
fn by_words(
    connection: &Connection,
    owners: &[i64],
    search: &Search,
    depth: usize,
) -> Result<Vec<Ranked>, Failed> {
    let Some(expression) = expression(owners, &search.query) else {
        return Ok(Vec::new());
    };
    let (conditions, filters) = conditions(&search.filter);
    let sql = format!(
        "SELECT c.fact, c.n, -bm25(words, 0.0, 1.0) AS score
         FROM words JOIN chunks c ON c.n = words.rowid JOIN facts f ON f.n = c.fact
         WHERE words MATCH ? AND f.state = 0{conditions} ORDER BY score DESC, c.n LIMIT ?"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut most = depth;
    loop {
        let mut values = vec![Value::from(expression.clone())];
        values.extend(filters.iter().cloned());
        values.push(Value::from(i64::try_from(most).unwrap_or(i64::MAX)));
        let mut chunks = 0;
        let mut seen = HashSet::new();
        let mut ranked = Vec::new();
        let rows = statement.query_map(params_from_iter(values), |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, f64>(2)?,
            ))
        })?;
        for row in rows {
            let row = row?;
            chunks += 1;
            if seen.insert(row.0) {
                ranked.push(row);
            }
        }
        // Chunks of one long text may have taken the places of other facts.
        if ranked.len() >= depth.min(search.limit as usize) || chunks < most {
            ranked.truncate(depth);
            return Ok(ranked);
        }
        most *= 8;
    }
}

/// Facts by the cosine of their best chunk, best first: a scan of codes, then full precision.
fn by_vector(
    connection: &Connection,
    index: &RwLock<Index>,
    owners: &[i64],
    search: &Search,
    query: &QueryVector,
    depth: usize,
) -> Result<Vec<Ranked>, Failed> {
    let change: i64 = connection
        .prepare_cached("SELECT coalesce(max(change), 0) FROM facts")?
        .query_row([], |row| row.get(0))?;
    let is_fresh = |index: &Index| index.has(query.embedder, change);
    if !is_fresh(&index.read().unwrap_or_else(PoisonError::into_inner)) {
        let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
        if !is_fresh(&index) {
            index.refresh(connection, query.embedder, query.vector.len())?;
        }
    }
    let mut statement = connection.prepare_cached("SELECT vector FROM vectors WHERE chunk = ?1")?;
    let mut most = depth;
    loop {
        let (scanned, passing) = {
            let index = index.read().unwrap_or_else(PoisonError::into_inner);
            index.scan(owners, &query.vector, &search.filter, most)
        };
        let mut scored: Vec<Ranked> = Vec::with_capacity(scanned.len());
        for (fact, chunk, _) in &scanned {
            let exact = statement
                .query_row([chunk], |row| {
                    let bytes = row.get_ref(0)?.as_blob().unwrap_or_default();
                    Ok(vector::dot(&vector::from_bytes(bytes), &query.vector))
                })
                .optional()?;
            // The index may be ahead of this reader's state of the file.
            if let Some(cosine) = exact {
                scored.push((*fact, *chunk, cosine));
            }
        }
        scored.sort_by(|one, two| two.2.total_cmp(&one.2).then(one.0.cmp(&two.0)));
        let mut seen = HashSet::new();
        scored.retain(|(fact, ..)| seen.insert(*fact));
        if scored.len() >= search.limit as usize || scanned.len() >= passing || most >= passing {
            return Ok(scored);
        }
        most *= 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// memory/L1: text of users is syntax of FTS5.
    #[test]
    fn nothing_of_a_query_is_syntax() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE VIRTUAL TABLE words USING fts5 (owner, text, content = '', contentless_delete = 1)")
            .unwrap();
        for query in [
            "BENCH-100821",
            "don't",
            "ubuntu 20.04",
            concat!("TO", "DO: fix"),
            "GB/s",
            "AND",
            "OR NOT NEAR(a b)",
            "a\"b",
            "x*",
            "(y",
            "z)",
            "^q",
            "text : w",
            "-minus",
            "a\0b",
            "{c}",
            "naïve Ärger",
            "日本語",
        ] {
            let expression = expression(&[1, 22], query).unwrap();
            let found = connection
                .prepare("SELECT count(*) FROM words WHERE words MATCH ?1")
                .unwrap()
                .query_row([&expression], |row| row.get::<_, i64>(0));
            assert!(found.is_ok(), "{query}: {expression}: {found:?}");
        }
        for query in ["", "\"", "*()", "?!", "\0"] {
            assert_eq!(expression(&[1], query), None, "{query:?}");
        }
        let long =
            "word ".repeat(10_000) + &(0..10_000).map(|i| format!("w{i} ")).collect::<String>();
        assert_eq!(
            expression(&[1], &long).unwrap().matches('"').count(),
            2 * MAX_QUERY_WORDS
        );
    }
}
