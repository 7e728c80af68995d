//! Agreeing with a server on how to speak.
//!
//! A server of the newer era answers `server/discover`. An older one may answer with an error, leave, say
//! nothing, or hang, so each of these leads to `initialize`: with a process that left, in a new one. Which era
//! a server speaks is remembered by whoever calls, so that this is done once for each server.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    config::{ServerConfig, Transport},
    http::{Endpoint, HttpLink},
    leftovers::Records,
    link::{Answers, Call, CallLimits, Exchange, Link, LinkError},
    process::{Program, StartError},
    session::{ServerInfo, Session, client_info, say_version},
    stdio::StdioLink,
    text::{Redactor, shown},
    wire::{
        self, Era, HEADER_MISMATCH, LEGACY, LEGACY_VERSIONS, MISSING_CAPABILITY, MODERN,
        UNSUPPORTED_VERSION,
    },
};

/// How long a running process may think about `server/discover` before it is sent `initialize` as well.
const PROBE: Duration = Duration::from_secs(4);
/// And before a second process is started that is asked nothing else.
const SECOND: Duration = Duration::from_secs(20);
/// The most text of a server about itself, in bytes.
const MAX_INSTRUCTIONS: usize = 16 * 1024;

/// How to reach a server.
pub(crate) struct Way<'a> {
    pub(crate) config: &'a ServerConfig,
    pub(crate) records: &'a Records,
    pub(crate) redactor: &'a Redactor,
    pub(crate) answers: &'a Arc<dyn Answers>,
    /// Where the server is, if it is behind a URL.
    pub(crate) place: Option<Endpoint>,
}

/// A server that cannot be connected to.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Only another configuration helps.
    #[error("{0}")]
    Wrong(String),
    /// The server wants to know who asks.
    #[error("{0}")]
    Unauthorized(String),
    /// The server may work later.
    #[error("{0}")]
    Away(String),
}

/// An open link, before the handshake.
struct Open {
    link: Arc<dyn Link>,
    exchange: Arc<Exchange>,
}

