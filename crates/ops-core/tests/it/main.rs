//! Tests of ops-core from the outside.

mod events_v1;
