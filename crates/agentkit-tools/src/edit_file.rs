//! `edit_file`: replaces a piece of text in a file of the workspace.

use std::{borrow::Cow, ops::Range, sync::Arc};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    quota::Quota,
    replace::{Destination, replace},
    workspace::{blocking, failure, file_path, read_whole},
};

/// The largest file that is edited, before and after, in bytes.
const MAX_FILE: usize = 16 << 20;
/// How many places are told at most.
const MAX_LISTED: usize = 10;
/// How many characters of a text with other white space are told.
const EXCERPT_LIMIT: usize = 300;
/// How many characters are compared to find it.
const MAX_STEPS: usize = 50_000_000;

pub(crate) struct EditFile {
    spec: ToolSpec,
    quota: Arc<Quota>,
}

#[derive(Deserialize)]
struct Arguments {
    path: String,
    old: String,
    new: String,
    #[serde(default)]
    all: bool,
}

impl EditFile {
    pub(crate) fn new(quota: &Arc<Quota>) -> Self {
        let description = "Replaces a piece of text in a text file of the workspace. The old text \
            must occur exactly once, or `all` be set: give enough of what is around it.";
        let schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Relative to the workspace"},
                "old": {
                    "type": "string", "minLength": 1,
                    "description": "What is there now, exactly, white space included; line ends \
                        may be \\n whatever the file has",
                },
                "new": {
                    "type": "string",
                    "description": "What takes its place, with the line ends of the file",
                },
                "all": {"type": "boolean", "description": "Replace every occurrence; false"},
            },
            "required": ["path", "old", "new"],
            "additionalProperties": false,
        });
        // Not idempotent, although the file is replaced as a whole: an edit whose new text holds the
        // old one would be made twice.
        Self {
            spec: ToolSpec::new("edit_file", description, schema).effect(Effect::Write),
            quota: Arc::clone(quota),
        }
    }
}

impl Tool for EditFile {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, arguments: &Value) -> Resources {
        let file = || [Resource::file(crate::text(arguments, "path"))];
        Resources::reads(file()).and_writes(file())
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let arguments: Arguments = crate::arguments(arguments)?;
            let given = file_path(&arguments.path)?;
            let destination = Destination::of(context, &self.quota);
            let (path, edited) = blocking(context, move |root, abandoned| {
                // A link stays one: what it leads to is edited.
                let path = root
                    .canonicalize(&given)
                    .map_err(|error| failure(&given, &error))?;
                let content = read_whole(root, &path, MAX_FILE as u64)?;
                let content = String::from_utf8(content).map_err(|_| {
                    let message = format!(
                        "`{}` is not UTF-8 text; read_file shows what it says, and write_file \
                         writes it anew as UTF-8",
                        given.display()
                    );
                    Failure::last("not_text", message)
                })?;
                let edited = edit(&content, &arguments)?;
                let path = replace(
                    root,
                    &path,
                    edited.content.as_bytes(),
                    &destination,
                    abandoned,
                )?;
                Ok((path, edited))
            })
            .await?;
            let path = path.to_string_lossy().into_owned();
            let content = Bytes::from(edited.content);
            let mut result = json!({
                "path": path,
                "replaced": edited.replaced,
                "line": edited.line,
                "bytes": content.len(),
            });
            if let Some(ends) = edited.converted {
                result["line_ends"] = ends.name().into();
            }
            Ok(ToolOutput {
                content: result,
                files: vec![(path, Some(content))],
                parts: Vec::new(),
                follow_up: None,
            })
        })
    }
}

#[derive(Debug, PartialEq)]
struct Edited {
    content: String,
    /// How many occurrences were replaced.
    replaced: usize,
    /// Where the first one begins, from 1.
    line: usize,
    /// The line ends that the new text was given, if it had others.
    converted: Option<Ends>,
}

/// How lines end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Lf,
    Crlf,
}

impl Ends {
    /// The line ends of most of the lines, if there are any.
    fn of(text: &str) -> Option<Self> {
        let all = text.matches('\n').count();
        let crlf = text.matches("\r\n").count();
        (all > 0).then_some(if 2 * crlf > all { Self::Crlf } else { Self::Lf })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lf => "LF",
            Self::Crlf => "CRLF",
        }
    }

    /// The text with these line ends.
    fn of_text(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Lf if !text.contains("\r\n") => Cow::Borrowed(text),
            Self::Lf => Cow::Owned(text.replace("\r\n", "\n")),
            Self::Crlf if !text.contains('\n') => Cow::Borrowed(text),
            Self::Crlf => Cow::Owned(text.replace("\r\n", "\n").replace('\n', "\r\n")),
        }
    }
}

