//! What a request stands for: equal requests have equal digests.

use std::io;

use ops_core::TaskId;
use sha2::{Digest as _, Sha256};

use crate::json::canonical;

/// SHA-256 of the canonical body without `request_id`. A field that is `null` is a missing one.
pub(in crate::rest) fn of_request(text: &str) -> [u8; 32] {
    let mut hash = io::BufWriter::new(Hash(Sha256::new()));
    canonical(&mut hash, text, &|name, value| {
        name != "request_id" && value.get() != "null"
    })
    .expect("the body was checked to be JSON, and a hash takes any bytes");
    let hash = hash.into_inner().map_err(io::IntoInnerError::into_error);
    hash.expect("a hash takes any bytes").0.finalize().into()
}

struct Hash(Sha256);

impl io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same of a request about a task: one about another task is another request.
pub(in crate::rest) fn of_request_about(task: TaskId, text: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(task.as_bytes());
    hash.update(of_request(text));
    hash.finalize().into()
}

/// The same of a request to do a task again, which has no body.
pub(in crate::rest) fn of_retry(task: TaskId) -> [u8; 32] {
    of_request_about(task, r#"{"retry":true}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_is_the_same() {
        let one = of_request(r#"{"task_type":"a","input_data":{"x":1,"y":2},"request_id":"k"}"#);
        for same in [
            r#"{ "input_data": {"y":2, "x":1}, "task_type": "\u0061" }"#,
            r#"{"task_type":"a","name":null,"input_data":{"x":1,"y":2}}"#,
        ] {
            assert_eq!(of_request(same), one);
        }
        for other in [
            r#"{"task_type":"a","input_data":{"x":1,"y":3}}"#,
            r#"{"task_type":"a","input_data":{"x":1,"y":2,"z":null}}"#,
        ] {
            assert_ne!(of_request(other), one);
        }
    }
}
