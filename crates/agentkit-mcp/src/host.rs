//! All servers of a configuration.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use agentkit::{Tool, event::Failure};
use tokio::task::JoinHandle;

use crate::{
    config::Config,
    http::reach::Reach,
    leftovers::Records,
    link::{Answers, Nobody},
    oauth::{Browser, MemoryTokens, NoBrowser, Tokens},
    proxy,
    server::{Given, Server},
    text::shown,
    wire::Era,
};

/// Parts of a new host.
#[derive(Clone)]
pub struct HostSettings {
    /// Where the processes of servers are recorded, so that the next start ends leftovers of this start.
    pub records: Records,
    /// Answers questions of servers of the older era while a call waits.
    pub answers: Arc<dyn Answers>,
    /// Where servers may be.
    pub reach: Reach,
    /// Where OAuth grants are kept.
    pub tokens: Arc<dyn Tokens>,
    /// Leads a person through an authorization.
    pub browser: Arc<dyn Browser>,
    /// The eras of servers, as far as they are known from earlier.
    pub eras: BTreeMap<String, Era>,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            records: Records::default(),
            answers: Arc::new(Nobody),
            reach: Reach::default(),
            tokens: Arc::new(MemoryTokens::default()),
            browser: Arc::new(NoBrowser {
                remedy: "it wants to be authorized by a person, and nobody is there".to_owned(),
            }),
            eras: BTreeMap::new(),
        }
    }
}

/// The servers of a configuration.
///
/// A server lives as long as it has a user: the host, or a tool of a run that began with an earlier
/// configuration.
pub struct Host {
    config: Config,
    servers: BTreeMap<String, Arc<Used>>,
}

/// A server with users. It ends when nobody does.
pub struct Used {
    server: Arc<Server>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Used {
    /// The server.
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    fn start(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.is_none() {
            *task = Some(tokio::spawn(Arc::clone(&self.server).keep()));
        }
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        self.server.stop();
    }
}

impl Host {
    /// A host that is not connected yet.
    #[must_use]
    pub fn new(config: Config, settings: &HostSettings) -> Arc<Self> {
        Self::after(None, config, settings)
    }

    /// A host for another configuration. Servers that it leaves as they are stay connected, and the others go
    /// on for the runs that use them.
    #[must_use]
    pub fn after(before: Option<&Self>, config: Config, settings: &HostSettings) -> Arc<Self> {
        let used = |(name, config): (&String, &crate::ServerConfig)| {
            let kept = before.and_then(|host| host.servers.get(name));
            if let Some(kept) = kept.filter(|kept| kept.server.config() == config) {
                return (name.clone(), Arc::clone(kept));
            }
            let given = Given {
                records: settings.records.clone(),
                answers: Arc::clone(&settings.answers),
                reach: settings.reach.clone(),
                tokens: Arc::clone(&settings.tokens),
                browser: Arc::clone(&settings.browser),
                era: settings.eras.get(name).copied(),
            };
            let server = Server::new(config.clone(), given);
            (
                name.clone(),
                Arc::new(Used {
                    server,
                    task: Mutex::default(),
                }),
            )
        };
        let servers = config.servers.iter().map(used).collect();
        Arc::new(Self { config, servers })
    }

    /// Begins to connect, beside other work. Needs a runtime.
    pub fn start(&self) {
        self.servers.values().for_each(|used| used.start());
    }

    /// Ends every server with all that it started.
    pub async fn stop(&self) {
        let ended = self.servers.values().map(|used| {
            used.server.stop();
            let task = used
                .task
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            async move {
                if let Some(task) = task {
                    let _ = task.await;
                }
            }
        });
        futures_util::future::join_all(ended).await;
    }

    /// The configuration that it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its servers, in the order of their names.
    #[must_use]
    pub fn servers(&self) -> Vec<Arc<Server>> {
        self.servers
            .values()
            .map(|used| Arc::clone(&used.server))
            .collect()
    }

    /// Its servers, each to be held by its users.
    #[must_use]
    pub fn used(&self) -> Vec<Arc<Used>> {
        self.servers.values().cloned().collect()
    }

    /// A server by its raw name.
    ///
    /// # Errors
    /// `unknown_server` names servers like it.
    pub fn server(&self, name: &str) -> Result<Arc<Server>, Failure> {
        if let Some(used) = self.servers.get(name) {
            return Ok(Arc::clone(&used.server));
        }
        let message = match self.config.refused.get(name) {
            Some(why) => format!("the MCP server `{name}` cannot be used: {why}"),
            None => {
                let known: Vec<&str> = self.servers.keys().map(String::as_str).collect();
                format!(
                    "there is no MCP server `{}`; {}",
                    shown(name, 80),
                    units::nearest::hint(name, known)
                )
            }
        };
        Err(Failure::last("unknown_server", message))
    }

    /// The tools through which an agent reaches every server; none without servers.
    #[must_use]
    pub fn proxy_tools(self: &Arc<Self>) -> Vec<Arc<dyn Tool>> {
        match self.servers.is_empty() {
            true => Vec::new(),
            false => proxy::tools(self),
        }
    }
}
