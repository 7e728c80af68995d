//! Splits Rust source into identifiers and doc comments: the checks of words and of prose read no more of it.

/// The parts of one file that the checks read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Source<'a> {
    /// Identifiers outside of comments and literals, each with its line, counted from 1.
    pub(super) identifiers: Vec<(&'a str, usize)>,
    /// The text of each line of a doc comment, without its slashes, and the line's number.
    pub(super) docs: Vec<(&'a str, usize)>,
}

impl<'a> Source<'a> {
    /// Reads a file. Source that rustc refuses gives some parts or none, and never a panic.
    pub(super) fn read(text: &'a str) -> Self {
        let mut source = Self::default();
        let (mut at, mut line) = (0, 1);
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            let length = if rest.starts_with("//") {
                let comment = rest.split('\n').next().unwrap_or(rest);
                source.docs.extend(doc(comment).map(|doc| (doc, line)));
                comment.len()
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else if c == '"' {
                string(rest)
            } else if c == '\'' {
                character(rest)
            } else if is_start(c) {
                let length = rest
                    .find(|c: char| !is_start(c) && !c.is_ascii_digit())
                    .unwrap_or(rest.len());
                match literal(&rest[..length], &rest[length..]) {
                    Some(more) => length + more,
                    None => {
                        source.identifiers.push((&rest[..length], line));
                        length
                    }
                }
            } else if c.is_ascii_digit() {
                // A number takes its suffix along, which is no identifier.
                rest.find(|c: char| !is_start(c) && !c.is_ascii_digit())
                    .unwrap_or(rest.len())
            } else {
                c.len_utf8()
            };
            line += rest[..length].matches('\n').count();
            at += length;
        }
        source
    }
}

fn is_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

/// The text of a doc comment; `None` for an ordinary comment.
fn doc(comment: &str) -> Option<&str> {
    let text = comment
        .strip_prefix("///")
        .or_else(|| comment.strip_prefix("//!"))?;
    (!text.starts_with('/')).then_some(text)
}

/// The length of a string that begins with its quote.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character, or of the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[2..]
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == '\'')
            .map_or(text.len(), |(at, _)| at + 3),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            Some(_) | None => 1,
        },
        None => 1,
    }
}

/// How many bytes after the prefix belong to a literal such as `r#".."#`; `None` for an identifier.
fn literal(prefix: &str, rest: &str) -> Option<usize> {
    match prefix {
        "b" | "c" if rest.starts_with('"') => Some(string(rest)),
        "b" if rest.starts_with('\'') => Some(character(rest)),
        "r" | "br" | "cr" => {
            let hashes = rest.len() - rest.trim_start_matches('#').len();
            let body = rest[hashes..].strip_prefix('"')?;
            let end = format!("\"{}", "#".repeat(hashes));
            let length = body.find(&end).map_or(body.len(), |at| at + end.len());
            Some(hashes + 1 + length)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifiers(text: &str) -> Vec<&str> {
        let source = Source::read(text);
        source
            .identifiers
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn literals_and_comments_hold_no_identifiers() {
        let text = r###"let a = "b \" c" + r#"d " e"# + b"f" + 'g' + '\'' + '\u{41}' + 0x1fu8; // h
            /* i */ fn j<'k>(l: &'k str) { 1..m; 'n'.o(); }"###;
        let expected = ["let", "a", "fn", "j", "k", "l", "k", "str", "m", "o"];
        assert_eq!(identifiers(text), expected);
        assert_eq!(identifiers("r#type"), ["r", "type"]);
    }

    #[test]
    fn lines_are_counted_through_literals() {
        let source = Source::read("//! x\n\"\n\n\"; a /*\n*/ b\n/// y\n//// z\n// w\n");
        assert_eq!(source.identifiers, [("a", 4), ("b", 5)]);
        assert_eq!(source.docs, [(" x", 1), (" y", 6)]);
    }

    #[test]
    fn source_that_breaks_off_is_read_to_its_end() {
        for text in [
            "\"a", "r#\"a", "'", "'\\", "/* a", "b'", "a'é", "r##", "'\\u",
        ] {
            Source::read(text);
        }
    }
}
