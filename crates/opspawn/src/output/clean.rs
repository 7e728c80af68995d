//! Characters that a terminal obeys, or that it shows nothing of, as escapes.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

/// The text with every character escaped that would steer a terminal or change the order or look of
/// others: controls, bidirectional controls, and those that are invisible. Lines and tabs stay.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |c| steers(c) && c != '\n' && c != '\t',
        |out, c| {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        },
    )
}

/// The same, on one line.
pub(crate) fn one_line(text: &str) -> String {
    let text = escaped(
        text,
        |c| matches!(c, '\n' | '\r' | '\t'),
        |out, c| {
            out.push_str(match c {
                '\n' => "\\n",
                '\r' => "\\r",
                _ => "\\t",
            });
        },
    );
    clean(&text).into_owned()
}

/// A document in JSON with these characters as its own escapes, so that it still means the same.
pub(crate) fn clean_json(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |c| steers(c) && !c.is_ascii_whitespace(),
        |out, c| {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

/// Lines of JSON on their way to a terminal.
pub(crate) struct CleanLines<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> CleanLines<W> {
    /// Writes clean lines there.
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            line: Vec::new(),
        }
    }
}

impl<W: Write> Write for CleanLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let text = String::from_utf8_lossy(&line);
                self.out.write_all(clean_json(&text).as_bytes())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn escaped(
    text: &str,
    is_wrong: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let Some(first) = text.find(&is_wrong) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_wrong(c) {
            escape(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Controls (C0, DEL, C1), controls of the writing direction, separators of lines and paragraphs,
/// invisible operators, annotations and tags. Joiners of letters and emoji stay.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// cli/C2: a page cleared the screen, wrote the clipboard, and turned arguments around.
    #[test]
    fn nothing_steers_the_terminal() {
        for (text, shown) in [
            ("plain, ünïcode 漢字 👩‍👩‍👧", "plain, ünïcode 漢字 👩‍👩‍👧"),
            ("two\nlines\tand a tab", "two\nlines\tand a tab"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{1b}]52;c;cm0=\u{7}", "\\u{1b}]52;c;cm0=\\u{7}"),
            ("\u{9b}2J \u{7f} \u{85}", "\\u{9b}2J \\u{7f} \\u{85}"),
            ("rm \u{202e}txt.exe", "rm \\u{202e}txt.exe"),
            ("a\rb", "a\\u{d}b"),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(clean(text), shown);
        }
        assert_eq!(one_line("a\r\n\tb\u{1b}"), "a\\r\\n\\tb\\u{1b}");
    }

    #[test]
    fn lines_of_json_are_clean_however_they_come() {
        let mut lines = CleanLines::new(Vec::new());
        for byte in "{\"a\":\"\u{202e}\"}\n{}\nrest".as_bytes() {
            lines.write_all(&[*byte]).unwrap();
        }
        assert_eq!(lines.out, b"{\"a\":\"\\u202e\"}\n{}\n");
    }

    proptest! {
        #[test]
        fn what_is_shown_has_no_such_character(text in any::<String>()) {
            prop_assert!(!clean(&text).contains(|c| steers(c) && c != '\n' && c != '\t'));
            prop_assert!(!one_line(&text).contains(steers));
        }

        /// A document says the same, and steers nothing.
        #[test]
        fn documents_keep_their_meaning(text in any::<String>()) {
            let document = json!({"text": text, "list": [text]});
            for written in [document.to_string(), serde_json::to_string_pretty(&document).unwrap()] {
                let shown = clean_json(&written);
                prop_assert!(!shown.contains(|c| steers(c) && c != '\n'));
                prop_assert_eq!(&serde_json::from_str::<Value>(&shown).unwrap(), &document);
            }
        }
    }
}
