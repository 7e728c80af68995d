//! The proxy that a call with a network talks to: `CONNECT`, and plain HTTP requests with a whole URL.
//!
//! Its listener is a socket of the call's own network namespace, which the first process of the sandbox made and handed out.
//! Connections to the world are made here, outside, so that the program needs no route and no names.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Connections of one call at once.
const MAX_CONNECTIONS: usize = 32;
const MAX_HEAD: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Decides which hosts a sandboxed program may reach, and connects to them.
pub trait Dial: Send + Sync {
    /// A connection to a port of a host, or the reason for a refusal, which the program is shown.
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = Result<TcpStream, String>> + Send + 'a>>;
}

/// Request of a client.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    host: String,
    port: u16,
    /// First bytes for the far side; empty for `CONNECT`.
    first: Vec<u8>,
}

/// Serves a listener until the future is dropped, with all connections.
pub(crate) async fn serve(listener: TcpListener, dial: Arc<dyn Dial>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let dial = Arc::clone(&dial);
                connections.spawn(async move {
                    // A program that breaks off, or is refused, is told so or gone.
                    let _ = tunnel(stream, &*dial).await;
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn tunnel(mut client: TcpStream, dial: &dyn Dial) -> io::Result<()> {
    let (head, rest) = match timeout(HEAD_TIMEOUT, read_head(&mut client)).await {
        Ok(Ok(Some(read))) => read,
        Ok(Ok(None)) => {
            return refuse(&mut client, "431 Request Header Fields Too Large", "").await;
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => return refuse(&mut client, "408 Request Timeout", "").await,
    };
    let Some(request) = parse(&head) else {
        let why = "this proxy takes CONNECT and requests with a whole http URL";
        return refuse(&mut client, "400 Bad Request", why).await;
    };
    let mut far = match dial.dial(&request.host, request.port).await {
        Ok(far) => far,
        Err(why) => return refuse(&mut client, "403 Forbidden", &why).await,
    };
    if request.first.is_empty() {
        client
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .await?;
    } else {
        far.write_all(&request.first).await?;
    }
    far.write_all(&rest).await?;
    tokio::io::copy_bidirectional(&mut client, &mut far)
        .await
        .map(drop)
}

/// The head of a request and the bytes after the head; `None` if the head is too long.
async fn read_head(client: &mut TcpStream) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Ok(Some((read, rest)));
        }
        if read.len() >= MAX_HEAD {
            return Ok(None);
        }
        if client.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn parse(head: &[u8]) -> Option<Request> {
    let head = std::str::from_utf8(head).ok()?;
    let (line, headers) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !version.starts_with("HTTP/1.") {
        return None;
    }
    if method == "CONNECT" {
        let (host, port) = authority(target, None)?;
        return Some(Request {
            host,
            port,
            first: Vec::new(),
        });
    }
    let rest = target.strip_prefix("http://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, port) = authority(&rest[..end], Some(80))?;
    let path = &rest[end..];
    let slash = if path.starts_with('/') { "" } else { "/" };
    // One request for each connection: a second one could name another host.
    let kept = headers.split_inclusive("\r\n").filter(|header| {
        let name = header.split(':').next().unwrap_or_default();
        ![
            "connection",
            "proxy-connection",
            "keep-alive",
            "proxy-authorization",
        ]
        .contains(&name.to_ascii_lowercase().as_str())
    });
    let kept: String = kept.collect();
    Some(Request {
        host,
        port,
        first: format!("{method} {slash}{path} {version}\r\nConnection: close\r\n{kept}").into(),
    })
}

/// Host and port, without the brackets of an IPv6 address.
fn authority(text: &str, default: Option<u16>) -> Option<(String, u16)> {
    if text.contains('@') {
        return None;
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
        Some(_) | None => (text, default),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let port = port.filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

async fn refuse(client: &mut TcpStream, status: &str, why: &str) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{why}",
        why.len()
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_a_host_and_a_port() {
        let asked = |head: &str| parse(head.as_bytes()).map(|asked| (asked.host, asked.port));
        for (head, expected) in [
            (
                "CONNECT a.example:443 HTTP/1.1\r\nHost: b\r\n\r\n",
                Some(("a.example", 443)),
            ),
            (
                "CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n",
                Some(("2001:db8::1", 443)),
            ),
            (
                "GET http://a.example/x HTTP/1.1\r\n\r\n",
                Some(("a.example", 80)),
            ),
            (
                "GET http://a.example:8080?x HTTP/1.1\r\n\r\n",
                Some(("a.example", 8080)),
            ),
            ("CONNECT a.example HTTP/1.1\r\n\r\n", None),
            ("CONNECT a.example:0 HTTP/1.1\r\n\r\n", None),
            ("CONNECT a.example:99999 HTTP/1.1\r\n\r\n", None),
            ("CONNECT :443 HTTP/1.1\r\n\r\n", None),
            ("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n", None),
            ("GET https://a.example/ HTTP/1.1\r\n\r\n", None),
            ("GET http://u:p@a.example/ HTTP/1.1\r\n\r\n", None),
            ("SSH-2.0-x\r\n\r\n", None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(asked(head), expected, "{head}");
        }
        let sent =
            "POST http://a.example?q=1 HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: x\r\n\r\n";
        let sent = parse(sent.as_bytes()).unwrap().first;
        let expected = "POST /?q=1 HTTP/1.1\r\nConnection: close\r\nHost: a.example\r\n\r\n";
        assert_eq!(String::from_utf8(sent).unwrap(), expected);
    }
}