impl Way<'_> {
    /// Connects, with the remembered era of the server.
    pub(crate) async fn connect(&self, remembered: Option<Era>) -> Result<Session, ConnectError> {
        let limit = self.config.start_timeout;
        match tokio::time::timeout(limit, self.agree(remembered)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Away(format!(
                "the MCP server `{}` did not start within {limit:?}; raise its `start_timeout` if it needs longer",
                self.config.name
            ))),
        }
    }

    async fn agree(&self, remembered: Option<Era>) -> Result<Session, ConnectError> {
        match (&self.config.transport, remembered) {
            (Transport::Stdio(program), Some(Era::Legacy)) => {
                let open = self.start(program)?;
                match initialize(&open).await {
                    Err(Handshake::Modern(_)) => discover(&open)
                        .await
                        .map_err(|error| self.failed(&open, error)),
                    Err(Handshake::Failed(error)) => Err(self.failed(&open, error)),
                    Ok(info) => Ok(open.session(info)),
                }
            }
            (Transport::Stdio(program), _) => self.probe_process(program).await,
            (Transport::Http { .. }, remembered) => self.probe_url(remembered).await,
        }
    }

    fn start(&self, program: &Program) -> Result<Open, ConnectError> {
        let started = StdioLink::start(
            &self.config.name,
            program,
            self.records,
            self.redactor,
            Arc::clone(self.answers),
            self.config.patience,
        );
        let link = started.map_err(|error| {
            let text = format!("the MCP server `{}`: {error}", self.config.name);
            match error {
                StartError::NotFound { .. } => ConnectError::Wrong(text),
                StartError::Refused { .. } => ConnectError::Away(text),
            }
        })?;
        let exchange = Arc::clone(link.exchange());
        Ok(Open { link, exchange })
    }

    fn failed(&self, open: &Open, error: LinkError) -> ConnectError {
        let name = &self.config.name;
        match error {
            LinkError::Unauthorized(why) => {
                ConnectError::Unauthorized(format!("the MCP server `{name}`: {why}"))
            }
            error => {
                let text = error.to_string();
                let context = open.link.context();
                let context = if text.contains(context.as_str()) {
                    String::new()
                } else {
                    context
                };
                ConnectError::Away(format!("the MCP server `{name}`: {text}{context}"))
            }
        }
    }

    /// A process: asked in the newer way, after a while in the older one too, and after a longer one a second
    /// process is asked in the older way alone. The first to answer stays. Nothing is ended for being slow: a
    /// first start may have to fetch the server, and would begin anew each time.
    async fn probe_process(&self, program: &Program) -> Result<Session, ConnectError> {
        let open = self.start(program)?;
        if let Some(settled) = self.race(&open, program).await {
            return settled;
        }
        // The first process has left. A new one is asked in the older way only.
        drop(open);
        let open = self.start(program)?;
        match initialize(&open).await {
            Ok(info) => Ok(open.session(info)),
            Err(Handshake::Modern(error) | Handshake::Failed(error)) => {
                Err(self.failed(&open, error))
            }
        }
    }

    /// What the first process answers to either question, or a second process; none if the first has left.
    async fn race(&self, open: &Open, program: &Program) -> Option<Result<Session, ConnectError>> {
        let begun = Instant::now();
        let pipelined = async {
            tokio::time::sleep(PROBE).await;
            initialize(open).await
        };
        let second = async {
            tokio::time::sleep(SECOND).await;
            let other = self.start(program)?;
            match initialize(&other).await {
                Ok(info) => Ok(other.session(info)),
                Err(Handshake::Modern(error) | Handshake::Failed(error)) => {
                    Err(self.failed(&other, error))
                }
            }
        };
        let discovering = discover(open);
        tokio::pin!(pipelined, second, discovering);
        let mut handshake_open = true;
        let mut discovery_open = true;
        let mut second_open = true;
        loop {
            tokio::select! {
                biased;
                result = &mut discovering, if discovery_open => match result {
                    Ok(session) => return Some(Ok(session)),
                    // It left, or broke the pipe: asked differently, it may not.
                    Err(LinkError::Lost(_) | LinkError::NotSent(_)) => return None,
                    Err(LinkError::Rpc(error)) if is_modern_refusal(&error) => {
                        return Some(Err(self.failed(open, error.into())));
                    }
                    Err(_) if begun.elapsed() >= PROBE => discovery_open = false,
                    Err(_) => {
                        // It is of the older era, and says so at once.
                        return match initialize(open).await {
                            Ok(info) => Some(Ok(open.session(info))),
                            Err(Handshake::Failed(LinkError::Lost(_) | LinkError::NotSent(_))) => None,
                            Err(Handshake::Failed(error) | Handshake::Modern(error)) => {
                                Some(Err(self.failed(open, error)))
                            }
                        };
                    }
                },
                result = &mut pipelined, if handshake_open => match result {
                    Ok(info) => return Some(Ok(open.session(info))),
                    // The answer to the first question is still to come.
                    Err(Handshake::Modern(_)) => handshake_open = false,
                    Err(Handshake::Failed(LinkError::Lost(_) | LinkError::NotSent(_))) => return None,
                    Err(Handshake::Failed(error)) if !discovery_open => return Some(Err(self.failed(open, error))),
                    Err(Handshake::Failed(_)) => handshake_open = false,
                },
                result = &mut second, if second_open => match result {
                    Ok(session) => return Some(Ok(session)),
                    Err(_) => second_open = false,
                },
            }
        }
    }

    async fn probe_url(&self, remembered: Option<Era>) -> Result<Session, ConnectError> {
        let open = self.open_url()?;
        if remembered != Some(Era::Legacy) {
            match tokio::time::timeout(PROBE * 2, discover(&open)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error @ (LinkError::Unauthorized(_) | LinkError::NotSent(_)))) => {
                    return Err(self.failed(&open, error));
                }
                Ok(Err(LinkError::Rpc(error))) if is_modern_refusal(&error) => {
                    return Err(self.failed(&open, error.into()));
                }
                // An older server, whatever it says: the error is nobody's business if the next question works.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        match initialize(&open).await {
            Ok(info) => Ok(open.session(info)),
            Err(Handshake::Modern(_)) => discover(&open)
                .await
                .map_err(|error| self.failed(&open, error)),
            Err(Handshake::Failed(error)) => Err(self.failed(&open, error)),
        }
    }

    fn open_url(&self) -> Result<Open, ConnectError> {
        let wrong = |why: String| {
            ConnectError::Wrong(format!("the MCP server `{}`: {why}", self.config.name))
        };
        let place = self
            .place
            .clone()
            .ok_or_else(|| wrong("it has no URL".to_owned()))?;
        let answers = Arc::clone(self.answers);
        let link = HttpLink::new(&self.config.name, place, answers, self.config.patience)
            .map_err(wrong)?;
        let exchange = Arc::clone(link.exchange());
        Ok(Open { link, exchange })
    }
}