fn edit(content: &str, arguments: &Arguments) -> Result<Edited, Failure> {
    let Arguments {
        path,
        old,
        new,
        all,
    } = arguments;
    // As it is given first: a file may have line ends of both kinds.
    let forms = [
        Cow::Borrowed(old.as_str()),
        Ends::Crlf.of_text(old),
        Ends::Lf.of_text(old),
    ];
    let found = forms
        .into_iter()
        .find_map(|old| content.find(&*old).map(|first| (old, first)));
    let Some((old, first)) = found else {
        if old == new {
            return Err(unchanged());
        }
        return Err(missing(content, path, old));
    };
    // The new text takes the line ends of what it replaces, or else of the file.
    let ends = Ends::of(&old).or_else(|| Ends::of(content));
    let given = new.as_str();
    let new = ends.map_or(Cow::Borrowed(given), |ends| ends.of_text(given));
    if old == new {
        return Err(unchanged());
    }
    let (old, new) = (&*old, &*new);
    let line = line_of(content, first);
    if !all {
        let places = places(content, old);
        if places.len() > 1 {
            return Err(ambiguous(content, path, &places));
        }
    }
    let replaced = if *all {
        content.matches(old).count()
    } else {
        1
    };
    let size =
        (content.len() - replaced * old.len()).saturating_add(replaced.saturating_mul(new.len()));
    if size > MAX_FILE {
        let message = format!("`{path}` would have {size} bytes, and {MAX_FILE} is the limit");
        return Err(Failure::last("file_too_large", message));
    }
    Ok(Edited {
        content: content.replacen(old, new, replaced),
        replaced,
        line,
        converted: ends.filter(|_| new != given),
    })
}

fn unchanged() -> Failure {
    let message = "`old` and `new` are the same: there is nothing to change";
    Failure::last("nothing_to_change", message)
}

/// Where the text occurs, also where two occurrences overlap; a few more than are told.
fn places(content: &str, text: &str) -> Vec<usize> {
    let mut places = Vec::new();
    let mut from = 0;
    while let Some(at) = content[from..].find(text)
        && places.len() <= MAX_LISTED
    {
        places.push(from + at);
        from += at + text.chars().next().map_or(1, char::len_utf8);
    }
    places
}

fn line_of(content: &str, at: usize) -> usize {
    content[..at].matches('\n').count() + 1
}

fn missing(content: &str, path: &str, old: &str) -> Failure {
    let hint = match spaced_otherwise(content, old) {
        Some(there) => {
            let line = line_of(content, there.start);
            let text: String = content[there].chars().take(EXCERPT_LIMIT).collect();
            format!("at line {line} it stands with other white space, as {text:?}")
        }
        None => "read the file and copy the text exactly".to_owned(),
    };
    let message = format!("the old text does not occur in `{path}`; {hint}");
    Failure::last("text_not_found", message)
}

/// Where the text stands, were it not for white space.
fn spaced_otherwise(content: &str, text: &str) -> Option<Range<usize>> {
    let wanted: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let first = *wanted.first()?;
    let mut steps = 0;
    for (start, _) in content.match_indices(first) {
        let mut left = wanted.iter();
        let mut next = left.next();
        for (at, c) in content[start..].char_indices() {
            steps += 1;
            if steps > MAX_STEPS {
                return None;
            }
            if c.is_whitespace() {
                continue;
            }
            if next != Some(&c) {
                break;
            }
            next = left.next();
            if next.is_none() {
                return Some(start..start + at + c.len_utf8());
            }
        }
    }
    None
}

