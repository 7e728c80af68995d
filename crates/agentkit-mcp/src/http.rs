//! Servers behind a URL: streamable HTTP, in both eras.

mod answer;
pub(crate) mod reach;
mod sse;
mod streams;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentkit::BoxFuture;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::{
    answer::{Body, Ended},
    reach::{Reach, host_of},
};
use crate::{
    link::{Answers, Call, Exchange, Link, LinkError},
    text::{Redactor, shown},
    wire::{self, Era},
};

/// Redirects within the server's own origin that are followed.
const MAX_REDIRECTS: usize = 3;

/// Says who asks.
pub(crate) trait Credentials: Send + Sync {
    /// The value of the header `Authorization`, if there is one by now.
    fn authorization(&self) -> BoxFuture<'_, Option<String>>;

    /// The server refused with 401 or 403: whether another try may help.
    fn refused<'a>(&'a self, refusal: Refusal) -> BoxFuture<'a, Result<(), String>>;
}

/// A refusal of a server to serve this client.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The header `WWW-Authenticate`.
    pub(crate) challenge: String,
    /// Description of the request.
    pub(crate) sent: Option<String>,
}

/// A place and how to ask there.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) reach: Reach,
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
    pub(crate) redactor: Redactor,
}

/// A connection to a URL.
pub(crate) struct HttpLink {
    inner: Arc<Inner>,
}

struct Inner {
    place: Endpoint,
    client: reqwest::Client,
    exchange: Arc<Exchange>,
    state: RwLock<State>,
    stop: CancellationToken,
    listens: AtomicBool,
}

#[derive(Default, Clone)]
struct State {
    /// Where requests go, after redirects.
    url: Option<Url>,
    /// The agreed version; none before.
    version: Option<String>,
    session: Option<String>,
}

impl HttpLink {
    pub(crate) fn new(
        server: &str,
        place: Endpoint,
        answers: Arc<dyn Answers>,
        patience: Duration,
    ) -> Result<Arc<Self>, String> {
        place.reach.check(&place.url, &place.url)?;
        let client = place.reach.client(&place.url, &place.url)?;
        Ok(Arc::new(Self {
            inner: Arc::new(Inner {
                client,
                exchange: Exchange::new(server, answers, patience, place.redactor.clone()),
                state: RwLock::default(),
                stop: CancellationToken::new(),
                listens: AtomicBool::new(false),
                place,
            }),
        }))
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.inner.exchange
    }
}

impl Link for HttpLink {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Value, LinkError>> {
        Box::pin(async move {
            let inner = &self.inner;
            let mut entered = inner.exchange.enter();
            let id = entered.id;
            let mut given_up = GivenUp {
                inner,
                id,
                method: call.method,
                armed: false,
            };
            let mut params = call.params;
            params["_meta"]["progressToken"] = id.into();
            let era = inner.era(&params);
            let message = wire::request(id, call.method, &params);
            let sent = Sent {
                id,
                method: call.method,
                message: &message,
                era,
                headers: &call.headers,
            };
            given_up.armed = era == Era::Legacy;
            let until = Instant::now() + call.limits.total;
            let result = tokio::select! {
                biased;
                result = entered.wait(call.limits, call.method) => result,
                error = inner.exchanged(&sent, until) => match error {
                    // The answer was in the body: it has been handed over.
                    None => entered.wait(call.limits, call.method).await,
                    Some(error) => Err(error),
                },
            };
            given_up.armed = matches!(result, Err(LinkError::TimedOut(_))) && era == Era::Legacy;
            result
        })
    }

    fn notify<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.inner
                .post_only(&wire::notification(method, &params))
                .await
        })
    }

    fn closed(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            self.inner.stop.cancelled().await;
            "the connection was closed".to_owned()
        })
    }

    fn agreed(&self, version: &str) {
        self.inner
            .change(|state| state.version = Some(version.to_owned()));
    }

    /// The stream of a server of the older era that is open beside the requests. Servers need not have it.
    fn listen(&self, _: bool) {
        if self.inner.listens.swap(true, Ordering::SeqCst) {
            return;
        }
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            let stop = inner.stop.clone();
            tokio::select! {
                () = inner.listen() => {}
                () = stop.cancelled() => {}
            }
        });
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let inner = &self.inner;
            inner.stop.cancel();
            let state = inner.state();
            if state.session.is_some() {
                let request = inner.request(Method::DELETE, Era::Legacy).await;
                let _ = tokio::time::timeout(Duration::from_secs(2), request.send()).await;
            }
        })
    }
}

