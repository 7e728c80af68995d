//! Text in pieces. A server that cuts an answer between the two halves of a surrogate pair sends each
//! half as an escape of its own, which no JSON parser takes; this module joins the halves again.

use std::borrow::Cow;

/// Stands for a half without its other half.
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// A piece of text, with the halves of surrogate pairs at its ends that belong to its neighbours.
/// Any other half has become U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// The second half of a pair, before the text.
    second: Option<u16>,
    text: Cow<'a, str>,
    /// The first half of a pair, after the text.
    first: Option<u16>,
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::from(Cow::Borrowed(text))
    }
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self {
            second: None,
            text,
            first: None,
        }
    }
}

impl<'a> Text<'a> {
    /// Reads a JSON string; none if the JSON is anything else.
    pub(super) fn read(json: &'a str) -> Option<Self> {
        let inner = json.strip_prefix('"')?.strip_suffix('"')?;
        if !inner.contains('\\') {
            return Some(Self::from(inner));
        }
        if let Ok(text) = serde_json::from_str::<String>(json) {
            return Some(Self::from(Cow::Owned(text)));
        }
        let mut units = Vec::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            if c != '\\' {
                units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
                continue;
            }
            units.push(match chars.next()? {
                'n' => u16::from(b'\n'),
                't' => u16::from(b'\t'),
                'r' => u16::from(b'\r'),
                'b' => 8,
                'f' => 12,
                'u' => {
                    let rest = chars.as_str();
                    let unit = u16::from_str_radix(rest.get(..4)?, 16).ok()?;
                    chars = rest.get(4..)?.chars();
                    unit
                }
                other @ ('"' | '\\' | '/') => u16::try_from(u32::from(other)).ok()?,
                _ => return None,
            });
        }
        Some(Self::of_units(&units))
    }

    fn of_units(units: &[u16]) -> Self {
        let (second, units) = match units.split_first() {
            Some((unit, rest)) if is_second(*unit) => (Some(*unit), rest),
            _ => (None, units),
        };
        let (first, units) = match units.split_last() {
            Some((unit, rest)) if is_first(*unit) => (Some(*unit), rest),
            _ => (None, units),
        };
        Self {
            second,
            text: Cow::Owned(String::from_utf16_lossy(units)),
            first,
        }
    }

    /// The text alone: its halves have no neighbours.
    pub(super) fn whole(self) -> Cow<'a, str> {
        if self.second.is_none() && self.first.is_none() {
            return self.text;
        }
        let mut joined = Joined::default();
        joined.push(&self);
        Cow::Owned(joined.finish())
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.second.is_none() && self.first.is_none()
    }
}

/// The pieces of a text so far, put together.
#[derive(Debug, Clone, Default)]
pub(super) struct Joined {
    text: String,
    /// The first half of a pair whose second one has not come.
    first: Option<u16>,
}

impl Joined {
    /// Adds a piece.
    pub(super) fn push(&mut self, piece: &Text<'_>) {
        if piece.is_empty() {
            return;
        }
        match (self.first.take(), piece.second) {
            (Some(first), Some(second)) => {
                let pair = char::decode_utf16([first, second]).next();
                self.text.push(pair.and_then(Result::ok).unwrap_or(UNKNOWN));
            }
            (Some(_), None) | (None, Some(_)) => self.text.push(UNKNOWN),
            (None, None) => {}
        }
        self.text.push_str(&piece.text);
        self.first = piece.first;
    }

    /// The text so far, without a half that still waits for its other half.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether no piece had text.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.first.is_none()
    }

    /// Ends the text: a half that still waits becomes U+FFFD.
    pub(super) fn end(&mut self) {
        if self.first.take().is_some() {
            self.text.push(UNKNOWN);
        }
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        self.end();
        self.text
    }
}

