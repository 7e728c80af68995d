//! The command line's REST client, and finding the server to talk to.

mod folder;
mod follow;
mod stream;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use ops_engine::Engine;
use ops_store::sqlite::{Serves, without_guests};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use self::folder::{Folder, Server};
pub(crate) use self::stream::StreamEvent;
use crate::{
    commands::stop_requested,
    config::Config,
    exit::{self, Exit, Exiting},
    output::status,
    runtime::{Role, Runtime},
};

/// A server, reached over REST.
pub(crate) struct Client {
    http: reqwest::Client,
    /// Where the server is found again; none if it was named by its URL.
    folder: Option<Folder>,
    server: Mutex<Server>,
    /// Held while the server is looked for, so that this is done once.
    searching: tokio::sync::Mutex<()>,
}

/// Why a request has no answer.
enum Unanswered {
    /// The server is not there, or no longer.
    Unreachable(reqwest::Error),
    /// It ends.
    Stopping(anyhow::Error),
    /// It refused.
    Refused(anyhow::Error),
}

/// Where the paths of a server's API begin, of its URL or that of its API.
///
/// # Errors
/// If it is no URL of HTTP.
pub(crate) fn base_of(url: &str) -> Result<String> {
    let is_http = |parsed: &reqwest::Url| matches!(parsed.scheme(), "http" | "https");
    if !reqwest::Url::parse(url).is_ok_and(|parsed| is_http(&parsed) && parsed.has_host()) {
        return Err(exit::error(
            Exit::Usage,
            format!(
                "the server's URL `{url}` is not like http://127.0.0.1:8080 (--url, OPSPAWN_URL)"
            ),
        ));
    }
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix("/api/v1").unwrap_or(url);
    Ok(url.trim_end_matches('/').to_owned())
}

/// How often an embedded server looks whether other commands still use it.
const LOOK: Duration = Duration::from_millis(50);

impl Client {
    /// The configured server, else that of the data folder, else an embedded one.
    pub(crate) async fn connect(config: &Config, role: Role) -> Result<Self> {
        if let Some(url) = config.optional("url") {
            return Self::new(None, Server::at(&base_of(url)?));
        }
        let folder = Folder {
            config: config.clone(),
            role,
        };
        let server = folder.server().await?;
        Self::new(Some(folder), server)
    }

