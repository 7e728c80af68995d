//! Facts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{MemoryError, Namespace, secret};

/// The longest text of a fact, in bytes. A store keeps a long text in chunks.
pub const MAX_TEXT: usize = 12 << 20;
/// The most labels of a fact.
pub const MAX_LABELS: usize = 16;
/// The longest label, in bytes.
pub const MAX_LABEL: usize = 64;
/// The longest subject or relation, in bytes.
pub const MAX_SUBJECT: usize = 256;
/// The longest id, task id and step, in bytes.
const MAX_ID: usize = 128;
/// The most facts that one fact may be derived from.
const MAX_DERIVED: usize = 256;

/// Who wrote a fact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A person, by the command line or an API.
    #[default]
    Person,
    /// A model, by the tool `memory_add`.
    Model,
    /// The machine, at the end of a run.
    Run,
    /// An import.
    Import,
}

impl Source {
    /// Its name in stores and for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Model => "model",
            Self::Run => "run",
            Self::Import => "import",
        }
    }

    /// The source of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Person, Self::Model, Self::Run, Self::Import];
        all.into_iter().find(|source| source.name() == name)
    }
}

/// Origin of a fact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Who wrote the fact.
    pub source: Source,
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The step of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// Whether the task had a result of a tool that is no tool of memory: otherwise the task can hold no more than its
    /// goal and the facts that it read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub learnt: bool,
    /// Ids of facts that the fact follows from, beside those that its task read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub derived_from: Vec<String>,
}

/// A fact to add.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewFact {
    /// The text.
    pub text: String,
    /// What the fact is about; with `relation`, it supersedes the current fact of the same pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What the fact says about the subject, for instance `employer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// Labels, to filter by.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// Since when the fact holds, in UTC microseconds; `None` for the time of the write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_micros: Option<i64>,
    /// When searches stop finding the fact, in UTC microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_micros: Option<i64>,
    /// Origin.
    pub provenance: Provenance,
    /// Key of the write: a repeated write with the key is the same write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl NewFact {
    /// A fact of a text alone.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::default()
        }
    }

    /// Checks every part against its bounds, and the text for secrets.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] names the part, [`MemoryError::Secret`] the form of the secret.
    pub fn check(&self) -> Result<(), MemoryError> {
        let invalid = |message: String| Err(MemoryError::Invalid(message));
        if self.text.trim().is_empty() {
            return invalid("the text of a fact is empty".to_owned());
        }
        if self.text.len() > MAX_TEXT {
            return invalid(format!(
                "the text has {} bytes, and {MAX_TEXT} are the most; add it in parts",
                self.text.len()
            ));
        }
        if self.labels.len() > MAX_LABELS {
            return invalid(format!("a fact has {MAX_LABELS} labels at most"));
        }
        for label in &self.labels {
            check_name("a label", label, MAX_LABEL)?;
        }
        for (what, name) in [
            ("the subject", &self.subject),
            ("the relation", &self.relation),
        ] {
            if let Some(name) = name {
                check_name(what, name, MAX_SUBJECT)?;
            }
        }
        if self.subject.is_some() != self.relation.is_some() {
            return invalid("a fact has a subject and a relation, or neither".to_owned());
        }
        if self.provenance.derived_from.len() > MAX_DERIVED {
            return invalid(format!(
                "a fact is derived from {MAX_DERIVED} facts at most"
            ));
        }
        let origin = &self.provenance;
        for id in origin
            .derived_from
            .iter()
            .chain(&origin.task)
            .chain(&self.key)
        {
            check_name("an id", id, MAX_ID)?;
        }
        let parts = [
            Some(&self.text),
            self.subject.as_ref(),
            self.relation.as_ref(),
        ];
        let parts = parts.into_iter().flatten().chain(&self.labels);
        for part in parts {
            if let Some(form) = secret(part) {
                return Err(MemoryError::Secret(form));
            }
        }
        Ok(())
    }
}

pub(super) fn check_name(what: &str, name: &str, most: usize) -> Result<(), MemoryError> {
    if name.trim().is_empty() || name.len() > most || name.chars().any(char::is_control) {
        return Err(MemoryError::Invalid(format!(
            "{what} must be 1 to {most} bytes of text without control characters"
        )));
    }
    Ok(())
}

/// State of a fact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactState {
    /// Searches find the fact.
    #[default]
    Current,
    /// Another fact has taken its place.
    Superseded,
    /// Its time is over.
    Expired,
    /// A person or an agent declared the fact wrong; can be undone.
    Invalidated,
    /// The text is erased.
    Deleted,
}

impl FactState {
    /// Every state, by its number in stores.
    pub const ALL: [Self; 5] = [
        Self::Current,
        Self::Superseded,
        Self::Expired,
        Self::Invalidated,
        Self::Deleted,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
            Self::Invalidated => "invalidated",
            Self::Deleted => "deleted",
        }
    }
}

/// A stored fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Its id, `fact_` and letters and digits.
    pub id: String,
    /// Its owner.
    pub namespace: Namespace,
    /// The text; empty for a deleted fact.
    pub text: String,
    /// See [`NewFact::subject`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// See [`NewFact::relation`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// State.
    pub state: FactState,
    /// Time of the write, in UTC microseconds.
    pub created_micros: i64,
    /// Since when the fact holds, in UTC microseconds.
    pub valid_micros: i64,
    /// When searches stop finding the fact, in UTC microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_micros: Option<i64>,
    /// The fact that has taken its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// Why the fact was deleted or invalidated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Origin.
    pub provenance: Provenance,
}

/// Result of a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// The id of the fact that holds the text now.
    pub id: String,
    /// `false` if the namespace had the fact already, or the text says no more than facts that its task recalled.
    pub is_new: bool,
    /// Facts that the new fact superseded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<String>,
}

/// Origin and readers of a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The fact.
    pub fact: Fact,
    /// The facts that it was derived from, with those derived transitively last.
    pub derived_from: Vec<String>,
    /// The facts derived from it.
    pub led_to: Vec<String>,
    /// The last reads: task, step, and time in UTC microseconds.
    pub read_by: Vec<(String, Option<u32>, i64)>,
}
