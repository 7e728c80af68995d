//! Streams that are opened again, requests that are refused, and messages of a server's own accord.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Inner, Sent,
    answer::{self, Body},
    content_type,
    reach::host_of,
};
use crate::{
    link::LinkError,
    text::shown,
    wire::{self, Era},
};

/// How much of an error's body is read, in bytes.
const MAX_ERROR: usize = 64 * 1024;
/// Between two tries to hear messages of a server's own accord.
const LISTEN_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];
/// Bounds of the delay that a server may ask for before a stream is resumed.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];

impl Inner {
    /// Opens a stream again after the last event that came.
    pub(super) async fn resumed(
        &self,
        id: &str,
        retry: Duration,
        until: Instant,
    ) -> Result<Response, LinkError> {
        let mut wait = retry.clamp(RETRY[0], RETRY[1]);
        let place = host_of(&self.place.url);
        loop {
            let at = Instant::now() + wait;
            if at >= until {
                let why =
                    format!("the answer of `{place}` broke off, and there is no time to resume it");
                return Err(LinkError::Lost(why));
            }
            tokio::time::sleep_until(at).await;
            let request = self.request(Method::GET, Era::Legacy).await;
            match request.header("last-event-id", id).send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) if response.status().is_client_error() => {
                    return Err(LinkError::Lost(format!(
                        "the answer of `{place}` broke off, and it answered {} to resuming it",
                        response.status()
                    )));
                }
                Ok(_) | Err(_) => wait = (wait * 2).min(RETRY[1]),
            }
        }
    }

    /// Reads why a request was refused.
    pub(super) async fn refused(&self, response: Response, sent: &Sent<'_>) -> LinkError {
        let status = response.status();
        let place = host_of(&self.place.url).to_owned();
        let is_open = agentkit_tools::http::leaves_doubt(status, response.headers())
            // 500 and the like without an answer of the protocol: whatever said so, it is not the server's word on the call.
            || status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE;
        let is_json = content_type(&response).contains("json");
        let body = answer::read(response, MAX_ERROR).await.unwrap_or_default();
        let parsed: Option<Value> = serde_json::from_slice(&body).ok().filter(|_| is_json);
        let error = parsed
            .as_ref()
            .and_then(|body| body.get("error"))
            .filter(|error| error.is_object());
        let rpc = error.map(wire::rpc_error);
        let id = parsed.as_ref().map(|body| &body["id"]);
        let text = match &rpc {
            Some(rpc) => rpc.to_string(),
            None => shown(String::from_utf8_lossy(&body).trim(), 300),
        };
        let message = self
            .place
            .redactor
            .clean(&format!("`{place}` answered {status}: {text}"));
        let has_session = self.state().session.is_some();
        let says_session = text.to_lowercase().contains("session");
        if has_session
            && (status == StatusCode::NOT_FOUND
                || status == StatusCode::BAD_REQUEST && says_session)
        {
            return LinkError::SessionLost(message);
        }
        match rpc {
            Some(rpc) if id.and_then(Value::as_u64) == Some(sent.id) => LinkError::Rpc(rpc),
            // A gateway says so when whatever is behind it may have got the request. Some wrap that in JSON of their own.
            _ if is_open => LinkError::Lost(message),
            rpc => LinkError::Refused {
                status: status.as_u16(),
                message,
                rpc,
            },
        }
    }

    /// Whether an error that was answered says that the session is gone (200, and an event).
    pub(super) fn is_session_lost(&self, error: &wire::RpcError) -> bool {
        let text = error.message.to_lowercase();
        self.state().session.is_some()
            && text.contains("session")
            && [
                "not found",
                "expired",
                "unknown",
                "invalid",
                "no valid",
                "terminated",
                "no session",
            ]
            .iter()
            .any(|word| text.contains(word))
    }

    /// Hears what the server says of its own accord, until it will not have that.
    pub(super) async fn listen(self: &Arc<Self>) {
        let mut last: Option<String> = None;
        let mut wait = LISTEN_AGAIN[0];
        loop {
            let mut request = self.request(Method::GET, Era::Legacy).await;
            if let Some(id) = &last {
                request = request.header("last-event-id", id);
            }
            match request.send().await {
                Ok(response) if response.status().is_success() => {
                    if !content_type(&response).starts_with("text/event-stream") {
                        return;
                    }
                    let mut body = Body::new(self, 0);
                    let _ = body.stream(response, || {}).await;
                    if body.resume.is_some() {
                        last = body.resume;
                        wait = LISTEN_AGAIN[0];
                    }
                }
                // Whatever it is, the server lives well without it: 400, 404, 405, 501, a page in HTML.
                Ok(response) if response.status().is_client_error() => {
                    if response.status() != StatusCode::CONFLICT {
                        return;
                    }
                }
                Ok(response) if response.status() == StatusCode::NOT_IMPLEMENTED => return,
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LISTEN_AGAIN[1]);
        }
    }
}
