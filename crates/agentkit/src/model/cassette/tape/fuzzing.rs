//! Fuzz target: a file of a cassette's folder.

use serde_json::json;

use super::{Exchange, Position, Tape, canonical_digest};

/// An exchange is read, played, and compared with a request that it does not answer.
pub(crate) fn exchange(data: &[u8]) {
    let Ok(exchange) = serde_json::from_slice::<Exchange>(data) else {
        return;
    };
    let request = exchange.request.clone();
    let answers = exchange.answers.len();
    let position = Position { exchange, given: 0 };
    let tape = Tape {
        folder: "cassette".into(),
        exchanges: [(canonical_digest(&request), position)]
            .into_iter()
            .collect::<std::collections::HashMap<_, _>>()
            .into(),
    };
    for _ in 0..2 {
        assert_eq!(tape.play(&request).is_some(), answers > 0);
    }
    let other = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    assert!(!tape.miss(&other).message.is_empty());
}
