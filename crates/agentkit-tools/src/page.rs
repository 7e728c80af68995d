//! Pages of text that is addressed in bytes.

use agentkit::{
    event::Failure,
    tool::{INLINE_LIMIT, json_prefix},
};
use serde_json::{Value, json};

/// The most bytes that a page covers.
pub(crate) const MAX_LIMIT: u64 = INLINE_LIMIT as u64;
/// The most bytes of JSON that its text takes: a page is always shown whole.
const MAX_JSON: usize = INLINE_LIMIT - 1024;
/// The fewest bytes that a page covers, so that it holds one character at least.
const MIN_LIMIT: u64 = 4;

/// Which lines are to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    /// The first line, from 1.
    pub(crate) first: u64,
    /// How many at most; none for as many as a page holds.
    pub(crate) count: Option<u64>,
}

impl Lines {
    /// What the arguments `line` and `lines` ask for, if either is given.
    pub(crate) fn asked(
        line: Option<u64>,
        lines: Option<u64>,
        offset: Option<u64>,
    ) -> Result<Option<Self>, Failure> {
        if line.is_none() && lines.is_none() {
            return Ok(None);
        }
        if offset.is_some() {
            let message = "give `offset`, or `line` and `lines`, not both";
            return Err(Failure::last("invalid_arguments", message));
        }
        Ok(Some(Self {
            first: line.unwrap_or(1).max(1),
            count: lines,
        }))
    }

    /// Where they end in bytes that begin with the first of them.
    pub(crate) fn end(self, bytes: &[u8]) -> usize {
        let Some(count) = self.count else {
            return bytes.len();
        };
        let mut newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let last = usize::try_from(count.saturating_sub(1)).unwrap_or(usize::MAX);
        newlines.nth(last).map_or(bytes.len(), |(at, _)| at + 1)
    }

    /// Adds to a page which lines it holds.
    pub(crate) fn tell(self, page: &mut Value) {
        let text = page["text"].as_str().unwrap_or_default();
        let open = !text.is_empty() && !text.ends_with('\n');
        let lines = text.matches('\n').count() + usize::from(open);
        page["line"] = self.first.into();
        page["lines"] = lines.into();
    }
}

/// Adds the arguments `line` and `lines` to the properties of a schema.
pub(crate) fn describe_lines(schema: &mut Value) {
    schema["properties"]["line"] = json!({
        "type": "integer", "minimum": 1,
        "description": "Where to start, as a line from 1, instead of `offset`",
    });
    schema["properties"]["lines"] = json!({
        "type": "integer", "minimum": 1,
        "description": "The most lines to read",
    });
}

/// A page of a text that is in memory.
pub(crate) fn of_text(text: &str, window: Window, lines: Option<Lines>) -> Result<Value, Failure> {
    let total = text.len() as u64;
    let Some(lines) = lines else {
        let start = usize::try_from(window.offset).map_or(text.len(), |at| at.min(text.len()));
        return window.page(&text.as_bytes()[start..], total);
    };
    let start = line_start(text.as_bytes(), lines.first);
    let rest = &text.as_bytes()[start..];
    let window = Window {
        offset: start as u64,
        limit: window.limit.min(lines.end(rest) as u64),
    };
    let mut page = window.page(rest, total)?;
    lines.tell(&mut page);
    let newlines = text.matches('\n').count();
    let open = !text.is_empty() && !text.ends_with('\n');
    page["total_lines"] = (newlines + usize::from(open)).into();
    Ok(page)
}

/// Where a line begins, or the end if there are not so many.
fn line_start(bytes: &[u8], line: u64) -> usize {
    let Some(before) = line.checked_sub(2) else {
        return 0;
    };
    let mut newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let before = usize::try_from(before).unwrap_or(usize::MAX);
    newlines.nth(before).map_or(bytes.len(), |(at, _)| at + 1)
}

/// A part to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Start of the part, in bytes.
    pub(crate) offset: u64,
    /// Most bytes of the part.
    pub(crate) limit: u64,
}

impl Window {
    pub(crate) fn new(offset: Option<u64>, limit: Option<u64>, default_limit: u64) -> Self {
        let limit = limit.unwrap_or(default_limit).clamp(MIN_LIMIT, MAX_LIMIT);
        Self {
            offset: offset.unwrap_or(0),
            limit,
        }
    }

