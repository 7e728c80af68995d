//! Files as text: the encoding of a file, and its text.
//!
//! A byte order mark decides. Then what is valid UTF-8 is that; UTF-16 without a mark is known by
//! its zero bytes; and other text is taken for windows-1252, which is what spreadsheets write. What
//! was assumed is told with the result.

use std::fmt;

use agentkit::event::Failure;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// So much of a file is looked at to see whether it is text, in bytes.
const SNIFFED: usize = 8 * 1024;
const MAX_LABEL: usize = 64;

/// A text, and how it was read.
#[derive(Debug, PartialEq)]
pub(crate) struct Text {
    pub(crate) content: String,
    pub(crate) how: How,
}

/// How bytes were read as text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct How {
    encoding: &'static Encoding,
    reason: Reason,
    /// How many sequences of bytes stand for no character.
    replaced: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// No other encoding was considered.
    Plain,
    Mark,
    Requested,
    Assumed,
}

impl How {
    /// What a result says of it; nothing of plain UTF-8.
    pub(crate) fn told(self) -> Option<String> {
        let plain =
            self.encoding == UTF_8 && self.reason != Reason::Requested && self.replaced == 0;
        (!plain).then(|| self.to_string())
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encoding.name())?;
        match self.reason {
            Reason::Plain => {}
            Reason::Mark => f.write_str(", as its byte order mark says")?,
            Reason::Requested => f.write_str(", as asked for")?,
            Reason::Assumed => f.write_str(", assumed as it is not UTF-8")?,
        }
        match self.replaced {
            0 => Ok(()),
            count => write!(f, "; broken characters, shown as U+FFFD: {count}"),
        }
    }
}

/// The encoding of that name, as the WHATWG lists them.
pub(crate) fn named(label: &str) -> Result<&'static Encoding, Failure> {
    Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| {
        let shown: String = label.chars().take(MAX_LABEL).collect();
        let message = format!(
            "there is no encoding `{shown}`; known are for instance utf-8, windows-1252, \
             iso-8859-2, windows-1251, shift_jis and utf-16le"
        );
        Failure::last("unknown_encoding", message)
    })
}

/// The text that the bytes stand for, in the encoding that was asked for or in the one that they
/// are in; nothing if they are not text.
pub(crate) fn decode(bytes: Vec<u8>, asked: Option<&'static Encoding>) -> Option<Text> {
    if let Some(encoding) = asked {
        return Some(decoded(&bytes, encoding, Reason::Requested));
    }
    if let Some((encoding, length)) = Encoding::for_bom(&bytes) {
        // The mark of UTF-32LE begins like that of UTF-16LE.
        if encoding == UTF_16LE && bytes[length..].starts_with(&[0, 0]) {
            return None;
        }
        return Some(decoded(&bytes, encoding, Reason::Mark));
    }
    let sniffed = &bytes[..bytes.len().min(SNIFFED)];
    let zeros = sniffed.contains(&0);
    if zeros {
        let encoding = wide(sniffed)?;
        let text = decoded(&bytes, encoding, Reason::Assumed);
        return (text.how.replaced == 0).then_some(text);
    }
    let bytes = match String::from_utf8(bytes) {
        Ok(content) => {
            let how = How {
                encoding: UTF_8,
                reason: Reason::Plain,
                replaced: 0,
            };
            return Some(Text { content, how });
        }
        Err(error) => error.into_bytes(),
    };
    if mostly_utf8(&bytes) {
        return Some(decoded(&bytes, UTF_8, Reason::Plain));
    }
    let sniffed = &bytes[..bytes.len().min(SNIFFED)];
    if sniffed.iter().any(|byte| is_control(*byte)) {
        return None;
    }
    Some(decoded(&bytes, WINDOWS_1252, Reason::Assumed))
}

fn decoded(bytes: &[u8], encoding: &'static Encoding, reason: Reason) -> Text {
    let bytes = match Encoding::for_bom(bytes) {
        Some((marked, length)) if marked == encoding => &bytes[length..],
        Some(_) | None => bytes,
    };
    let (content, malformed) = encoding.decode_without_bom_handling(bytes);
    let replaced = if malformed {
        content.matches(char::REPLACEMENT_CHARACTER).count()
    } else {
        0
    };
    let how = How {
        encoding,
        reason,
        replaced,
    };
    Text {
        content: content.into_owned(),
        how,
    }
}

