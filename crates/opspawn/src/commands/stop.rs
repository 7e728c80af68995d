//! `opspawn stop`: the server of the data folder ends.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use ops_store::sqlite;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    config::Config,
    exit::{self, Exit},
    output::{self, show},
};

/// What a server may need beyond the time that it gives to calls in flight.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often the folder is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks the process that owns the folder to stop, and waits until it has.
pub(super) async fn stop(config: &Config, json: bool) -> Result<Exit> {
    let dir = config.data_dir();
    let Some(owner) = sqlite::running_server(&dir) else {
        return Err(exit::error(
            Exit::Usage,
            format!("no process has the data folder {} open", dir.display()),
        ));
    };
    let pid = i32::try_from(owner.pid).ok().and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("the lock file names no process: {}", owner.pid))?;
    kill_process(pid, Signal::TERM)
        .with_context(|| format!("cannot ask the process {} to stop", owner.pid))?;
    let grace = config.duration("worker.grace").unwrap_or_default() + TIMEOUT;
    let begun = Instant::now();
    while sqlite::running_server(&dir).is_some_and(|now| now.pid == owner.pid) {
        if begun.elapsed() > grace {
            return Err(exit::error(
                Exit::Unavailable,
                format!(
                    "the process {} was asked to stop and has not for {} s; see its log",
                    owner.pid,
                    grace.as_secs()
                ),
            ));
        }
        tokio::time::sleep(PAUSE).await;
    }
    if json {
        output::json(&json!({"pid": owner.pid, "url": owner.url, "stopped": true}));
    } else {
        show!("process {} has stopped", owner.pid);
    }
    Ok(Exit::Ok)
}
