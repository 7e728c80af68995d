//! Work whose cost a caller or a model can choose, within limits.
//!
//! A JSON Schema, a pattern or a template of a few hundred bytes can ask for hours of work or for
//! gigabytes. Each such piece of work goes through this crate or follows its rules:
//!
//! - The work is counted, and a count that is used up ends it with an error of a stable code.
//! - What is small runs where it is asked for; the rest runs on the [`pool`], so that the threads of
//!   an async runtime stay free.
//! - The caller's cancellation ends work that runs, not only work that waits.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod pool;
pub mod schema;
