//! Identifiers. Every id is a newtype, so that the compiler refuses a task's id in place of a tenant's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::time::Micros;

/// A tenant, by the number that its rows carry. Tenant 1 is `default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub u32);

impl TenantId {
    /// The tenant `default`, which every database has.
    pub const DEFAULT: Self = Self(1);
}

/// Text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} id: it must be `{prefix}` and a UUID")]
pub struct ParseIdError {
    text: String,
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id (UUIDv7, RFC 9562): ordered by time to the microsecond, then by chance.
            #[must_use]
            pub fn new(now: Micros, random: [u8; 10]) -> Self {
                let micros = u64::try_from(now.0).unwrap_or(0);
                let mut tail = random;
                // rand_a holds the microseconds within the millisecond (RFC 9562, 6.2 method 3).
                let fraction = u16::try_from((micros % 1_000) * 4_096 / 1_000).unwrap_or(0);
                [tail[0], tail[1]] = fraction.to_be_bytes();
                Self(Builder::from_unix_timestamp_millis(micros / 1_000, &tail).into_uuid())
            }

            /// The 16 bytes as they are stored.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From the 16 bytes as they are stored.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix($prefix)
                    .filter(|rest| rest.len() == 36)
                    .and_then(|rest| Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or_else(|| ParseIdError {
                        text: text.chars().take(80).collect(),
                        kind: $kind,
                        prefix: $prefix,
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

uuid_id!(
    /// A task: `task_` and a UUIDv7.
    TaskId,
    "task",
    "task_"
);
uuid_id!(
    /// A worker's session, the holder of its leases: `session_` and a UUIDv7.
    SessionId,
    "session",
    "session_"
);

/// The public id of an API key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

/// Text that is no id of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key has 1 to 64 letters, digits, `-` or `_`")]
pub struct KeyIdError;

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let fits = (1..=64).contains(&text.len()) && text.chars().all(plain);
        fits.then(|| Self(text.to_owned())).ok_or(KeyIdError)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_round_trip() {
        let early = TaskId::new(Micros(1_700_000_000_000_001), [255; 10]);
        let late = TaskId::new(Micros(1_700_000_000_000_002), [0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string().parse::<TaskId>().unwrap(), early);
        assert_eq!(TaskId::from_bytes(*early.as_bytes()), early);
    }

    #[test]
    fn version_one_ids_parse_and_others_do_not() {
        assert!(
            "task_6ba7b810-9dad-41d1-80b4-00c04fd430c8"
                .parse::<TaskId>()
                .is_ok()
        );
        for bad in [
            "",
            "task_",
            "6ba7b810-9dad-41d1-80b4-00c04fd430c8",
            "task_x",
            "session_1",
        ] {
            let error = bad.parse::<TaskId>().unwrap_err().to_string();
            assert!(error.contains("task_"), "{error}");
        }
    }
}
