//! Rules on what a write becomes. A store loads rows, asks, and writes.

use std::collections::BTreeSet;

use super::{NewFact, Source, text};

/// A task's text that shares this part of its words with facts that the task read says no more than they do.
const REPEATED: f64 = 0.6;

/// Result of the rules for a new fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The fact is written.
    Write,
    /// The fact of this id says the same.
    Same(String),
}

/// Decides about a new fact: an equal text is the same fact, and what a task has recalled is not stored again.
///
/// `equal` is the id of the current fact of the namespace with the same normal text, `read` are ids and texts of the
/// facts that the task of the new fact has read.
#[must_use]
pub fn settle(fact: &NewFact, equal: Option<&str>, read: &[(String, String)]) -> Settled {
    if let Some(id) = equal {
        return Settled::Same(id.to_owned());
    }
    match repeated_fact(fact, read) {
        Some(id) => Settled::Same(id),
        None => Settled::Write,
    }
}

/// The id of a fact that the task has read, if the new fact says no more than the facts that the task has read.
///
/// Provenance decides, not the form of the text: only a fact whose task has read facts can be a repeat. A text that is
/// a part of a fact is a repeat of it. A task without a result of another tool knows its goal and those facts alone, so
/// its text is a repeat as well if most of its words are theirs, and no number and no negation is new.
#[must_use]
pub fn repeated_fact(fact: &NewFact, read: &[(String, String)]) -> Option<String> {
    let by_task = matches!(fact.provenance.source, Source::Model | Source::Run);
    if !by_task || read.is_empty() {
        return None;
    }
    // A longer text cannot be a part of facts as they are compared, and its words take a while.
    if fact.text.len() > MAX_COMPARED {
        return None;
    }
    let normal = text::normal(&fact.text);
    for (id, known) in read {
        let known = text::normal(known);
        if known.contains(&normal) {
            return Some(id.clone());
        }
    }
    if fact.provenance.learnt {
        return None;
    }
    let stems = |text: &str| -> BTreeSet<String> {
        let words = text::telling(text).into_iter();
        words.map(|word| text::stem(&word).to_owned()).collect()
    };
    let mut words = stems(&fact.text);
    if fact.provenance.source == Source::Run {
        // The machine's own words around a goal and an outcome.
        words.retain(|word| !FRAME.contains(&word.as_str()));
    }
    let known: Vec<BTreeSet<String>> = read.iter().map(|(_, known)| stems(known)).collect();
    let is_known = |word: &String| known.iter().any(|known| known.contains(word));
    let is_news = |word: &String| {
        let differs = word.chars().any(char::is_numeric) || NEGATIONS.contains(&word.as_str());
        differs && !is_known(word)
    };
    if words.iter().any(is_news) {
        return None;
    }
    let shared = words.iter().filter(|word| is_known(word)).count();
    #[expect(clippy::cast_precision_loss, reason = "a text has few words")]
    let part = shared as f64 / words.len().max(1) as f64;
    if part < REPEATED {
        return None;
    }
    let closest = known
        .iter()
        .enumerate()
        .max_by_key(|(_, known)| words.intersection(known).count());
    closest.map(|(index, _)| read[index].0.clone())
}

/// The longest text that is compared with facts that its task has read, in bytes.
const MAX_COMPARED: usize = 64 << 10;
/// Words that the machine writes into a remembered outcome, as stems.
const FRAME: &[&str] = &["goal", "outcome"];
const NEGATIONS: &[&str] = &[
    "no", "not", "never", "none", "nobody", "without", "cannot", "t",
];

/// Whether a new fact supersedes the current fact of the same subject and relation. An older truth that is told later
/// does not: the new fact is then written as superseded.
#[must_use]
pub fn supersedes(new_valid_micros: i64, current_valid_micros: i64) -> bool {
    new_valid_micros >= current_valid_micros
}
