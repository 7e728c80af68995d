//! HTTP as tools do it: `http_fetch` and `http_request`.
//!
//! They are two tools rather than one with a method because the effect class belongs to a tool: a
//! rule such as "ask before every `write`" or "never `http_request`" then holds by its name, and what
//! the model says in the arguments cannot lower it.
//!
//! No request goes anywhere but to addresses that were checked: a host is resolved once, each of its
//! addresses has to be public or allowed by configuration, and the connection is made to these
//! addresses and no others. Every redirect is a new request in this respect. Neither proxies nor
//! cookies exist here, and a connection serves one request.

mod address;
mod allow;
mod body;
mod connect;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod headers;
mod hosts;
mod listeners;
mod readable;
mod target;
mod unpack;
mod writes;

use std::{io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use agentkit::{
    BoxFuture,
    event::Failure,
    policy::Permission,
    tool::{Effect, OUTCOME_UNKNOWN, ToolContext, ToolOutput},
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

pub use self::{
    allow::{Allowed, InvalidLocation},
    hosts::Hosts,
    listeners::Listeners,
    writes::{Looks, OnNotDone, ProbeRule, WriteRule},
};
use self::{
    body::{Body, Form},
    connect::Connector,
    target::Target,
};
pub(crate) use self::{
    headers::{parse as parse_headers, schema as headers_schema},
    target::parse as parse_url,
    writes::Writes,
};

use crate::{
    quota::Quota,
    replace::{Destination, replace},
    workspace::{blocking, stopped},
};

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 5;
/// Of the time of a call, so much at most is kept for what is done with a body that did not end.
const RESERVE: Duration = Duration::from_secs(2);

/// Limits of the HTTP tools.
#[derive(Clone)]
pub struct Settings {
    /// Places that may be reached although they are not public.
    pub allow: Allowed,
    /// Where this process itself answers: no call gets there, whatever is allowed.
    pub own: Listeners,
    /// The most bytes of a body that are read.
    pub max_bytes: u64,
    /// The longest that a call may take, redirects included.
    pub timeout: Duration,
    /// What is known of places that `http_request` writes to.
    pub writes: Vec<WriteRule>,
    /// Where the addresses of a host come from.
    pub resolver: Arc<dyn Resolver>,
    /// How servers are authenticated; by the system's certificates if not given.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow: Allowed::default(),
            own: Listeners::default(),
            max_bytes: 10 << 20,
            timeout: Duration::from_secs(30),
            writes: Vec::new(),
            resolver: Arc::new(SystemResolver),
            tls: None,
        }
    }
}

/// Tells the addresses of a host.
pub trait Resolver: Send + Sync {
    /// All of its addresses, in the order in which they are to be tried.
    ///
    /// # Errors
    /// If they cannot be told.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The resolver of the operating system.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// A request of a tool.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The most bytes of the answer's body that are read.
    pub(crate) max_bytes: u64,
    /// Until when its body is read.
    pub(crate) until: Instant,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// No byte was sent.
    Before(Failure),
    /// The request, or a part of it, was sent.
    After(Failure),
}

impl SendError {
    /// The failure of a request with this effect.
    pub(crate) fn failure(self, effect: Effect) -> Failure {
        match self {
            Self::Before(failure) => failure,
            Self::After(failure) if !effect.is_write() => failure,
            // Without a word about sending it again: who reads this has the call settled, by its key, a probe or a
            // person.
            Self::After(failure) => Failure::last(
                OUTCOME_UNKNOWN,
                format!("{}; it may have taken effect", failure.message),
            ),
        }
    }
}

/// Whether a status leaves open what became of a request that changes something: a gateway answers so whose server may
/// have done it (408, 499, 502, 504, and the ones of their own that gateways use). 503 with `Retry-After` is a refusal
/// (RFC 9110, 15.6.4); without it, gateways also say so of a connection that broke.
#[must_use]
pub fn leaves_doubt(status: StatusCode, headers: &HeaderMap) -> bool {
    match status.as_u16() {
        408 | 499 | 502 | 504 | 520..=530 | 598 | 599 => true,
        503 => !headers.contains_key(http::header::RETRY_AFTER),
        _ => false,
    }
}

