//! How vague the doc comments of a crate are: pronouns that leave their noun to the reader, for each 100 words.
//!
//! Such pronouns are `what`, `whatever`, `whoever`, `somebody`, `nobody`, `something`, `anything`, `nothing`,
//! `everything` and `none`; `one` and `those` where no noun follows; `it` where no noun precedes it in its sentence.
//! `xtask/prose.toml` has a ceiling for each crate, which follows the figure down: so the figure can only fall.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::source::Source;

/// The file with the ceilings, from the repository's root.
pub(super) const FILE: &str = "xtask/prose.toml";
/// How far a ceiling may lie above the figure, in hundredths of a pronoun for each 100 words.
const SLACK: u64 = 30;

/// Pronouns that name no noun wherever they stand.
const VAGUE: [&str; 13] = [
    "anything",
    "everything",
    "nobody",
    "none",
    "nothing",
    "somebody",
    "someone",
    "something",
    "what",
    "whatever",
    "whichever",
    "whoever",
    "anybody",
];
/// Words before a noun: `it` after one of them, or after code, has a noun that it may stand for.
const DETERMINERS: [&str; 22] = [
    "a", "an", "another", "any", "both", "each", "either", "every", "its", "many", "more", "no",
    "of", "other", "some", "such", "the", "their", "these", "this", "two", "whose",
];
/// Words that are no noun: after them `one` and `those` stand alone.
const FUNCTION_WORDS: [&str; 54] = [
    "after", "again", "alone", "already", "also", "and", "are", "as", "at", "be", "before", "but",
    "by", "can", "cannot", "did", "do", "does", "for", "from", "goes", "had", "has", "have", "if",
    "in", "is", "it", "may", "must", "not", "of", "on", "only", "or", "than", "that", "the",
    "then", "they", "to", "too", "until", "was", "were", "when", "where", "which", "while", "who",
    "whose", "will", "with", "without",
];

/// Words of doc comments, and the vague pronouns among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    words: u64,
    vague: u64,
}

impl Count {
    /// Counts the doc comments of a file: code blocks and `code` are no prose.
    pub(super) fn of_source(source: &Source<'_>) -> Self {
        let mut count = Self::default();
        let (mut block, mut last, mut is_code) = (String::new(), 0, false);
        for (text, line) in &source.docs {
            if *line != last + 1 {
                count.add(&block);
                block.clear();
                is_code = false;
            }
            last = *line;
            if text.trim_start().starts_with("```") {
                is_code = !is_code;
            } else if !is_code {
                block.push_str(if text.trim().is_empty() { "." } else { text });
                block.push(' ');
            }
        }
        count.add(&block);
        count
    }

    /// Counts the sentences of a comment.
    fn add(&mut self, block: &str) {
        // Code is a noun of one word.
        let pieces = block.split('`').enumerate();
        let plain: String = pieces
            .map(|(index, piece)| if index % 2 == 0 { piece } else { " the code " })
            .collect();
        for sentence in plain.split_inclusive(['.', ':', ';', '?']) {
            let words: Vec<&str> = sentence
                .split(|c: char| c.is_whitespace() || c == '(' || c == ')')
                .filter(|word| word.chars().any(char::is_alphabetic))
                .collect();
            self.words += words.len() as u64;
            let vague = (0..words.len()).filter(|at| is_vague(&words, *at)).count();
            self.vague += vague as u64;
        }
    }

    /// Vague pronouns for each 100 words, in hundredths.
    fn share(self) -> u64 {
        self.vague * 10_000 / self.words.max(1)
    }
}

/// A word without the marks around it, in small letters.
fn bare(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric())
        .to_lowercase()
}

fn is_vague(words: &[&str], at: usize) -> bool {
    let ends = words[at].ends_with(|c: char| !c.is_alphanumeric());
    let stands_alone = || {
        let next = words.get(at + 1).map(|next| bare(next));
        ends || next.is_none_or(|next| FUNCTION_WORDS.contains(&&*next))
    };
    match &*bare(words[at]) {
        "one" | "ones" | "those" => stands_alone(),
        "it" => !words[..at]
            .iter()
            .any(|before| DETERMINERS.contains(&&*bare(before))),
        word => VAGUE.contains(&word),
    }
}