    fn new(folder: Option<Folder>, server: Server) -> Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .no_proxy()
            .build()
            .context("no HTTP client can be made")?;
        Ok(Self {
            http,
            folder,
            server: Mutex::new(server),
            searching: tokio::sync::Mutex::default(),
        })
    }

    /// Whether the server ends with a command, be it this one or another.
    pub(crate) fn is_for_a_command(&self) -> bool {
        self.locked().serves != Serves::Server
    }

    /// Whether the server is in this process.
    pub(crate) fn is_embedded(&self) -> bool {
        self.locked().embedded.is_some()
    }

    /// Stops the embedded server, if there is one, once no other command uses it.
    pub(crate) async fn close(self) -> Result<()> {
        let Self { server, folder, .. } = self;
        let server = server.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (Some(runtime), Some(folder)) = (server.embedded, folder) else {
            return Ok(());
        };
        let dir = folder.config.data_dir();
        let mut asked = None;
        loop {
            match without_guests(&dir) {
                Ok(Some(alone)) => {
                    runtime.withdraw();
                    drop(alone);
                    break;
                }
                Ok(None) => {}
                // In a folder that cannot be written any more, no command can do anything.
                Err(_) => break,
            }
            let asked = asked.get_or_insert_with(|| {
                status!(
                    "other commands use the server of this process, which ends with them; interrupt \
                     it to end it now, and they go on by themselves"
                );
                tokio::spawn(stop_requested())
            });
            if asked.is_finished() {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        runtime.stop().await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Result<Value> {
        self.call(Method::POST, path, Some(body), key).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::PUT, path, Some(body), None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value> {
        self.call(Method::DELETE, path, None, None).await
    }

    /// A body that is read piece by piece, however long it takes.
    pub(crate) async fn open(&self, path: &str) -> Result<reqwest::Response> {
        let base = self.base();
        let response = self.http.get(format!("{base}{path}")).send().await;
        let response = response.map_err(|error| unreachable(&base, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(problem(status, &body))
    }

    /// Sends a request. If the server ended with its command, the request goes to the next server,
    /// unless it may have been carried out already.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Value> {
        let repeatable = method == Method::GET || key.is_some();
        loop {
            let base = self.base();
            let error = match self.send(&base, &method, path, body, key).await {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::Refused(error)) => return Err(error),
                Err(Unanswered::Stopping(error)) => error,
                Err(Unanswered::Unreachable(error)) if repeatable || error.is_connect() => {
                    unreachable(&base, &error)
                }
                Err(Unanswered::Unreachable(error)) => return Err(unreachable(&base, &error)),
            };
            if !self.take_over(&base).await? {
                return Err(error);
            }
        }
    }

    async fn send(
        &self,
        base: &str,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Value, Unanswered> {
        let mut request = self
            .http
            .request(method.clone(), format!("{base}{path}"))
            .timeout(Duration::from_secs(60));
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let response = request.send().await.map_err(Unanswered::Unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(Unanswered::Unreachable)?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        if status.is_success() {
            return serde_json::from_slice(&body)
                .with_context(|| format!("{base} did not answer with JSON"))
                .map_err(Unanswered::Refused);
        }
        let error = problem(status, &body);
        Err(match exit::coded(&error) {
            Some("shutting_down") => Unanswered::Stopping(error),
            Some(_) | None => Unanswered::Refused(error),
        })
    }

    /// If the server at this place ended with the command that it was in: finds the next one, which
    /// may be in this process. False if the server is one that stays.
    async fn take_over(&self, base: &str) -> Result<bool> {
        let Some(folder) = &self.folder else {
            return Ok(false);
        };
        let _searching = self.searching.lock().await;
        {
            let server = self.locked();
            if server.base != base {
                return Ok(true);
            }
            if server.serves == Serves::Server || server.embedded.is_some() {
                return Ok(false);
            }
        }
        // A guest of a server that is gone must not be in the way of the next owner.
        self.locked().guest = None;
        let next = folder.server().await?;
        *self.locked() = next;
        Ok(true)
    }

    /// A server that stays may have been started again, at another address.
    fn look_again(&self) {
        if self.locked().serves == Serves::Server
            && let Some(moved) = self.folder.as_ref().and_then(Folder::moved)
        {
            *self.locked() = moved;
        }
    }

    /// The engine of the server, if it is in this process.
    fn engine(&self) -> Option<Arc<Engine>> {
        let server = self.locked();
        server.embedded.as_ref().map(Runtime::engine)
    }

    fn base(&self) -> String {
        self.locked().base.clone()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unanswered {
    fn of(self, base: &str) -> anyhow::Error {
        match self {
            Self::Unreachable(error) => unreachable(base, &error),
            Self::Stopping(error) | Self::Refused(error) => error,
        }
    }
}

fn unreachable(base: &str, error: &reqwest::Error) -> anyhow::Error {
    let cause = std::error::Error::source(error).map_or_else(
        || error.to_string(),
        |cause| {
            let mut deepest = cause;
            while let Some(next) = deepest.source() {
                deepest = next;
            }
            deepest.to_string()
        },
    );
    exit::error(
        Exit::Unavailable,
        format!("cannot reach the server {base}: {cause}; is it running? See `opspawn doctor`"),
    )
}

/// A piece of a path with what has a meaning there escaped.
pub(crate) fn escape(piece: &str) -> String {
    let mut escaped = String::with_capacity(piece.len());
    for byte in piece.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// The error of an answer that is none.
fn problem(status: StatusCode, body: &[u8]) -> anyhow::Error {
    let problem: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let text = |key: &str| problem[key].as_str().filter(|text| !text.is_empty());
    let exit = match status.as_u16() {
        400 | 404 | 409 | 413 | 415 | 422 => Exit::Usage,
        503 | 507 => Exit::Unavailable,
        _ => Exit::Failed,
    };
    let message =
        text("detail").map_or_else(|| format!("the server answered {status}"), str::to_owned);
    let code = text("code").map(str::to_owned);
    // How a body is mended is told to those who write one: a command's flags and files are named by the
    // message.
    let own = !matches!(code.as_deref(), Some("invalid_body" | "invalid_query"));
    Exiting {
        exit,
        message,
        fix: text("fix").filter(|_| own).map(str::to_owned),
        code,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_url_or_that_of_its_api() {
        for (url, base) in [
            ("http://127.0.0.1:9401", "http://127.0.0.1:9401"),
            ("http://h/", "http://h"),
            ("https://h/api/v1", "https://h"),
            ("https://h/ops/api/v1/", "https://h/ops"),
        ] {
            assert_eq!(base_of(url).unwrap(), base);
        }
        for url in [
            "127.0.0.1:9401",
            "localhost:9401",
            "h",
            "",
            "ftp://h/",
            "http://",
        ] {
            let error = base_of(url).unwrap_err().to_string();
            assert!(error.contains("is not like http://"), "{url}: {error}");
        }
    }
}
