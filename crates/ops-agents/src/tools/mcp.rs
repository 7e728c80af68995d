//! MCP servers as sources of tools: one source for each server, and one for the tools that reach them all.
//!
//! A server's list goes through the store, which gives the approved definitions back; agents are given the
//! approved text and no other. Servers of the file belong to the tenant `default`: no other tenant has their
//! tools.

mod held;
mod rules;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use agentkit::{BoxFuture, Tool, policy::PolicyFile};
use agentkit_mcp::{
    Config, Era, Host, HostSettings, Kind, Listed, McpTool, Server, Status, Used,
    config::Transport, names,
};
use ops_core::{
    Caller, Json, TenantId,
    mcp::{McpApproval, McpDefinition, McpKey, McpListed, McpPinState, McpPins},
    ports::{Fut, McpServerView, McpServers, McpStore, StoreError},
};
use tokio::sync::{Notify, watch};

use self::rules::Checked;
use super::{FixedTools, Health, SourceContext, SourceError, ToolSource};

/// The name of the source of the tools that reach every server.
pub const PROXY_SOURCE: &str = "mcp";

/// The servers of a configuration, with the store that pins their definitions.
pub struct McpSources {
    host: Arc<Host>,
    store: OnceLock<Arc<dyn McpStore>>,
    bound: watch::Sender<Option<Arc<dyn McpStore>>>,
    sources: Vec<Arc<McpSource>>,
}

/// One server.
struct McpSource {
    /// Its name among the sources.
    name: String,
    used: Arc<Used>,
    store: watch::Receiver<Option<Arc<dyn McpStore>>>,
    /// The number of the list that was given last.
    given: AtomicU64,
    /// Rung when definitions were approved.
    approved: Notify,
    /// The policy, whose rules about the server's tools are checked against the list.
    policy: Arc<PolicyFile>,
    /// The rules by the last list.
    checked: Mutex<Checked>,
    /// Names of tools that are held by the last list, each with the reason.
    held: Mutex<Vec<(String, String)>>,
}

impl McpSources {
    /// The sources of these servers. No server is started before [`McpSources::start`]. Servers that an earlier
    /// configuration has as well stay connected.
    #[must_use]
    pub fn new(
        config: Config,
        settings: &HostSettings,
        policy: PolicyFile,
        before: Option<&Self>,
    ) -> Arc<Self> {
        let policy = Arc::new(policy);
        let host = Host::after(before.map(|before| &*before.host), config, settings);
        let (sender, receiver) = watch::channel(None);
        let source = |used: Arc<Used>| {
            Arc::new(McpSource {
                name: names::source(used.server().name()),
                used,
                store: receiver.clone(),
                given: AtomicU64::new(0),
                approved: Notify::new(),
                policy: Arc::clone(&policy),
                checked: Mutex::default(),
                held: Mutex::default(),
            })
        };
        let sources = host.used().into_iter().map(source).collect();
        Arc::new(Self {
            host,
            store: OnceLock::new(),
            bound: sender,
            sources,
        })
    }

    /// The sources, for a catalogue; empty without servers.
    #[must_use]
    pub fn sources(&self) -> Vec<Arc<dyn ToolSource>> {
        let tools = self.host.proxy_tools();
        if tools.is_empty() {
            return Vec::new();
        }
        let own = self
            .sources
            .iter()
            .map(|source| Arc::clone(source) as Arc<dyn ToolSource>);
        let proxy = FixedTools::of_the_program(PROXY_SOURCE, tools);
        std::iter::once(proxy).chain(own).collect()
    }

    /// Connects to the servers in tasks of their own. Their definitions are pinned in this store.
    ///
    /// # Errors
    /// If the records of the servers cannot be read.
    pub async fn start(&self, store: Arc<dyn McpStore>) -> Result<(), StoreError> {
        for (name, pins) in store.mcp_servers(TenantId::DEFAULT).await? {
            let mut sources = self.sources.iter();
            let source = sources.find(|source| source.used.server().name() == name);
            let Some(source) = source else { continue };
            let server = source.used.server();
            if server.config().identity() != pins.identity {
                continue;
            }
            if let Some(era) = pins.era.as_deref().and_then(Era::by_name) {
                server.remember_era(era);
            }
            // A run that goes on after a restart calls at once: its call waits for the server, and is no call of a tool
            // that nobody knows.
            if server.listing().is_none() {
                source.give(&pins);
            }
        }
        self.bind(Arc::clone(&store));
        self.bound.send_replace(Some(store));
        self.host.start();
        Ok(())
    }