impl Open {
    fn session(&self, info: ServerInfo) -> Session {
        Session {
            link: Arc::clone(&self.link),
            exchange: Arc::clone(&self.exchange),
            info,
        }
    }

    async fn ask(&self, method: &str, params: Value) -> Result<Value, LinkError> {
        // Whoever connects has a limit for the whole.
        let limits = CallLimits::of(Duration::from_secs(86_400));
        self.link
            .call(Call {
                method,
                params,
                limits,
                headers: Vec::new(),
            })
            .await
    }
}

/// Why a handshake did not work.
enum Handshake {
    /// The server is of the newer era.
    Modern(LinkError),
    /// For another reason.
    Failed(LinkError),
}

/// Asks a server of the newer era for its description.
async fn discover(open: &Open) -> Result<Session, LinkError> {
    let mut params = json!({});
    say_version(&mut params, MODERN, &open.exchange.modern_capabilities());
    let result = match open.ask("server/discover", params.clone()).await {
        // It refuses the version that it says it supports: once more, as it has to be asked in that.
        Err(LinkError::Rpc(error)) if supports_modern(&error) => {
            open.ask("server/discover", params).await?
        }
        result => result?,
    };
    let versions = result["supportedVersions"].as_array();
    let speaks = versions.is_some_and(|versions| versions.iter().any(|one| one == MODERN));
    if !speaks {
        // An older server that knows the question and says that it is one.
        return Err(LinkError::Refused {
            status: 200,
            message: "the server does not speak the newer protocol".to_owned(),
            rpc: None,
        });
    }
    open.link.agreed(MODERN);
    let stamp = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
    Ok(open.session(info(Era::Modern, MODERN, stamp, &result)))
}

/// The handshake of the older era.
async fn initialize(open: &Open) -> Result<ServerInfo, Handshake> {
    let params = json!({
        "protocolVersion": LEGACY,
        "capabilities": open.exchange.capabilities(),
        "clientInfo": client_info(),
    });
    let result = open
        .ask("initialize", params)
        .await
        .map_err(|error| match error {
            LinkError::Rpc(rpc) if rpc.code == UNSUPPORTED_VERSION => Handshake::Modern(rpc.into()),
            error => Handshake::Failed(error),
        })?;
    let version = result["protocolVersion"].as_str().unwrap_or("2024-11-05");
    if !LEGACY_VERSIONS.contains(&version) {
        let known = LEGACY_VERSIONS.join(", ");
        return Err(Handshake::Failed(LinkError::Refused {
            status: 200,
            message: format!(
                "it speaks protocol version `{}`, which is not known here (known are {known})",
                shown(version, 40)
            ),
            rpc: None,
        }));
    }
    open.link.agreed(version);
    open.link
        .notify("notifications/initialized", Value::Null)
        .await;
    Ok(info(Era::Legacy, version, &result["serverInfo"], &result))
}

fn info(era: Era, protocol: &str, stamp: &Value, result: &Value) -> ServerInfo {
    let text = |value: &Value| {
        value
            .as_str()
            .map(|text| shown(text, 200))
            .unwrap_or_default()
    };
    let name = format!("{} {}", text(&stamp["name"]), text(&stamp["version"]));
    let instructions = result["instructions"]
        .as_str()
        .filter(|text| !text.trim().is_empty());
    ServerInfo {
        name: name.trim().to_owned(),
        protocol: protocol.to_owned(),
        era,
        capabilities: result["capabilities"].clone(),
        instructions: instructions.map(|text| shown(text, MAX_INSTRUCTIONS)),
    }
}

/// Whether a refusal of the version names the one that is spoken here.
pub(crate) fn supports_modern(error: &wire::RpcError) -> bool {
    let supported = error.data["supported"].as_array();
    error.code == UNSUPPORTED_VERSION
        && supported.is_some_and(|all| all.iter().any(|one| one == MODERN))
}

/// Whether only a server of the newer era answers so.
fn is_modern_refusal(error: &wire::RpcError) -> bool {
    match error.code {
        MISSING_CAPABILITY | HEADER_MISMATCH => true,
        UNSUPPORTED_VERSION => {
            let supported = error.data["supported"].as_array();
            let legacy = |one: &Value| {
                one.as_str()
                    .is_some_and(|one| LEGACY_VERSIONS.contains(&one))
            };
            supported.is_some_and(|all| !all.is_empty() && !all.iter().any(legacy))
        }
        _ => false,
    }
}