/// UTF-16 without a mark: in most languages half of its bytes are zero, all on one side.
fn wide(sniffed: &[u8]) -> Option<&'static Encoding> {
    let units = sniffed.len() / 2;
    let zeros = |side: usize| {
        let bytes = sniffed.iter().skip(side).step_by(2);
        bytes.filter(|byte| **byte == 0).count()
    };
    match (zeros(0), zeros(1)) {
        (0, low) if low * 2 > units => Some(UTF_16LE),
        (high, 0) if high * 2 > units => Some(UTF_16BE),
        _ => None,
    }
}

/// Whether more of what is not ASCII is UTF-8 than not: a file with a few broken characters.
fn mostly_utf8(bytes: &[u8]) -> bool {
    let (mut good, mut bad) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    good > bad
}

/// Bytes that no text in windows-1252 holds.
fn is_control(byte: u8) -> bool {
    matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f | 0x81 | 0x8d | 0x8f | 0x90 | 0x9d)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8]) -> Option<(String, Option<String>)> {
        decode(bytes.to_vec(), None).map(|text| (text.content, text.how.told()))
    }

    fn utf16(text: &str, bytes: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn the_encoding_is_found_and_told() {
        let assumed = Some("windows-1252, assumed as it is not UTF-8".to_owned());
        let ansi = |text: &str| Some((text.to_owned(), assumed.clone()));
        assert_eq!(
            shown(b"id;Name\r\n1;M\xfcller\r\n"),
            ansi("id;Name\r\n1;Müller\r\n")
        );
        assert_eq!(shown(b"\x80 5"), ansi("€ 5"));
        let plain = |text: &str| Some((text.to_owned(), None));
        assert_eq!(shown("grün".as_bytes()), plain("grün"));
        assert_eq!(shown(b""), plain(""));
        assert_eq!(shown(b"\xef\xbb\xbfid,name"), plain("id,name"));
        let marked = |name: &str| Some(format!("{name}, as its byte order mark says"));
        let mut little = b"\xff\xfe".to_vec();
        little.extend(utf16("grün 😀", u16::to_le_bytes));
        assert_eq!(
            shown(&little),
            Some(("grün 😀".to_owned(), marked("UTF-16LE")))
        );
        let mut big = b"\xfe\xff".to_vec();
        big.extend(utf16("grün", u16::to_be_bytes));
        assert_eq!(shown(&big), Some(("grün".to_owned(), marked("UTF-16BE"))));
        let wide = |name: &str| Some(format!("{name}, assumed as it is not UTF-8"));
        let unmarked = utf16("id;Müller\r\n", u16::to_le_bytes);
        assert_eq!(
            shown(&unmarked),
            Some(("id;Müller\r\n".to_owned(), wide("UTF-16LE")))
        );
        let unmarked = utf16("id;Müller\r\n", u16::to_be_bytes);
        assert_eq!(
            shown(&unmarked),
            Some(("id;Müller\r\n".to_owned(), wide("UTF-16BE")))
        );
        // A few broken characters do not make another encoding of it.
        let (text, told) = shown("äöü\u{20ac}".as_bytes().split_last().unwrap().1).unwrap();
        assert_eq!(text, "äöü\u{fffd}");
        assert_eq!(
            told.unwrap(),
            "UTF-8; broken characters, shown as U+FFFD: 1"
        );
    }

    #[test]
    fn what_is_no_text_is_none() {
        for bytes in [
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(),
            b"\x7fELF\x02\x01\x01\0",
            b"\xff\xd8\xff\xe0\x01",
            b"a\0b\0c\0\0\0",
            b"\xff\xfe\0\0a\0\0\0",
            b"a\0",
        ] {
            let expected = (bytes == b"a\0").then(|| "a".to_owned());
            assert_eq!(shown(bytes).map(|(text, _)| text), expected, "{bytes:?}");
        }
    }

    #[test]
    fn an_encoding_may_be_asked_for() {
        let text = |bytes: &[u8], label| {
            let asked = named(label).unwrap();
            decode(bytes.to_vec(), Some(asked)).unwrap().content
        };
        assert_eq!(text(b"\xcf\xf0\xe8", "windows-1251"), "При");
        assert_eq!(text(b"\x82\xa0", "shift_jis"), "あ");
        assert_eq!(text(b"\xb1", "ISO-8859-2"), "ą");
        assert_eq!(text(b"\xef\xbb\xbfa", "utf-8"), "a");
        let error = named("utf-99").unwrap_err();
        assert_eq!(error.code, "unknown_encoding");
        assert!(named(&"x".repeat(10_000)).unwrap_err().message.len() < 300);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(bytes, None);
        }

        #[test]
        fn utf8_is_itself(text in "[^\\x00\u{feff}]{0,60}") {
            prop_assert_eq!(shown(text.as_bytes()), Some((text, None)));
        }
    }
}
