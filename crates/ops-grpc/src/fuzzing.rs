//! Fuzz targets: bytes as the message of every method.

use std::sync::LazyLock;

use prost_reflect::MessageDescriptor;
use units::fuzzing::Target;

use crate::{
    decode::{Unknown, fields},
    encode,
    methods::descriptors,
};

/// The targets.
pub const TARGETS: &[Target] = &[Target {
    name: "grpc_message",
    run: message,
}];

/// More than any input.
const MAX_BYTES: usize = 16 << 20;

/// Messages that clients send.
static REQUESTS: LazyLock<Vec<MessageDescriptor>> = LazyLock::new(|| {
    let pool = descriptors();
    let methods: Vec<_> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect();
    methods
        .iter()
        .map(prost_reflect::MethodDescriptor::input)
        .collect()
});

/// Bytes that are read as a message are JSON, and that JSON is a message again.
///
/// # Panics
/// If a message that was read is no JSON, or does not come back.
pub fn message(data: &[u8]) {
    for kind in REQUESTS.iter() {
        let Ok(read) = fields(kind, data, Unknown::Ignored, MAX_BYTES) else {
            continue;
        };
        let members: Vec<_> = read
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        let json = format!("{{{}}}", members.join(","));
        let value: serde_json::Value = serde_json::from_str(&json).expect("a message is JSON");
        assert!(value.is_object());
        let written = encode::message(kind, &json, usize::MAX).expect("the JSON is of the message");
        // An empty list and a missing one are the same message, so that the names may differ, and nothing else fails.
        let again = fields(kind, &written, Unknown::Refused, MAX_BYTES);
        assert!(again.is_ok(), "{json}: {again:?}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_holds_its_seeds_and_changed_copies_of_them() {
        units::fuzzing::check(super::TARGETS);
    }
}