/// JSON text in which the escape of each half without its other half is that of U+FFFD.
pub(super) fn without_halves(json: &str) -> Cow<'_, str> {
    let mut fixed = String::new();
    // Up to here the text stands in `fixed`.
    let mut kept = 0;
    let mut at = 0;
    while let Some(found) = json[at..].find('\\') {
        at += found;
        let Some(unit) = unit(json, at) else {
            // An escape of one character; what follows it may be a backslash as well.
            at += 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8);
            continue;
        };
        let pairs = is_first(unit) && self::unit(json, at + ESCAPE).is_some_and(is_second);
        if pairs {
            at += 2 * ESCAPE;
            continue;
        }
        if is_first(unit) || is_second(unit) {
            fixed.push_str(&json[kept..at]);
            fixed.push_str("\\ufffd");
            kept = at + ESCAPE;
        }
        at += ESCAPE;
    }
    if kept == 0 {
        return Cow::Borrowed(json);
    }
    fixed.push_str(&json[kept..]);
    Cow::Owned(fixed)
}

/// The length of an escape such as `\u00e4`.
const ESCAPE: usize = 6;

/// The code unit of the escape that stands here, if one does.
fn unit(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE)?.strip_prefix("\\u")?;
    let all = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| all)
}

fn is_first(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

fn is_second(unit: u16) -> bool {
    (0xdc00..0xe000).contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(pieces: &[&str]) -> String {
        let mut joined = Joined::default();
        for piece in pieces {
            joined.push(&Text::read(piece).unwrap_or_else(|| panic!("{piece}")));
        }
        joined.finish()
    }

    /// `models/M5`
    #[test]
    fn halves_of_a_character_find_each_other() {
        for (pieces, text) in [
            (&[r#""Hi \ud83d""#, r#""\ude00 there""#][..], "Hi 😀 there"),
            (&[r#""\uD83D""#, r#""\uDE00""#], "😀"),
            (&[r#""\ud83d""#, r#""""#, r#""\ude00""#], "😀"),
            (&[r#""a\ud83d\ude00\ud83d""#, r#""\ude00b""#], "a😀😀b"),
            (&[r#""\ud83d""#, r#""x""#], "\u{fffd}x"),
            (&[r#""x""#, r#""\ude00""#], "x\u{fffd}"),
            (&[r#""\ud83d""#, r#""\ud83d""#, r#""\ude00""#], "\u{fffd}😀"),
            (&[r#""Hi \ud83d""#], "Hi \u{fffd}"),
            (
                &[r#""a\ude00\n\"\\\/\u00e4b\ud83dc""#],
                "a\u{fffd}\n\"\\/äb\u{fffd}c",
            ),
            (&[r#""plain""#, r#""""#], "plain"),
        ] {
            assert_eq!(joined(pieces), text, "{pieces:?}");
        }
        for other in ["7", "{}", "", "\"", r#""\x""#, r#""\u12""#] {
            assert_eq!(Text::read(other), None, "{other}");
        }
    }

    /// `models/M5`
    #[test]
    fn a_kept_text_has_no_half() {
        for (json, fixed) in [
            (r#""Hi \ud83d""#, r#""Hi \ufffd""#),
            (
                r#""\ud83d\ude00 \ude00\ud83d\ud83d\ude00""#,
                r#""\ud83d\ude00 \ufffd\ufffd\ud83d\ude00""#,
            ),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#"{"a":"ä\u00e4"}"#, r#"{"a":"ä\u00e4"}"#),
            (r#""\ud83"#, r#""\ud83"#),
            ("\"\\", "\"\\"),
        ] {
            assert_eq!(without_halves(json), fixed, "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_comes_out_as_it_went_in(text in "\\PC*", cut in 0.0..1.0_f64) {
            let units: Vec<u16> = text.encode_utf16().collect();
            let escaped = |units: &[u16]| {
                let digits: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
                format!("\"{digits}\"")
            };
            let at = (units.len() as f64 * cut) as usize;
            let pieces = [escaped(&units[..at]), escaped(&units[at..])];
            proptest::prop_assert_eq!(joined(&[&pieces[0], &pieces[1]]), text);
        }
    }
}
