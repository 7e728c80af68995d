//! Long-term memory: facts that outlive a run.
//!
//! A store keeps facts in namespaces. Every write passes [`NewFact::check`] before a store sees the fact, and
//! the rules on duplicates and on recalled text are functions of this module: a store queries and writes.

mod fact;
mod rules;
mod run;
mod search;
mod secrets;
pub mod text;

pub use self::{
    fact::{
        Added, Fact, FactState, MAX_LABEL, MAX_LABELS, MAX_SUBJECT, MAX_TEXT, NewFact, Provenance,
        Source, Why,
    },
    rules::{Settled, repeated_fact, settle, supersedes},
    run::{CallMemory, LongTermConfig, RunMemory, notes},
    search::{
        DEFAULT_LIMIT, Filter, Found, Hit, MAX_LIMIT, MAX_NAMESPACES, MAX_QUERY, Mode, RRF, Scores,
        Search, fuse,
    },
    secrets::secret,
};
use crate::BoxFuture;

/// The longest part of a namespace, in bytes.
pub const MAX_NAME: usize = 128;

/// Owner of facts: a tenant, and within the tenant an agent (or a name that agents share) and a user.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Namespace {
    /// The tenant. Facts of another tenant are never found.
    pub tenant: String,
    /// The agent; `None` for facts of every agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The user on whose behalf the agent works; `None` for facts about no single user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Namespace {
    /// The namespace of a tenant's agent.
    #[must_use]
    pub fn of_agent(tenant: &str, agent: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            agent: Some(agent.to_owned()),
            user: None,
        }
    }

    /// The same for a user.
    #[must_use]
    pub fn with_user(mut self, user: Option<&str>) -> Self {
        self.user = user.map(str::to_owned);
        self
    }

    /// The namespaces that a run in this namespace reads: its own, and that of the agent without a user.
    #[must_use]
    pub fn readable(&self) -> Vec<Self> {
        let mut all = vec![self.clone()];
        if self.user.is_some() {
            all.push(self.clone().with_user(None));
        }
        all
    }

    /// Checks the parts: 1 to [`MAX_NAME`] bytes without control characters, taken literally.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] names the part.
    pub fn check(&self) -> Result<(), MemoryError> {
        let parts = [
            ("tenant", Some(&self.tenant)),
            ("agent", self.agent.as_ref()),
            ("user", self.user.as_ref()),
        ];
        for (part, name) in parts {
            let Some(name) = name else { continue };
            if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control)
            {
                return Err(MemoryError::Invalid(format!(
                    "the {part} of a namespace must be 1 to {MAX_NAME} bytes of text without control characters"
                )));
            }
        }
        Ok(())
    }
}

/// Error of a long-term memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The request cannot be served as it is.
    #[error("{0}")]
    Invalid(String),
    /// The text holds a secret of this form.
    #[error("the text holds what looks like {0}; leave secrets out of memory")]
    Secret(&'static str),
    /// The namespace has no such fact.
    #[error("no fact `{0}` in this namespace")]
    NotFound(String),
    /// A vector that cannot be used: of another dimension, zero, or with a number that is not finite.
    #[error("a vector cannot be used: {0}")]
    Vector(String),
    /// The embedder gave no vectors.
    #[error("the embedder gave no vectors: {0}")]
    Embedder(String),
    /// The store cannot be reached, or is busy beyond its bounds.
    #[error("the memory is away: {0}")]
    Away(String),
}

impl MemoryError {
    /// A stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_memory",
            Self::Secret(_) => "secret_refused",
            Self::NotFound(_) => "fact_not_found",
            Self::Vector(_) => "invalid_vector",
            Self::Embedder(_) => "embedder_unavailable",
            Self::Away(_) => "memory_unavailable",
        }
    }

    /// Whether another try may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Embedder(_) | Self::Away(_) => true,
            Self::Invalid(_) | Self::Secret(_) | Self::NotFound(_) | Self::Vector(_) => false,
        }
    }
}

/// A page of facts, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The facts.
    pub facts: Vec<Fact>,
    /// Where the next page begins; `None` after the last page.
    pub next: Option<String>,
}

/// A store's own report.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct MemoryStatus {
    /// Facts that a search can find.
    pub facts: u64,
    /// Parts of facts that the present embedder has yet to embed.
    pub pending: u64,
    /// Parts of facts that the embedder refused.
    pub refused: u64,
    /// The fingerprint of the embedder; `None` for text search alone.
    pub embedder: Option<String>,
}

/// A store of facts.
///
/// A fact's text never changes. [`LongTermMemory::update`] writes a new fact that supersedes the old one,
/// [`LongTermMemory::delete`] erases the text and leaves a tombstone. A write is on disk before its future is
/// done. Each method names the namespace: a fact of another namespace is not found.
pub trait LongTermMemory: Send + Sync {
    /// Adds a fact. An equal text in the same namespace is the same fact. A fact with a subject and a relation
    /// supersedes the current fact with the same pair. A repeated call with the same key adds nothing.
    fn add<'a>(
        &'a self,
        namespace: &'a Namespace,
        fact: NewFact,
    ) -> BoxFuture<'a, Result<Added, MemoryError>>;

    /// A fact in any state.
    fn get<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Fact, MemoryError>>;

    /// Supersedes a current fact with another text.
    fn update<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
        fact: NewFact,
    ) -> BoxFuture<'a, Result<Added, MemoryError>>;

    /// Erases a fact and the facts derived from it; tombstones with the reason stay. Returns the ids of all of them.
    fn delete<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, MemoryError>>;

    /// Hides a fact and the facts derived from it from searches, until [`LongTermMemory::restore`]. Returns the ids.
    fn invalidate<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, MemoryError>>;

    /// Undoes the invalidation of a fact, and of the facts that were hidden with it. Returns the ids.
    fn restore<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, MemoryError>>;

    /// Hides facts whose time is over at `now_micros` (UTC). Returns the number of facts.
    fn expire(&self, now_micros: i64) -> BoxFuture<'_, Result<u64, MemoryError>>;

    /// Finds facts. A search with a reader records which facts it gave that task.
    fn search<'a>(&'a self, search: &'a Search) -> BoxFuture<'a, Result<Found, MemoryError>>;

    /// Facts of a namespace in every state, oldest first, at most `limit` (1 to 1,000) at a time; fewer where texts are
    /// long.
    fn list<'a>(
        &'a self,
        namespace: &'a Namespace,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Page, MemoryError>>;

    /// The origin of a fact, and who read it.
    fn why<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Why, MemoryError>>;

    /// The store's report.
    fn status(&self) -> BoxFuture<'_, Result<MemoryStatus, MemoryError>>;

    /// Adds a text without provenance and returns the fact's id, as the first Opspawn did.
    fn add_memory<'a>(
        &'a self,
        namespace: &'a Namespace,
        text: &'a str,
    ) -> BoxFuture<'a, Result<String, MemoryError>> {
        Box::pin(async move { Ok(self.add(namespace, NewFact::of(text)).await?.id) })
    }

    /// The texts of up to `n_results` facts, best first, as the first Opspawn gave them.
    fn search_memory<'a>(
        &'a self,
        namespace: &'a Namespace,
        query: &'a str,
        n_results: u32,
    ) -> BoxFuture<'a, Result<Vec<String>, MemoryError>> {
        Box::pin(async move {
            let search = Search::new(namespace.clone(), query).limit(n_results);
            let found = self.search(&search).await?;
            Ok(found.hits.into_iter().map(|hit| hit.fact.text).collect())
        })
    }
}

#[cfg(test)]
mod tests;
