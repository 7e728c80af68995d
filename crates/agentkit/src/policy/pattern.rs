//! Patterns of names.

use std::str::FromStr;

/// A pattern of tool names; `*` stands for any number of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use super::*;

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