    /// The mistakes in rules about tools of servers that were listed before, a sentence each.
    ///
    /// # Errors
    /// If the records of the servers cannot be read.
    pub async fn mistakes(&self, store: &dyn McpStore) -> Result<Vec<String>, StoreError> {
        let known = store.mcp_servers(TenantId::DEFAULT).await?;
        let mut mistakes = Vec::new();
        for source in &self.sources {
            let server = source.used.server().config();
            let Some((_, pins)) = known.iter().find(|(name, _)| *name == server.name) else {
                continue;
            };
            if pins.identity != server.identity() {
                continue;
            }
            let wrong = rules::check(&source.policy, server, pins).wrong;
            let of_server = |why: String| format!("the MCP server `{}`: {why}", server.name);
            mistakes.extend(wrong.into_iter().map(of_server));
        }
        Ok(mistakes)
    }

    /// Sets the store of the definitions, for a process that connects to no server: such a process can show the
    /// records of the servers, and approve definitions.
    pub fn bind(&self, store: Arc<dyn McpStore>) {
        let _ = self.store.set(store);
    }

    /// Ends every server with all that it started.
    pub async fn stop(&self) {
        self.host.stop().await;
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    fn view(&self, server: &Server, pins: Option<McpPins>) -> McpServerView {
        let status = server.status();
        let source = self
            .sources
            .iter()
            .find(|source| source.used.server().name() == server.name());
        let checked = source.map(|source| source.checked()).unwrap_or_default();
        let mistake = checked.mistake();
        let own = self.host.config().server_notes.get(server.name());
        let mut notes = own.cloned().unwrap_or_default();
        notes.extend(checked.notes);
        let is_started = self.bound.borrow().is_some();
        let listing = server.listing();
        let counts = server.counts();
        let transport = match server.config().transport {
            Transport::Stdio(_) => "stdio",
            Transport::Http { .. } => "http",
        };
        McpServerView {
            name: server.name().to_owned(),
            source: names::source(server.name()),
            transport: transport.to_owned(),
            place: server.config().place(),
            status: match &mistake {
                _ if !is_started => "stopped",
                Some(_) => "refused",
                None => status.as_str(),
            }
            .to_owned(),
            reason: mistake.or_else(|| status.reason().map(str::to_owned)),
            info: listing.as_ref().map(|listing| listing.info.name.clone()),
            protocol: listing
                .as_ref()
                .map(|listing| listing.info.protocol.clone()),
            unusable: listing
                .as_ref()
                .map(|listing| listing.refused.clone())
                .unwrap_or_default(),
            notes: {
                notes.extend(listing.iter().flat_map(|listing| listing.notes.clone()));
                notes
            },
            pins,
            calls: [counts.calls, counts.errors, counts.unknown],
        }
    }
}

impl McpServers for McpSources {
    fn servers(&self, tenant: TenantId) -> Fut<'_, Result<Vec<McpServerView>, StoreError>> {
        Box::pin(async move {
            if tenant != TenantId::DEFAULT {
                return Ok(Vec::new());
            }
            let known = match self.store.get() {
                Some(store) => store.mcp_servers(tenant).await?,
                None => Vec::new(),
            };
            let pins = |name: &str| {
                known
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, pins)| pins.clone())
            };
            let mut views: Vec<McpServerView> = self
                .host
                .servers()
                .iter()
                .map(|server| self.view(server, pins(server.name())))
                .collect();
            for (name, why) in &self.host.config().refused {
                views.push(McpServerView {
                    name: name.clone(),
                    source: names::source(name),
                    transport: String::new(),
                    place: String::new(),
                    status: "refused".to_owned(),
                    reason: Some(why.clone()),
                    info: None,
                    protocol: None,
                    unusable: Vec::new(),
                    notes: Vec::new(),
                    pins: pins(name),
                    calls: [0; 3],
                });
            }
            views.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(views)
        })
    }

    fn approve<'a>(
        &'a self,
        caller: Caller,
        server: &'a str,
        approvals: Vec<McpApproval>,
    ) -> Fut<'a, Result<Option<McpServerView>, StoreError>> {
        Box::pin(async move {
            let source = self
                .sources
                .iter()
                .find(|source| source.used.server().name() == server);
            let (Some(source), Some(store), true) =
                (source, self.store.get(), caller.tenant == TenantId::DEFAULT)
            else {
                return Ok(None);
            };
            let pins = store
                .mcp_approve(caller.tenant, server.to_owned(), approvals, caller.actor)
                .await?;
            // A rule that binds no tool gives agents none.
            if source.check(&pins).is_ok() {
                source.give(&pins);
            }
            source.approved.notify_one();
            Ok(Some(self.view(source.used.server(), Some(pins))))
        })
    }
}

