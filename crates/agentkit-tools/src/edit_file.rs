//! `edit_file`: replaces a piece of text in a file of the workspace.

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    replace::replace,
    workspace::{blocking, failure, file_path, read_whole},
};

/// The largest file that is edited, before and after, in bytes.
const MAX_FILE: usize = 16 << 20;
/// How many places are told at most.
const MAX_TOLD: usize = 10;

pub(crate) struct EditFile(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    path: String,
    old: String,
    new: String,
    #[serde(default)]
    all: bool,
}

impl EditFile {
    pub(crate) fn new() -> Self {
        let description = "Replaces a piece of text in a text file of the workspace. The old text \
            must occur exactly once, or `all` be set: give enough of what is around it.";
        let schema = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Relative to the workspace"},
                "old": {
                    "type": "string", "minLength": 1,
                    "description": "What is there now, exactly, white space included",
                },
                "new": {"type": "string", "description": "What takes its place"},
                "all": {"type": "boolean", "description": "Replace every occurrence; false"},
            },
            "required": ["path", "old", "new"],
            "additionalProperties": false,
        });
        // Not idempotent, although the file is replaced as a whole: an edit whose new text holds the
        // old one would be made twice.
        Self(ToolSpec::new("edit_file", description, schema).effect(Effect::Write))
    }
}

impl Tool for EditFile {
    fn spec(&self) -> &ToolSpec {
        &self.0
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
            let step = context.step;
            let (path, edited) = blocking(context, move |root, abandoned| {
                // A link stays one: what it leads to is edited.
                let path = root
                    .canonicalize(&given)
                    .map_err(|error| failure(&given, &error))?;
                let content = read_whole(root, &path, MAX_FILE as u64)?;
                let content = String::from_utf8(content).map_err(|_| {
                    let message = format!("`{}` is not UTF-8 text", given.display());
                    Failure::last("not_text", message)
                })?;
                let edited = edit(&content, &arguments)?;
                let path = replace(root, &path, edited.content.as_bytes(), step, abandoned)?;
                Ok((path, edited))
            })
            .await?;
            let path = path.to_string_lossy().into_owned();
            let content = Bytes::from(edited.content);
            Ok(ToolOutput {
                content: json!({
                    "path": path,
                    "replaced": edited.replaced,
                    "line": edited.line,
                    "bytes": content.len(),
                }),
                files: vec![(path, Some(content))],
                then: None,
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
}

fn edit(content: &str, arguments: &Arguments) -> Result<Edited, Failure> {
    let Arguments {
        path,
        old,
        new,
        all,
    } = arguments;
    if old == new {
        let message = "`old` and `new` are the same: there is nothing to change";
        return Err(Failure::last("nothing_to_change", message));
    }
    let Some(first) = content.find(old.as_str()) else {
        return Err(missing(content, path, old));
    };
    let line = line_of(content, first);
    if !all {
        let places = places(content, old);
        if places.len() > 1 {
            return Err(ambiguous(content, path, &places));
        }
    }
    let replaced = if *all {
        content.matches(old.as_str()).count()
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
        content: content.replacen(old.as_str(), new, replaced),
        replaced,
        line,
    })
}

/// Where the text occurs, also where two occurrences overlap; a few more than are told.
fn places(content: &str, text: &str) -> Vec<usize> {
    let mut places = Vec::new();
    let mut from = 0;
    while let Some(at) = content[from..].find(text)
        && places.len() <= MAX_TOLD
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
    let hint = if content.contains(&old.replace('\n', "\r\n")) {
        "its lines end in CRLF, so write \\r\\n"
    } else if content.contains(old.trim()) {
        "it does without the white space at its ends"
    } else {
        "read the file and copy the text exactly"
    };
    let message = format!("the old text does not occur in `{path}`; {hint}");
    Failure::last("text_not_found", message)
}

fn ambiguous(content: &str, path: &str, places: &[usize]) -> Failure {
    let lines: Vec<_> = places
        .iter()
        .take(MAX_TOLD)
        .map(|at| line_of(content, *at).to_string())
        .collect();
    let more = if places.len() > MAX_TOLD {
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
            ("a\r\nb\r\n", "a\nb", "CRLF"),
            ("  a b\n", "  a b ", "without the white space"),
            ("abc", "xyz", "copy the text exactly"),
        ] {
            let error = once(content, old, "new").unwrap_err();
            assert_eq!(error.code, "text_not_found");
            assert!(error.message.contains(hint), "{}", error.message);
        }
        assert_eq!(once("a", "a", "a").unwrap_err().code, "nothing_to_change");
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