    /// The page that these bytes make, read from `offset` on, out of `total`.
    ///
    /// It starts and ends between two characters: the rest of one that `offset` cuts is skipped,
    /// and the beginning of one that `limit` cuts is left for the next page.
    pub(crate) fn page(self, bytes: &[u8], total: u64) -> Result<Value, Failure> {
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(most)];
        let at_end = self.offset.saturating_add(bytes.len() as u64) >= total;
        let cut = if self.offset == 0 {
            0
        } else {
            continuation(bytes)
        };
        let offset = self.offset + cut as u64;
        let bytes = &bytes[cut..];
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() && !at_end => {
                let (text, _) = bytes.split_at(error.valid_up_to());
                std::str::from_utf8(text).map_err(|_| not_text(bytes, 0, offset))?
            }
            Err(error) => return Err(not_text(bytes, error.valid_up_to(), offset)),
        };
        let text = json_prefix(text, MAX_JSON);
        let next = offset.saturating_add(text.len() as u64);
        Ok(json!({
            "text": text,
            "offset": offset,
            "next_offset": (next < total).then_some(next),
            "total_bytes": total,
        }))
    }
}

/// How many bytes at the start continue a character; it has three of those at most.
fn continuation(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take(3)
        .take_while(|byte| **byte & 0b1100_0000 == 0b1000_0000)
        .count()
}

fn not_text(bytes: &[u8], at: usize, offset: u64) -> Failure {
    let byte = bytes.get(at).copied().unwrap_or_default();
    let message = format!(
        "this is not UTF-8 text: byte 0x{byte:02x} at offset {} is not part of a character",
        offset + at as u64,
    );
    Failure::last("not_text", message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(whole: &[u8], offset: u64, limit: u64) -> Result<Value, Failure> {
        let window = Window::new(Some(offset), Some(limit), 0);
        let start = (offset as usize).min(whole.len());
        let end = (start + window.limit as usize).min(whole.len());
        window.page(&whole[start..end], whole.len() as u64)
    }

    #[test]
    fn cuts_between_characters() {
        let whole = "aä€😀".as_bytes();
        assert_eq!(
            read(whole, 0, 5).unwrap(),
            json!({"text": "aä", "offset": 0, "next_offset": 3, "total_bytes": 10})
        );
        assert_eq!(
            read(whole, 4, 100).unwrap(),
            json!({"text": "😀", "offset": 6, "next_offset": null, "total_bytes": 10})
        );
        assert_eq!(read(whole, 99, 5).unwrap()["text"], "");
        assert_eq!(read(whole, 99, 5).unwrap()["next_offset"], Value::Null);
        assert_eq!(read(b"", 0, 5).unwrap()["text"], "");
    }

    #[test]
    fn names_the_byte_that_is_not_text() {
        for (bytes, offset, expected) in [
            (b"ab\xffcd".as_slice(), 0, "byte 0xff at offset 2"),
            (b"ab\xffcd", 1, "byte 0xff at offset 2"),
            (b"\x80abc", 0, "byte 0x80 at offset 0"),
            (b"abc\xe2\x82", 0, "byte 0xe2 at offset 3"),
            (b"a\x80\x80\x80\x80", 1, "byte 0x80 at offset 4"),
        ] {
            let error = read(bytes, offset, 100).unwrap_err();
            assert_eq!(error.code, "not_text");
            assert!(error.message.contains(expected), "{}", error.message);
        }
    }

    #[test]
    fn a_page_is_never_kept_apart() {
        for text in ["x", "\u{1}", "\"", "ä", "\n"] {
            let whole = text.repeat(40_000);
            let page = read(whole.as_bytes(), 0, u64::MAX).unwrap();
            assert!(page.to_string().len() <= INLINE_LIMIT);
            assert!(page["next_offset"].as_u64().unwrap() > 2000);
        }
    }

    proptest! {
        #[test]
        fn pages_make_up_the_whole(whole in "\\PC{0,200}", limit in 0_u64..20) {
            let mut text = String::new();
            let mut offset = Some(0);
            while let Some(at) = offset {
                let page = read(whole.as_bytes(), at, limit).unwrap();
                text += page["text"].as_str().unwrap();
                prop_assert_eq!(page["offset"].as_u64(), Some(at));
                offset = page["next_offset"].as_u64();
                prop_assert!(offset.is_none_or(|next| next > at));
            }
            prop_assert_eq!(text, whole);
        }

        #[test]
        fn any_bytes_and_window_are_answered(
            whole in proptest::collection::vec(any::<u8>(), 0..40),
            offset in 0_u64..50,
            limit in 0_u64..50,
        ) {
            let _ = read(&whole, offset, limit);
        }
    }
}
