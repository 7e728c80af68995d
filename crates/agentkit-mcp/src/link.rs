//! Common parts of the two transports: calls with limits, and other messages of a server.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentkit::BoxFuture;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, oneshot, watch},
    time::Instant,
};

use crate::{
    input::SAMPLING_REFUSED,
    questions::Questions,
    text::Redactor,
    wire::{Incoming, METHOD_NOT_FOUND, RpcError},
};

/// The most requests of a server that are answered at a time. More are refused.
const MAX_REQUESTS: usize = 16;
/// The most requests whose answers wait to be sent. A server that asks more and reads nothing gets no answer.
const MAX_UNSENT: usize = 256;

/// A connection to a server.
pub(crate) trait Link: Send + Sync {
    /// Sends a request and waits for its answer. Dropping the future gives it up and tells the server.
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Value, LinkError>>;

    /// Sends a notification, if it can.
    fn notify<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, ()>;

    /// Returns once the connection is gone, with the reason.
    fn closed(&self) -> BoxFuture<'_, String>;

    /// Tells which protocol was agreed on.
    fn agreed(&self, version: &str);

    /// Begins to hear messages of the server's own accord, if that takes more than the connection.
    fn listen(&self, list_changes: bool);

    /// An addition to an error, for instance the end of stderr.
    fn context(&self) -> String {
        String::new()
    }

    /// Ends the connection, politely.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A request.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) params: Value,
    pub(crate) limits: CallLimits,
    /// Headers of this request, where there are any (`Mcp-Param-*`).
    pub(crate) headers: Vec<(String, String)>,
}

/// How long a request may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallLimits {
    /// In all. The time of a person's answer to the server does not count.
    pub(crate) total: Duration,
    /// Without a sign of progress.
    pub(crate) idle: Duration,
}

impl CallLimits {
    pub(crate) fn of(total: Duration) -> Self {
        Self { total, idle: total }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LinkError {
    /// The request was not sent, so it had no effect.
    #[error("{0}")]
    NotSent(String),
    /// It was sent, and there is no answer: it may have been done.
    #[error("{0}")]
    Lost(String),
    /// The time was over.
    #[error("{0}")]
    TimedOut(String),
    /// The answer is more than is read; it was done.
    #[error("{0}")]
    TooLarge(String),
    /// It was answered with what cannot be read: it may have been done.
    #[error("{0}")]
    Unreadable(String),
    /// The server answered with an error.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The server does not know the session any more, so it did not do it.
    #[error("{0}")]
    SessionLost(String),
    /// The server refused it over HTTP.
    #[error("{message}")]
    Refused {
        /// The status.
        status: u16,
        /// The server's message.
        message: String,
        /// The JSON-RPC error in it, under a foreign id for instance.
        rpc: Option<RpcError>,
    },
    /// The server wants to know who asks.
    #[error("{0}")]
    Unauthorized(String),
}

/// Answers questions of a server to a person.
pub trait Answers: Send + Sync {
    /// Whether there is somebody to ask: only then elicitation is declared.
    fn is_there(&self) -> bool;

    /// The answer to `elicitation/create`, as its result: `{"action": "accept", "content": …}`. None
    /// declines, which is also what the end of the time does.
    fn elicit<'a>(&'a self, server: &'a str, params: &'a Value) -> BoxFuture<'a, Option<Value>>;

    /// Where calls find the questions of their servers, if calls are to ask them.
    fn questions(&self) -> Option<&Questions> {
        None
    }
}

/// No person is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Answers for Nobody {
    fn is_there(&self) -> bool {
        false
    }

    fn elicit<'a>(&'a self, _: &'a str, _: &'a Value) -> BoxFuture<'a, Option<Value>> {
        Box::pin(std::future::ready(None))
    }
}

