//! Rules on what a write becomes. A store loads rows, asks, and writes.

use super::{NewFact, Source, text};

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
/// a part of a fact is a repeat of the fact, and so are notes of a recall that are handed on. A task without a result of another
/// tool knows its goal and those facts alone, so its text is a repeat as well if the words of one fact have all of its words, in
/// their order. Other words or another order may be news: `Ann owes Bob` is not `Bob owes Ann`. A fact that is kept twice costs
/// less than a fact that is lost.
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
    // The goal of an outcome is a question, and asks for the news.
    let said = match fact.text.split_once("\nOutcome: ") {
        Some((goal, outcome)) if goal.starts_with("Goal: ") => outcome,
        _ => &fact.text,
    };
    let own = without_notes(said);
    let own = own.trim();
    if own.is_empty() && !said.trim().is_empty() {
        return read.first().map(|(id, _)| id.clone());
    }
    let normal = text::normal(own);
    for (id, known) in read {
        let known = text::normal(known);
        if known.contains(&normal) {
            return Some(id.clone());
        }
    }
    if fact.provenance.learnt {
        return None;
    }
    let stems = |text: &str| -> Vec<String> {
        let words = text::words(text).filter(|word| !text::is_common(word));
        words.map(|word| text::stem(&word).to_owned()).collect()
    };
    let new = stems(own);
    if new.is_empty() {
        return None;
    }
    let repeated = read.iter().find(|(_, known)| {
        let known = stems(known);
        let mut rest = known.iter();
        new.iter().all(|word| rest.any(|one| one == word))
    });
    repeated.map(|(id, _)| id.clone())
}

/// A text without the notes of a recall that stand in the text: the lines between two fences were recalled.
fn without_notes(text: &str) -> String {
    let mut own = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(NOTES) {
        own.push_str(&rest[..at]);
        let notes = &rest[at + NOTES.len()..];
        let fence = notes.split('`').next().unwrap_or_default();
        let line = format!("memory {fence}");
        // The fence is named once before the notes, and stands at their beginning and at their end.
        let end = notes.match_indices(&line).nth(1);
        rest = end.map_or("", |(at, line)| &notes[at + line.len()..]);
    }
    own.push_str(rest);
    own
}

/// The longest text that is compared with facts that its task has read, in bytes.
const MAX_COMPARED: usize = 64 << 10;
/// The beginning of the notes of a recall, up to their random key.
const NOTES: &str = "Notes from long-term memory, between two lines `memory ";

/// Whether a new fact supersedes the current fact of the same subject and relation. An older truth that is told later
/// does not: the new fact is then written as superseded.
#[must_use]
pub fn supersedes(new_valid_micros: i64, current_valid_micros: i64) -> bool {
    new_valid_micros >= current_valid_micros
}
