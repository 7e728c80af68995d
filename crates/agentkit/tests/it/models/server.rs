//! A server that answers with bytes as they are told, and remembers what it was asked.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What a connection does after a request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// Says nothing until the client goes away.
    Hang,
    /// Sends these bytes again and again until the client goes away.
    Repeat(Vec<u8>),
    Close,
}

/// The steps of each request in turn; the last one's are repeated.
pub(crate) struct Server {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    gone: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(replies: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let gone = Arc::new(AtomicUsize::new(0));
        let replies = Arc::new(replies);
        let task = tokio::spawn({
            let (received, connections, gone) =
                (received.clone(), connections.clone(), gone.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (received, gone) = (received.clone(), gone.clone());
                    let replies = replies.clone();
                    tokio::spawn(async move {
                        serve(stream, &received, &replies).await;
                        gone.fetch_add(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self {
            url,
            received,
            connections,
            gone,
            task,
        }
    }

    /// Answers every request with these bytes, and closes.
    pub(crate) async fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::start(vec![vec![Step::Send(bytes.into()), Step::Close]]).await
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections have ended.
    pub(crate) fn gone(&self) -> usize {
        self.gone.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, received: &Mutex<Vec<Received>>, replies: &[Vec<Step>]) {
    while let Some(request) = read(&mut stream).await {
        let index = {
            let mut received = received.lock().unwrap();
            received.push(request);
            received.len() - 1
        };
        for step in &replies[index.min(replies.len() - 1)] {
            let sent = match step {
                Step::Send(bytes) => stream.write_all(bytes).await,
                Step::Pause(time) => {
                    tokio::time::sleep(*time).await;
                    Ok(())
                }
                Step::Hang => stream.read_u8().await.map(drop),
                Step::Repeat(bytes) => loop {
                    if let Err(error) = stream.write_all(bytes).await {
                        break Err(error);
                    }
                },
                Step::Close => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = head
        .lines()
        .filter_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .next()
        .unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received {
        head,
        body: String::from_utf8(body).unwrap(),
    })
}

/// A response with a length.
pub(crate) fn response(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\n\r\n{body}").into()
}

pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// One piece of a chunked body.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// A whole chunked stream, cut every `size` bytes.
pub(crate) fn stream(events: &str, size: usize) -> Vec<u8> {
    let mut bytes = STREAM.as_bytes().to_vec();
    for piece in events.as_bytes().chunks(size) {
        bytes.extend_from_slice(&chunk(piece));
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}
