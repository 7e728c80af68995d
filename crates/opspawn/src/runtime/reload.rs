//! Reads tools, MCP servers and policy of a running process anew.

use std::sync::Arc;

use agentkit_tools::http::Listeners;
use anyhow::{Context as _, Result};
use ops_agents::Current;
use ops_core::{
    TenantId,
    ports::{CurrentConfiguration, Fut, Reload, ReloadRefused, Reloaded},
};
use tokio::sync::Mutex;

use crate::{
    agents,
    config::{Config, Reread},
    database::Database,
    exit::{self, Exit},
    mcp,
};

/// Replaces what runs begin with. One reload runs at a time.
pub(crate) struct Reloader {
    /// The configuration of now.
    config: Mutex<Config>,
    current: Arc<Current>,
    store: Arc<Database>,
    own: Listeners,
    running_with: CurrentConfiguration,
}

impl Reloader {
    pub(super) fn new(
        config: &Config,
        current: &Arc<Current>,
        store: &Arc<Database>,
        own: &Listeners,
        running_with: &CurrentConfiguration,
    ) -> Self {
        Self {
            config: Mutex::new(config.clone()),
            current: Arc::clone(current),
            store: Arc::clone(store),
            own: own.clone(),
            running_with: running_with.clone(),
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// A mistake in one of the files: then everything stays as it is.
    pub(crate) async fn read(&self) -> Result<Reloaded> {
        let mut config = self.config.lock().await;
        let Reread {
            config: fresh,
            needs_restart,
        } = config.reread()?;
        let before = self.current.mcp();
        let (mcp, notes) = mcp::sources_anew(&fresh, &self.own, &before)?;
        let factory = Arc::new(agents::factory(&fresh, &self.own, Some(&mcp))?);
        let digests = fresh.digests()?;
        let mistakes = mcp.mistakes(&*self.store.mcp()).await;
        let mistakes = mistakes.context("the records of MCP servers cannot be read")?;
        if !mistakes.is_empty() {
            return Err(exit::error(Exit::Usage, mistakes.join("; ")));
        }
        mcp.start(self.store.mcp()).await?;
        factory.catalogue().start(TenantId::DEFAULT);
        self.current.replace(factory, mcp);
        self.running_with.replace(digests);
        *config = fresh;
        Ok(Reloaded {
            notes,
            needs_restart,
        })
    }
}

impl Reload for Reloader {
    fn reload(&self) -> Fut<'_, Result<Reloaded, ReloadRefused>> {
        Box::pin(async move {
            let read = self.read().await;
            match &read {
                Ok(reloaded) => tell(reloaded),
                Err(error) => {
                    tracing::warn!("not reloaded, everything is as it was: {error:#}");
                }
            }
            read.map_err(|error| ReloadRefused(format!("{error:#}")))
        })
    }
}

/// Logs the outcome of a reload, which the caller is told as well.
fn tell(reloaded: &Reloaded) {
    for note in &reloaded.notes {
        tracing::warn!("{note}");
    }
    if !reloaded.needs_restart.is_empty() {
        tracing::warn!("{}", restart(&reloaded.needs_restart));
    }
    tracing::info!("reloaded tools, MCP servers and policy, for runs that have not begun");
}

/// A sentence about settings that wait for the next start.
pub(crate) fn restart(keys: &[String]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    format!(
        "changed, and in force from the next start on: {}; `opspawn stop`, then start again",
        keys.join(", ")
    )
}
