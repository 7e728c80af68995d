//! One grammar for each kind of value that people write: the command line, settings, files, REST and
//! models' own requests read durations, money, names of models and digests in the same way, and name
//! what was probably meant in the same way.
//!
//! This crate is a leaf: it knows no other crate of the workspace, and every one may use it.

mod decimal;
pub mod duration;
pub mod hex;
pub mod model;
pub mod money;
pub mod mutants;
pub mod nearest;

pub use self::{model::ModelName, nearest::nearest};

/// Characters of a wrong value that a message shows.
const MAX_SHOWN: usize = 80;

/// The beginning of a value that somebody else chose, for a message.
fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}
