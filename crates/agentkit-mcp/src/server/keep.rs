//! Keeps a server connected and its lists fresh.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Listing, Phase, Server, State};
use crate::{
    config::Transport,
    connect::{ConnectError, Way},
    definition,
    link::LinkError,
    session::Session,
};

/// Delays before a server that is away is tried again.
const FIRST: Duration = Duration::from_millis(500);
const LAST: Duration = Duration::from_secs(60);
/// A connection that held for so long was good: the next delay is the first again.
const GOOD: Duration = Duration::from_secs(30);
/// Changes of lists that come faster than this are one.
const SETTLE: Duration = Duration::from_millis(200);
/// And however many come, the lists are asked for at most so often.
const LIST_AGAIN: Duration = Duration::from_secs(2);

impl Server {
    /// Runs until the stop.
    pub(crate) async fn keep(self: Arc<Self>) {
        let stop = self.stop.clone();
        let mut delay = FIRST;
        loop {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = stop.cancelled() => return,
            };
            let (phase, wait) = match connected {
                Ok(session) => {
                    let begun = tokio::time::Instant::now();
                    let answered = self.answered();
                    // The end comes first: a connection that breaks because the host ends is no news.
                    let gone = tokio::select! {
                        biased;
                        () = stop.cancelled() => {
                            session.close().await;
                            return;
                        }
                        gone = self.stay(&session) => gone,
                    };
                    // While it is connected again, calls wait for it.
                    self.enter(Phase::Starting);
                    session.close().await;
                    tracing::warn!(
                        server = self.name(),
                        reason = gone,
                        "an MCP server is gone; it is connected again"
                    );
                    // A server that answers calls and dies in some is worth having back soon.
                    if begun.elapsed() >= GOOD || self.answered() > answered {
                        delay = FIRST;
                    }
                    (None, delay)
                }
                Err(ConnectError::Unauthorized(why)) => (Some(Phase::Unauthorized(why)), LAST),
                Err(ConnectError::Wrong(why)) => (Some(Phase::Away(why)), LAST),
                Err(ConnectError::Away(why)) => (Some(Phase::Away(why)), delay),
            };
            if let Some(phase) = phase {
                if let Phase::Away(why) | Phase::Unauthorized(why) = &phase
                    && !stop.is_cancelled()
                {
                    tracing::warn!(
                        server = self.name(),
                        reason = why,
                        "an MCP server cannot be connected"
                    );
                }
                self.enter(phase);
            }
            // Servers that broke together do not come back together.
            let jitter = 0.5 + rand::random::<f64>() / 2.0;
            tokio::select! {
                () = tokio::time::sleep(wait.mul_f64(jitter)) => {}
                () = self.poke.notified() => {}
                () = stop.cancelled() => return,
            }
            delay = (delay * 2).min(LAST);
        }
    }

    /// Calls that succeeded since the start.
    fn answered(&self) -> u64 {
        self.counts.answered.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: Phase) {
        self.state.send_modify(|state| state.phase = phase);
    }

    async fn connect(&self) -> Result<Arc<Session>, ConnectError> {
        let way = Way {
            config: &self.config,
            records: &self.records,
            redactor: &self.redactor,
            answers: &self.answers,
            place: self.place(),
        };
        let connected = way.connect(self.era()).await;
        let session = match connected {
            Ok(session) => Arc::new(session),
            Err(error) => {
                // What was remembered may be wrong by now.
                *self
                    .era
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner) = None;
                return Err(error);
            }
        };
        *self
            .era
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(session.info.era);
        super::count(&self.counts.connections);
        match self.list(&session).await {
            Ok(listing) => {
                self.publish(Phase::Ready(Arc::clone(&session)), listing);
                session.listen();
                Ok(session)
            }
            Err(error) => {
                session.close().await;
                Err(ConnectError::Away(format!(
                    "the MCP server `{}` gave no list: {error}",
                    self.name()
                )))
            }
        }
    }

    fn publish(&self, phase: Phase, listing: Listing) {
        self.state.send_modify(|state| {
            *state = State {
                phase,
                listing: Some(Arc::new(listing)),
                listed: state.listed + 1,
            };
        });
    }

    /// Stays until the connection is gone; lists again when the server says that its lists changed.
    async fn stay(&self, session: &Arc<Session>) -> String {
        let closed = session.link.closed();
        tokio::pin!(closed);
        loop {
            tokio::select! {
                gone = &mut closed => return gone,
                () = self.poke.notified() => return "a call found it gone".to_owned(),
                () = session.exchange.list_changed.notified() => {}
            }
            tokio::time::sleep(SETTLE).await;
            let listed = tokio::select! {
                gone = &mut closed => return gone,
                listed = self.list(session) => listed,
            };
            match listed {
                Ok(listing) => self.publish(Phase::Ready(Arc::clone(session)), listing),
                Err(error) => {
                    tracing::warn!(server = self.name(), %error, "an MCP server changed its lists and gave none");
                }
            }
            tokio::select! {
                gone = &mut closed => return gone,
                () = tokio::time::sleep(LIST_AGAIN) => {}
            }
        }
    }

    /// Asks for every list. Tools are always asked for, whatever the server says it can do; what else it has
    /// costs no tools.
    async fn list(&self, session: &Session) -> Result<Listing, LinkError> {
        let tools = session.list("tools/list", "tools").await?;
        let mut notes: Vec<String> = tools.partial.into_iter().collect();
        let declares_prompts = !session.info.capabilities["prompts"].is_null();
        let prompts = match declares_prompts {
            false => Vec::new(),
            true => match session.list("prompts/list", "prompts").await {
                Ok(prompts) => {
                    notes.extend(prompts.partial);
                    prompts.items
                }
                Err(error) => {
                    notes.push(format!("its prompts cannot be listed: {error}"));
                    Vec::new()
                }
            },
        };
        let has_headers = matches!(self.config.transport, Transport::Http { .. });
        let instructions = session.info.instructions.clone();
        let judged = tokio::task::spawn_blocking(move || {
            definition::judge(&tools.items, &prompts, instructions.as_deref(), has_headers)
        });
        let judged = judged
            .await
            .map_err(|error| LinkError::Lost(error.to_string()))?;
        notes.extend(judged.notes);
        for (what, why) in &judged.refused {
            tracing::warn!(
                server = self.name(),
                what,
                why,
                "a tool of an MCP server is not used"
            );
        }
        Ok(Listing {
            info: session.info.clone(),
            listed: judged.listed,
            refused: judged.refused,
            notes,
        })
    }

    /// Ends the connection; the task ends with it.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}
