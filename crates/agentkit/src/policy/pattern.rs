//! Patterns of names.

use std::str::FromStr;

/// A pattern of tool names; `*` stands for any number of characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern(String);

/// A pattern that no tool name can match, as a mistake in a deny rule would otherwise go unseen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tool pattern `{0}` is not valid: use letters, digits, `_`, `-` and `*`")]
pub struct InvalidPattern(String);

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = |c: char| c.is_ascii_alphanumeric() || "_-*".contains(c);
        if text.is_empty() || !text.chars().all(valid) {
            return Err(InvalidPattern(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Pattern {
    /// The pattern of any name.
    pub(super) fn any() -> Self {
        Self("*".to_owned())
    }

    pub(super) fn has_wildcard(&self) -> bool {
        self.0.contains('*')
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// Whether the whole name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        matches(&self.0, name)
    }
}

/// Whether the whole text matches the pattern, in which `*` stands for any number of characters.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut text) = text.strip_suffix(last) else {
        return false;
    };
    // Between the ends, taking each part where it first occurs leaves the most for the others.
    for part in middle.split('*') {
        let Some(at) = text.find(part) else {
            return false;
        };
        text = &text[at + part.len()..];
    }
    true
}

/// Whether the pattern matches every longer text that begins like this.
pub(super) fn matches_all_below(pattern: &str, beginning: &str) -> bool {
    let is_any = |rest: &&str| !rest.is_empty() && rest.bytes().all(|byte| byte == b'*');
    rests(pattern, beginning).iter().any(is_any)
}

/// Whether the pattern matches some longer text that begins like this.
pub(super) fn matches_some_below(pattern: &str, beginning: &str) -> bool {
    rests(pattern, beginning)
        .iter()
        .any(|rest| !rest.is_empty())
}

/// What may be left of the pattern once it has matched the beginning of a text.
fn rests<'a>(pattern: &'a str, beginning: &str) -> Vec<&'a str> {
    // Places in the pattern; after a `*` one may also be past it.
    let mut places = vec![0];
    past_stars(pattern, &mut places);
    for c in beginning.chars() {
        let mut next: Vec<usize> = places
            .into_iter()
            .filter_map(|at| match pattern[at..].chars().next()? {
                '*' => Some(at),
                expected if expected == c => Some(at + c.len_utf8()),
                _ => None,
            })
            .collect();
        past_stars(pattern, &mut next);
        places = next;
    }
    places.into_iter().map(|at| &pattern[at..]).collect()
}

/// Adds the places behind the stars at these.
fn past_stars(pattern: &str, places: &mut Vec<usize>) {
    let mut looked_at = 0;
    while let Some(&at) = places.get(looked_at) {
        if pattern[at..].starts_with('*') {
            places.push(at + 1);
        }
        looked_at += 1;
    }
    places.sort_unstable();
    places.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_all_or_some_of_what_begins_alike() {
        for (pattern, beginning, all, some) in [
            ("a/*", "a/", true, true),
            ("a/*", "a/b/", true, true),
            ("a/*", "", false, true),
            ("a/*", "b/", false, false),
            ("a/b", "a/", false, true),
            ("a", "a", false, false),
            ("*", "", true, true),
            ("**", "x", true, true),
            ("*.md", "docs/", false, true),
            ("*/b*", "a/b", true, true),
            ("*/b*", "a/", false, true),
            ("\u{e4}*", "\u{e4}\u{e4}", true, true),
        ] {
            assert_eq!(
                matches_all_below(pattern, beginning),
                all,
                "{pattern} {beginning}"
            );
            assert_eq!(
                matches_some_below(pattern, beginning),
                some,
                "{pattern} {beginning}"
            );
        }
    }

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_match_whole_names() {
        for (text, name, expected) in [
            ("read_file", "read_file", true),
            ("read_file", "read_file2", false),
            ("read", "read_file", false),
            ("*", "anything", true),
            ("*", "", true),
            ("read_*", "read_file", true),
            ("read_*", "read_", true),
            ("read_*", "unread_file", false),
            ("*_file", "read_file", true),
            ("*_file", "read_files", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a*bc*c", "abc", false),
            ("**", "x", true),
            ("*a*b*", "xxbxa", false),
            ("*a*b*", "xxaxb", true),
        ] {
            assert_eq!(pattern(text).matches(name), expected, "{text} on {name}");
        }
    }

    #[test]
    fn a_pattern_that_matches_no_tool_is_refused() {
        for text in ["", "read file", "sh[ea]ll", "a/b", "größe"] {
            assert_eq!(
                text.parse::<Pattern>(),
                Err(InvalidPattern(text.to_owned()))
            );
        }
    }
}
