//! A raw HTTP client: the client sends any bytes, sane or not.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Longer than any test takes, shorter than a hang.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// Checks that it is a whole problem, and gives its body.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let body = self.json();
        assert_eq!(body["status"], status);
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["type"], format!("urn:opspawn:error:{code}"));
        for key in ["title", "detail", "fix"] {
            assert!(
                body[key].as_str().is_some_and(|text| !text.is_empty()),
                "{key}: {body}"
            );
        }
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        assert!(body["request_id"].is_string());
        body
    }
}

/// Sends a request and reads the response.
pub(crate) async fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        head.push_str(&format!("host: {addr}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!(
        "connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    raw(addr, &bytes).await
}

/// Sends bytes and reads one response; the connection must end after it.
pub(crate) async fn raw(addr: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // A server may well answer and stop reading before it has everything.
    let _ = stream.write_all(bytes).await;
    parse(&rest(&mut stream).await)
}

/// All bytes until the other side closes.
pub(crate) async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = timeout(TIMEOUT, stream.read_to_end(&mut all)).await;
    read.expect("the server hangs").unwrap();
    all
}

/// Takes a response apart.
pub(crate) fn parse(bytes: &[u8]) -> Reply {
    let split = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no header: {:?}", String::from_utf8_lossy(bytes)));
    let head = std::str::from_utf8(&bytes[..split]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers.contains(&("transfer-encoding".into(), "chunked".into()));
    let body = &bytes[split + 4..];
    Reply {
        status: status.parse().unwrap(),
        body: if chunked {
            unchunk(body)
        } else {
            body.to_vec()
        },
        headers,
    }
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let piece = &body[end + 2..];
        all.extend_from_slice(&piece[..size]);
        body = &piece[size + 2..];
    }
    all
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    pub(crate) id: Option<u64>,
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// A stream of server-sent events.
pub(crate) struct Events {
    stream: TcpStream,
    /// Bytes that came, without the header; chunk sizes are still among them.
    wire: Vec<u8>,
    text: String,
}

impl Events {
    /// Opens a stream; the response must be one.
    pub(crate) async fn open(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let mut head =
            format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\naccept: text/event-stream\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(TIMEOUT, stream.read_u8()).await;
            head.push(byte.expect("the server hangs").unwrap());
        }
        let reply = parse(&head);
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("text/event-stream"));
        Self {
            stream,
            wire: Vec::new(),
            text: String::new(),
        }
    }

    /// The next event; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let event = read_event(&block);
                if event != Event::default() {
                    return Some(event);
                }
            }
            if self.unchunk() {
                continue;
            }
            let mut piece = [0; 4_096];
            let read = timeout(TIMEOUT, self.stream.read(&mut piece)).await;
            match read.expect("the stream is silent").unwrap() {
                0 => return None,
                read => self.wire.extend_from_slice(&piece[..read]),
            }
        }
    }

    /// Every event up to the end of the stream.
    pub(crate) async fn all(mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            let last = event.name == "end";
            all.push(event);
            if last {
                break;
            }
        }
        all
    }

    /// Moves one whole chunk from the wire to the text, if a chunk is there.
    fn unchunk(&mut self) -> bool {
        let Some(end) = self.wire.windows(2).position(|window| window == b"\r\n") else {
            return false;
        };
        let size = std::str::from_utf8(&self.wire[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if self.wire.len() < end + 2 + size + 2 {
            return false;
        }
        let chunk = &self.wire[end + 2..end + 2 + size];
        self.text.push_str(std::str::from_utf8(chunk).unwrap());
        self.wire.drain(..end + 2 + size + 2);
        true
    }
}

fn read_event(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => event.id = Some(id.parse().unwrap()),
            Some(("event", name)) => event.name = name.to_owned(),
            Some(("data", data)) => event.data.push_str(data),
            Some(_) | None => {}
        }
    }
    event
}

/// Everything until these bytes came, and the rest of that chunk; the body is cut there.
pub(crate) async fn read_until(stream: &mut TcpStream, mark: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = vec![0; 1 << 16];
    while !(all.ends_with(b"0\r\n\r\n") && all.windows(mark.len()).any(|window| window == mark)) {
        let read = timeout(TIMEOUT, stream.read(&mut piece)).await;
        let read = read.expect("the server hangs").unwrap();
        assert_ne!(read, 0, "closed before the mark came");
        all.extend_from_slice(&piece[..read]);
    }
    all
}
