//! Servers that are processes: one message a line.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentkit::BoxFuture;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStdin, ChildStdout},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    leftovers::Records,
    link::{Answers, Call, Exchange, Link, LinkError},
    process::{Pipes, Process, Program, StartError},
    text::{Redactor, shown},
    wire::{self, ENDS, MAX_MESSAGE, Noise},
};

/// A line that goes on for longer than this ends its server.
const MAX_LINE: usize = 512 * 1024 * 1024;
/// Lines of noise that are logged; more are not.
const MAX_NOISE: usize = 20;
/// Messages that wait to be written.
const QUEUE: usize = 64;
/// Output before the process left is still read for so long.
const DRAIN: Duration = Duration::from_millis(200);

/// A connection over the pipes of a process.
pub(crate) struct StdioLink {
    exchange: Arc<Exchange>,
    process: Arc<Process>,
    out: mpsc::Sender<Bytes>,
    /// Fires when the connection is to end, or has ended.
    stop: CancellationToken,
    /// Why the process is gone, once the process is gone.
    gone: watch::Receiver<Option<String>>,
    /// The end of the tasks.
    done: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl StdioLink {
    /// Starts the process.
    pub(crate) fn start(
        server: &str,
        program: &Program,
        records: &Records,
        redactor: &Redactor,
        answers: Arc<dyn Answers>,
        patience: Duration,
    ) -> Result<Arc<Self>, StartError> {
        let (process, Pipes { stdin, stdout }) =
            Process::start(server, program, records, redactor)?;
        let process = Arc::new(process);
        let exchange = Exchange::new(server, answers, patience, redactor.clone());
        let (out, messages) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        let (goes, gone) = watch::channel(None);
        let writer = tokio::spawn(write(stdin, messages, stop.clone()));
        let reader = Reader {
            exchange: Arc::clone(&exchange),
            out: out.clone(),
            stop: stop.clone(),
            noise: 0,
            redactor: redactor.clone(),
        };
        let watched = watch_over(
            Arc::clone(&process),
            reader,
            stdout,
            writer,
            stop.clone(),
            goes,
        );
        let done = tokio::spawn(watched);
        Ok(Arc::new(Self {
            exchange,
            process,
            out,
            stop,
            gone,
            done: Mutex::new(Some(done)),
        }))
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    fn reason(&self) -> Option<String> {
        self.gone.borrow().clone()
    }
}

impl Link for StdioLink {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Value, LinkError>> {
        Box::pin(async move {
            if let Some(reason) = self.reason() {
                return Err(LinkError::NotSent(reason));
            }
            let mut entered = self.exchange.enter();
            let id = entered.id;
            let mut params = call.params;
            params["_meta"]["progressToken"] = id.into();
            let message = line(&wire::request(id, call.method, &params));
            if message.len() > MAX_MESSAGE {
                return Err(LinkError::NotSent(format!(
                    "the request has {} bytes, and {MAX_MESSAGE} is the limit",
                    message.len()
                )));
            }
            // One that is given up while it waits for its turn was not sent.
            let mut given_up = GivenUp {
                link: self,
                id,
                method: call.method,
                armed: false,
            };
            let sent = tokio::time::timeout(call.limits.total, self.out.send(message)).await;
            match sent {
                Ok(Ok(())) => given_up.armed = true,
                Ok(Err(_)) => {
                    let reason = self
                        .reason()
                        .unwrap_or_else(|| "the server's stdin is closed".to_owned());
                    return Err(LinkError::NotSent(reason));
                }
                Err(_) => {
                    return Err(LinkError::NotSent(
                        "the server reads nothing from its stdin".to_owned(),
                    ));
                }
            }
            let answer = entered.wait(call.limits, call.method).await;
            given_up.armed = matches!(answer, Err(LinkError::TimedOut(_)));
            answer
        })
    }

    fn notify<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let _ = self
                .out
                .send(line(&wire::notification(method, &params)))
                .await;
        })
    }

    fn closed(&self) -> BoxFuture<'_, String> {
        let mut gone = self.gone.clone();
        Box::pin(async move {
            let reason = gone.wait_for(Option::is_some).await;
            let reason = reason.ok().and_then(|reason| reason.clone());
            reason.unwrap_or_else(|| "the connection is gone".to_owned())
        })
    }

    fn agreed(&self, _: &str) {}

    fn listen(&self, _: bool) {}

    fn context(&self) -> String {
        self.process.stderr()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.stop.cancel();
            let done = self
                .done
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(done) = done {
                let _ = done.await;
            }
        })
    }
}

