//! Reads JSON text (RFC 8259) within bounds of depth and memory.
//!
//! A lone surrogate such as `"\ud83d"`, which no text can hold, is read as U+FFFD and counted: one
//! of them in a file of records does not hide the others.

use std::fmt;

use super::{Node, Number};

/// Bytes of a value in memory, with the slack of a list that grows.
const VALUE: usize = 48;
/// Bytes of a member beyond its value and its name.
const MEMBER: usize = 48;
/// Bytes of a text beyond its own.
const TEXT: usize = 16;

/// How much may be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How deep arrays and objects may nest.
    pub(crate) depth: usize,
    /// The most memory that the document may take, about, in bytes.
    pub(crate) memory: usize,
}

/// A document, and its changes.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) node: Node,
    /// How many lone surrogates were read as U+FFFD.
    pub(crate) surrogates: usize,
}

/// Why a text is not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The text is not JSON.
    Syntax {
        line: usize,
        /// In characters, from 1.
        column: usize,
        what: &'static str,
    },
    TooDeep,
    TooLarge,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, column, what } => {
                write!(f, "{what} at line {line} column {column}")
            }
            Self::TooDeep => f.write_str("it nests too deep"),
            Self::TooLarge => f.write_str("it holds too many values"),
        }
    }
}

/// The document that the whole text is.
pub(crate) fn read(text: &str, limits: Limits) -> Result<Reading, Problem> {
    let mut reader = Reader {
        text,
        at: 0,
        limits,
        memory: 0,
        surrogates: 0,
    };
    let node = reader.document().map_err(|stop| match stop {
        Stop::Syntax(what) => reader.located(what),
        Stop::TooDeep => Problem::TooDeep,
        Stop::TooLarge => Problem::TooLarge,
    })?;
    Ok(Reading {
        node,
        surrogates: reader.surrogates,
    })
}

enum Stop {
    Syntax(&'static str),
    TooDeep,
    TooLarge,
}

type Result<T, E = Stop> = std::result::Result<T, E>;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    limits: Limits,
    memory: usize,
    surrogates: usize,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Node> {
        let node = self.value(0)?;
        self.space();
        if self.at < self.text.len() {
            return Err(Stop::Syntax("expected the end of the document"));
        }
        Ok(node)
    }

