//! Bodies of answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::Response;
use serde_json::Value;

use super::{
    Inner,
    reach::host_of,
    sse::{Events, SseItem},
};
use crate::{
    link::{LinkError, number_of},
    wire::{self, Incoming, MAX_MESSAGE, Noise, RpcError},
};

/// Before a stream is resumed, where the server does not say how long.
const RETRY: Duration = Duration::from_secs(1);

/// How a stream ended.
pub(super) enum Ended {
    /// With the answer.
    Answered,
    /// Without it.
    Broken(String),
}

/// The body of an answer to one request, or of a stream that is open beside requests (0).
pub(super) struct Body<'a> {
    inner: &'a Arc<Inner>,
    id: u64,
    /// Where to resume.
    pub(super) resume: Option<String>,
    pub(super) retry: Duration,
}

impl<'a> Body<'a> {
    pub(super) fn new(inner: &'a Arc<Inner>, id: u64) -> Self {
        Self {
            inner,
            id,
            resume: None,
            retry: RETRY,
        }
    }

    /// Reads an answer that is one piece of JSON.
    pub(super) async fn json(&mut self, response: Response) -> Option<LinkError> {
        let place = host_of(&self.inner.place.url).to_owned();
        let body = match read(response, MAX_MESSAGE).await {
            Ok(body) => body,
            Err(ReadError::TooLarge) => return Some(too_large(&place)),
            Err(ReadError::Broken(why)) => {
                return Some(LinkError::Lost(format!(
                    "the answer of `{place}` broke off: {why}"
                )));
            }
        };
        match self.take(&body) {
            Taken::Answer => None,
            Taken::TooComplex => Some(too_large(&place)),
            Taken::Unreadable => Some(unreadable(&place)),
            Taken::Other => Some(LinkError::Lost(format!(
                "`{place}` answered something else: {}",
                crate::text::shown(&String::from_utf8_lossy(&body[..body.len().min(300)]), 300)
            ))),
        }
    }

    /// Reads events until the answer is there. `lives` is called for each sign of life.
    pub(super) async fn stream(&mut self, response: Response, lives: impl Fn()) -> Ended {
        let mut events = Events::default();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return Ended::Broken(error.to_string()),
            };
            for said in events.take(&chunk) {
                match said {
                    SseItem::Comment => lives(),
                    SseItem::Retry(retry) => self.retry = retry,
                    SseItem::TooLarge(head) => {
                        let error = too_large(host_of(&self.inner.place.url));
                        let id = wire::id_of_too_large(&head, &[]).unwrap_or(self.id);
                        self.inner.exchange.settle(id, Err(error));
                        if id == self.id {
                            return Ended::Answered;
                        }
                    }
                    SseItem::Event { data, id } => {
                        lives();
                        if id.is_some() {
                            self.resume = id;
                        }
                        match self.take(&data) {
                            Taken::Answer => return Ended::Answered,
                            Taken::Other => {}
                            Taken::Unreadable => {
                                let error = unreadable(host_of(&self.inner.place.url));
                                self.inner.exchange.settle(self.id, Err(error));
                                return Ended::Answered;
                            }
                            Taken::TooComplex => {
                                let error = too_large(host_of(&self.inner.place.url));
                                self.inner.exchange.settle(self.id, Err(error));
                                return Ended::Answered;
                            }
                        }
                    }
                }
            }
        }
        Ended::Broken("the stream ended".to_owned())
    }

    fn is_answer<T>(&self, id: &Value, result: &Result<T, RpcError>) -> bool {
        let is_own = number_of(id) == Some(self.id) || id.is_null() && result.is_err();
        is_own && self.id != 0
    }

    /// Takes messages in, and says whether the answer is among them.
    fn take(&self, data: &[u8]) -> Taken {
        if data.trim_ascii().is_empty() {
            return Taken::Other;
        }
        let messages = match wire::parse(data) {
            Ok(messages) => messages,
            Err(Noise::TooComplex) => return Taken::TooComplex,
            Err(Noise::Unreadable(id)) if id == self.id => return Taken::Unreadable,
            Err(Noise::Other | Noise::Unreadable(_)) => {
                tracing::debug!(
                    server = self.inner.exchange.server,
                    "an MCP server sent what is no message"
                );
                return Taken::Other;
            }
        };
        let mut taken = Taken::Other;
        for message in messages {
            let message = match message {
                // The stream belongs to one request: an error under no id is about that.
                Incoming::Response { id, result } if self.is_answer(&id, &result) => {
                    let result = match result {
                        Err(error) if self.inner.is_session_lost(&error) => {
                            Err(LinkError::SessionLost(error.to_string()))
                        }
                        result => result.map_err(LinkError::Rpc),
                    };
                    self.inner.exchange.settle(self.id, result);
                    taken = Taken::Answer;
                    continue;
                }
                other => other,
            };
            if let Some(asked) = self.inner.exchange.take(message) {
                let inner = Arc::clone(self.inner);
                tokio::spawn(async move {
                    let answered = async { inner.post_only(&asked.answer().await).await };
                    tokio::select! {
                        () = answered => {}
                        () = inner.stop.cancelled() => {}
                    }
                });
            }
        }
        taken
    }
}

enum Taken {
    Answer,
    Unreadable,
    Other,
    TooComplex,
}

fn too_large(place: &str) -> LinkError {
    LinkError::TooLarge(format!(
        "`{place}` answered more than is read ({MAX_MESSAGE} bytes are the limit)"
    ))
}

fn unreadable(place: &str) -> LinkError {
    LinkError::Unreadable(format!(
        "`{place}` answered with what is no JSON-RPC message"
    ))
}

/// Why a body was not read.
pub(super) enum ReadError {
    TooLarge,
    Broken(String),
}

/// A body of so many bytes at most.
pub(super) async fn read(response: Response, most: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk: Bytes = chunk.map_err(|error| ReadError::Broken(error.to_string()))?;
        if body.len() + chunk.len() > most {
            return Err(ReadError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