impl Drop for StdioLink {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Tells the server that the host waits for no answer any more.
struct GivenUp<'a> {
    link: &'a StdioLink,
    id: u64,
    method: &'a str,
    armed: bool,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        // These two must not be cancelled.
        if self.armed && !matches!(self.method, "initialize" | "server/discover") {
            let params = json!({"requestId": self.id, "reason": "the time is over, or the run was cancelled"});
            let message = wire::notification("notifications/cancelled", &params);
            let _ = self.link.out.try_send(line(&message));
        }
    }
}

/// A message as a line. JSON has no newline outside of escapes.
fn line(message: &Value) -> Bytes {
    let mut text = message.to_string();
    text.push('\n');
    text.into()
}

async fn write(
    mut stdin: ChildStdin,
    mut messages: mpsc::Receiver<Bytes>,
    stop: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            message = messages.recv() => message,
            () = stop.cancelled() => None,
        };
        let Some(message) = message else { return };
        let written = tokio::select! {
            written = stdin.write_all(&message) => written.is_ok(),
            () = stop.cancelled() => false,
        };
        if !written {
            return;
        }
    }
}

/// Waits for the first of: stdout ends, the process leaves, the connection is to end. Then everything
/// that waits fails, and whatever is left of the group is ended.
async fn watch_over(
    process: Arc<Process>,
    mut reader: Reader,
    stdout: ChildStdout,
    writer: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    goes: watch::Sender<Option<String>>,
) {
    let exchange = Arc::clone(&reader.exchange);
    let Some(mut child) = process.take_child() else {
        return;
    };
    let mut status = None;
    let mut reading = Box::pin(reader.read(stdout));
    let why = tokio::select! {
        biased;
        () = stop.cancelled() => "this program closed the connection".to_owned(),
        why = &mut reading => why,
        left = child.wait() => {
            status = left.ok();
            // What it wrote before is in the pipe; somebody else may hold the other end for ever.
            match tokio::time::timeout(DRAIN, &mut reading).await {
                Ok(why) => why,
                Err(_) => "it left".to_owned(),
            }
        }
    };
    drop(reading);
    if status.is_none() && !stop.is_cancelled() {
        let left = tokio::time::timeout(DRAIN, child.wait()).await;
        status = left.ok().and_then(Result::ok);
    }
    let status = status
        .map(|status| format!(" ({status})"))
        .unwrap_or_default();
    let reason = format!(
        "the MCP server `{}` is gone: {why}{status}{}",
        exchange.server,
        process.stderr()
    );
    goes.send_replace(Some(reason.clone()));
    exchange.fail_all(&reason);
    let was_stopped = stop.is_cancelled();
    stop.cancel();
    // Closes its stdin.
    writer.abort();
    let _ = writer.await;
    match was_stopped {
        true => process.group().leave(child).await,
        false => {
            let group = process.group().clone();
            let _ = tokio::task::spawn_blocking(move || group.kill()).await;
            let _ = child.wait().await;
        }
    }
}

struct Reader {
    exchange: Arc<Exchange>,
    out: mpsc::Sender<Bytes>,
    stop: CancellationToken,
    noise: usize,
    redactor: Redactor,
}

impl Reader {
    /// Reads lines to the end. Why it ended.
    async fn read(&mut self, mut stdout: ChildStdout) -> String {
        let mut chunk = vec![0; 64 * 1024];
        let mut lines = Lines::default();
        loop {
            let read = match stdout.read(&mut chunk).await {
                Ok(0) => return "its stdout ended".to_owned(),
                Ok(read) => read,
                Err(error) => return format!("its stdout cannot be read: {error}"),
            };
            let mut rest = &chunk[..read];
            while let Some(line) = lines.take(&mut rest) {
                match line {
                    Line::Whole(line) => self.line(&line),
                    Line::TooLarge { head, tail, bytes } => self.too_large(&head, &tail, bytes),
                }
            }
            if lines.bytes > MAX_LINE {
                return format!("it wrote a line of more than {MAX_LINE} bytes");
            }
        }
    }

    fn line(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        match wire::parse(line) {
            Ok(messages) => {
                for message in messages {
                    let Some(asked) = self.exchange.take(message) else {
                        continue;
                    };
                    let (out, stop) = (self.out.clone(), self.stop.clone());
                    // A server that reads nothing must not keep what it says from being read.
                    tokio::spawn(async move {
                        let answered = async {
                            let _ = out.send(self::line(&asked.answer().await)).await;
                        };
                        tokio::select! {
                            () = answered => {}
                            () = stop.cancelled() => {}
                        }
                    });
                }
            }
            Err(Noise::Unreadable(id)) => self.unreadable(id, line),
            Err(Noise::Other) => self.noise(&String::from_utf8_lossy(&line[..line.len().min(500)])),
            Err(Noise::TooComplex) => self.too_large(line, &[], line.len()),
        }
    }

