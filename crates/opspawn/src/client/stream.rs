//! Server-sent events, as a server of this program sends them.

use serde_json::Value;

/// An event of a task's stream.
#[derive(Debug)]
pub(crate) struct StreamEvent {
    /// Its type.
    pub(crate) kind: String,
    /// Its data.
    pub(crate) data: Value,
}

/// Takes a stream of bytes apart into blocks. Each byte is looked at once, however many pieces a
/// block comes in, and moved once, however many blocks a piece has.
#[derive(Default)]
pub(super) struct Blocks {
    buffer: Vec<u8>,
    /// Where the next block begins.
    begun: usize,
    /// Up to where no block ends that was not given out.
    seen: usize,
}

impl Blocks {
    /// Takes a piece of the stream.
    pub(super) fn add(&mut self, piece: &[u8]) {
        self.buffer.drain(..self.begun);
        self.seen -= self.begun;
        self.begun = 0;
        self.buffer.extend_from_slice(piece);
    }

    /// The next block that is whole.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        // The two bytes of a block's end may have come in two pieces.
        let from = self.seen.saturating_sub(1).max(self.begun);
        let mut pairs = self.buffer[from..].windows(2);
        let Some(at) = pairs.position(|pair| pair == b"\n\n") else {
            self.seen = self.buffer.len();
            return None;
        };
        let begun = self.begun;
        self.begun = from + at + 2;
        self.seen = self.begun;
        Some(&self.buffer[begun..self.begun])
    }
}

/// What a block says.
#[derive(Debug)]
pub(super) enum Block {
    /// An event, and its id.
    Event(StreamEvent, Option<u64>),
    /// Nothing, to keep the stream open.
    Comment,
    /// How soon to come back.
    Retry,
}

impl Block {
    pub(super) fn read(block: &[u8]) -> Self {
        let text = String::from_utf8_lossy(block);
        let (mut kind, mut data, mut id) = (None, String::new(), None);
        let mut retry = false;
        for line in text.lines() {
            match line
                .split_once(':')
                .map(|(field, value)| (field, value.trim_start()))
            {
                Some(("event", value)) => kind = Some(value.to_owned()),
                Some(("data", value)) => data.push_str(value),
                Some(("id", value)) => id = value.parse().ok(),
                Some(("retry", _)) => retry = true,
                _ => {}
            }
        }
        match kind {
            None if data.is_empty() && retry => Self::Retry,
            None if data.is_empty() => Self::Comment,
            kind => {
                let kind = kind.unwrap_or_else(|| "message".to_owned());
                let data = serde_json::from_str(&data).unwrap_or(Value::Null);
                Self::Event(StreamEvent { kind, data }, id)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 1000\n\nid: 1\nevent: a\ndata: {}\n\n: keep-alive\n\n\
                          id: 2\nevent: b\ndata: {\"x\":1}\n\nevent: cut";

    fn blocks(size: usize) -> Vec<String> {
        let (mut blocks, mut found) = (Blocks::default(), Vec::new());
        for piece in STREAM.as_bytes().chunks(size) {
            blocks.add(piece);
            while let Some(block) = blocks.next() {
                found.push(String::from_utf8(block.to_vec()).unwrap());
            }
        }
        found
    }

    #[test]
    fn a_stream_comes_apart_the_same_in_pieces_of_any_size() {
        let whole = blocks(STREAM.len());
        assert_eq!(whole.len(), 4);
        for size in 1..STREAM.len() {
            assert_eq!(blocks(size), whole, "{size}");
        }
        let read: Vec<_> = whole
            .iter()
            .map(|block| match Block::read(block.as_bytes()) {
                Block::Event(event, id) => format!("{} {:?}", event.kind, id),
                Block::Comment => "comment".into(),
                Block::Retry => "retry".into(),
            })
            .collect();
        assert_eq!(read, ["retry", "a Some(1)", "comment", "b Some(2)"]);
    }

    /// 16 MiB in pieces of 4 KiB: looking at all of it with each piece takes minutes in a debug
    /// build, looking at each byte once about a second.
    #[test]
    fn an_event_in_many_pieces_is_looked_through_once() {
        let begun = std::time::Instant::now();
        let mut blocks = Blocks::default();
        for _ in 0..4_096 {
            blocks.add(&[b'x'; 4_096]);
            assert!(blocks.next().is_none());
        }
        blocks.add(b"\n\n");
        assert_eq!(blocks.next().unwrap().len(), (16 << 20) + 2);
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    }
}
