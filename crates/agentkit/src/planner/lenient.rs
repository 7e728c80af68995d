//! JSON as models write it: with fences and prose around it, single quotes, trailing commas, names
//! without quotes, comments, and Python's literals.

use std::str::CharIndices;

use serde_json::{Map, Number, Value};

use super::thoughts;
use crate::values;

/// How deep objects and arrays may nest.
const MAX_DEPTH: usize = 64;
/// How many places of a text are tried as the beginning of an object or array.
const MAX_TRIES: usize = 64;

/// A text that is not one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// No JSON is in it.
    Nothing,
    /// Several different values are in the text, and the text does not say which value is meant.
    Several,
    /// More values than are read.
    TooMany,
}

/// The value of a text: alone, in the fence that ends the text, or as the one object or array within prose.
/// Thoughts do not count, and neither does a value that is not `wanted` where another value is.
pub(super) fn whole(text: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, Unread> {
    if values::may_be_too_many(text) {
        return Err(Unread::TooMany);
    }
    if let Some(value) = alone(text) {
        return Ok(value);
    }
    let text = thoughts::blanked(text);
    let text = text.trim();
    let last = last_fence(text).map_or(text, |(_, inner)| inner);
    if let Some(value) = alone(text).or_else(|| alone(last)) {
        return Ok(value);
    }
    let mut found: Vec<Value> = Vec::new();
    for (_, value, _) in containers(text) {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    if let (true, Some(value)) = (found.is_empty(), alone(unfenced(text))) {
        return Ok(value);
    }
    if found.iter().any(&wanted) {
        found.retain(wanted);
    }
    match (found.pop(), found.is_empty()) {
        (Some(value), true) => Ok(value),
        (Some(_), false) => Err(Unread::Several),
        (None, _) => Err(Unread::Nothing),
    }
}

/// The value of a text without any other words.
fn alone(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let (value, rest) = value(text)?;
    rest.trim().is_empty().then_some(value)
}

/// The fence at the end of a text: where the fence begins, and its content.
pub(super) fn last_fence(text: &str) -> Option<(usize, &str)> {
    let body = text.trim_end().strip_suffix("```")?;
    let start = body.rfind("```")?;
    // An even number of marks before it: the last one opens.
    if !body[..start].matches("```").count().is_multiple_of(2) {
        return None;
    }
    let inner = &body[start + 3..];
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let inner = match inner.split_once('\n') {
        Some((head, rest)) if head.trim().chars().all(word) => rest,
        Some(_) | None => inner,
    };
    Some((start, inner.trim()))
}

/// The content of the first fence, or the text itself without a fence.
pub(super) fn unfenced(text: &str) -> &str {
    let Some((_, after)) = text.split_once("```") else {
        return text;
    };
    let Some((head, body)) = after.split_once('\n') else {
        return text;
    };
    if !head.trim().chars().all(char::is_alphanumeric) {
        return text;
    }
    body.split("```").next().unwrap_or(body).trim()
}

/// The outermost objects and arrays in a text: the begin of each, the value, and its end.
pub(super) fn containers(text: &str) -> impl Iterator<Item = (usize, Value, usize)> {
    let (mut from, mut tries) = (0, 0);
    std::iter::from_fn(move || {
        while tries < MAX_TRIES {
            tries += 1;
            let at = from + text[from..].find(['{', '['])?;
            from = at + 1;
            if let Some((value, rest)) = value(&text[at..]) {
                from = text.len() - rest.len();
                return Some((at, value, from));
            }
        }
        None
    })
}

/// The value that a text begins with, and the text after it.
pub(super) fn value(text: &str) -> Option<(Value, &str)> {
    let mut reader = Reader { rest: text };
    let value = reader.value(MAX_DEPTH)?;
    Some((value, reader.rest))
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if let Some(comment) = self.rest.strip_prefix("//") {
                self.rest = comment.find('\n').map_or("", |end| &comment[end..]);
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                self.rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
            } else {
                return;
            }
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        self.skip_space();
        match self.rest.chars().next()? {
            '{' => self.object(depth.checked_sub(1)?),
            '[' => self.array(depth.checked_sub(1)?),
            '"' | '\'' => self.string().map(Value::String),
            _ => literal(self.word()),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.take('{');
        let mut map = Map::new();
        while !self.take('}') {
            let key = match self.rest.chars().next()? {
                '"' | '\'' => self.string()?,
                _ => Some(self.word())
                    .filter(|word| !word.is_empty())?
                    .to_owned(),
            };
            if !self.take(':') {
                return None;
            }
            map.insert(key, self.value(depth)?);
            if !self.take(',') && !self.rest.starts_with('}') {
                return None;
            }
        }
        Some(Value::Object(map))
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        self.take('[');
        let mut items = Vec::new();
        while !self.take(']') {
            items.push(self.value(depth)?);
            if !self.take(',') && !self.rest.starts_with(']') {
                return None;
            }
        }
        Some(Value::Array(items))
    }

    /// A string; line breaks may be in the string as they are.
    fn string(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        chars.next();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = &self.rest[at + 1..];
                return Some(text);
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            text.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => unicode(&mut chars)?,
                // A quote, a slash, or an escape that is none.
                other => other,
            });
        }
        None
    }

    /// The text up to a character that can follow a name or a literal.
    fn word(&mut self) -> &'a str {
        let ends = |c: char| c.is_whitespace() || ",:{}[]\"'`".contains(c);
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }
}

