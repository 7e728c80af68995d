//! The labelled retrieval set: 200 facts, and 60 queries with the facts that answer them.

use std::collections::{BTreeMap, BTreeSet};

/// Kinds of queries, with how many of each the set has.
const KINDS: [(&str, usize); 3] = [("exact", 20), ("paraphrase", 20), ("names", 20)];

/// A query of the set.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) kind: &'static str,
    pub(crate) text: &'static str,
    /// Numbers of the facts that answer it.
    pub(crate) answers: BTreeSet<&'static str>,
}

/// Number and text of each fact.
pub(crate) fn facts() -> BTreeMap<&'static str, &'static str> {
    let lines = include_str!("../retrieval/facts.tsv").lines();
    lines
        .map(|line| line.split_once('\t').expect("a number and a text"))
        .collect()
}

/// The queries.
pub(crate) fn queries() -> Vec<Query> {
    let lines = include_str!("../retrieval/queries.tsv").lines();
    let query = |line: &'static str| {
        let [kind, text, answers] = <[&str; 3]>::try_from(line.split('\t').collect::<Vec<_>>())
            .unwrap_or_else(|fields| panic!("{fields:?} are not kind, query and answers"));
        Query {
            kind,
            text,
            answers: answers.split(',').collect(),
        }
    };
    lines.map(query).collect()
}

fn words(text: &str) -> BTreeSet<String> {
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 3);
    words.map(str::to_lowercase).collect()
}

#[test]
fn the_set_has_its_form() {
    let (facts, queries) = (facts(), queries());
    assert_eq!((facts.len(), queries.len()), (200, 60));
    let lines = include_str!("../retrieval/facts.tsv").lines().count();
    assert_eq!(lines, 200, "a number stands twice");
    let texts: BTreeSet<String> = facts.values().map(|text| text.to_lowercase()).collect();
    assert_eq!(texts.len(), 200, "a fact stands twice");
    assert!(
        facts.values().all(|text| (12..=120).contains(&text.len())),
        "facts are short"
    );
    for (kind, count) in KINDS {
        assert_eq!(
            queries.iter().filter(|query| query.kind == kind).count(),
            count,
            "{kind}"
        );
    }
    let asked: BTreeSet<&str> = queries.iter().map(|query| query.text).collect();
    assert_eq!(asked.len(), 60, "a query stands twice");
    for query in &queries {
        assert!(!query.answers.is_empty());
        assert!(
            query
                .answers
                .iter()
                .all(|answer| facts.contains_key(answer)),
            "{query:?}"
        );
    }
}

/// A paraphrase that repeats most of its answer's words would measure nothing but words; an exact query that does not
/// would measure something else.
#[test]
fn the_kinds_of_queries_differ_in_the_words_that_they_share_with_their_answers() {
    let facts = facts();
    let mut shares: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for query in queries() {
        let asked = words(query.text);
        let answers = query.answers.iter().map(|answer| words(facts[answer]));
        let shared = answers
            .map(|answer| answer.intersection(&asked).count())
            .max()
            .unwrap_or(0);
        let share = shared as f64 / asked.len().max(1) as f64;
        if query.kind == "exact" {
            assert!(share >= 0.6, "{query:?} shares {share:.2} of its words");
        }
        shares.entry(query.kind).or_default().push(share);
    }
    let mean = |kind: &str| shares[kind].iter().sum::<f64>() / shares[kind].len() as f64;
    assert!(mean("paraphrase") <= 0.25, "{:.2}", mean("paraphrase"));
    assert!(mean("exact") >= 0.9, "{:.2}", mean("exact"));
}
