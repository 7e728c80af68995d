//! How many values a JSON text may hold. A value in memory is some twenty times its text: 30 MB of `[],[],..`
//! would be 2 GB.

/// The most values of a text that a model wrote.
pub(crate) const MAX_VALUES: usize = 100_000;

/// Whether a text may hold more values than are read, in whatever dialect of JSON. Each value but the first
/// stands after a comma or an opening bracket. Those within texts count as well, which no honest answer has
/// so many of.
pub(crate) fn may_be_too_many(text: &str) -> bool {
    let separators = text
        .bytes()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{'));
    separators.take(MAX_VALUES + 1).count() > MAX_VALUES
}
