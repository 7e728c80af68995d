//! Server-sent events, as they are in the HTML standard.

use std::time::Duration;

use crate::wire::MAX_MESSAGE;

/// Reads a stream of events.
#[derive(Default)]
pub(super) struct Events {
    line: Vec<u8>,
    /// The last byte was a carriage return: a newline that follows belongs to it.
    after_return: bool,
    data: Vec<u8>,
    has_data: bool,
    id: Option<String>,
    /// Skips the rest of an event that is too large.
    too_large: bool,
    begun: bool,
}

/// Data of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SseItem {
    /// An event. Its data may be empty: then it only names where to resume.
    Event { data: Vec<u8>, id: Option<String> },
    /// An event of more bytes than are read, with its beginning.
    TooLarge(Vec<u8>),
    /// How long to wait before resuming.
    Retry(Duration),
    /// A comment: the stream lives.
    Comment,
}

impl Events {
    /// Takes bytes up; their data, in order.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<SseItem> {
        let mut said = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    let is_first = !std::mem::replace(&mut self.begun, true);
                    let line = match is_first {
                        true => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line),
                        false => &line,
                    };
                    said.extend(self.end_of_line(line));
                }
                other => {
                    self.after_return = false;
                    if self.line.len() <= MAX_MESSAGE {
                        self.line.push(*other);
                    } else {
                        self.too_large = true;
                    }
                }
            }
        }
        said
    }

    fn end_of_line(&mut self, line: &[u8]) -> Option<SseItem> {
        if line.is_empty() {
            return self.end_of_event();
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(0) => return Some(SseItem::Comment),
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len() + value.len() > MAX_MESSAGE {
                    self.too_large = true;
                } else {
                    if self.has_data {
                        self.data.push(b'\n');
                    }
                    self.data.extend_from_slice(value);
                }
                self.has_data = true;
                None
            }
            b"id" if !value.contains(&0) && value.len() <= 1024 => {
                self.id = Some(String::from_utf8_lossy(value).into_owned());
                None
            }
            b"retry" => {
                let millis = std::str::from_utf8(value).ok()?.parse().ok()?;
                Some(SseItem::Retry(Duration::from_millis(millis)))
            }
            _ => None,
        }
    }

    fn end_of_event(&mut self) -> Option<SseItem> {
        let data = std::mem::take(&mut self.data);
        let has_data = std::mem::take(&mut self.has_data);
        if std::mem::take(&mut self.too_large) {
            let mut data = data;
            data.truncate(1024);
            return Some(SseItem::TooLarge(data));
        }
        let id = self.id.take();
        (has_data || id.is_some()).then_some(SseItem::Event { data, id })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(data: &str, id: Option<&str>) -> SseItem {
        SseItem::Event {
            data: data.as_bytes().to_vec(),
            id: id.map(str::to_owned),
        }
    }

    fn read(text: &str, size: usize) -> Vec<SseItem> {
        let mut events = Events::default();
        text.as_bytes()
            .chunks(size)
            .flat_map(|chunk| events.take(chunk))
            .collect()
    }

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = "\u{feff}: hi\r\nid: 1\ndata:\n\nevent: message\rdata: {\"a\":\rdata: 1}\r\r\nretry: 250\n\ndata:x\n\n";
        for size in 1..text.len() {
            assert_eq!(
                read(text, size),
                [
                    SseItem::Comment,
                    event("", Some("1")),
                    event("{\"a\":\n1}", None),
                    SseItem::Retry(Duration::from_millis(250)),
                    event("x", None),
                ],
                "in pieces of {size}"
            );
        }
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let mut events = Events::default();
        assert!(events.take(b"data: {\"id\":3,").is_empty());
        let chunk = vec![b'x'; 1024 * 1024];
        for _ in 0..20 {
            assert!(events.take(&chunk).is_empty());
            assert!(events.line.len() <= MAX_MESSAGE + 1);
        }
        let said = events.take(b"\n\ndata: y\n\n");
        assert!(
            matches!(&said[..], [SseItem::TooLarge(_), SseItem::Event { .. }]),
            "{}",
            said.len()
        );
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(text in "[a-z:\\r\\n id\u{e9}]{0,60}", size in 1_usize..9) {
            prop_assert_eq!(read(&text, size), read(&text, text.len().max(1)));
        }
    }
}
