//! `opspawn bench`: this program measured over its real interfaces. Each figure is one line of JSON
//! that says what ran and with which durability.

mod http;
mod server;
mod start;
mod steps;
mod submit;

use anyhow::Result;

use crate::{cli, config::Config, exit::Exit};

/// Dispatches.
pub(crate) async fn bench(_: &Config, args: cli::Bench) -> Result<Exit> {
    match args {
        cli::Bench::Submit(load) => submit::submit(&load).await?,
        cli::Bench::Steps(load) => steps::steps(&load).await?,
        cli::Bench::Start => start::start().await?,
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