    /// An answer that cannot be read ends its call at once: no other one will come.
    fn unreadable(&mut self, id: u64, line: &[u8]) {
        let head = String::from_utf8_lossy(&line[..line.len().min(200)]);
        let message = format!(
            "the MCP server `{}` answered with what is no JSON-RPC message: {}",
            self.exchange.server,
            shown(&self.redactor.clean(&head), 200)
        );
        if !self
            .exchange
            .settle(id, Err(LinkError::Unreadable(message)))
        {
            self.noise(&head);
        }
    }

    /// Noise is logged and never answered: a server that echoes what it is sent would be answered for ever.
    fn noise(&mut self, text: &str) {
        self.noise += 1;
        if self.noise <= MAX_NOISE {
            let line = shown(&self.redactor.clean(text), 300);
            tracing::debug!(
                server = self.exchange.server,
                line,
                "an MCP server wrote what is no message to its stdout"
            );
        }
    }

    fn too_large(&mut self, head: &[u8], tail: &[u8], bytes: usize) {
        let ends = (&head[..head.len().min(ENDS)], tail);
        let message = format!(
            "the MCP server `{}` answered more than is read ({bytes} bytes; {MAX_MESSAGE} is the limit)",
            self.exchange.server
        );
        tracing::warn!(
            server = self.exchange.server,
            bytes,
            "an MCP server sent a message that is too large"
        );
        if let Some(id) = wire::id_of_too_large(ends.0, ends.1) {
            self.exchange.settle(id, Err(LinkError::TooLarge(message)));
        }
    }
}

/// Bytes as lines: only 0x0A ends one.
#[derive(Default)]
struct Lines {
    kept: Vec<u8>,
    /// The last bytes of a line that is too large.
    tail: Vec<u8>,
    /// How long the line is so far.
    bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Vec<u8>),
    TooLarge {
        head: Vec<u8>,
        tail: Vec<u8>,
        bytes: usize,
    },
}

impl Lines {
    /// The next line that ends in these bytes, which are taken up.
    fn take(&mut self, bytes: &mut &[u8]) -> Option<Line> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        self.add(part);
        match end {
            None => {
                *bytes = &[];
                None
            }
            Some(end) => {
                *bytes = &bytes[end + 1..];
                let line = std::mem::take(self);
                Some(match line.bytes > MAX_MESSAGE {
                    true => Line::TooLarge {
                        head: line.kept,
                        tail: line.tail,
                        bytes: line.bytes,
                    },
                    false => Line::Whole(line.kept),
                })
            }
        }
    }

    fn add(&mut self, part: &[u8]) {
        self.bytes += part.len();
        if self.bytes <= MAX_MESSAGE {
            self.kept.extend_from_slice(part);
            return;
        }
        self.kept.truncate(ENDS);
        self.kept.shrink_to_fit();
        self.tail
            .extend_from_slice(&part[part.len().saturating_sub(ENDS)..]);
        let over = self.tail.len().saturating_sub(ENDS);
        self.tail.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_newline_ends_a_line() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        // One byte at a time.
        for byte in "a\rb\u{2028}c\n\nd\n".bytes() {
            let chunk = [byte];
            let mut rest = &chunk[..];
            while let Some(line) = lines.take(&mut rest) {
                found.push(line);
            }
        }
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(found, [whole("a\rb\u{2028}c"), whole(""), whole("d")]);
    }

    #[test]
    fn of_a_line_that_is_too_large_both_ends_are_kept() {
        let mut lines = Lines::default();
        let mut head = &b"{\"id\":5,"[..];
        assert_eq!(lines.take(&mut head), None);
        let chunk = vec![b'x'; 1024 * 1024];
        for _ in 0..9 {
            let mut rest = &chunk[..];
            assert_eq!(lines.take(&mut rest), None);
            assert!(lines.kept.len() <= MAX_MESSAGE && lines.tail.len() <= ENDS);
        }
        assert!(
            lines.kept.capacity() < 2 * ENDS,
            "what is not read is not kept"
        );
        let mut rest = &b"end}\nnext"[..];
        let Some(Line::TooLarge { head, tail, bytes }) = lines.take(&mut rest) else {
            panic!()
        };
        assert!(head.starts_with(b"{\"id\":5,") && tail.ends_with(b"xend}"));
        assert_eq!(bytes, 8 + 9 * 1024 * 1024 + 4);
        assert_eq!(rest, b"next");
    }
}
