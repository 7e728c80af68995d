//! Stores of long-term memory for [`agentkit`], and embedders.
//!
//! [`Embedded`] keeps facts in a SQLite file of its own. It ranks by words (FTS5, BM25) and by vectors (an exact scan of
//! 8-bit codes, then full precision), fused by reciprocal rank. Its SQL is its own: it shares no table with the engine.
//!
//! Reading order: `embedder` (texts to vectors), `vector` (arithmetic), `embedded` with its parts `schema`, `threads`,
//! `write`, `read`, `index`, `search` and `embed`.

mod embedded;
pub mod embedder;
mod vector;

pub use self::{
    embedded::{Counts, Embedded, Options, Stored, copy, restore},
    embedder::{EmbedError, Embedder},
};