/// The character of an escape, after its `\u`.
fn unicode(chars: &mut CharIndices<'_>) -> Option<char> {
    let first = unit(chars)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first);
    }
    // The other half of the pair is an escape as well.
    if (chars.next()?.1, chars.next()?.1) != ('\\', 'u') {
        return None;
    }
    let second = unit(chars)?.checked_sub(0xdc00)?;
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)
}

fn unit(chars: &mut CharIndices<'_>) -> Option<u32> {
    (0..4).try_fold(0, |code, _| Some(code << 4 | chars.next()?.1.to_digit(16)?))
}

fn literal(word: &str) -> Option<Value> {
    match word {
        "true" | "True" => Some(Value::Bool(true)),
        "false" | "False" => Some(Value::Bool(false)),
        "null" | "None" | "undefined" => Some(Value::Null),
        number => {
            let number = number.strip_prefix('+').unwrap_or(number);
            let number = serde_json::from_str::<Number>(number).ok();
            number.map(Value::Number)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_json_as_models_write_it() {
        for (text, wanted) in [
            (r#"{"a": 1}"#, json!({"a": 1})),
            (
                "{'a': 'it\\'s', b: True, \"c\": None,}",
                json!({"a": "it's", "b": true, "c": null}),
            ),
            ("```json\n{\"a\": [1, 2,],}\n```", json!({"a": [1, 2]})),
            ("```\n[1]\n```\nThat is it.", json!([1])),
            ("Here you are: {\"a\": \"b\"} as asked.", json!({"a": "b"})),
            (
                "{ // the city\n city: 'Oslo', /* in */ 'n': -1.5e2 }",
                json!({"city": "Oslo", "n": -150.0}),
            ),
            ("{\"text\": \"two\nlines\"}", json!({"text": "two\nlines"})),
            (r#"{'u': "\u00e4\ud83d\ude00\/"}"#, json!({"u": "ä😀/"})),
            ("see {not json} [1]", json!([1])),
            // tools/T5: a draft within a thought was the answer.
            ("<think>{\"a\": 9}</think>\n{\"a\": 1}", json!({"a": 1})),
            (
                "<think>```json\n{\"a\": 9}\n```</think>```json\n{\"a\": 1}\n```",
                json!({"a": 1}),
            ),
            (
                "{\"a\": \"<think>b</think>\"}",
                json!({"a": "<think>b</think>"}),
            ),
            (
                "Not {\"a\": 9}, but\n```json\n{\"a\": 1}\n```",
                json!({"a": 1}),
            ),
            ("It is {\"a\": 1}. Again: {\"a\": 1}", json!({"a": 1})),
            ("By [1], it is {\"a\": 1}.", json!({"a": 1})),
            ("5", json!(5)),
            ("\"five\"", json!("five")),
            ("'five'", json!("five")),
        ] {
            assert_eq!(whole(text, Value::is_object), Ok(wanted), "{text}");
        }
        for text in [
            "",
            "five",
            "{",
            "{a}",
            "{'a': 1",
            "{'a' 1}",
            "[1 2]",
            "\"open",
            "{'u': '\\ud83d'}",
            "{'u': '\\ud83d\\u0020'}",
        ] {
            assert_eq!(
                whole(text, Value::is_object),
                Err(Unread::Nothing),
                "{text}"
            );
        }
        for text in [
            "{\"a\": 9} is wrong, {\"a\": 1} is right.",
            "```json\n{\"a\": 9}\n```\nNo:\n```json\n{\"a\": 1}\n```\nThat is it.",
        ] {
            assert_eq!(
                whole(text, Value::is_object),
                Err(Unread::Several),
                "{text}"
            );
        }
    }

    /// 30 MB of small values became a tree of 2 GB.
    #[test]
    fn more_values_than_are_read_are_refused() {
        let many = |count: usize| format!("[{}[]]", "[],".repeat(count - 2));
        assert!(whole(&many(50_000), Value::is_array).is_ok());
        for text in [
            many(100_001),
            format!("Here: {}", many(5_000_000)),
            format!("<think>{}</think>1", many(100_001)),
            format!("{{'a': 1{}}}", ", b: 2".repeat(100_001)),
        ] {
            assert_eq!(whole(&text, Value::is_array), Err(Unread::TooMany));
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), ",]".repeat(levels));
        assert!(value(&deep(64)).is_some());
        assert!(value(&deep(65)).is_none());
        assert!(value(&"[".repeat(1_000_000)).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC*|[\\[\\]{}'\":,\\\\u0-9a-fä`/* \n]{0,80}") {
            let _ = whole(&text, Value::is_array);
        }

        #[test]
        fn what_is_json_is_read_as_json(number: i64, text in ".*", flag: bool) {
            let wanted = json!({"a": number, "b": [text, flag, null], "c": {"d": {}}});
            let written = wanted.to_string();
            proptest::prop_assert_eq!(value(&written), Some((wanted, "")));
        }
    }
}
