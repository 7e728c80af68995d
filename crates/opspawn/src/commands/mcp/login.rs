//! `opspawn mcp login`: a person allows this installation to use a server behind a URL.

use std::{sync::Arc, time::Duration};

use agentkit::BoxFuture;
use agentkit_mcp::{
    Config as Servers, Host, HostSettings, Nobody, Records, Server, Status, config::Transport,
    oauth::Browser,
};
use agentkit_tools::http::Listeners;
use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Mutex,
};
use url::Url;

use crate::{
    config::Config,
    exit::{self, Exit},
    output::{self, show, status},
};

/// How long a person has.
const TIMEOUT: Duration = Duration::from_secs(600);
/// The longest head of a request that the browser sends.
const MAX_HEAD: usize = 16 * 1024;
const PAGE: &str =
    "<!doctype html><meta charset=utf-8><title>Opspawn</title><p>Done. You can close this page.";

/// Connects to a server with a person beside it.
pub(super) async fn login(config: &Config, name: &str, json: bool) -> Result<Exit> {
    let loaded = crate::mcp::load(config)?;
    let refused = |why: String| exit::error(Exit::Usage, why);
    let server = loaded.config.servers.get(name).cloned();
    let server = server.ok_or_else(|| {
        refused(format!(
            "there is no server `{name}`; `opspawn mcp ls` lists them"
        ))
    })?;
    let Transport::Http { oauth: Some(_), .. } = &server.transport else {
        return Err(refused(format!(
            "the server `{name}` is not authorized by OAuth: its entry has no `oauth: true`"
        )));
    };
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("cannot listen on the loopback address")?;
    let port = listener
        .local_addr()
        .context("the listener has no address")?
        .port();
    let person = Person {
        listener: Mutex::new(listener),
        port,
    };
    let mut servers = Servers::default();
    servers.servers.insert(name.to_owned(), server);
    let settings = HostSettings {
        records: Records::default(),
        answers: Arc::new(Nobody),
        browser: Arc::new(person),
        ..crate::mcp::settings(config, &Listeners::default(), true)?
    };
    let host = Host::new(servers, &settings);
    host.start();
    let server = host
        .server(name)
        .map_err(|failure| refused(failure.message))?;
    super::until_stopped(&host, authorized(&server, json)).await
}

async fn authorized(server: &Server, json: bool) -> Result<Exit> {
    let name = server.name();
    let listed = tokio::time::timeout(TIMEOUT, server.first_listing()).await;
    let unauthorized = matches!(server.status(), Status::Unauthorized(_));
    match listed {
        Ok(Ok(listing)) => {
            if json {
                output::json(
                    &json!({"server": name, "authorized": true, "protocol": listing.info.protocol}),
                );
            } else {
                show!("the server `{name}` is authorized");
            }
            Ok(Exit::Ok)
        }
        Ok(Err(why)) if unauthorized => {
            Err(exit::error(Exit::Failed, format!("not authorized: {why}")))
        }
        Ok(Err(why)) => Err(exit::error(Exit::Failed, why)),
        Err(_) => Err(exit::error(Exit::Failed, "nobody allowed it in time")),
    }
}

/// A person with a browser on this machine.
struct Person {
    listener: Mutex<TcpListener>,
    port: u16,
}

impl Browser for Person {
    fn redirect_uri(&self) -> String {
        format!("http://127.0.0.1:{}/callback", self.port)
    }

    fn authorize<'a>(&'a self, page: &'a Url) -> BoxFuture<'a, Result<Url, String>> {
        Box::pin(async move {
            status!("open this page and allow the access:\n{page}");
            let listener = self.listener.lock().await;
            loop {
                let accepted = listener.accept().await;
                let (mut stream, _) = accepted.map_err(|error| error.to_string())?;
                let read = tokio::time::timeout(Duration::from_secs(10), head(&mut stream)).await;
                let Ok(Some(target)) = read else { continue };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{PAGE}",
                    PAGE.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
                // Browsers ask for an icon as well.
                if target.starts_with("/callback?") {
                    let url = format!("http://127.0.0.1:{}{target}", self.port);
                    return Url::parse(&url).map_err(|error| error.to_string());
                }
            }
        })
    }
}

/// The target of a GET request.
async fn head(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream
            .read(&mut chunk)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        head.extend_from_slice(&chunk[..read]);
        if head.len() > MAX_HEAD {
            return None;
        }
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.strip_prefix("GET ")?.split_whitespace().next()?;
    Some(target.to_owned())
}
