//! An agreed connection: requests in the words of its era.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    link::{Call, CallLimits, Exchange, Link, LinkError},
    pages::{self, Listing},
    wire::{Era, MODERN},
};

/// A request of the host's own, such as a list, has so long.
pub(crate) const OWN_REQUEST: Duration = Duration::from_secs(60);

/// A server's description of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerInfo {
    /// Its name and version, as it gives them; capped.
    pub name: String,
    /// The protocol that was agreed on.
    pub protocol: String,
    /// The protocol's era.
    pub era: Era,
    /// Claimed capabilities. Servers are asked all the same: many say less, or more.
    pub capabilities: Value,
    /// How it wants to be used; text from outside.
    pub instructions: Option<String>,
}

/// A connection that the server and this host have agreed on.
pub(crate) struct Session {
    pub(crate) link: Arc<dyn Link>,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) info: ServerInfo,
}

impl Session {
    /// Sends a request.
    pub(crate) async fn request(
        &self,
        method: &str,
        mut params: Value,
        limits: CallLimits,
        headers: Vec<(String, String)>,
    ) -> Result<Value, LinkError> {
        if self.info.era == Era::Modern {
            let capabilities = self.exchange.modern_capabilities();
            say_version(&mut params, MODERN, &capabilities);
        }
        if self.info.era == Era::Legacy
            && let Some(meta) = params["_meta"].as_object_mut()
        {
            meta.retain(|key, _| !key.starts_with("io.modelcontextprotocol/"));
        }
        if params.is_null() {
            params = json!({});
        }
        let again = (params.clone(), headers.clone());
        let call = Call {
            method,
            params,
            limits,
            headers,
        };
        match self.link.call(call).await {
            // It did nothing, and says that it speaks this version after all.
            Err(LinkError::Rpc(error)) if crate::connect::supports_modern(&error) => {
                let (params, headers) = again;
                self.link
                    .call(Call {
                        method,
                        params,
                        limits,
                        headers,
                    })
                    .await
            }
            result => result,
        }
    }

    /// Every item of a list, within bounds. A server without such a list has no definitions.
    pub(crate) async fn list(&self, method: &str, key: &str) -> Result<Listing, LinkError> {
        let page = |cursor: Option<String>| {
            let params = match cursor {
                Some(cursor) => json!({"cursor": cursor}),
                None => json!({}),
            };
            self.request(method, params, CallLimits::of(OWN_REQUEST), Vec::new())
        };
        pages::all(key, page).await
    }

    /// Begins to hear of changed lists.
    pub(crate) fn listen(self: &Arc<Self>) {
        let changes = |list: &str| self.info.capabilities[list]["listChanged"] == true;
        let wanted = changes("tools") || changes("prompts");
        match self.info.era {
            Era::Legacy => self.link.listen(wanted),
            Era::Modern if wanted => {
                let session = Arc::downgrade(self);
                tokio::spawn(subscribe(session));
            }
            Era::Modern => {}
        }
    }

    /// Ends the connection.
    pub(crate) async fn close(&self) {
        self.link.close().await;
    }
}

/// Says in a request's `_meta` who asks, and in which words (2026-07-28).
pub(crate) fn say_version(params: &mut Value, version: &str, capabilities: &Value) {
    let meta = &mut params["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = version.into();
    meta["io.modelcontextprotocol/clientInfo"] = client_info();
    if meta["io.modelcontextprotocol/clientCapabilities"].is_null() {
        meta["io.modelcontextprotocol/clientCapabilities"] = capabilities.clone();
    }
}

/// This host's description of itself.
pub(crate) fn client_info() -> Value {
    json!({"name": "opspawn", "version": env!("CARGO_PKG_VERSION")})
}

/// Keeps a subscription open while the session is there.
async fn subscribe(session: std::sync::Weak<Session>) {
    let mut wait = Duration::from_secs(1);
    loop {
        let Some(strong) = session.upgrade() else {
            return;
        };
        let params =
            json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true}});
        // A day: the request lasts as long as the subscription.
        let limits = CallLimits::of(Duration::from_secs(86_400));
        let closed = strong.link.closed();
        let ended = tokio::select! {
            ended = strong.request("subscriptions/listen", params, limits, Vec::new()) => ended,
            _ = closed => return,
        };
        if let Err(LinkError::Rpc(_) | LinkError::Refused { .. } | LinkError::Unauthorized(_)) =
            ended
        {
            return;
        }
        // What changed meanwhile was not heard.
        strong.exchange.list_changed.notify_one();
        drop(strong);
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(300));
    }
}
