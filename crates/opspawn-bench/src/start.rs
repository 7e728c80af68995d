//! Start to ready on an existing database, and what an idle server uses.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    figures::{percentile, round},
    server::{Binary, Server},
};

/// How long the idle server is watched.
const IDLE: Duration = Duration::from_secs(10);

/// Starts the server several times on the same data and watches the last one idle.
pub(crate) async fn start(binary: &Binary) -> Result<()> {
    let folder = tempfile::tempdir_in(".").context("cannot make a folder for the database here")?;
    let settings = [("OPSPAWN_PROVIDER", "scripted")];
    Server::start(binary, folder.path(), &settings)
        .await?
        .stop()
        .await?;
    let mut times = Vec::new();
    for _ in 0..10 {
        let server = Server::start(binary, folder.path(), &settings).await?;
        times.push(server.ready.as_secs_f64() * 1e3);
        server.stop().await?;
    }
    times.sort_by(f64::total_cmp);
    let server = Server::start(binary, folder.path(), &settings).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = server.usage()?;
    tokio::time::sleep(IDLE).await;
    let after = server.usage()?;
    server.stop().await?;
    let line = json!({
        "bench": "start",
        "what": "start to the ready line on an existing database; then idle",
        "ready_ms": {"p50": round(percentile(&times, 0.5)), "max": round(percentile(&times, 1.0))},
        "idle_seconds": IDLE.as_secs(),
        "idle_rss_mib": round(after.rss),
        "idle_cpu_ms": round((after.cpu - before.cpu) * 1e3),
        "idle_bytes_written": after.written - before.written,
    });
    println!("{line}");
    Ok(())
}
