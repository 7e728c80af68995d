//! Arithmetic of the figures.

use serde_json::{Value, json};

/// The value below which this share of the sorted values lies.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a list that fits in memory"
    )]
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Rounded to three decimals.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The percentiles that every line with times has. Sorts the values.
pub(crate) fn percentiles(values: &mut [f64]) -> Value {
    values.sort_by(f64::total_cmp);
    json!({
        "p50": round(percentile(values, 0.5)),
        "p99": round(percentile(values, 0.99)),
        "max": round(percentile(values, 1.0)),
    })
}