impl Drop for HttpLink {
    fn drop(&mut self) {
        self.inner.stop.cancel();
    }
}

/// A request on its way.
struct Sent<'a> {
    id: u64,
    method: &'a str,
    message: &'a Value,
    era: Era,
    headers: &'a [(String, String)],
}

impl Inner {
    fn state(&self) -> State {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The era of a request: those of the newer one say their version themselves.
    fn era(&self, params: &Value) -> Era {
        match params["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string() {
            true => Era::Modern,
            false => Era::Legacy,
        }
    }

    async fn request(&self, method: Method, era: Era) -> RequestBuilder {
        let state = self.state();
        let url = state.url.unwrap_or_else(|| self.place.url.clone());
        let mut headers = self.place.headers.clone();
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        match (era, &state.version) {
            (Era::Modern, _) => set("mcp-protocol-version", wire::MODERN),
            (Era::Legacy, Some(version)) => set("mcp-protocol-version", version),
            (Era::Legacy, None) => {}
        }
        if let (Era::Legacy, Some(session)) = (era, &state.session) {
            set("mcp-session-id", session);
        }
        if let Some(credentials) = &self.place.credentials
            && let Some(mut value) = credentials
                .authorization()
                .await
                .and_then(|value| HeaderValue::from_str(&value).ok())
        {
            value.set_sensitive(true);
            headers.insert(reqwest::header::AUTHORIZATION, value);
        }
        let accepted = match method {
            Method::GET => "text/event-stream",
            _ => "application/json, text/event-stream",
        };
        self.client
            .request(method, url)
            .headers(headers)
            .header("accept", accepted)
    }

    /// Sends a message without waiting for an answer.
    async fn post_only(&self, message: &Value) {
        let request = self.request(Method::POST, Era::Legacy).await.json(message);
        let sent = tokio::time::timeout(Duration::from_secs(10), request.send());
        if let Ok(Err(error)) = sent.await {
            tracing::debug!(server = self.exchange.server, %error, "a message to an MCP server was lost");
        }
    }

    /// Sends a request and reads its answer. None once its answer was handed over.
    async fn exchanged(self: &Arc<Self>, sent: &Sent<'_>, until: Instant) -> Option<LinkError> {
        let mut tries = 0;
        let mut redirects = 0;
        loop {
            let mut request = self
                .request(Method::POST, sent.era)
                .await
                .json(sent.message);
            if sent.era == Era::Modern {
                request = request.header("mcp-method", sent.method);
                if let Some(name) = name_of(sent) {
                    request = request.header("mcp-name", crate::headers::encode(&name));
                }
            }
            for (name, value) in sent.headers {
                request = request.header(name, value);
            }
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => return Some(self.unsent(&error)),
            };
            let status = response.status();
            if status == StatusCode::SEE_OTHER {
                // It was done, or a gateway wants somebody to log in: nobody can tell.
                let why = self.redirected(&response).err().unwrap_or_default();
                let place = host_of(&self.place.url);
                return Some(LinkError::Lost(format!(
                    "`{place}` answered {status}: {why}"
                )));
            }
            if status.is_redirection() {
                redirects += 1;
                match self.redirected(&response) {
                    Ok(()) if redirects <= MAX_REDIRECTS => continue,
                    Ok(()) => return Some(refused(status, "it redirects in a circle")),
                    Err(why) => return Some(refused(status, &why)),
                }
            }
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                tries += 1;
                match self.unauthorized(&response, tries).await {
                    Ok(()) => continue,
                    Err(why) => return Some(LinkError::Unauthorized(why)),
                }
            }
            return self.answered(response, sent, until).await;
        }
    }

    async fn unauthorized(&self, response: &Response, tries: usize) -> Result<(), String> {
        let header = |name| {
            let values = response.headers().get_all(name).iter();
            let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
            values.join(", ")
        };
        let status = response.status().as_u16();
        let challenge = header(WWW_AUTHENTICATE);
        let place = host_of(&self.place.url);
        let Some(credentials) = &self.place.credentials else {
            return Err(format!(
                "`{place}` answered {status}: it wants to know who asks; set a header \
                 `Authorization` or `oauth` for the server"
            ));
        };
        if tries > 3 {
            return Err(format!(
                "`{place}` answered {status} again after authorization"
            ));
        }
        let sent = credentials.authorization().await;
        credentials
            .refused(Refusal {
                status,
                challenge,
                sent,
            })
            .await
    }

    /// Goes where a redirect leads, if that is within the server's own origin.
    fn redirected(&self, response: &Response) -> Result<(), String> {
        let status = response.status();
        let from = response.url().clone();
        let location = response.headers().get(LOCATION).map(HeaderValue::as_bytes);
        let location = String::from_utf8_lossy(location.unwrap_or_default()).into_owned();
        let next = from
            .join(&location)
            .map_err(|_| format!("it redirects to {location:?}, which is no URL"))?;
        if !matches!(status.as_u16(), 307 | 308) || next.origin() != from.origin() {
            return Err(format!(
                "it redirects to `{}`, which is not followed; write that URL into the configuration if it is \
                 the server's",
                shown(next.as_str(), 200)
            ));
        }
        self.change(|state| state.url = Some(next));
        Ok(())
    }

    /// Why a request brought no answer: it did not even get there, or it is not known what it did.
    fn unsent(&self, error: &reqwest::Error) -> LinkError {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        let place = host_of(&self.place.url);
        let text = self.place.redactor.clean(&shown(&text, 600));
        match error.is_connect() || error.is_builder() {
            true => LinkError::NotSent(format!("`{place}` cannot be reached: {text}")),
            false => LinkError::Lost(format!("the connection to `{place}` broke: {text}")),
        }
    }

    async fn answered(
        self: &Arc<Self>,
        response: Response,
        sent: &Sent<'_>,
        until: Instant,
    ) -> Option<LinkError> {
        let status = response.status();
        let place = host_of(&self.place.url).to_owned();
        if sent.method == "initialize"
            && let Some(session) = response.headers().get("mcp-session-id")
        {
            let session = session.to_str().ok().map(str::to_owned);
            self.change(|state| state.session = session);
        }
        if !status.is_success() {
            return Some(self.refused(response, sent).await);
        }
        if status == StatusCode::ACCEPTED || status == StatusCode::NO_CONTENT {
            return Some(LinkError::Lost(format!(
                "`{place}` answered {status} to a request"
            )));
        }
        let is_stream = content_type(&response).starts_with("text/event-stream");
        let mut body = Body::new(self, sent.id);
        match is_stream {
            false => body.json(response).await,
            true => {
                let mut response = response;
                loop {
                    let last = match body.stream(response, || self.exchange.touch(sent.id)).await {
                        Ended::Answered => return None,
                        Ended::Broken(why) => why,
                    };
                    // Servers of the newer era resume nothing, and to ask anew would be a second request.
                    let Some(id) = body.resume.clone().filter(|_| sent.era == Era::Legacy) else {
                        return Some(LinkError::Lost(format!(
                            "the answer of `{place}` broke off: {last}"
                        )));
                    };
                    match self.resumed(&id, body.retry, until).await {
                        Ok(next) => response = next,
                        Err(error) => return Some(error),
                    }
                }
            }
        }
    }
}

/// Tells a server of the older era that nobody waits for an answer any more; of the newer one, the end of
/// the connection says so.
struct GivenUp<'a> {
    inner: &'a Arc<Inner>,
    id: u64,
    method: &'a str,
    armed: bool,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if !self.armed || matches!(self.method, "initialize" | "server/discover") {
            return;
        }
        let params =
            json!({"requestId": self.id, "reason": "the time is over, or the run was cancelled"});
        let inner = Arc::clone(self.inner);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                inner
                    .post_only(&wire::notification("notifications/cancelled", &params))
                    .await;
            });
        }
    }
}

/// Names in a request, for routers that read headers.
fn name_of(sent: &Sent<'_>) -> Option<String> {
    let key = match sent.method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => return None,
    };
    sent.message["params"][key].as_str().map(str::to_owned)
}

fn content_type(response: &Response) -> String {
    let value = response.headers().get(reqwest::header::CONTENT_TYPE);
    let value = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.trim().to_ascii_lowercase()
}

fn refused(status: StatusCode, why: &str) -> LinkError {
    LinkError::Refused {
        status: status.as_u16(),
        message: format!("the server answered {status}: {why}"),
        rpc: None,
    }
}