/// The crate that a file belongs to; `None` for tests, which are read by those who change them.
pub(super) fn group(path: &str) -> Option<&str> {
    if super::of_tests(path) || path.contains("/benches/") {
        return None;
    }
    match path.split_once('/')? {
        ("crates", rest) => rest.split('/').next(),
        (folder, _) => Some(folder),
    }
}

/// Findings: a crate above its ceiling, or so far below it that the ceiling has to follow.
///
/// # Errors
/// If the text is not a table of ceilings.
pub(super) fn check(text: &str, counts: &BTreeMap<String, Count>) -> anyhow::Result<Vec<String>> {
    let ceilings: BTreeMap<String, f64> = toml::from_str(text).context(FILE)?;
    let mut wrong = Vec::new();
    for (name, count) in counts {
        let share = count.share();
        let shown = format!("{}.{:02}", share / 100, share % 100);
        let Some(ceiling) = ceilings.get(name) else {
            wrong.push(format!("{FILE}: `{name}` has no ceiling; it has {shown}"));
            continue;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a ceiling is a small positive figure"
        )]
        let ceiling = (ceiling * 100.0).round() as u64;
        if share > ceiling {
            wrong.push(format!(
                "{FILE}: doc comments of {name}: {shown} vague pronouns for each 100 words, more than its \
                 ceiling: name the nouns"
            ));
        } else if share + SLACK < ceiling {
            wrong.push(format!(
                "{FILE}: doc comments of {name}: {shown} vague pronouns for each 100 words: lower its ceiling"
            ));
        }
    }
    Ok(wrong)
}

/// The figure of all crates together, to print.
pub(super) fn total(counts: &BTreeMap<String, Count>) -> String {
    let all = counts.values().fold(Count::default(), |all, count| Count {
        words: all.words + count.words,
        vague: all.vague + count.vague,
    });
    let share = all.share();
    format!(
        "{}.{:02} vague pronouns for each 100 words of {} in doc comments",
        share / 100,
        share % 100,
        all.words
    )
}

/// Adds the counts of a file to those of its crate.
pub(super) fn add(counts: &mut BTreeMap<String, Count>, path: &str, source: &Source<'_>) {
    if let Some(name) = group(path) {
        let count = Count::of_source(source);
        let sum = counts.entry(name.to_owned()).or_default();
        sum.words += count.words;
        sum.vague += count.vague;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vague(comment: &str) -> u64 {
        Count::of_source(&Source::read(comment)).vague
    }

    #[test]
    fn pronouns_without_a_noun_are_counted() {
        for (comment, expected) in [
            ("/// What it does.", 2),
            ("/// The task, and when it ended.", 0),
            ("/// `Run`, if it has one.", 1),
            ("/// Ends one task, and those tasks.", 0),
            ("/// Ends the last one; those that wait.", 2),
            ("/// The task ends.\n/// It is over.", 1),
            ("// What it does.", 0),
            ("/// ```\n/// what()\n/// ```", 0),
            ("/// Somebody, `nobody`, None.", 2),
        ] {
            assert_eq!(vague(comment), expected, "{comment}");
        }
    }

    #[test]
    fn tests_are_not_counted_and_crates_are_told_apart() {
        assert_eq!(group("crates/a/src/b.rs"), Some("a"));
        assert_eq!(group("xtask/src/b.rs"), Some("xtask"));
        for path in [
            "crates/a/tests/it/b.rs",
            "crates/a/src/b/tests.rs",
            "build.rs",
        ] {
            assert_eq!(group(path), None, "{path}");
        }
    }

    #[test]
    fn a_figure_above_its_ceiling_fails_and_so_does_a_ceiling_that_stays_behind() {
        let count = Count {
            words: 1_000,
            vague: 20,
        };
        let counts = BTreeMap::from([("a".to_owned(), count)]);
        for (ceiling, findings) in [("1.9", 1), ("2.0", 0), ("2.3", 0), ("2.4", 1)] {
            let text = format!("a = {ceiling}");
            assert_eq!(check(&text, &counts).unwrap().len(), findings, "{text}");
        }
        assert_eq!(check("", &counts).unwrap().len(), 1);
        assert!(check("a = \"x\"", &counts).is_err());
    }
}
