//! A server: a task that keeps the connection, and the calls to the server.

pub(crate) mod call;
mod keep;
mod tasks;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentkit::event::Failure;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use self::call::{Outcome, ToolCall};
use crate::{
    config::{ServerConfig, Transport},
    definition::{Definition, Definitions, Kind, Listed},
    http::{Endpoint, reach::Reach},
    leftovers::Records,
    link::Answers,
    oauth::{Browser, Oauth, Tokens},
    questions::Questions,
    session::{ServerInfo, Session},
    text::Redactor,
    wire::Era,
};

/// A server of the configuration.
pub struct Server {
    config: ServerConfig,
    records: Records,
    redactor: Redactor,
    answers: Arc<dyn Answers>,
    reach: Reach,
    /// Who asks, if OAuth says so.
    oauth: Option<Arc<Oauth>>,
    era: Mutex<Option<Era>>,
    state: watch::Sender<State>,
    /// Definitions for agents, as they were approved.
    approved: RwLock<Arc<Definitions>>,
    /// Whether definitions were approved, from this start's list or from an earlier one.
    given: watch::Sender<bool>,
    /// Approved prompts and instructions, by kind and name.
    texts: RwLock<BTreeMap<(Kind, String), String>>,
    /// Rung when the connection looks broken.
    poke: Notify,
    stop: CancellationToken,
    counts: Counters,
}

#[derive(Clone, Default)]
struct State {
    phase: Phase,
    /// The last lists, kept while the server is away.
    listing: Option<Arc<Listing>>,
    /// Counts lists.
    listed: u64,
}

#[derive(Clone, Default)]
enum Phase {
    #[default]
    Starting,
    Ready(Arc<Session>),
    Away(String),
    Unauthorized(String),
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The server has not answered yet.
    Starting,
    /// The server answers.
    Ready,
    /// The server does not answer, for this reason; the host tries again.
    Away(String),
    /// The server wants to know who asks.
    Unauthorized(String),
}

impl Status {
    /// Its name in answers and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Away(_) => "away",
            Self::Unauthorized(_) => "unauthorized",
        }
    }

    /// Why the server is not ready, if the reason is known.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Starting | Self::Ready => None,
            Self::Away(why) | Self::Unauthorized(why) => Some(why),
        }
    }
}

/// Lists of a server.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The server's description of itself.
    pub info: ServerInfo,
    /// Usable tools, prompts and instructions.
    pub listed: Vec<Listed>,
    /// Unusable definitions, each with the reason.
    pub refused: Vec<(String, String)>,
    /// Other oddities.
    pub notes: Vec<String>,
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    answered: AtomicU64,
    errors: AtomicU64,
    unknown: AtomicU64,
    again: AtomicU64,
    connections: AtomicU64,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of tools.
    pub calls: u64,
    /// Failed calls of any kind.
    pub errors: u64,
    /// Calls with an unknown outcome.
    pub unknown: u64,
    /// Repeated calls.
    pub again: u64,
    /// Number of connections so far.
    pub connections: u64,
}

/// Parts of a new server.
pub(crate) struct Given {
    pub(crate) records: Records,
    pub(crate) answers: Arc<dyn Answers>,
    pub(crate) reach: Reach,
    pub(crate) tokens: Arc<dyn Tokens>,
    pub(crate) browser: Arc<dyn Browser>,
    pub(crate) era: Option<Era>,
}