    fn value(&mut self, depth: usize) -> Result<Node> {
        self.space();
        self.charge(VALUE)?;
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => {
                let text = self.string()?;
                self.charge(TEXT + text.len())?;
                Ok(Node::String(text.into()))
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            Some(_) => Err(Stop::Syntax("expected a value")),
            None => Err(Stop::Syntax("expected a value, but the document ends")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Node> {
        self.descend(depth)?;
        let mut items = Vec::new();
        self.space();
        if self.eat(b']') {
            return Ok(Node::Array(Box::default()));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.eat(b']') {
                return Ok(Node::Array(items.into()));
            }
            if !self.eat(b',') {
                return Err(Stop::Syntax("expected `,` or `]`"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node> {
        self.descend(depth)?;
        let mut members: Vec<(Box<str>, Node)> = Vec::new();
        self.space();
        if self.eat(b'}') {
            return Ok(Node::Object(Box::default()));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(Stop::Syntax("expected a name in double quotes"));
            }
            let name = self.string()?;
            self.charge(MEMBER + name.len())?;
            self.space();
            if !self.eat(b':') {
                return Err(Stop::Syntax("expected `:`"));
            }
            members.push((name.into(), self.value(depth)?));
            self.space();
            if self.eat(b'}') {
                return Ok(Node::Object(sorted(members)));
            }
            if !self.eat(b',') {
                return Err(Stop::Syntax("expected `,` or `}`"));
            }
        }
    }

    fn number(&mut self) -> Result<Node> {
        let start = self.at;
        self.eat(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            Some(_) | None => return Err(Stop::Syntax("expected a digit")),
        }
        if self.eat(b'.') {
            self.some_digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.some_digits()?;
        }
        let number = Number::read(&self.text[start..self.at]);
        if let Number::Long(text) = &number {
            self.charge(TEXT + text.len())?;
        }
        Ok(Node::Number(number))
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<()> {
        let from = self.at;
        self.digits();
        if self.at == from {
            return Err(Stop::Syntax("expected a digit"));
        }
        Ok(())
    }

    /// A text in double quotes, of which the first is next.
    fn string(&mut self) -> Result<String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
                .ok_or(Stop::Syntax("expected `\"`, but the document ends"));
            let plain = match plain {
                Ok(plain) => plain,
                Err(stop) => {
                    self.at = self.text.len();
                    return Err(stop);
                }
            };
            text.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(text);
                }
                b'\\' => {
                    self.at += 1;
                    let read = self.escape()?;
                    text.push(read);
                }
                _ => return Err(Stop::Syntax("a control character has to be escaped")),
            }
        }
    }

    /// The character behind a backslash.
    fn escape(&mut self) -> Result<char> {
        let Some(byte) = self.peek() else {
            return Err(Stop::Syntax("expected an escape, but the document ends"));
        };
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unit_escape(),
            _ => {
                self.at -= 1;
                return Err(Stop::Syntax("there is no such escape"));
            }
        })
    }

    fn unit_escape(&mut self) -> Result<char> {
        let first = self.unit()?;
        if let Some(read) = char::from_u32(u32::from(first)) {
            return Ok(read);
        }
        let after = self.at;
        if self.text[after..].starts_with("\\u") {
            self.at += 2;
            let second = self.unit()?;
            if let Some(Ok(read)) = char::decode_utf16([first, second]).next() {
                return Ok(read);
            }
            // It stands for itself.
            self.at = after;
        }
        self.surrogates += 1;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn unit(&mut self) -> Result<u16> {
        let digits = self.text.get(self.at..self.at + 4);
        let hex = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = hex.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or(Stop::Syntax("expected four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    fn word(&mut self, word: &str, node: Node) -> Result<Node> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Stop::Syntax("expected a value"));
        }
        self.at += word.len();
        Ok(node)
    }

    fn descend(&mut self, depth: usize) -> Result<()> {
        if depth > self.limits.depth {
            return Err(Stop::TooDeep);
        }
        self.at += 1;
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<()> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > self.limits.memory {
            return Err(Stop::TooLarge);
        }
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, wanted: u8) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn located(&self, what: &'static str) -> Problem {
        let before = &self.text[..self.text.floor_char_boundary(self.at)];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Problem::Syntax {
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
            what,
        }
    }
}

/// Sorted by name; of two members with one name the last counts.
fn sorted(mut members: Vec<(Box<str>, Node)>) -> Box<[(Box<str>, Node)]> {
    if !members.is_sorted_by(|left, right| left.0 < right.0) {
        members.sort_by(|left, right| left.0.cmp(&right.0));
        members.reverse();
        members.dedup_by(|left, right| left.0 == right.0);
        members.reverse();
    }
    members.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const WIDE: Limits = Limits {
        depth: 128,
        memory: 1 << 20,
    };

    fn value(text: &str) -> std::result::Result<Value, Problem> {
        read(text, WIDE).map(|reading| reading.node.to_value(&mut 0))
    }

    #[test]
    fn what_is_json_is_read() {
        for text in [
            "null",
            " true ",
            "-0.5e-3",
            "0",
            r#""a\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00ä""#,
            "[]",
            "[1,[2 , {\"a\" :\t[{}]}],\r\n3]",
            r#"{"b":1,"a":{"":null},"c":"x"}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"a":1,"a":2,"a":3}"#,
        ] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(value(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_told_with_its_place() {
        for (text, line, column, what) in [
            ("", 1, 1, "expected a value, but the document ends"),
            ("{'a': 1}", 1, 2, "expected a name in double quotes"),
            ("[1,\n 2,]", 2, 4, "expected a value"),
            ("[1 2]", 1, 4, "expected `,` or `]`"),
            ("{\"a\" 1}", 1, 6, "expected `:`"),
            ("{\"a\":1", 1, 7, "expected `,` or `}`"),
            ("01", 1, 2, "expected the end of the document"),
            ("-", 1, 2, "expected a digit"),
            ("1.", 1, 3, "expected a digit"),
            ("1e+", 1, 4, "expected a digit"),
            ("\"ää", 1, 4, "expected `\"`, but the document ends"),
            ("\"a\nb\"", 1, 3, "a control character has to be escaped"),
            ("\"\\x\"", 1, 3, "there is no such escape"),
            ("\"\\u12g4\"", 1, 4, "expected four hexadecimal digits"),
            ("nul", 1, 1, "expected a value"),
            ("1 1", 1, 3, "expected the end of the document"),
        ] {
            assert_eq!(
                value(text),
                Err(Problem::Syntax { line, column, what }),
                "{text}"
            );
        }
    }

    /// tools/T4: one odd number or half a character does not hide the rest of a file.
    #[test]
    fn odd_numbers_and_lone_surrogates_are_read() {
        let reading = read(
            r#"["\ud83d", "\ude00\ud83d\ude00", "\ud83dx", 1e400]"#,
            WIDE,
        )
        .unwrap();
        assert_eq!(reading.surrogates, 3);
        let mut as_text = 0;
        assert_eq!(
            reading.node.to_value(&mut as_text),
            serde_json::json!(["\u{fffd}", "\u{fffd}😀", "\u{fffd}x", "1e400"])
        );
        assert_eq!(as_text, 1);
    }

    #[test]
    fn depth_and_memory_are_bounded() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(value(&deep(128)).is_ok());
        assert_eq!(value(&deep(129)), Err(Problem::TooDeep));
        assert_eq!(value(&"[{\"a\":".repeat(1_000_000)), Err(Problem::TooDeep));
        for unit in ["0,", "{\"a\":0},", "[],", "\"\",", "1e400,"] {
            let text = format!("[{}0]", unit.repeat((1 << 20) / VALUE + 1));
            assert_eq!(value(&text), Err(Problem::TooLarge), "{unit}");
        }
        assert_eq!(
            value(&format!("\"{}\"", "x".repeat(1 << 20))),
            Err(Problem::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn the_other_reader_agrees(text in "[\\[\\]{}\",:0-9.eE+\\-a\\\\u \\ntrufalsn]{0,24}") {
            let ours = value(&text);
            match serde_json::from_str::<Value>(&text) {
                Ok(theirs) => {
                    let mut as_text = 0;
                    let node = read(&text, WIDE).unwrap().node;
                    let ours = node.to_value(&mut as_text);
                    if as_text == 0 && !text.contains('.') && !text.contains(['e', 'E']) {
                        prop_assert_eq!(ours, theirs);
                    }
                }
                // It knows neither numbers beyond its own nor lone surrogates.
                Err(error) if error.to_string().contains("number out of range")
                    || error.to_string().contains("surrogate")
                    || error.to_string().contains("hex escape") => {}
                Err(_) => prop_assert!(ours.is_err(), "{}", text),
            }
        }
    }
}
