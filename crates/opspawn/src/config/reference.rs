//! The reference page of settings: its keys, variables, defaults and kinds are those of the code.

use std::collections::BTreeSet;

use super::{Kind, SETTINGS, settings::Setting};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
/// A default that depends on other settings; the last cell says how.
const SEE_WHAT: &str = "see what";

/// The row of a setting: all cells but the last one are made here, and so is the word that the last one begins with.
fn row(setting: &Setting, written: &str) -> String {
    let cells: Vec<&str> = written
        .trim_matches('|')
        .splitn(5, '|')
        .map(str::trim)
        .collect();
    let what = cells.get(4).copied().unwrap_or_default();
    let default = match setting.default {
        Some(default) => format!("`{default}`"),
        None => match cells.get(3) {
            // Where the code has no default, the page may say in words what holds.
            Some(words) => (*words).to_owned(),
            None => String::new(),
        },
    };
    let legacy = setting.legacy.first();
    let cells = [
        format!("`{}`", setting.key),
        format!("`{}`", setting.env),
        legacy.map_or_else(String::new, |name| format!("`{name}`")),
        default,
        kind(setting.kind, what),
    ];
    let mut row = String::from("|");
    for cell in cells {
        row += &match cell.as_str() {
            "" => " |".to_owned(),
            cell => format!(" {cell} |"),
        };
    }
    row
}

/// What a setting does, with its kind before it.
fn kind(kind: Kind, what: &str) -> String {
    const LABELS: [&str; 9] = [
        "Secret: ",
        "List: ",
        "Number: ",
        "Count: ",
        "Percent: ",
        "USD: ",
        "Duration: ",
        "Switch: ",
        "Networks: ",
    ];
    let plain = LABELS.iter().find_map(|word| what.strip_prefix(word));
    let plain = plain.unwrap_or(what);
    let word = match kind {
        // Their values say what they are.
        Kind::Text | Kind::Loopback | Kind::Choice(_) | Kind::Temperature => {
            return plain.to_owned();
        }
        Kind::Secret => "Secret",
        Kind::List => "List",
        Kind::Number => "Number",
        Kind::Count => "Count",
        Kind::Percent => "Percent",
        Kind::Usd => "USD",
        Kind::Duration | Kind::DurationFrom(_) => "Duration",
        Kind::Switch => "Switch",
        Kind::Networks => "Networks",
    };
    format!("{word}: {plain}")
}

/// The first cell of a row, if it is the key of a setting.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix("| `")?.split_once("` | `OPSPAWN_")?;
    Some(key)
}

/// `OPSPAWN_BLESS=1 cargo test` writes the cells anew.
#[test]
fn the_reference_page_is_that_of_the_settings() {
    let before = std::fs::read_to_string(PAGE).unwrap();
    let mut listed = BTreeSet::new();
    let page: String = before
        .lines()
        .map(|line| match key(line) {
            Some(key) => {
                let setting = SETTINGS.iter().find(|setting| setting.key == key);
                let setting = setting.unwrap_or_else(|| {
                    panic!("docs/configuration.md: there is no setting `{key}`")
                });
                assert!(
                    listed.insert(key),
                    "docs/configuration.md has `{key}` twice"
                );
                row(setting, line) + "\n"
            }
            None => format!("{line}\n"),
        })
        .collect();
    for setting in SETTINGS {
        let missing = !listed.contains(setting.key);
        let empty = format!("| | | | {SEE_WHAT} | {} |", setting.doc);
        assert!(
            !missing,
            "docs/configuration.md lacks a row such as\n{}",
            row(setting, &empty)
        );
        // The first one is in the setting's own row.
        for name in setting.legacy.iter().skip(1) {
            let row = format!("| | | `{name}` |");
            assert!(page.contains(&row), "docs/configuration.md lacks {row}");
        }
    }
    if std::env::var_os("OPSPAWN_BLESS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
        return;
    }
    for (is, is_to_be) in before.lines().zip(page.lines()) {
        assert_eq!(
            is, is_to_be,
            "OPSPAWN_BLESS=1 writes docs/configuration.md anew"
        );
    }
}