/// Sends requests to checked addresses. A clone is cheap.
#[derive(Clone)]
pub(crate) struct Client {
    settings: Arc<Settings>,
    connector: Arc<Connector>,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            settings: Arc::new(settings.clone()),
            connector: Arc::new(Connector::new(settings.tls.clone())),
        }
    }

    /// How many bytes of a body are read if so many were asked for.
    pub(crate) fn limit(&self, asked: Option<u64>) -> u64 {
        asked.map_or(self.settings.max_bytes, |asked| {
            asked.min(self.settings.max_bytes)
        })
    }

    /// Until when the body of a call that begins now is read: what came by then is shown.
    pub(crate) fn until(&self) -> Instant {
        let timeout = self.settings.timeout;
        Instant::now() + timeout.saturating_sub(RESERVE.min(timeout / 10))
    }

    /// The answer to one request; redirects are answers like any other.
    pub(crate) async fn send(&self, outgoing: &Outgoing) -> Result<Answer, SendError> {
        let target = Target::check(&outgoing.url, &self.settings)
            .await
            .map_err(SendError::Before)?;
        let (status, headers, body) = self.connector.send(&target, outgoing).await?;
        Ok(Answer {
            url: outgoing.url.clone(),
            status,
            headers,
            body,
            not_followed: None,
        })
    }

    /// The answer after at most [`MAX_REDIRECTS`] redirects. Before each it asks whether the call may go
    /// there; where it may not, the redirect is the answer.
    pub(crate) async fn follow(
        &self,
        mut outgoing: Outgoing,
        may_go: impl Fn(&Url) -> Permission,
    ) -> Result<Answer, SendError> {
        for _ in 0..=MAX_REDIRECTS {
            let mut answer = self.send(&outgoing).await?;
            let Some(next) = redirect(&answer).map_err(SendError::After)? else {
                return Ok(answer);
            };
            let refusal = match may_go(&next) {
                Permission::Allow => None,
                Permission::Ask { reason, .. } => Some(format!(
                    "a person has to approve that ({reason}); call again with {next} to ask for it"
                )),
                Permission::Deny { reason } => Some(reason),
            };
            if refusal.is_some() && !units::mutant!("agentkit-tools.redirects_go_anywhere") {
                answer.not_followed = refusal;
                return Ok(answer);
            }
            if next.origin() != outgoing.url.origin() {
                headers::keep_cross_origin(&mut outgoing.headers);
            }
            outgoing.url = next;
        }
        Err(SendError::After(Failure::last(
            "too_many_redirects",
            format!(
                "the server redirected more than {MAX_REDIRECTS} times; fetch the place itself"
            ),
        )))
    }
}

/// Where the answer leads, if it is a redirect.
fn redirect(answer: &Answer) -> Result<Option<Url>, Failure> {
    let from = &answer.url;
    let redirects = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = answer
        .headers
        .get(http::header::LOCATION)
        .filter(|_| redirects)
    else {
        return Ok(None);
    };
    let location = String::from_utf8_lossy(location.as_bytes());
    let refused = |problem: &str| {
        let shown: String = location.chars().take(200).collect();
        let message = format!("the redirect to {shown:?} is not followed: {problem}");
        Failure::last("redirect_refused", message)
    };
    let next = from
        .join(&location)
        .map_err(|error| refused(&error.to_string()))?;
    target::check_url(&next).map_err(|failure| refused(&failure.message))?;
    if from.scheme() == "https" && next.scheme() != "https" {
        return Err(refused("it leads from https to http"));
    }
    Ok(Some(next))
}

/// Answer of a server.
pub(crate) struct Answer {
    /// URL of the answer.
    url: Url,
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    /// Why the redirect that it is was not followed, if the policy is why.
    not_followed: Option<String>,
}

impl Answer {
    /// As a tool's result, `max` bytes of content at most: HTML as readable text unless `raw`.
    pub(crate) async fn shown(self, raw: bool, max: u64) -> Result<Value, Failure> {
        off_thread(move || {
            let mut result = self.head();
            let content = self.body.unpacked(&self.headers, max);
            content.tell(&mut result);
            let form = if raw {
                Form::Raw
            } else {
                Form::Readable {
                    base: &self.url,
                    max,
                }
            };
            content.show(&self.headers, &form, &mut result);
            result
        })
        .await
    }