impl McpSource {
    fn checked(&self) -> Checked {
        let checked = self.checked.lock();
        checked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks the rules about the server's tools by its present list.
    ///
    /// # Errors
    /// The mistakes: then agents are given none of the tools.
    fn check(&self, pins: &McpPins) -> Result<(), SourceError> {
        let server = self.used.server();
        let checked = rules::check(&self.policy, server.config(), pins);
        let mistake = checked.mistake();
        let before = std::mem::replace(
            &mut *self.checked.lock().unwrap_or_else(PoisonError::into_inner),
            checked.clone(),
        );
        if before != checked {
            for note in &checked.notes {
                tracing::warn!(server = server.name(), note, "a rule about an MCP server");
            }
        }
        match mistake {
            None => Ok(()),
            Some(mistake) => {
                drop(server.approve(&[]));
                Err(SourceError(mistake))
            }
        }
    }

    /// Sets the tools that agents are given: the approved tools that are listed still.
    fn give(&self, pins: &McpPins) {
        let approved = pins
            .pins
            .iter()
            .filter(|pin| pin.state() == McpPinState::Approved);
        let approved: Vec<Listed> = approved
            .filter_map(|pin| {
                let definition = pin.approved.as_ref()?;
                Some(Listed::of(
                    Kind::by_name(&pin.key.kind)?,
                    &pin.key.name,
                    &definition.raw.to_value(),
                ))
            })
            .collect();
        for (tool, why) in self.used.server().approve(&approved) {
            tracing::warn!(
                server = self.used.server().name(),
                tool,
                why,
                "a tool that was approved cannot be used"
            );
        }
    }
}

impl ToolSource for McpSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_by_name_only(&self) -> bool {
        true
    }

    fn tools<'a>(
        &'a self,
        context: &'a SourceContext,
    ) -> BoxFuture<'a, Result<Vec<Arc<dyn Tool>>, SourceError>> {
        Box::pin(async move {
            if context.tenant != TenantId::DEFAULT {
                return Ok(Vec::new());
            }
            let mut store = self.store.clone();
            let store = store.wait_for(Option::is_some).await;
            let Some(store) = store.ok().and_then(|store| store.clone()) else {
                // The servers were configured anew, or the process ends: this list is asked for no more.
                return std::future::pending().await;
            };
            let server = self.used.server();
            let number = server.lists();
            let listing = server.first_listing().await.map_err(SourceError)?;
            // Also a list that cannot be used was seen: only a newer one is worth another look at once.
            self.given.store(number.max(1), Ordering::SeqCst);
            let definition = |one: &Listed| {
                let key = McpKey {
                    kind: one.kind.as_str().to_owned(),
                    name: one.name.clone(),
                };
                let definition = McpDefinition {
                    digest: one.digest.clone(),
                    raw: Json::from(&one.raw),
                };
                (key, definition)
            };
            let listed = McpListed {
                identity: server.config().identity(),
                era: listing.info.era.as_str().to_owned(),
                definitions: listing.listed.iter().map(definition).collect(),
                is_partial: !listing.notes.is_empty(),
            };
            let pins = store
                .mcp_listed(context.tenant, server.name().to_owned(), listed)
                .await;
            let pins =
                pins.map_err(|error| SourceError(format!("its tools cannot be pinned: {error}")))?;
            let held = pins.pins.iter().filter(|pin| pin.state().is_held()).count();
            if held > 0 {
                tracing::warn!(
                    server = server.name(),
                    held,
                    "definitions of an MCP server are held until a person approves them: opspawn mcp diff"
                );
            }
            self.check(&pins)?;
            self.hold(&pins);
            self.give(&pins);
            let approved = server.approved();
            let tools = approved
                .values()
                .map(|tool| Arc::new(McpTool::new(&self.used, tool)) as Arc<dyn Tool>);
            Ok(tools.collect())
        })
    }

    fn held(&self) -> Vec<(String, String)> {
        let held = self.held.lock();
        held.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let given = self.given.load(Ordering::SeqCst);
            tokio::select! {
                _ = self.used.server().newer_than(given) => {}
                () = self.approved.notified() => {}
                () = self.approved_elsewhere() => {}
            }
        })
    }

    fn health(&self) -> Health {
        if let Some(message) = self.checked().mistake() {
            return Health::Away { message };
        }
        match self.used.server().status() {
            Status::Ready => Health::Ready,
            Status::Starting => Health::Starting,
            Status::Away(message) | Status::Unauthorized(message) => Health::Away { message },
        }
    }
}

/// Where the processes of servers are recorded, in a data folder.
#[must_use]
pub fn records_folder(data: &std::path::Path) -> PathBuf {
    data.join("mcp-processes")
}
