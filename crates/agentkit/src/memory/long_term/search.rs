//! Searches.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{Fact, MemoryError, Namespace, fact::check_name};

/// Hits of a search that names no limit.
pub const DEFAULT_LIMIT: u32 = 8;
/// The most hits of a search.
pub const MAX_LIMIT: u32 = 200;
/// The longest query, in bytes.
pub const MAX_QUERY: usize = 8 << 10;
/// The most namespaces of a search.
pub const MAX_NAMESPACES: usize = 8;
/// The constant of reciprocal rank fusion: a hit at rank `r` of a list adds `1 / (RRF + r)`.
pub const RRF: f64 = 60.0;

/// How a search ranks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Words and vectors, fused by reciprocal rank.
    #[default]
    Hybrid,
    /// Vectors alone.
    Dense,
    /// Words alone.
    Text,
}

/// Conditions that every hit fulfils. They are applied before the ranking, so a search gives as many hits as there
/// are, up to its limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Labels that a fact must have, all of them.
    pub labels: BTreeSet<String>,
    /// The earliest time of the write, in UTC microseconds.
    pub from_micros: Option<i64>,
    /// The end of the times of the write, exclusive, in UTC microseconds.
    pub until_micros: Option<i64>,
}

/// A search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The namespaces, of one tenant; 1 to [`MAX_NAMESPACES`].
    pub namespaces: Vec<Namespace>,
    /// Words or a question; 1 to [`MAX_QUERY`] bytes.
    pub query: String,
    /// Conditions.
    pub filter: Filter,
    /// The most hits, 1 to [`MAX_LIMIT`].
    pub limit: u32,
    /// Ranking.
    pub mode: Mode,
    /// The task that reads, and its step: the store records the read.
    pub reader: Option<(String, u32)>,
}

impl Search {
    /// A hybrid search of one namespace with the default limit.
    #[must_use]
    pub fn new(namespace: Namespace, query: &str) -> Self {
        Self {
            namespaces: vec![namespace],
            query: query.to_owned(),
            filter: Filter::default(),
            limit: DEFAULT_LIMIT,
            mode: Mode::Hybrid,
            reader: None,
        }
    }

    /// With another limit.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// With another ranking.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// With conditions.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Checks every part against its bounds.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] names the part.
    pub fn check(&self) -> Result<(), MemoryError> {
        let invalid = |message: String| Err(MemoryError::Invalid(message));
        let Some(first) = self.namespaces.first() else {
            return invalid("a search needs a namespace".to_owned());
        };
        if self.namespaces.len() > MAX_NAMESPACES {
            return invalid(format!("a search has {MAX_NAMESPACES} namespaces at most"));
        }
        for namespace in &self.namespaces {
            namespace.check()?;
            if namespace.tenant != first.tenant {
                return invalid("the namespaces of a search belong to one tenant".to_owned());
            }
        }
        if self.query.trim().is_empty() || self.query.len() > MAX_QUERY {
            return invalid(format!("a query must be 1 to {MAX_QUERY} bytes of text"));
        }
        if !(1..=MAX_LIMIT).contains(&self.limit) {
            return invalid(format!("the limit of a search is 1 to {MAX_LIMIT}"));
        }
        if self.filter.labels.len() > super::MAX_LABELS {
            return invalid(format!("a filter has {} labels at most", super::MAX_LABELS));
        }
        for label in &self.filter.labels {
            check_name("a label", label, super::MAX_LABEL)?;
        }
        Ok(())
    }
}

/// Why a fact is a hit. Ranks count from 1; a list without the fact gives `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Sum of reciprocal ranks, by which hits are ordered; comparable within one search only.
    pub fused: f64,
    /// Rank among the hits by words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_rank: Option<u32>,
    /// BM25 of the best chunk; higher is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bm25: Option<f64>,
    /// Rank among the hits by vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dense_rank: Option<u32>,
    /// Cosine of query and the best chunk in full precision, -1 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
}

/// A fact that a search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The fact; of a long text the beginning, 16,384 characters.
    pub fact: Fact,
    /// The chunk of the text that matched best; the whole text of a short fact.
    pub excerpt: String,
    /// Scores.
    pub scores: Scores,
}

/// Result of a search.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Hits, best first.
    pub hits: Vec<Hit>,
    /// The ranking in use, which is `text` where vectors cannot be had.
    pub mode: Mode,
    /// Why the ranking is not the ranking that was asked for, or leaves facts out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// Orders keys by the sum of their reciprocal ranks in two lists, each best first and without doubles. Equal sums keep
/// the order of `dense`, then that of `text`.
#[must_use]
pub fn fuse<K: Copy + Eq + std::hash::Hash>(
    text: &[(K, f64)],
    dense: &[(K, f64)],
) -> Vec<(K, Scores)> {
    let mut order: Vec<K> = Vec::with_capacity(text.len() + dense.len());
    let mut scores: HashMap<K, Scores> = HashMap::with_capacity(text.len() + dense.len());
    let mut rank = 0;
    for (key, cosine) in dense {
        rank += 1;
        let entry = scores.entry(*key).or_insert_with(|| {
            order.push(*key);
            Scores::default()
        });
        entry.dense_rank = Some(rank);
        entry.cosine = Some(*cosine);
        entry.fused += 1.0 / (RRF + f64::from(rank));
    }
    rank = 0;
    for (key, bm25) in text {
        rank += 1;
        let entry = scores.entry(*key).or_insert_with(|| {
            order.push(*key);
            Scores::default()
        });
        entry.text_rank = Some(rank);
        entry.bm25 = Some(*bm25);
        entry.fused += 1.0 / (RRF + f64::from(rank));
    }
    let mut fused: Vec<(K, Scores)> = order.into_iter().map(|key| (key, scores[&key])).collect();
    fused.sort_by(|one, two| two.1.fused.total_cmp(&one.1.fused));
    fused
}