    /// As a file of the workspace, `max` bytes of content at most; `has_limit` says that the caller
    /// asked for no more than that.
    ///
    /// A file that is there is only replaced by what is whole and no error: otherwise a download that
    /// breaks off would destroy what an earlier one brought.
    pub(crate) async fn saved(
        self,
        context: &ToolContext,
        path: PathBuf,
        max: u64,
        has_limit: bool,
        quota: &Arc<Quota>,
    ) -> Result<ToolOutput, Failure> {
        let failed = self.status.is_client_error() || self.status.is_server_error();
        let (mut result, bytes, doubt) = off_thread(move || {
            let mut result = self.head();
            let content = self.body.unpacked(&self.headers, max);
            content.tell(&mut result);
            let doubt = match failed {
                true => Some(format!("the status is {}", self.status.as_u16())),
                false => content.missing(has_limit).map(str::to_owned),
            };
            (result, Bytes::from(content.bytes), doubt)
        })
        .await?;
        if let Some(doubt) = doubt {
            let destination = path.clone();
            let is_there = blocking(context, move |root, _| {
                Ok(root.symlink_metadata(&destination).is_ok())
            });
            if is_there.await? {
                let shown = path.display();
                let reason = format!(
                    "`{shown}` is as it was: {doubt}, so the body did not replace it; fetch it again, or \
                     save it under another name"
                );
                result["not_saved"] = reason.into();
                return Ok(result.into());
            }
        }
        let content = bytes.clone();
        let destination = Destination::of(context, quota);
        let path = blocking(context, move |root, abandoned| {
            replace(root, &path, &content, &destination, abandoned)
        })
        .await?;
        let path = path.to_string_lossy().into_owned();
        result["saved"] = path.as_str().into();
        Ok(ToolOutput {
            content: result,
            files: vec![(path, Some(bytes))],
            ..ToolOutput::default()
        })
    }

    /// Why it is not known what became of a request that changes something, if the answer leaves that open.
    pub(crate) fn doubt(&self) -> Option<Failure> {
        let is_open = leaves_doubt(self.status, &self.headers)
            && !units::mutant!("agentkit-tools.gateway_answers_are_results");
        is_open.then(|| {
            let (url, status) = (&self.url, self.status);
            let host = url.host_str().unwrap_or_default();
            let message = format!(
                "`{host}` answered {status}, as a gateway does that has lost the answer of its server"
            );
            Failure::passing("gateway_failed", message)
        })
    }

    /// Whether it is what was asked for, and not a redirect that the policy forbids to follow.
    pub(crate) fn is_final(&self) -> bool {
        self.not_followed.is_none()
    }

    fn head(&self) -> Value {
        let mut result = json!({"url": self.url.as_str(), "status": self.status.as_u16()});
        headers::show(&self.headers, &mut result);
        if let Some(reason) = &self.not_followed {
            result["not_followed"] = reason.as_str().into();
        }
        result
    }
}

/// What takes a while, where it holds up nobody: unpacking, and reading pages.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(stopped()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(status: u16, location: &str, from: &str) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        headers.insert("location", location.parse().unwrap());
        let answer = Answer {
            url: Url::parse(from).unwrap(),
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Body::default(),
            not_followed: None,
        };
        redirect(&answer)
            .map(|url| url.map(|url| url.to_string()))
            .map_err(|failure| failure.message)
    }

    #[test]
    fn redirects_are_resolved_against_where_they_come_from() {
        let from = "https://a.example/x/y?q";
        for (location, expected) in [
            ("z", "https://a.example/x/z"),
            ("/z", "https://a.example/z"),
            ("//b.example/z", "https://b.example/z"),
            ("https://b.example", "https://b.example/"),
        ] {
            assert_eq!(next(302, location, from), Ok(Some(expected.to_owned())));
        }
        assert_eq!(next(300, "/z", from), Ok(None));
        assert_eq!(next(304, "/z", from), Ok(None));
        assert_eq!(
            next(301, "https://a.example/", "http://a.example/"),
            Ok(Some("https://a.example/".to_owned()))
        );
    }

    #[test]
    fn redirects_to_less_are_refused() {
        for (location, problem) in [
            ("http://a.example/", "from https to http"),
            ("file:///etc/passwd", "only http and https"),
            ("gopher://a.example/", "only http and https"),
            ("https://user:secret@a.example/", "user name or password"),
            ("https://", "empty host"),
        ] {
            let message = next(302, location, "https://a.example/").unwrap_err();
            assert!(message.contains(problem), "{message}");
        }
    }
}
