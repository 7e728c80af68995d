//! Databases that agents may ask: `[tools.sql.NAME]` in the file.

use std::collections::BTreeMap;

use agentkit_sql::{Declared, Definition};
use anyhow::{Result, bail};
use serde::Deserialize;
use toml::Spanned;

use super::commands::{header, mistake};

/// The part of a file that declares them.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    tools: Tools,
}

#[derive(Default, Deserialize)]
struct Tools {
    #[serde(default)]
    sql: BTreeMap<String, Spanned<Definition>>,
}

/// The declarations of a file's text. A mistake is told with its line.
pub(super) fn read(text: &str, place: &str) -> Result<Vec<Declared>> {
    let file: File = toml::from_str(text).map_err(|error| mistake(text, place, &error))?;
    let mut declared = Vec::with_capacity(file.tools.sql.len());
    for (name, definition) in file.tools.sql {
        let line = header(text, "sql", &name, definition.span().start);
        let at = format!("{place}, line {line}");
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            bail!(
                "{at}: a database's name is 1 to 64 of a-z, A-Z, 0-9, `_` and `-`, and not `{name}`"
            );
        }
        let definition = definition.into_inner();
        if let Err(mistake) = definition.check() {
            bail!("{at}: database `{name}`: {mistake}");
        }
        declared.push(Declared {
            name,
            definition,
            at,
        });
    }
    Ok(declared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read_and_a_mistake_names_its_line() {
        let text = "listen = 'x'\n\n[tools.sql.shop]\ndescription = 'Orders'\nfile = 'shop.db'\n";
        let declared = read(text, "file").unwrap();
        assert_eq!(declared.len(), 1);
        let at = (declared[0].name.as_str(), declared[0].at.as_str());
        assert_eq!(at, ("shop", "file, line 3"));
        for (table, says) in [
            (
                "description = 'x'",
                "line 2: database `shop`: write either `file`",
            ),
            (
                "description = 'x'\nfil = 'x'",
                "line 4: database `shop`, `fil`: there is no key `fil`; did you mean `file`?",
            ),
            (
                "file = 'x'",
                "line 2: database `shop`: `description` is missing",
            ),
            (
                "description = 'x'\nfile = 7",
                "line 4: database `shop`, `file`: it must be a text, and is the number `7`",
            ),
            (
                "description = 'x'\nfile = 'x'\ntimeout = 'soon'",
                "line 5: database `shop`, `timeout`: ",
            ),
        ] {
            let text = format!("# first\n[tools.sql.shop]\n{table}\n");
            let error = read(&text, "file").unwrap_err().to_string();
            assert!(error.contains(says), "{table}: {error}");
        }
        let error = read("[tools.sql.'a b']\ndescription = 'x'\nfile = 'x'", "file");
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("a database's name is")
        );
    }
}
