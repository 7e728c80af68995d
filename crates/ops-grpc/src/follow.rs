//! The log of a task as a stream of messages: a view of the engine's follower, from any event on.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use ops_core::{Code, StoredEvent};
use ops_engine::{Followed, LogPage, Shared};
use ops_server::{LocalFollower, event_view};
use prost_reflect::MessageDescriptor;
use tonic::Status;

use crate::{
    encode,
    frame::framed,
    status::{of_error, refusal},
};

/// One client that follows one task.
pub(crate) struct Follow {
    pub(crate) follower: LocalFollower,
    /// The type of the messages.
    pub(crate) kind: MessageDescriptor,
    /// Whether pieces of answers are sent.
    pub(crate) deltas: bool,
}

struct State {
    follow: Follow,
    /// Events that are still to be sent, from this one of the page on.
    page: Option<(Arc<Shared<LogPage>>, usize)>,
    /// Whether the end was sent.
    ended: bool,
}

impl Follow {
    /// The messages in their frames. The client's reading drives the stream: one page of the log is held.
    pub(crate) fn frames(self) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
        let state = State {
            follow: self,
            page: None,
            ended: false,
        };
        stream::try_unfold(state, |mut state| async move {
            Ok(state.next().await?.map(|frame| (frame, state)))
        })
    }
}

impl State {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some((page, at)) = self.page.take()
                && let Some(event) = page.events.get(at)
            {
                let frame = self.event(event)?;
                self.page = Some((page, at + 1));
                return Ok(Some(frame));
            }
            if self.ended {
                return Ok(None);
            }
            let followed = self.follow.follower.next().await;
            match followed.map_err(|error| of_error(&error))? {
                Some(Followed::Events(page)) => self.page = Some((page, 0)),
                Some(Followed::Delta(delta)) => {
                    if !self.follow.deltas {
                        continue;
                    }
                    let text = serde_json::to_string(&*delta.text).unwrap_or_default();
                    return self.item(&format!(
                        r#"{{"delta":{{"step":{},"attempt":{},"offset":{},"text":{text}}}}}"#,
                        delta.step, delta.attempt, delta.offset
                    ));
                }
                Some(Followed::Resync { asked, last }) => {
                    return self.item(&format!(
                        r#"{{"resync":{{"after":{asked},"last_seq":{last}}}}}"#
                    ));
                }
                Some(Followed::End { last }) => {
                    self.ended = true;
                    return self.item(&format!(r#"{{"end":{{"last_seq":{last}}}}}"#));
                }
                Some(Followed::Quiet) => return self.item(r#"{"idle":{}}"#),
                None => {
                    let message = "the stream broke off; follow again after the last event";
                    return Err(refusal(Code::Overloaded, message));
                }
            }
        }
    }

    fn event(&self, event: &StoredEvent) -> Result<Bytes, Status> {
        let view = event_view(event);
        let view = String::from_utf8_lossy(&view);
        self.frame(&format!(r#"{{"event":{view}}}"#))
    }

    fn item(&self, json: &str) -> Result<Option<Bytes>, Status> {
        self.frame(json).map(Some)
    }

    fn frame(&self, json: &str) -> Result<Bytes, Status> {
        let message = encode::message(&self.follow.kind, json, usize::MAX);
        message.map(|message| framed(&message)).map_err(|error| {
            tracing::error!(%error, "an event does not fit its message");
            refusal(Code::Internal, "the server failed while it wrote an event")
        })
    }
}
