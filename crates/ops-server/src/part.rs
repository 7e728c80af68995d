//! Parts of the process in `/ready` and `/metrics`.

use ops_core::stats::Metric;

/// A part that `/ready` and `/metrics` show beside the store.
pub trait Part: Send + Sync {
    /// Its name in `parts` of `/ready`.
    fn name(&self) -> &'static str;

    /// State of the part, in a sentence or a word.
    fn state(&self) -> String;

    /// Warning for `/ready`, if the part refuses its work.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Counters of the part.
    fn metrics(&self) -> Vec<Metric>;
}
