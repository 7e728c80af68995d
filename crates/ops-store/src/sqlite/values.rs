//! Large values: packed by the caller, stored once, found by their digest.

pub(crate) mod blob;
pub(crate) mod pack;