fn ambiguous(content: &str, path: &str, places: &[usize]) -> Failure {
    let lines: Vec<_> = places
        .iter()
        .take(MAX_LISTED)
        .map(|at| line_of(content, *at).to_string())
        .collect();
    let more = if places.len() > MAX_LISTED {
        " and more"
    } else {
        ""
    };
    let message = format!(
        "the old text occurs more than once in `{path}`, at lines {}{more}; give more of what is \
         around it, or set `all`",
        lines.join(", ")
    );
    Failure::last("text_not_unique", message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn once(content: &str, old: &str, new: &str) -> Result<Edited, Failure> {
        edit(content, &arguments(old, new, false))
    }

    fn arguments(old: &str, new: &str, all: bool) -> Arguments {
        Arguments {
            path: "a.txt".to_owned(),
            old: old.to_owned(),
            new: new.to_owned(),
            all,
        }
    }

    #[test]
    fn one_occurrence_is_replaced() {
        let edited = once("one\ntwo\nthree\n", "two\n", "2\n2\n").unwrap();
        assert_eq!(edited.content, "one\n2\n2\nthree\n");
        assert_eq!((edited.replaced, edited.line), (1, 2));
        assert_eq!(once("abc", "b", "").unwrap().content, "ac");
    }

    #[test]
    fn more_than_one_is_not_guessed() {
        let error = once("x\ny\nx\n", "x", "z").unwrap_err();
        assert_eq!(error.code, "text_not_unique");
        assert!(
            error.message.contains("at lines 1, 3;"),
            "{}",
            error.message
        );
        // These overlap: which one is meant cannot be known either.
        assert_eq!(once("aaa", "aa", "b").unwrap_err().code, "text_not_unique");
        assert_eq!(once("äää", "ää", "b").unwrap_err().code, "text_not_unique");
        let many = once(&"x\n".repeat(50), "x", "y").unwrap_err();
        assert!(many.message.contains("9, 10 and more;"), "{}", many.message);
        let edited = edit("x\ny\nx\n", &arguments("x", "z", true)).unwrap();
        assert_eq!((edited.content.as_str(), edited.replaced), ("z\ny\nz\n", 2));
    }

    #[test]
    fn none_is_told_with_a_hint() {
        for (content, old, hint) in [
            (
                "  a b\n",
                "  a b ",
                "at line 1 it stands with other white space, as \"a b\"",
            ),
            // tools/T12: also where it differs within.
            ("x\nif a  ==\tb {\n", "if a == b {", "at line 2"),
            ("x\nf(a,\n  b)\n", "f(a, b)", "as \"f(a,\\n  b)\""),
            ("a=1\n", "a = 1", "as \"a=1\""),
            ("abc", "xyz", "copy the text exactly"),
            ("a b c", "a c", "copy the text exactly"),
            (
                &"ab".repeat(2_000_000),
                &format!("{}c", "ab ".repeat(10_000)),
                "copy the text",
            ),
        ] {
            let error = once(content, old, "new").unwrap_err();
            assert_eq!(error.code, "text_not_found");
            assert!(error.message.contains(hint), "{}", error.message);
        }
        assert_eq!(once("a", "a", "a").unwrap_err().code, "nothing_to_change");
    }

    /// tools/T12: a file keeps its line ends, whatever those of the arguments.
    #[test]
    fn line_ends_are_those_of_the_file() {
        for (content, old, new, expected, converted) in [
            (
                "a\r\nb\r\n",
                "b",
                "b\nc",
                "a\r\nb\r\nc\r\n",
                Some(Ends::Crlf),
            ),
            ("a\r\nb\r\n", "a\nb", "x\ny", "x\r\ny\r\n", Some(Ends::Crlf)),
            ("a\r\nb\r\n", "a\r\nb", "x\r\ny", "x\r\ny\r\n", None),
            ("a\nb\n", "a\r\nb", "x\r\ny", "x\ny\n", Some(Ends::Lf)),
            ("a\nb\n", "b", "b\r\nc", "a\nb\nc\n", Some(Ends::Lf)),
            // One of both kinds: what is replaced counts.
            ("a\r\nb\nc\r\n", "b\nc", "x\ny", "a\r\nx\ny\r\n", None),
            (
                "a\r\nb\nc\r\n",
                "a\nb",
                "x\ny",
                "x\r\ny\nc\r\n",
                Some(Ends::Crlf),
            ),
            (
                "a\r\nb\nc\r\n",
                "c",
                "x\ny",
                "a\r\nb\nx\r\ny\r\n",
                Some(Ends::Crlf),
            ),
            ("ab", "b", "c\r\nd", "ac\r\nd", None),
        ] {
            let edited = once(content, old, new).unwrap();
            assert_eq!(edited.content, expected, "{content:?} {old:?}");
            assert_eq!(edited.converted, converted, "{content:?} {old:?}");
        }
        let same = once("a\r\nb", "a\nb", "a\r\nb").unwrap_err();
        assert_eq!(same.code, "nothing_to_change");
    }

    #[test]
    fn a_file_does_not_grow_without_bounds() {
        let content = "x".repeat(1 << 20);
        let error = edit(&content, &arguments("x", &"y".repeat(1 << 20), true)).unwrap_err();
        assert_eq!(error.code, "file_too_large");
        // Overlapping occurrences are not counted to their end.
        let error = once(&content, &"x".repeat(1 << 19), "y").unwrap_err();
        assert_eq!(error.code, "text_not_unique");
    }

    proptest! {
        #[test]
        fn an_edit_is_undone_by_its_reverse(
            before in "[ab\\n]{0,20}", old in "[ab]{1,3}", new in "[cd]{1,3}", after in "[ab\\n]{0,20}",
        ) {
            let content = format!("{before}{old}{after}");
            if let Ok(edited) = once(&content, &old, &new) {
                prop_assert_eq!(once(&edited.content, &new, &old).unwrap().content, content.as_str());
            } else {
                prop_assert!(places(&content, &old).len() > 1);
            }
            let all = edit(&content, &arguments(&old, &new, true)).unwrap();
            prop_assert_eq!(all.content, content.replace(&old, &new));
        }
    }
}
