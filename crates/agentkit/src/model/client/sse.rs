//! Server-sent events, as their bytes come in.
//!
//! Source: WHATWG HTML, section "Server-sent events". What matters is `data`, and whether an event is
//! called `error`; some servers have a field of that name instead. The last event counts even if the
//! blank line after it is missing, because some servers forget it.

/// The longest line, and the longest event.
pub(super) const MAX_EVENT: usize = 8 << 20;

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event<'a> {
    pub(super) data: &'a [u8],
    /// It says by its name that it reports a failure.
    pub(super) is_error: bool,
}

/// A line or an event is longer than [`MAX_EVENT`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Cuts bytes into events, however the bytes are split.
#[derive(Debug, Default)]
pub(super) struct Sse {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    pending: Pending,
    /// The last byte was a carriage return, so a line feed that follows is no line of its own.
    after_return: bool,
}

/// An event whose blank line has not come.
#[derive(Debug, Default)]
struct Pending {
    data: Vec<u8>,
    lines: usize,
    is_error: bool,
}

impl Sse {
    /// Takes more bytes, and hands on the data of each event that they complete.
    pub(super) fn push<E: From<TooLong>>(
        &mut self,
        mut bytes: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.after_return && !bytes.is_empty() {
            self.after_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (head, tail) = bytes.split_at(end);
            bytes = if let Some(rest) = tail.strip_prefix(b"\r") {
                self.after_return = rest.is_empty();
                rest.strip_prefix(b"\n").unwrap_or(rest)
            } else {
                &tail[1..]
            };
            if self.line.is_empty() {
                self.pending.line(head, on_event)?;
            } else {
                extend(&mut self.line, head)?;
                self.pending.line(&self.line, on_event)?;
                self.line.clear();
            }
        }
        extend(&mut self.line, bytes)?;
        Ok(())
    }

    /// Takes what the end of the stream left over.
    pub(super) fn finish<E: From<TooLong>>(
        &mut self,
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.pending.line(&line, on_event)?;
        }
        self.pending.line(b"", on_event)
    }
}

impl Pending {
    fn line<E: From<TooLong>>(
        &mut self,
        line: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if line.is_empty() {
            let event = Event {
                data: &self.data,
                is_error: self.is_error,
            };
            let taken = match self.lines {
                0 => Ok(()),
                _ => on_event(event),
            };
            self.data.clear();
            (self.lines, self.is_error) = (0, false);
            return taken;
        }
        // A line that begins with `:` is a comment: its field name is empty.
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        if field == b"event" {
            self.is_error = value.trim_ascii() == b"error";
        }
        self.is_error |= field == b"error";
        if matches!(field, b"data" | b"error") {
            if self.lines > 0 {
                extend(&mut self.data, b"\n")?;
            }
            extend(&mut self.data, value.strip_prefix(b" ").unwrap_or(value))?;
            self.lines += 1;
        }
        Ok(())
    }
}

fn extend(buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<(), TooLong> {
    if buffer.len().saturating_add(bytes.len()) > MAX_EVENT {
        return Err(TooLong);
    }
    buffer.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(parts: &[&[u8]]) -> Result<Vec<(Vec<u8>, bool)>, TooLong> {
        let mut sse = Sse::default();
        let mut events = Vec::new();
        let mut on_event = |event: Event<'_>| -> Result<(), TooLong> {
            events.push((event.data.to_vec(), event.is_error));
            Ok(())
        };
        for part in parts {
            sse.push(part, &mut on_event)?;
        }
        sse.finish(&mut on_event)?;
        Ok(events)
    }

    #[test]
    fn reads_fields_comments_and_every_line_end() {
        let text = b": hello\n\ndata: a\n\nevent: x\r\ndata:b\r\n\r\ndata:  c\rdata: d\r\rid: 1\n\ndata\n\nretry\ndata: last";
        let expected =
            ["a", "b", " c\nd", "", "last"].map(|event| (event.as_bytes().to_vec(), false));
        assert_eq!(events(&[text]).unwrap(), expected);
    }

    /// `models/M8`
    #[test]
    fn knows_a_failure_by_its_name() {
        let text = b"event: error\ndata: a\n\ndata: b\n\nerror: {\"c\"\nerror::1}\n\nevent: error\n\ndata: d\n\n";
        let expected = [
            ("a", true),
            ("b", false),
            ("{\"c\"\n:1}", true),
            ("d", false),
        ];
        let expected = expected.map(|(data, is_error)| (data.as_bytes().to_vec(), is_error));
        assert_eq!(events(&[text]).unwrap(), expected);
    }

    #[test]
    fn refuses_a_line_or_an_event_without_end() {
        let half = vec![b'x'; MAX_EVENT / 2 + 1];
        assert_eq!(events(&[b"data: ", &half, &half]), Err(TooLong));
        assert_eq!(
            events(&[b"data: ", &half, b"\ndata: ", &half, b"\n\n"]),
            Err(TooLong)
        );
    }

    fn awkward() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(
            prop_oneof![
                Just(b"data: ".to_vec()),
                Just(b"data: [DONE]\n\n".to_vec()),
                Just(b"\n".to_vec()),
                Just(b"\r".to_vec()),
                Just(b"\r\n".to_vec()),
                Just(b"event: error\n".to_vec()),
                Just(b": ping".to_vec()),
                Just("{\"\u{e4}\u{1f600}\":1}".as_bytes().to_vec()),
                prop::collection::vec(any::<u8>(), 0..4),
            ],
            0..40,
        )
        .prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn yields_the_same_events_however_the_bytes_are_split(
            bytes in awkward(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let whole = events(&[&bytes]);
            prop_assert_eq!(&events(&parts), &whole);
            prop_assert_eq!(&events(&single), &whole);
        }
    }
}
