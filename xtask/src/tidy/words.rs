//! Identifiers that made way for others: `xtask/words.toml` has each with the one that took its place.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::source::Source;

/// The file with the pairs, from the repository's root.
pub(super) const FILE: &str = "xtask/words.toml";

/// Old identifiers and new ones, by the folder in which the old one must not stand; `""` is everywhere.
#[derive(Debug)]
pub(super) struct Words(BTreeMap<String, BTreeMap<String, String>>);

impl Words {
    /// Reads the file: a table for each folder, of `old = "new"`.
    ///
    /// # Errors
    /// If the text is not such a file, or a new identifier is an old one in the same folder.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let tables: BTreeMap<String, BTreeMap<String, String>> =
            toml::from_str(text).context(FILE)?;
        for (folder, pairs) in &tables {
            for (old, new) in pairs {
                anyhow::ensure!(
                    old != new && !pairs.contains_key(new),
                    "{FILE}: [{folder}]: `{old}` would become `{new}`, which is to be replaced as well"
                );
            }
        }
        Ok(Self(tables))
    }

    /// One finding for each old identifier in a file.
    pub(super) fn of_source(&self, path: &str, source: &Source<'_>) -> Vec<String> {
        let tables = self.0.iter();
        let pairs: Vec<_> = tables
            .filter(|(folder, _)| path.starts_with(folder.as_str()))
            .map(|(_, pairs)| pairs)
            .collect();
        let mut wrong = Vec::new();
        for (name, line) in &source.identifiers {
            if let Some(new) = pairs.iter().find_map(|pairs| pairs.get(*name)) {
                wrong.push(format!(
                    "{path}:{line}: `{name}` is called `{new}` ({FILE})"
                ));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let words =
            Words::parse("\"\" = {Wish = \"Request\"}\n\"crates/a/\" = {draft = \"builder\"}");
        words.unwrap().of_source(path, &Source::read(text))
    }

    #[test]
    fn an_old_identifier_is_found_whole_and_in_its_folder() {
        let wish = "b.rs:2: `Wish` is called `Request` (xtask/words.toml)";
        assert_eq!(found("b.rs", "\nstruct Wish;"), [wish]);
        assert_eq!(found("crates/a/src/c.rs", "let draft = Wish;").len(), 2);
        for text in [
            "struct Wishes;",
            "struct WishList;",
            "// Wish",
            "\"Wish\"",
            "let draft = 1;",
        ] {
            assert!(found("crates/b/src/c.rs", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_pair_that_leads_to_an_old_identifier_is_refused() {
        for text in [
            "\"\" = {a = \"b\", b = \"c\"}",
            "\"\" = {a = \"a\"}",
            "\"\" = {a = 1}",
        ] {
            assert!(Words::parse(text).is_err(), "{text}");
        }
    }
}
