//! A connection's bytes, watched: for clients that stop reading, and for answers that hyper gives
//! on its own to what is not HTTP, which have no body and are held back so that a problem can be
//! sent instead.

use std::{
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use ops_core::Code;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep, timeout},
};

/// What a client that is told off may still send before the connection is dropped under it: it
/// would not see the answer otherwise.
const LINGER_BYTES: usize = 32 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// The mistake of a request before it has a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestError {
    /// The request is not HTTP/1.1.
    Malformed,
    /// The request is the beginning of an HTTP/2 connection.
    Http2,
    /// The target is too long.
    UriTooLong,
    /// The header is too large.
    HeaderTooLarge,
    /// The header came too slowly.
    TooSlow,
}

impl RequestError {
    /// The code that it is refused with.
    pub(super) fn code(self) -> Code {
        match self {
            Self::Malformed | Self::Http2 => Code::MalformedRequest,
            Self::UriTooLong => Code::UriTooLong,
            Self::HeaderTooLarge => Code::HeaderTooLarge,
            Self::TooSlow => Code::RequestTimeout,
        }
    }
}

/// A watched connection.
pub(super) struct Watched {
    stream: TcpStream,
    write_timeout: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    held_back: Option<RequestError>,
    unanswered: bool,
    left: bool,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        Self {
            stream,
            write_timeout,
            stalled: None,
            held_back: None,
            unanswered: false,
            left: false,
        }
    }

    /// The fault that hyper answered on its own; no byte of that answer was sent.
    pub(super) fn held_back(&self) -> Option<RequestError> {
        self.held_back
    }

    /// Whether a request came that no answer has followed yet.
    pub(super) fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    /// Sends last words.
    pub(super) async fn say(&mut self, bytes: &[u8]) {
        // Who does not take them is no worse off than without.
        let _ = timeout(LINGER, self.stream.write_all(bytes)).await;
    }

    /// Closes the sending side, and lets the client finish: to drop a connection with unread
    /// bytes resets it, and the client loses the answer.
    pub(super) async fn close(mut self) {
        if self.left {
            return;
        }
        let drain = async {
            self.stream.shutdown().await?;
            let mut scrap = [0; 4_096];
            let mut drained = 0;
            while drained < LINGER_BYTES {
                match self.stream.read(&mut scrap).await? {
                    0 => break,
                    read => drained += read,
                }
            }
            Result::Ok(())
        };
        // The connection is dropped in any case.
        let _ = timeout(LINGER, drain).await;
    }

    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        let write_timeout = self.write_timeout;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(write_timeout)));
        stalled.as_mut().poll(cx).map(|()| {
            let message = "the client takes nothing";
            Err(Error::new(ErrorKind::TimedOut, message))
        })
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(outcome) = &read {
            if buf.filled().len() > before {
                self.unanswered = true;
            } else if outcome.is_err() || buf.remaining() > 0 {
                self.left = true;
            }
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        if let [only] = slices
            && let Some(fault) = bare_answer(only)
        {
            self.held_back = Some(fault);
            return Poll::Ready(Ok(only.len()));
        }
        match Pin::new(&mut self.stream).poll_write_vectored(cx, slices) {
            Poll::Ready(outcome) => {
                self.stalled = None;
                self.unanswered = false;
                Poll::Ready(outcome)
            }
            Poll::Pending => self.stalled(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.held_back.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Recognises an answer of hyper's own. Ours all carry a request id; and no part of a body looks
/// like this, because JSON has no bare line breaks within strings.
fn bare_answer(bytes: &[u8]) -> Option<RequestError> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4")?;
    let text = std::str::from_utf8(bytes).ok()?;
    let bare = text.len() < 512
        && text.ends_with("\r\n\r\n")
        && text.contains("\r\ncontent-length: 0\r\n")
        && !text.contains(super::dispatch::REQUEST_ID);
    if !bare {
        return None;
    }
    match status.get(..2)? {
        b"31" => Some(RequestError::HeaderTooLarge),
        b"14" => Some(RequestError::UriTooLong),
        _ => Some(RequestError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answers_of_hyper_itself_are_held_back() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                     content-length: 0\r\ndate: x\r\n\r\n";
        assert_eq!(bare_answer(bare), Some(RequestError::HeaderTooLarge));
        for ours in [
            &b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nx-request-id: 1\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 431 in the text of a task",
            b"",
        ] {
            assert_eq!(bare_answer(ours), None);
        }
    }
}
