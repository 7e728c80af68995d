//! The digest of a request in releases before this release. The engine makes the digest of a submit; this one
//! lets a client that repeats a request find the task that an older release made of it.

use std::io;

use ops_core::json::canonical;
use sha2::{Digest as _, Sha256};

/// SHA-256 of the canonical body without `request_id`. A field that is `null` is a missing one.
pub(super) fn of_request(text: &str) -> [u8; 32] {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests that stand in databases.
    #[test]
    fn a_request_has_the_digest_that_it_always_had() {
        let hex = |text| {
            let bytes = of_request(text).into_iter();
            bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(
            hex(
                r#"{"task_type":"echo","input_data":{"b":2,"a":1.50},"name":null,"request_id":"k"}"#
            ),
            "f2da0ee6a9ef405a9f28848098266ac27e9d5c9f6ae0528799ad8b97f03c9d6a"
        );
    }

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
