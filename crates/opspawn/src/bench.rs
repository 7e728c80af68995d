//! `opspawn bench`: this program measured over its real interfaces. Each figure is one line of JSON
//! that says what ran and with which durability.

mod agents;
mod http;
mod long;
mod model;
mod process;
mod server;
mod sse;
mod start;
mod steps;
mod submit;

use anyhow::Result;

use crate::{cli, config::Config, exit::Exit};

/// Dispatches.
pub(crate) async fn bench(_: &Config, args: cli::Bench) -> Result<Exit> {
    crate::system::raise_open_files();
    match args {
        cli::Bench::Submit(load) => submit::submit(&load).await?,
        cli::Bench::Steps(load) => steps::steps(&load).await?,
        cli::Bench::Long(load) => long::long(&load).await?,
        cli::Bench::Agents(load) => agents::agents(&load).await?,
        cli::Bench::Sse(load) => sse::sse(&load).await?,
        cli::Bench::Start => start::start().await?,
        cli::Bench::Model { turns } => model::serve(turns).await?,
    }
    Ok(Exit::Ok)
}

/// The value below which this share of the sorted values lies.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a list that fits in memory"
    )]
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Rounded to what a reader can use.
fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The percentiles that every line with times has.
fn percentiles(values: &mut [f64]) -> serde_json::Value {
    values.sort_by(f64::total_cmp);
    serde_json::json!({
        "p50": round(percentile(values, 0.5)),
        "p99": round(percentile(values, 0.99)),
        "max": round(percentile(values, 1.0)),
    })
}
