//! Signals of long-lived processes: reload and stop.

use anyhow::{Context as _, Result};
use ops_store::OpenError;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use super::stop_requested;
use crate::{
    exit::{self, Exit},
    output::status,
    runtime::{Runtime, restart},
};

/// The signals of a long-lived process. Listening begins before the start, so that no signal is lost.
pub(super) struct Signals {
    stopped: JoinHandle<Result<Exit>>,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self> {
        Ok(Self {
            stopped: tokio::spawn(stop_requested()),
            hangup: signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?,
        })
    }

    /// Runs until a signal to stop: then the worker drains, and open answers are finished.
    pub(super) async fn until_stopped(mut self, runtime: Runtime) -> Result<Exit> {
        loop {
            tokio::select! {
                asked = &mut self.stopped => {
                    asked.context("the signal handler failed")??;
                    break;
                }
                _ = self.hangup.recv() => match runtime.reloader().read().await {
                    Ok(reloaded) => {
                        status!("reloaded tools, MCP servers and policy, for runs that have not begun");
                        for note in &reloaded.notes {
                            status!("{note}");
                        }
                        if !reloaded.needs_restart.is_empty() {
                            status!("{}", restart(&reloaded.needs_restart));
                        }
                    }
                    Err(error) => status!("not reloaded, everything is as it was: {error:#}"),
                },
            }
        }
        // Whoever asks twice does not want to wait for the calls in flight.
        let impatient = tokio::spawn(async {
            if stop_requested().await.is_ok() {
                std::process::exit(Exit::Interrupted as i32);
            }
        });
        runtime.stop().await?;
        impatient.abort();
        Ok(Exit::Ok)
    }
}

/// How to go on where the folder is in use.
pub(super) fn in_use(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<OpenError>() {
        Some(OpenError::Locked { .. }) => exit::error(
            Exit::Unavailable,
            format!("{error:#}; `opspawn stop` stops that process"),
        ),
        Some(_) | None => error,
    }
}
