//! The words of a command, some of which are filled in with arguments of a call.
//!
//! Each word is one argument of the program, also with white space in it: there is no shell that could read it in another
//! way.

use serde_json::Value;

/// The most bytes that an argument may fill in.
const MAX_FILLED: usize = 4 * 1024;

/// One word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Name of an argument, or JSON Pointer to an argument.
    Argument(String),
}

impl Template {
    /// Reads a word: `{name}` and `{/a/0}` stand for arguments, `{{` and `}}` for braces.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut plain) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let named = match brace {
                "{" => rest.split_once('}'),
                _ => None,
            };
            let (name, after) = named.ok_or_else(|| {
                format!("`{text}` has a single `{brace}`; write `{{{{` or `}}}}` for a brace, `{{name}}` for an argument")
            })?;
            if name.is_empty() || name.contains('{') {
                return Err(format!("`{text}` names no argument between its braces"));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Argument(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The arguments that it names, by the first part of their path.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Argument(name) => {
                let name = name.strip_prefix('/').unwrap_or(name);
                Some(name.split('/').next().unwrap_or(name))
            }
        })
    }

    /// The word for a call. `None` for a word with an argument that the call does not have.
    fn fill(&self, arguments: &Value) -> Result<Option<String>, String> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Argument(name) => match value(arguments, name) {
                    Some(text) => filled.push_str(&text?),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(filled))
    }

    /// Whether the word begins with an argument.
    fn begins_with_argument(&self) -> bool {
        matches!(self.0.first(), Some(Part::Argument(_)))
    }
}

fn value(arguments: &Value, name: &str) -> Option<Result<String, String>> {
    let found = match name.starts_with('/') {
        true => arguments.pointer(name),
        false => arguments.get(name),
    };
    let text = match found? {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        value @ (Value::Number(_) | Value::Bool(_)) => value.to_string(),
        value @ (Value::Array(_) | Value::Object(_)) => value.to_string(),
    };
    Some(match text {
        text if text.len() > MAX_FILLED => Err(format!(
            "`{name}` has {} bytes, and {MAX_FILLED} fit into the command",
            text.len()
        )),
        text if text.contains('\0') => Err(format!("`{name}` contains a NUL byte")),
        text => Ok(text),
    })
}

/// The argument list for a call.
///
/// # Errors
/// A sentence for the model. A value that begins with `-` is refused where the program could take it for an option: in front
/// of `--`, in a word that begins with it.
pub(super) fn fill(words: &[Template], arguments: &Value) -> Result<Vec<String>, String> {
    let (mut list, mut ended) = (Vec::with_capacity(words.len()), false);
    for word in words {
        let Some(text) = word.fill(arguments)? else {
            continue;
        };
        if !ended && word.begins_with_argument() && text.starts_with('-') {
            let name = word.names().next().unwrap_or_default();
            return Err(format!(
                "`{name}` begins with `-`, so that the program would take it for an option"
            ));
        }
        ended |= text == "--" && !word.begins_with_argument();
        list.push(text);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(words: &[&str], arguments: Value) -> Result<Vec<String>, String> {
        let words: Vec<Template> = words
            .iter()
            .map(|word| Template::parse(word).unwrap())
            .collect();
        fill(&words, &arguments)
    }

    #[test]
    fn words_are_filled_and_never_split() {
        let arguments =
            json!({"path": "a b; $(rm -rf /) \"'", "n": 3, "deep": {"list": ["x"]}, "no": null});
        let list = filled(
            &[
                "run",
                "{path}",
                "--n={n}",
                "{/deep/list/0}",
                "{no}",
                "{absent}",
                "a{no}b",
                "--p={absent}",
                "{path}:{absent}",
                "{{x}}",
            ],
            arguments,
        );
        let expected = ["run", "a b; $(rm -rf /) \"'", "--n=3", "x", "{x}"];
        assert_eq!(list.unwrap(), expected);
    }

    #[test]
    fn an_argument_is_no_option() {
        for (words, path, is_taken) in [
            (&["grep", "{path}"][..], "-r", false),
            (&["grep", "--", "{path}"], "-r", true),
            (&["grep", "--file={path}"], "-r", true),
            (&["grep", "{path}"], "r-", true),
            (&["grep", "{path}", "{path}"], "--", false),
        ] {
            assert_eq!(
                filled(words, json!({"path": path})).is_ok(),
                is_taken,
                "{words:?} {path}"
            );
        }
    }

    #[test]
    fn what_cannot_be_a_word_is_refused() {
        for text in ["{", "}", "a{b", "a}b", "{}", "{a{b}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        for text in ["", "a", "{a}{b}", "{{", "}}", "{{{a}}}"] {
            assert!(Template::parse(text).is_ok(), "{text}");
        }
        assert!(filled(&["{a}"], json!({"a": "x".repeat(5000)})).is_err());
        assert!(filled(&["{a}"], json!({"a": "x\0"})).is_err());
    }
}
