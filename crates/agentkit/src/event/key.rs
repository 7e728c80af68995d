//! The key of a tool call.

use serde::{Deserialize, Serialize};

/// Identity of one tool call, at whichever server: random, recorded with the intent, and the same for every
/// attempt of the call and after every crash. A rerun of the call gets another key.
///
/// The key's text is a UUID of version 4, which APIs take as an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallKey(String);

impl CallKey {
    /// A key of 16 random bytes.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        use std::fmt::Write as _;
        let mut bytes = random;
        // The version and the variant (RFC 9562, 5.4).
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut text = String::with_capacity(36);
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for CallKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_uuid_of_version_4() {
        let key = CallKey::new([0xff; 16]);
        assert_eq!(key.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let key = CallKey::new(*b"0123456789abcdef");
        assert_eq!(key.to_string(), "30313233-3435-4637-b839-616263646566");
    }
}