impl Server {
    pub(crate) fn new(config: ServerConfig, given: Given) -> Arc<Self> {
        Arc::new(Self {
            redactor: config.redactor(),
            oauth: oauth(&config, &given),
            records: given.records,
            answers: given.answers,
            reach: given.reach,
            era: Mutex::new(given.era),
            state: watch::Sender::new(State::default()),
            approved: RwLock::default(),
            given: watch::Sender::new(false),
            texts: RwLock::default(),
            poke: Notify::new(),
            stop: CancellationToken::new(),
            counts: Counters::default(),
            config,
        })
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// Its raw name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// State of the server.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.state.borrow().phase {
            Phase::Starting => Status::Starting,
            Phase::Ready(_) => Status::Ready,
            Phase::Away(why) => Status::Away(why.clone()),
            Phase::Unauthorized(why) => Status::Unauthorized(why.clone()),
        }
    }

    /// The last lists; `None` before the first list.
    #[must_use]
    pub fn listing(&self) -> Option<Arc<Listing>> {
        self.state.borrow().listing.clone()
    }

    /// Waits for the first lists.
    ///
    /// # Errors
    /// Why there are no lists, as soon as the server cannot be reached.
    pub async fn first_listing(&self) -> Result<Arc<Listing>, String> {
        let mut state = self.state.subscribe();
        let settled = |state: &State| {
            state.listing.is_some()
                || matches!(state.phase, Phase::Away(_) | Phase::Unauthorized(_))
        };
        let state = match state.wait_for(settled).await {
            Ok(state) => state.clone(),
            Err(_) => return Err("the host has ended".to_owned()),
        };
        match (state.listing, state.phase) {
            (Some(listing), _) => Ok(listing),
            (None, Phase::Away(why) | Phase::Unauthorized(why)) => Err(why),
            (None, Phase::Starting | Phase::Ready(_)) => Err("it has no list".to_owned()),
        }
    }

    /// Where calls find the questions of the server, if the server asks in the middle of calls.
    pub(crate) fn questions(&self) -> Option<&Questions> {
        let questions = self.answers.questions()?;
        (self.era() == Some(Era::Legacy)).then_some(questions)
    }

    /// Waits for the tools of agents, for a bounded time, and not for a server that cannot be reached. `None` where
    /// they are there already.
    pub(crate) fn tools_given(&self) -> Option<impl Future<Output = ()> + use<>> {
        let (mut given, mut state) = (self.given.subscribe(), self.state.subscribe());
        if *given.borrow() {
            return None;
        }
        Some(async move {
            let is_away =
                |state: &State| matches!(state.phase, Phase::Away(_) | Phase::Unauthorized(_));
            let settled = async {
                tokio::select! {
                    _ = given.wait_for(|given| *given) => {}
                    _ = state.wait_for(is_away) => {}
                }
            };
            let _ = tokio::time::timeout(call::WAIT_FOR_START, settled).await;
        })
    }

    /// Returns once there are newer lists than this number.
    pub async fn newer_than(&self, listed: u64) -> u64 {
        let mut state = self.state.subscribe();
        let newer = state
            .wait_for(|state| state.listed > listed)
            .await
            .map(|state| state.listed);
        match newer {
            Ok(newer) => newer,
            Err(_) => std::future::pending().await,
        }
    }

    /// How many lists there were.
    #[must_use]
    pub fn lists(&self) -> u64 {
        self.state.borrow().listed
    }

    /// The era of the protocol, once known.
    #[must_use]
    pub fn era(&self) -> Option<Era> {
        *self.era.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the era from an earlier connection.
    pub fn remember_era(&self, era: Era) {
        self.era
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(era);
    }

    /// Counts since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            calls: read(&self.counts.calls),
            errors: read(&self.counts.errors),
            unknown: read(&self.counts.unknown),
            again: read(&self.counts.again),
            connections: read(&self.counts.connections),
        }
    }

    /// Sets the tools of agents: the approved definitions without the tools that the configuration leaves out.
    /// Returns uncallable tools with the reason.
    pub fn approve(&self, listed: &[Listed]) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut approved = Definitions::new();
        for one in listed
            .iter()
            .filter(|one| one.kind == Kind::Tool && self.config.uses(&one.name))
        {
            match Definition::of(one) {
                Ok(definition) => {
                    approved.insert(one.name.clone(), Arc::new(definition));
                }
                Err(why) => wrong.push((one.name.clone(), why)),
            }
        }
        *self
            .approved
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(approved);
        let texts = listed.iter().filter(|one| one.kind != Kind::Tool);
        let texts = texts.map(|one| ((one.kind, one.name.clone()), one.digest.clone()));
        *self.texts.write().unwrap_or_else(PoisonError::into_inner) = texts.collect();
        self.given.send_replace(true);
        wrong
    }

    /// The tools of agents.
    #[must_use]
    pub fn approved(&self) -> Arc<Definitions> {
        Arc::clone(&self.approved.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a prompt or the instructions are as approved.
    pub(crate) fn is_approved(&self, listed: &Listed) -> bool {
        let texts = self.texts.read().unwrap_or_else(PoisonError::into_inner);
        texts.get(&(listed.kind, listed.name.clone())) == Some(&listed.digest)
    }

    /// Whether the server lists a prompt of this name with its approved definition.
    pub(crate) fn has_prompt(&self, name: &str) -> bool {
        let listing = self.listing();
        let mut listed = listing.iter().flat_map(|listing| &listing.listed);
        listed.any(|one| one.kind == Kind::Prompt && one.name == name && self.is_approved(one))
    }

    /// The server's instructions, as they were approved.
    pub(crate) fn instructions(&self) -> Option<String> {
        let listing = self.listing()?;
        let one = listing
            .listed
            .iter()
            .find(|one| one.kind == Kind::Instructions)?;
        self.is_approved(one)
            .then(|| one.raw.as_str().map(str::to_owned))
            .flatten()
    }

    /// A tool of agents.
    ///
    /// # Errors
    /// `unknown_tool` names tools like it; `tool_held` says how a person approves it.
    pub fn tool(&self, name: &str) -> Result<Arc<Definition>, Failure> {
        let approved = self.approved();
        if let Some(tool) = approved.get(name) {
            return Ok(Arc::clone(tool));
        }
        let message = match self.listing() {
            None => format!(
                "the MCP server `{}` has not listed its tools yet{}; call again in some seconds",
                self.name(),
                self.why()
            ),
            Some(listing) => return Err(self.not_given(name, &listing)),
        };
        Err(Failure::last("unknown_tool", message))
    }

    /// Why a tool is not given to agents although the server has answered.
    pub(crate) fn not_given(&self, name: &str, listing: &Listing) -> Failure {
        let shown = crate::text::shown(name, 100);
        let mut tools = listing.listed.iter().filter(|one| one.kind == Kind::Tool);
        let is_listed = tools.any(|one| one.name == name);
        let (code, message) = match (is_listed, self.config.uses(name)) {
            (true, true) => (
                "tool_held",
                format!(
                    "the tool `{shown}` of the MCP server `{0}` is held until a person approves its definition; \
                     `opspawn mcp diff {0}` shows the definition",
                    self.name()
                ),
            ),
            (true, false) => (
                "unknown_tool",
                format!(
                    "the tool `{shown}` of the MCP server `{}` is left out by `allow` or `deny` of its entry",
                    self.name()
                ),
            ),
            (false, _) => {
                let approved = self.approved();
                let known = approved.keys().map(String::as_str);
                let hint = units::nearest::hint(name, known.collect::<Vec<_>>());
                let message = format!(
                    "the MCP server `{}` has no tool `{shown}`; {hint}",
                    self.name()
                );
                ("unknown_tool", message)
            }
        };
        Failure::last(code, message)
    }

    /// Why the server is not ready, for the end of a sentence.
    fn why(&self) -> String {
        match self.status() {
            Status::Starting => ": it is starting".to_owned(),
            Status::Ready => String::new(),
            Status::Away(why) | Status::Unauthorized(why) => format!(": {why}"),
        }
    }

    fn place(&self) -> Option<Endpoint> {
        let Transport::Http { url, headers, .. } = &self.config.transport else {
            return None;
        };
        let mut map = reqwest::header::HeaderMap::new();
        for (name, value) in headers {
            let name = reqwest::header::HeaderName::from_bytes(name.as_bytes());
            let value = reqwest::header::HeaderValue::from_str(value);
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(true);
                map.insert(name, value);
            }
        }
        Some(Endpoint {
            url: url.clone(),
            headers: map,
            reach: self.reach.clone(),
            credentials: self.oauth.clone().map(|oauth| oauth as _),
            redactor: self.redactor.clone(),
        })
    }

    /// The session, if the server is ready within this time.
    async fn session(&self, within: Duration) -> Result<Arc<Session>, String> {
        let mut state = self.state.subscribe();
        let settled = |state: &State| !matches!(state.phase, Phase::Starting);
        let state = match tokio::time::timeout(within, state.wait_for(settled)).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) | Err(_) => {
                return Err(format!(
                    "the MCP server `{}` is still starting",
                    self.name()
                ));
            }
        };
        match state.phase {
            Phase::Ready(session) => Ok(session),
            Phase::Away(why) | Phase::Unauthorized(why) => Err(why),
            Phase::Starting => Err(format!(
                "the MCP server `{}` is still starting",
                self.name()
            )),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn oauth(config: &ServerConfig, given: &Given) -> Option<Arc<Oauth>> {
    let Transport::Http {
        url,
        oauth: Some(oauth),
        ..
    } = &config.transport
    else {
        return None;
    };
    Some(Arc::new(Oauth {
        server: config.name.clone(),
        url: url.clone(),
        config: oauth.clone(),
        reach: given.reach.clone(),
        tokens: Arc::clone(&given.tokens),
        browser: Arc::clone(&given.browser),
        state: tokio::sync::Mutex::default(),
    }))
}
