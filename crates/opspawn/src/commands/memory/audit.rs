//! `opspawn memory audit`: findings about the facts of a namespace.

use std::collections::{BTreeMap, BTreeSet};

use agentkit::{
    drive::{RunClock as _, SystemClock},
    memory::long_term::{Fact, FactState, Namespace, Source, secret, text},
};
use agentkit_memory::Embedded;
use anyhow::Result;
use serde_json::{Value, json};

use super::each_fact;
use crate::{
    exit::Exit,
    output::{self, Table},
};

/// A fact that nobody has renewed for so long is stale, in microseconds: 400 days.
const STALE: i64 = 400 * 86_400_000_000;

/// Prints the findings; fails if there is a secret or a loop.
pub(super) async fn audit(store: &Embedded, space: &Namespace, json: bool) -> Result<Exit> {
    let mut facts = Vec::new();
    each_fact(store, space, |fact| facts.push(fact.clone())).await?;
    let found = findings(&facts, SystemClock.now_micros());
    let is_bad = found
        .iter()
        .any(|(kind, ..)| matches!(*kind, "secret" | "loop"));
    if json {
        let list: Vec<Value> = found
            .iter()
            .map(|(kind, id, what)| json!({"kind": kind, "fact": id, "what": what}))
            .collect();
        output::json(&json!({"facts": facts.len(), "findings": list}));
    } else {
        let mut table = Table::new(&["FINDING", "FACT", "WHAT"]);
        for (kind, id, what) in &found {
            table.add_row([(*kind).to_owned(), id.clone(), output::one_line(what)]);
        }
        table.print();
        output::status!("facts: {}, findings: {}", facts.len(), found.len());
    }
    Ok(if is_bad { Exit::Failed } else { Exit::Ok })
}

/// Kind, fact and explanation of each finding.
fn findings(facts: &[Fact], now_micros: i64) -> Vec<(&'static str, String, String)> {
    let mut found = Vec::new();
    let current = || facts.iter().filter(|fact| fact.state == FactState::Current);
    let texts: BTreeMap<&str, String> = current()
        .map(|fact| (fact.id.as_str(), text::normal(&fact.text)))
        .collect();
    let mut by_words: BTreeMap<BTreeSet<String>, &str> = BTreeMap::new();
    for fact in current() {
        if let Some(form) = secret(&fact.text) {
            found.push((
                "secret",
                fact.id.clone(),
                format!("holds what looks like {form}"),
            ));
        }
        let words = text::telling(&fact.text);
        if let Some(first) = by_words.get(&words) {
            let what = format!("has the words of {first}");
            found.push(("duplicate", fact.id.clone(), what));
        } else {
            by_words.insert(words, &fact.id);
        }
        let by_task = matches!(fact.provenance.source, Source::Model | Source::Run);
        let own = &texts[fact.id.as_str()];
        for origin in fact.provenance.derived_from.iter().filter(|_| by_task) {
            if texts
                .get(origin.as_str())
                .is_some_and(|text| text.contains(own))
            {
                found.push((
                    "loop",
                    fact.id.clone(),
                    format!("repeats {origin}, which its task had read"),
                ));
            }
        }
        if now_micros.saturating_sub(fact.valid_micros) > STALE {
            found.push((
                "stale",
                fact.id.clone(),
                "was not renewed for 400 days".to_owned(),
            ));
        }
        if by_task && fact.provenance.task.is_none() {
            found.push(("untraceable", fact.id.clone(), "names no task".to_owned()));
        }
    }
    let mut pairs: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for fact in current() {
        let (Some(subject), Some(relation)) = (&fact.subject, &fact.relation) else {
            continue;
        };
        if let Some(first) = pairs.insert((subject, relation), &fact.id) {
            let what = format!("says of the same subject and relation something else than {first}");
            found.push(("contradiction", fact.id.clone(), what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use agentkit::memory::long_term::Provenance;

    use super::*;

    fn fact(id: &str, text: &str) -> Fact {
        Fact {
            id: id.to_owned(),
            namespace: Namespace::of_agent("default", "clerk"),
            text: text.to_owned(),
            subject: None,
            relation: None,
            labels: BTreeSet::new(),
            state: FactState::Current,
            created_micros: 0,
            valid_micros: 0,
            expires_micros: None,
            superseded_by: None,
            reason: None,
            provenance: Provenance::default(),
        }
    }

    #[test]
    fn each_kind_of_finding_is_found() {
        let pair = |id: &str, text: &str| Fact {
            subject: Some("Ada".to_owned()),
            relation: Some("employer".to_owned()),
            ..fact(id, text)
        };
        let by_model = |id: &str, text: &str| Fact {
            provenance: Provenance {
                source: Source::Model,
                derived_from: vec!["f1".to_owned()],
                ..Provenance::default()
            },
            ..fact(id, text)
        };
        let facts = [
            fact("f1", "The port of Zephyr is 8443"),
            fact("f2", "8443 is the port of Zephyr"),
            by_model("f3", "port of Zephyr is 8443."),
            pair("f4", "Ada works at A"),
            pair("f5", "Ada works at B"),
            fact("f6", "her password is hunter2!"),
            Fact {
                state: FactState::Deleted,
                ..fact("f7", "her password is hunter2!")
            },
        ];
        let kinds = |now| -> Vec<(&str, String)> {
            findings(&facts, now)
                .into_iter()
                .map(|(kind, id, _)| (kind, id))
                .collect()
        };
        let expected = [
            ("duplicate", "f2"),
            ("duplicate", "f3"),
            ("loop", "f3"),
            ("untraceable", "f3"),
            ("secret", "f6"),
            ("contradiction", "f5"),
        ];
        assert_eq!(kinds(1), expected.map(|(kind, id)| (kind, id.to_owned())));
        assert_eq!(
            kinds(STALE + 1).len(),
            expected.len() + 6,
            "all current facts are stale"
        );
    }
}
