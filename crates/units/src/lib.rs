//! One grammar for each kind of value that people write: the command line, settings, files, REST and
//! models' own requests read durations, money, names of models and digests in the same way, and name
//! what was probably meant in the same way.
//!
//! This crate is a leaf: it knows no other crate of the workspace, and every crate may use it.

pub mod bytes;
mod decimal;
pub mod duration;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod hex;
pub mod model;
pub mod money;
pub mod mutants;
pub mod nearest;

pub use self::{model::ModelName, nearest::nearest};

/// Characters of a wrong value that a message shows.
const EXCERPT_LIMIT: usize = 80;

/// The beginning of a foreign value, for a message.
fn shown(text: &str) -> String {
    text.chars().take(EXCERPT_LIMIT).collect()
}
