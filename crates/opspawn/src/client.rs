//! The command line's REST client, and finding the server to talk to.

mod stream;

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::Value;

pub(crate) use self::stream::StreamEvent;
use self::stream::{Block, Blocks};
use crate::{
    config::Config,
    exit::{self, Exit},
    runtime::{Role, Runtime, Storage},
};

/// A server, reached over REST.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    /// The server in this process, if there was no other.
    pub(crate) embedded: Option<Runtime>,
}

/// How long a client waits before it takes up a stream that broke.
const REST: Duration = Duration::from_millis(300);
/// How often in a row a stream may break before it brought anything.
const PATIENCE: u32 = 10;

/// How a stream came to its end.
enum End {
    /// The task, or the caller's interest, has ended.
    Whole,
    /// It was cut off after it had brought something.
    Cut,
    /// It brought nothing.
    Empty,
}

impl Client {
    /// The configured server, else that of the data folder, else an embedded one.
    pub(crate) async fn connect(config: &Config, role: Role) -> Result<Self> {
        if let Some(url) = config.optional("url") {
            return Self::new(url, None);
        }
        let dir = config.data_dir();
        if let Some(server) = ops_store::sqlite::running_server(&dir).and_then(|info| info.url) {
            return Self::new(&server, None);
        }
        if role == Role::Answer && !dir.exists() {
            return Err(exit::error(
                Exit::Unavailable,
                format!(
                    "there is no data folder {} and no server was named; start one with `opspawn \
                     dev`, or set OPSPAWN_URL or --data",
                    dir.display()
                ),
            ));
        }
        let storage = Storage {
            dir,
            durability: ops_store::Durability::Full,
        };
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let runtime = Runtime::start(config, storage, listen, role).await?;
        let url = runtime.url.clone();
        Self::new(&url, Some(runtime))
    }

    fn new(url: &str, embedded: Option<Runtime>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .no_proxy()
            .build()
            .context("no HTTP client can be made")?;
        Ok(Self {
            http,
            base: url.trim_end_matches('/').to_owned(),
            embedded,
        })
    }

    /// Stops the embedded server, if there is one.
    pub(crate) async fn close(self) -> Result<()> {
        match self.embedded {
            Some(runtime) => runtime.stop().await,
            None => Ok(()),
        }
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
        let response = self.http.get(format!("{}{path}", self.base)).send().await;
        let response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(problem(status, &body))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Value> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .timeout(Duration::from_secs(60));
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        if status.is_success() {
            return serde_json::from_slice(&body)
                .with_context(|| format!("{} did not answer with JSON", self.base));
        }
        Err(problem(status, &body))
    }

    /// Follows the events of a task after a number; gives each to `see` until that says stop or the
    /// task has ended. A broken stream is taken up where it broke.
    pub(crate) async fn follow(
        &self,
        task: &str,
        last: &mut u64,
        mut see: impl FnMut(&StreamEvent) -> bool,
    ) -> Result<()> {
        let mut failures = 0;
        loop {
            match self.follow_once(task, last, &mut see).await {
                Ok(End::Whole) => return Ok(()),
                Ok(End::Cut) => failures = 0,
                Ok(End::Empty) if failures < PATIENCE => failures += 1,
                Ok(End::Empty) => return Err(self.silent(task)),
                Err(error) if failures < PATIENCE => {
                    failures += 1;
                    tracing::warn!(%error, "the event stream broke; following again");
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Follows until the stream ends.
    async fn follow_once(
        &self,
        task: &str,
        last: &mut u64,
        see: &mut impl FnMut(&StreamEvent) -> bool,
    ) -> Result<End> {
        let request = self
            .http
            .get(format!("{}/api/v1/tasks/{task}/events", self.base))
            .header("Accept", "text/event-stream")
            .header("Last-Event-ID", last.to_string());
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if !status.is_success() {
            let body = response.bytes().await.unwrap_or_default();
            return Err(problem(status, &body));
        }
        let mut stream = response.bytes_stream();
        let mut blocks = Blocks::default();
        let mut end = End::Empty;
        while let Some(piece) = stream.next().await {
            blocks.add(&piece.map_err(|error| self.unreachable(&error))?);
            while let Some(block) = blocks.next() {
                let (event, id) = match Block::read(block) {
                    Block::Retry => continue,
                    Block::Comment => {
                        end = End::Cut;
                        continue;
                    }
                    Block::Event(event, id) => (event, id),
                };
                end = End::Cut;
                match event.kind.as_str() {
                    "end" => return Ok(End::Whole),
                    "resync" => *last = 0,
                    _ => {
                        *last = id.unwrap_or(*last);
                        if !see(&event) {
                            return Ok(End::Whole);
                        }
                    }
                }
            }
        }
        Ok(end)
    }

    fn silent(&self, task: &str) -> anyhow::Error {
        exit::error(
            Exit::Unavailable,
            format!(
                "the server {} ends the event stream of {task} again and again without an event; \
                 its log says why",
                self.base
            ),
        )
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
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
            format!(
                "cannot reach the server {}: {cause}; is it running? See `opspawn doctor`",
                self.base
            ),
        )
    }
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
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let exit = match status.as_u16() {
        400 | 404 | 409 | 413 | 415 | 422 => Exit::Usage,
        503 | 507 => Exit::Unavailable,
        _ => Exit::Failed,
    };
    let detail = match text("detail") {
        detail if detail.is_empty() => format!("the server answered {status}"),
        detail => detail,
    };
    let fix = match text("fix") {
        fix if fix.is_empty() => String::new(),
        fix => format!("\nfix: {fix}"),
    };
    exit::error(exit, format!("{detail}{fix}"))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// A server that answers each request with this stream and ends it; how often it was asked.
    async fn server(stream: &'static str) -> (Client, Arc<AtomicUsize>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let mut head = [0; 4_096];
                let _ = socket.read(&mut head).await;
                let reply = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                     connection: close\r\n\r\n{stream}"
                );
                let _ = socket.write_all(reply.as_bytes()).await;
            }
        });
        (Client::new(&url, None).unwrap(), asked)
    }

    #[tokio::test]
    async fn a_stream_that_brings_nothing_is_given_up() {
        let (client, asked) = server("retry: 1000\n\n").await;
        let mut last = 0;
        let follow = client.follow("task_1", &mut last, |_| true);
        let followed = tokio::time::timeout(Duration::from_secs(30), follow).await;
        let error = followed.expect("it asks for ever").unwrap_err();
        assert!(error.to_string().contains("without an event"), "{error}");
        assert_eq!(asked.load(Ordering::SeqCst), 11);
    }

    #[tokio::test]
    async fn a_stream_that_is_cut_off_is_taken_up_without_haste() {
        let (client, asked) = server("id: 1\nevent: task.leased\ndata: {}\n\n").await;
        let mut last = 0;
        let follow = client.follow("task_1", &mut last, |_| true);
        let followed = tokio::time::timeout(Duration::from_secs(1), follow).await;
        assert!(followed.is_err(), "the task goes on");
        assert_eq!(last, 1);
        let asked = asked.load(Ordering::SeqCst);
        assert!((1..=4).contains(&asked), "{asked} requests in a second");
    }
}
