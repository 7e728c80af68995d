//! The characters of a query, one after the other, and the indices and texts among them.

use super::{super::hint, Parser, Problem, Result};

/// Indices are whole numbers that every JSON reader knows exactly.
const MAX_INDEX: i64 = (1 << 53) - 1;

impl<'a> Parser<'a> {
    /// A whole number, if there is a number.
    pub(super) fn index(&mut self) -> Result<Option<i64>> {
        let from = self.at;
        let negative = self.eat("-");
        let digits = self.take(|c| c.is_ascii_digit());
        if digits.is_empty() && !negative {
            return Ok(None);
        }
        let plain = !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
        let number: Option<i64> = self.text[from..self.at].parse().ok();
        match number.filter(|number| plain && number.abs() <= MAX_INDEX) {
            Some(0) if negative => Err(self.wrong_at(from, "`-0` is no index")),
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong_at(from, "expected an index without leading zeros below 2^53")),
        }
    }

    /// A text in quotes, of which the first is next.
    pub(super) fn string(&mut self) -> Result<String> {
        let quote = self.peek().expect("a quote was seen");
        self.at += 1;
        let mut text = String::new();
        loop {
            let from = self.at;
            let Some(c) = self.peek() else {
                return Err(self.wrong(&format!("expected `{quote}`, but the query ends")));
            };
            self.at += c.len_utf8();
            match c {
                '\\' => text.push(self.escape(quote)?),
                c if c == quote => return Ok(text),
                c if c < ' ' => {
                    return Err(self.wrong_at(from, "a control character has to be escaped"));
                }
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self, quote: char) -> Result<char> {
        let from = self.at - 1;
        let escape = self.peek();
        self.at += escape.map_or(0, char::len_utf8);
        Ok(match escape {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(c @ ('/' | '\\')) => c,
            Some(c) if c == quote => c,
            Some('u') => {
                let mut units = vec![self.unit(from)?];
                if (0xd800..0xdc00).contains(&units[0]) && self.eat("\\u") {
                    units.push(self.unit(from)?);
                }
                match char::decode_utf16(units).collect::<std::result::Result<Vec<_>, _>>() {
                    Ok(read) if read.len() == 1 => read[0],
                    Ok(_) | Err(_) => return Err(self.wrong_at(from, "half of a character")),
                }
            }
            Some(_) | None => {
                return Err(self.wrong_at(
                    from,
                    "there is no such escape; write a backslash of a pattern twice",
                ));
            }
        })
    }

    fn unit(&mut self, from: usize) -> Result<u16> {
        let digits = self.text.get(self.at..self.at + 4);
        let hex = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = hex.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        self.at += 4 * usize::from(unit.is_some());
        unit.ok_or_else(|| self.wrong_at(from, "expected four hexadecimal digits"))
    }

    pub(super) fn space(&mut self) {
        self.take(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    pub(super) fn eat(&mut self, wanted: &str) -> bool {
        let there = self.text[self.at..].starts_with(wanted);
        self.at += if there { wanted.len() } else { 0 };
        there
    }

    pub(super) fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    pub(super) fn wrong(&self, what: &str) -> Problem {
        self.wrong_at(self.at, what)
    }

    pub(super) fn wrong_at(&self, at: usize, what: &str) -> Problem {
        Problem {
            at,
            what: what.to_owned(),
            hint: hint::of(self.text, at),
        }
    }
}
