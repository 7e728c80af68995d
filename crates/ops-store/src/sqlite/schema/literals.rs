//! What migrations and statements write out is what the rules say. An applied migration never changes, so
//! a rule that changes needs a new one: these tests say so.

use std::{collections::BTreeSet, fs, path::Path};

use ops_core::{
    ApprovalStatus, Wait,
    rules::{
        claim::CRASH_LOOP_LOSSES,
        fork::{EXTERNAL_KINDS, is_copied},
        links::MAX_INLINE_BYTES,
    },
    schedule::Trigger,
    task::{PAUSED, StateName},
};
use serde_json::json;

use super::MIGRATIONS;
use crate::sqlite::values::blob::INLINE;

/// Every migration and every file with statements, by name.
fn texts() -> Vec<(String, String)> {
    fn read(dir: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, found);
            } else if !path.ends_with("literals.rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                // What tests write is wrong on purpose now and then.
                let code = text.split("#[cfg(test)]\nmod tests").next();
                let text = code.unwrap_or_default().to_owned();
                found.push((path.display().to_string(), text));
            }
        }
    }
    let mut found: Vec<_> = (1..)
        .zip(MIGRATIONS)
        .map(|(number, text)| (format!("migration {number}"), (*text).to_owned()))
        .collect();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sqlite");
    read(&source, &mut found);
    found
}

/// The literals that follow a marker, each with the place: one, or a list in parentheses.
fn literals(marker: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (name, text) in texts() {
        for (at, _) in text.match_indices(marker) {
            // A column of another name that ends alike.
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &text[at + marker.len()..];
            let is_list = marker.ends_with('(');
            if !is_list && !rest.starts_with('\'') {
                continue;
            }
            let mut parts = rest.split(if is_list { ')' } else { '\'' });
            let listed = parts.nth(usize::from(!is_list)).unwrap_or_default();
            let names = match is_list {
                true => listed.split('\'').skip(1).step_by(2).collect(),
                false => vec![listed],
            };
            // A name that is put in by the program is no literal.
            let names = names.into_iter().filter(|name| !name.contains('{'));
            found.push((name.clone(), names.map(str::to_owned).collect()));
        }
    }
    found
}

/// The numbers that follow a marker, with the place.
fn numbers(marker: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for (name, text) in texts() {
        for (at, _) in text.match_indices(marker) {
            let rest = &text[at + marker.len()..];
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            // A number that is bound from the constant is no literal.
            if let Ok(number) = digits.parse() {
                found.push((name.clone(), number));
            }
        }
    }
    found
}

#[test]
fn suspects_and_flags() {
    let losses = numbers("lease_losses >= ");
    assert!(losses.len() >= 3, "{losses:?}");
    for (place, number) in losses {
        assert_eq!(number, u64::from(CRASH_LOOP_LOSSES), "{place}");
    }
    let flags = numbers("flags & ");
    assert!(!flags.is_empty());
    for (place, number) in flags {
        assert_eq!(number, u64::from(PAUSED), "{place}");
    }
    assert_eq!(INLINE, MAX_INLINE_BYTES);
    assert!(EXTERNAL_KINDS.into_iter().all(is_copied));
}

#[test]
fn names_of_states() {
    let terminal: BTreeSet<&str> = StateName::ALL
        .into_iter()
        .filter(|state| state.is_terminal())
        .map(StateName::as_str)
        .collect();
    let mut seen = 0;
    for marker in ["state = ", "state IN (", "state NOT IN ("] {
        for (place, names) in literals(marker) {
            let known = names
                .iter()
                .all(|name| StateName::from_name(name).is_some());
            assert!(known, "{place}: {names:?}");
            seen += names.len();
            // A list with one end has all of them.
            let ends = names.iter().filter(|name| terminal.contains(name.as_str()));
            let ends = ends.count();
            if names.len() > 1 && ends > 0 {
                assert_eq!(
                    (ends, names.len()),
                    (terminal.len(), terminal.len()),
                    "{place}"
                );
            }
        }
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn names_of_waits_approvals_and_triggers() {
    let waits = [
        json!({"on": "concurrency", "key": "k"}),
        json!({"on": "in_doubt", "steps": []}),
        json!({"on": "budget", "limit": "l", "message": "m"}),
    ];
    let waits = waits.map(|wait| serde_json::from_value::<Wait>(wait).unwrap().name());
    let (found, mut seen) = (literals("wait_on = "), 0);
    for (place, names) in found {
        for name in names {
            assert!(waits.contains(&name.as_str()), "{place}: {name}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen}");
    for (place, names) in literals("status = ") {
        for name in names {
            assert!(
                ApprovalStatus::from_name(&name).is_some(),
                "{place}: {name}"
            );
        }
    }
    for (place, names) in literals("cause = ") {
        for name in names {
            assert_eq!(name, Trigger::Due.as_str(), "{place}");
        }
    }
}