/// The requests that wait for an answer, and other messages of the server.
pub(crate) struct Exchange {
    pub(crate) server: String,
    next: AtomicU64,
    pending: Mutex<HashMap<u64, Pending>>,
    answers: Arc<dyn Answers>,
    /// How long a person may take.
    patience: Duration,
    redactor: Redactor,
    /// Rung when the server says that its lists changed.
    pub(crate) list_changed: Arc<Notify>,
    /// Rung when its instructions or prompts may be others.
    asked: AtomicUsize,
    /// When persons were last asked and how long they took, all together.
    persons: watch::Sender<Persons>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Persons {
    asked: usize,
    since: Option<Instant>,
    taken: Duration,
}

impl Persons {
    fn taken(&self) -> Duration {
        self.taken + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

struct Pending {
    answer: oneshot::Sender<Result<Value, LinkError>>,
    progress: watch::Sender<Instant>,
}

/// A request that was entered; dropping it takes it out.
pub(crate) struct Entered {
    exchange: Arc<Exchange>,
    pub(crate) id: u64,
    answer: oneshot::Receiver<Result<Value, LinkError>>,
    progress: watch::Receiver<Instant>,
    persons: watch::Receiver<Persons>,
    taken_before: Duration,
}

impl Exchange {
    pub(crate) fn new(
        server: &str,
        answers: Arc<dyn Answers>,
        patience: Duration,
        redactor: Redactor,
    ) -> Arc<Self> {
        Arc::new(Self {
            server: server.to_owned(),
            next: AtomicU64::new(1),
            pending: Mutex::default(),
            answers,
            patience,
            redactor,
            list_changed: Arc::default(),
            asked: AtomicUsize::new(0),
            persons: watch::Sender::new(Persons::default()),
        })
    }

    /// Capabilities of this host for a server of the newer era. Where calls ask the questions, each call says that it does.
    pub(crate) fn modern_capabilities(&self) -> Value {
        match self.answers.questions() {
            Some(_) => json!({}),
            None => self.capabilities(),
        }
    }

    /// Capabilities of this host, for the server.
    pub(crate) fn capabilities(&self) -> Value {
        match self.answers.is_there() {
            true => json!({"elicitation": {"form": {}}}),
            false => json!({}),
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a request.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let (progress, progressed) = watch::channel(Instant::now());
        self.locked().insert(id, Pending { answer, progress });
        let persons = self.persons.subscribe();
        let taken_before = persons.borrow().taken();
        Entered {
            exchange: Arc::clone(self),
            id,
            answer: answered,
            progress: progressed,
            persons,
            taken_before,
        }
    }

    /// Settles a request, if it still waits. Nobody is told a credential that the server gives away.
    pub(crate) fn settle(&self, id: u64, result: Result<Value, LinkError>) -> bool {
        match self.locked().remove(&id) {
            Some(pending) => {
                let _ = pending.answer.send(self.cleaned(result));
                true
            }
            None => false,
        }
    }

    fn cleaned(&self, result: Result<Value, LinkError>) -> Result<Value, LinkError> {
        match result {
            Ok(value) => Ok(self.redactor.clean_value(value)),
            Err(LinkError::Rpc(error)) => Err(LinkError::Rpc(RpcError {
                message: self.redactor.clean(&error.message),
                data: self.redactor.clean_value(error.data),
                ..error
            })),
            Err(error) => Err(error),
        }
    }

    /// Fails every request that waits.
    pub(crate) fn fail_all(&self, reason: &str) {
        let all: Vec<Pending> = self.locked().drain().map(|(_, pending)| pending).collect();
        for pending in all {
            let _ = pending.answer.send(Err(LinkError::Lost(reason.to_owned())));
        }
    }

    /// A sign of life for a request.
    pub(crate) fn touch(&self, id: u64) {
        if let Some(pending) = self.locked().get(&id) {
            pending.progress.send_replace(Instant::now());
        }
    }

    /// Takes a message in. What has to be sent back, if it asks for something.
    pub(crate) fn take(self: &Arc<Self>, message: Incoming) -> Option<ServerRequest> {
        match message {
            Incoming::Response { id, result } => {
                let id = number_of(&id);
                let known = id.is_some_and(|id| self.settle(id, result.map_err(LinkError::Rpc)));
                if !known {
                    tracing::debug!(
                        server = self.server,
                        "an MCP server answered what nobody asked"
                    );
                }
                None
            }
            Incoming::Notification { method, params } => {
                self.notified(&method, &params);
                None
            }
            // A request that only clients send is an echo. An answer to the echo would come back as well, as the
            // answer to our own request.
            Incoming::Request { method, .. } if is_of_clients(&method) => {
                tracing::debug!(
                    server = self.server,
                    method,
                    "an MCP server sent a request back"
                );
                None
            }
            Incoming::Request { id, method, params } => Some(ServerRequest {
                turn: self.turn()?,
                id,
                method,
                params: self.redactor.clean_value(params),
            }),
        }
    }

    /// A turn for a request of the server's, if there is room for its answer.
    fn turn(self: &Arc<Self>) -> Option<Turn> {
        let before = self.asked.fetch_add(1, Ordering::SeqCst);
        let turn = Turn {
            exchange: Arc::clone(self),
            before,
        };
        // Dropped, a turn is given back.
        (before < MAX_UNSENT).then_some(turn)
    }

    fn notified(&self, method: &str, params: &Value) {
        match method {
            "notifications/progress" => {
                if let Some(id) = params["progressToken"].as_u64() {
                    self.touch(id);
                }
            }
            "notifications/tools/list_changed" | "notifications/prompts/list_changed" => {
                self.list_changed.notify_one();
            }
            "notifications/message" => {
                let text = match &params["data"] {
                    Value::String(text) => text.clone(),
                    data => data.to_string(),
                };
                let line = crate::text::shown(&self.redactor.clean(&text), 500);
                tracing::debug!(server = self.server, line, "log of an MCP server");
            }
            _ => {}
        }
    }
}

/// The id of a request of ours, as servers give it back: `7`, `7.0` or `"7"`.
pub(crate) fn number_of(id: &Value) -> Option<u64> {
    match id {
        Value::String(text) => text.parse().ok(),
        id => id.as_u64().or_else(|| id.as_f64().map(|id| id as u64)),
    }
}

/// Whether a method is one that clients ask servers for, and servers never ask clients for.
fn is_of_clients(method: &str) -> bool {
    let of_clients = [
        "initialize",
        "server/",
        "tools/",
        "prompts/",
        "resources/",
        "completion/",
        "logging/",
        "subscriptions/",
    ];
    of_clients.iter().any(|start| method.starts_with(start))
}

/// A place among the requests of a server that wait for their answers.
struct Turn {
    exchange: Arc<Exchange>,
    /// How many waited before.
    before: usize,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.exchange.asked.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A request of the server's, to be answered. It counts until it is dropped.
pub(crate) struct ServerRequest {
    turn: Turn,
    id: Value,
    method: String,
    params: Value,
}

impl ServerRequest {
    /// The answer, as a message.
    pub(crate) async fn answer(&self) -> Value {
        let exchange = &self.turn.exchange;
        let result = match self.method.as_str() {
            _ if self.turn.before >= MAX_REQUESTS => Err((-32000, "too many requests at a time")),
            "ping" => Ok(json!({})),
            "elicitation/create" if exchange.answers.is_there() => Ok(self.elicited().await),
            // Neither is declared. The server, and whoever reads the log, is told what it asked for.
            "sampling/createMessage" => {
                tracing::warn!(server = exchange.server, "an MCP server {SAMPLING_REFUSED}");
                Err((
                    METHOD_NOT_FOUND,
                    "sampling is not offered: no model is called for servers",
                ))
            }
            _ => Err((METHOD_NOT_FOUND, "this client does not do that")),
        };
        crate::wire::response(&self.id, result)
    }

    /// What a person answers within the bound; else a refusal.
    async fn elicited(&self) -> Value {
        let exchange = &self.turn.exchange;
        exchange.persons.send_modify(|persons| {
            persons.asked += 1;
            persons.since.get_or_insert_with(Instant::now);
        });
        let answer = exchange.answers.elicit(&exchange.server, &self.params);
        let answer = tokio::time::timeout(exchange.patience, answer).await;
        exchange.persons.send_modify(|persons| {
            persons.asked -= 1;
            if persons.asked == 0 {
                persons.taken = persons.taken();
                persons.since = None;
            }
        });
        let answer = answer.ok().flatten();
        let answer = answer.unwrap_or_else(|| json!({"action": "decline"}));
        crate::input::with_defaults(&self.params["requestedSchema"], answer)
    }
}

impl Entered {
    /// Waits for the answer within the limits.
    pub(crate) async fn wait(
        &mut self,
        limits: CallLimits,
        method: &str,
    ) -> Result<Value, LinkError> {
        let begun = Instant::now();
        loop {
            let persons = *self.persons.borrow();
            let extra = persons.taken().saturating_sub(self.taken_before);
            let last = *self.progress.borrow();
            let (until, which, length) = {
                let total = begun + limits.total + extra;
                let idle = last.max(begun) + limits.idle + extra;
                match total <= idle {
                    true => (total, "in all", limits.total),
                    false => (idle, "without a sign of progress", limits.idle),
                }
            };
            // While a person is asked, the clock stands.
            let until = if persons.since.is_some() {
                Instant::now() + Duration::from_secs(3600)
            } else {
                until
            };
            tokio::select! {
                biased;
                answer = &mut self.answer => {
                    return answer.unwrap_or_else(|_| Err(LinkError::Lost("the connection is gone".to_owned())));
                }
                changed = self.progress.changed() => { let _ = changed; }
                changed = self.persons.changed() => { let _ = changed; }
                () = tokio::time::sleep_until(until) => {
                    return Err(LinkError::TimedOut(format!(
                        "the MCP server `{}` did not answer `{method}` within {length:?} {which}",
                        self.exchange.server
                    )));
                }
            }
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.exchange.locked().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that asks without an end and reads no answer costs no more memory than this.
    #[tokio::test]
    async fn requests_of_a_server_have_a_bound() {
        let answers = Arc::new(Nobody);
        let exchange = Exchange::new("s", answers, Duration::ZERO, Redactor::default());
        let ask = || {
            exchange.take(Incoming::Request {
                id: json!(1),
                method: "ping".to_owned(),
                params: Value::Null,
            })
        };
        let mut waiting: Vec<ServerRequest> = (0..10_000).filter_map(|_| ask()).collect();
        assert_eq!(waiting.len(), MAX_UNSENT);
        assert!(waiting[0].answer().await["result"].is_object());
        assert!(waiting[MAX_REQUESTS].answer().await["error"].is_object());
        waiting.clear();
        assert!(ask().unwrap().answer().await["result"].is_object());
    }
}
