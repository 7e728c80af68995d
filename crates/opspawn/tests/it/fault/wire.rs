//! Requests of HTTP as a place of these tests reads them, one a connection.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A request.
pub(super) struct WireRequest {
    /// The request line and the headers, in lower case.
    head: String,
    pub(super) body: Vec<u8>,
}

impl WireRequest {
    /// Reads a request; none if the client went away.
    pub(super) async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        loop {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).await?;
            if read == 0 {
                return Ok(None);
            }
            bytes.extend_from_slice(&part[..read]);
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let asked = Self {
                head: String::from_utf8_lossy(&bytes[..end]).to_lowercase(),
                body: bytes[end + 4..].to_vec(),
            };
            let length = asked.field("content-length:");
            if asked.body.len() >= length.map_or(0, |text| text.parse().unwrap()) {
                return Ok(Some(asked));
            }
        }
    }

    /// A header.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().to_owned())
    }

    /// The key of an order, by which a client asks whether it is placed.
    pub(super) fn asks_for(&self) -> Option<&str> {
        let path = self.head.strip_prefix("get ")?.split(' ').next()?;
        path.rsplit('/').next()
    }
}

/// Says whether an order is placed.
pub(super) async fn say_placed(stream: &mut TcpStream, is_placed: bool) -> std::io::Result<()> {
    let text = match is_placed {
        true => answer(200, "{\"state\":\"placed\"}"),
        false => answer(404, "none"),
    };
    stream.write_all(text.as_bytes()).await
}

/// The text of an answer.
pub(super) fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}
