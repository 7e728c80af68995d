//! Tests of ops-core from the outside.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test")]

mod events_v1;
