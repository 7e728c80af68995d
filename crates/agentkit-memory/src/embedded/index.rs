//! Codes of the current facts in memory, by namespace.
//!
//! The index is a copy of rows and nothing else. A reader that finds rows with a higher change number than the index
//! has takes them in, whichever process wrote them; a file that is opened anew fills it from its rows.

use std::collections::{BTreeSet, HashMap};

use agentkit::memory::long_term::Filter;
use rusqlite::Connection;

use crate::vector;

/// The codes of one embedder.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The embedder's number; 0 before the first.
    embedder: i64,
    /// The highest change that was taken in.
    change: i64,
    dimension: usize,
    shards: HashMap<i64, Shard>,
    /// Sets of labels that rows have, each once.
    label_sets: Vec<BTreeSet<String>>,
    set_numbers: HashMap<BTreeSet<String>, u32>,
}

/// The codes of one namespace.
#[derive(Debug, Default)]
struct Shard {
    codes: Vec<i8>,
    rows: Vec<Row>,
    /// Rows by fact.
    of_fact: HashMap<i64, Vec<u32>>,
    removed: usize,
}

/// A row of codes.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// The fact's number; 0 for a removed row.
    fact: i64,
    chunk: i64,
    created: i64,
    scale: f32,
    labels: u32,
}

/// A chunk that a scan found: its fact, its own number, and the estimate of its cosine.
pub(super) type Scanned = (i64, i64, f32);

impl Index {
    /// Whether rows of this embedder up to this change are in the index.
    pub(super) fn has(&self, embedder: i64, change: i64) -> bool {
        self.embedder == embedder && self.change >= change
    }

    /// Takes in what has changed.
    pub(super) fn refresh(
        &mut self,
        connection: &Connection,
        embedder: i64,
        dimension: usize,
    ) -> rusqlite::Result<()> {
        if self.embedder != embedder || self.dimension != dimension {
            *self = Self {
                embedder,
                dimension,
                ..Self::default()
            };
        }
        let first = self.change == 0;
        let mut changed = connection.prepare_cached(
            "SELECT n, namespace, state, created, labels, change FROM facts WHERE change > ?1 ORDER BY change",
        )?;
        let mut codes = connection.prepare_cached(
            "SELECT c.n, k.scale, k.code FROM chunks c JOIN codes k ON k.chunk = c.n
             WHERE c.fact = ?1 AND k.embedder = ?2 AND k.code IS NOT NULL",
        )?;
        let mut rows = changed.query([self.change])?;
        while let Some(row) = rows.next()? {
            let (fact, owner, state): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let created = row.get(3)?;
            self.remove(owner, fact);
            if state == 0 {
                let labels: String = row.get(4)?;
                let labels = self.labels(&labels);
                let mut found = codes.query((fact, embedder))?;
                while let Some(found) = found.next()? {
                    let code = found.get_ref(2)?.as_blob().unwrap_or_default();
                    if code.len() != dimension {
                        continue;
                    }
                    let scale: f64 = found.get(1)?;
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "the scale was written as a float"
                    )]
                    let row = Row {
                        fact,
                        chunk: found.get(0)?,
                        created,
                        scale: scale as f32,
                        labels,
                    };
                    self.shards.entry(owner).or_default().push(row, code);
                }
            }
            self.change = row.get(5)?;
        }
        if first {
            for shard in self.shards.values_mut() {
                shard.codes.shrink_to_fit();
                shard.rows.shrink_to_fit();
            }
        }
        Ok(())
    }

    /// The number of a set of labels, given as JSON.
    fn labels(&mut self, json: &str) -> u32 {
        let set: BTreeSet<String> = serde_json::from_str(json).unwrap_or_default();
        if let Some(number) = self.set_numbers.get(&set) {
            return *number;
        }
        let number = u32::try_from(self.label_sets.len()).unwrap_or(u32::MAX);
        self.label_sets.push(set.clone());
        self.set_numbers.insert(set, number);
        number
    }

    fn remove(&mut self, owner: i64, fact: i64) {
        let Some(shard) = self.shards.get_mut(&owner) else {
            return;
        };
        for row in shard.of_fact.remove(&fact).unwrap_or_default() {
            shard.rows[row as usize].fact = 0;
            shard.removed += 1;
        }
        if shard.removed > 64 && shard.removed * 2 > shard.rows.len() {
            shard.compact(self.dimension);
        }
    }

    /// The chunks of these namespaces that are nearest to a unit vector, best first; and how many fulfil the filter.
    pub(super) fn scan(
        &self,
        owners: &[i64],
        query: &[f32],
        filter: &Filter,
        count: usize,
    ) -> (Vec<Scanned>, usize) {
        let (code, query_scale) = vector::encode(query);
        let allowed: Vec<bool> = self
            .label_sets
            .iter()
            .map(|set| filter.labels.is_subset(set))
            .collect();
        let from = filter.from_micros.unwrap_or(i64::MIN);
        let until = filter.until_micros.unwrap_or(i64::MAX);
        let passes = |row: &Row| {
            row.fact != 0
                && row.created >= from
                && row.created < until
                && allowed[row.labels as usize]
        };
        let (mut found, mut passing) = (Vec::new(), 0);
        for shard in owners.iter().filter_map(|owner| self.shards.get(owner)) {
            let weigh = |row: usize| {
                let row = &shard.rows[row];
                passes(row).then_some(row.scale * query_scale)
            };
            passing += shard.rows.iter().filter(|row| passes(row)).count();
            let best = vector::best(&shard.codes, &code, count, weigh);
            found.extend(best.into_iter().map(|(row, score)| {
                let row = shard.rows[row];
                (row.fact, row.chunk, score)
            }));
        }
        found.sort_by(|one, two| two.2.total_cmp(&one.2));
        found.truncate(count);
        (found, passing)
    }
}

impl Shard {
    fn push(&mut self, row: Row, code: &[u8]) {
        let number = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.codes
            .extend(code.iter().map(|byte| byte.cast_signed()));
        self.rows.push(row);
        self.of_fact.entry(row.fact).or_default().push(number);
    }

    /// Closes the gaps of removed rows.
    fn compact(&mut self, dimension: usize) {
        let mut kept = Self::default();
        for (row, code) in self.rows.iter().zip(self.codes.chunks_exact(dimension)) {
            if row.fact != 0 {
                let number = u32::try_from(kept.rows.len()).unwrap_or(u32::MAX);
                kept.codes.extend_from_slice(code);
                kept.rows.push(*row);
                kept.of_fact.entry(row.fact).or_default().push(number);
            }
        }
        *self = kept;
    }
}
