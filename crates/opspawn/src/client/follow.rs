//! Following a task: on a server elsewhere by its event stream, in this process by the engine.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use futures_util::StreamExt as _;
use ops_core::{Code, TaskId, TenantId};
use ops_engine::{Engine, Followed};
use serde_json::Value;

use super::{
    Client, Unanswered, problem,
    stream::{Block, Blocks, StreamEvent},
};
use crate::exit::{self, Exit, Exiting};

/// How long a client waits before it takes up a stream that broke.
const RETRY_DELAY: Duration = Duration::from_millis(300);
/// How often in a row a stream may break before it brought anything.
const TIMEOUT: u32 = 10;
/// A silence of the engine; nothing has to be done about it.
const SILENCE: Duration = Duration::from_secs(3_600);

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
    /// Follows the events of a task after a number; gives each to `see` until that says stop or the
    /// task has ended. A broken stream is taken up where it broke, if need be on the next server.
    pub(crate) async fn follow(
        &self,
        task: &str,
        last: &mut u64,
        mut see: impl FnMut(&StreamEvent) -> bool,
    ) -> Result<()> {
        let mut failures = 0;
        loop {
            let base = self.base();
            let followed = match self.engine() {
                Some(engine) => follow_here(&engine, task, last, &mut see).await,
                None => self.follow_there(&base, task, last, &mut see).await,
            };
            match followed {
                Ok(End::Whole) => return Ok(()),
                Ok(End::Cut) => failures = 0,
                Ok(End::Empty) if failures < TIMEOUT => failures += 1,
                Ok(End::Empty) => return Err(self.silent(task)),
                Err(Unanswered::Unreachable(_) | Unanswered::Stopping(_))
                    if self.take_over(&base).await? =>
                {
                    failures = 0;
                    continue;
                }
                Err(error) if failures < TIMEOUT => {
                    failures += 1;
                    let error = error.of(&base);
                    tracing::warn!(%error, "the event stream broke; following again");
                    self.look_again();
                }
                Err(error) => return Err(error.of(&base)),
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Follows on a server elsewhere until the stream ends.
    async fn follow_there(
        &self,
        base: &str,
        task: &str,
        last: &mut u64,
        see: &mut impl FnMut(&StreamEvent) -> bool,
    ) -> Result<End, Unanswered> {
        let request = self
            .http
            .get(format!("{base}/api/v1/tasks/{task}/events"))
            .header("Accept", "text/event-stream")
            .header("Last-Event-ID", last.to_string());
        let response = request.send().await.map_err(Unanswered::Unreachable)?;
        let status = response.status();
        if !status.is_success() {
            let body = response.bytes().await.unwrap_or_default();
            let error = problem(status, &body);
            return Err(match exit::coded(&error) {
                Some("shutting_down") => Unanswered::Stopping(error),
                Some(_) | None => Unanswered::Refused(error),
            });
        }
        let mut stream = response.bytes_stream();
        let mut blocks = Blocks::default();
        let mut end = End::Empty;
        while let Some(piece) = stream.next().await {
            blocks.add(&piece.map_err(Unanswered::Unreachable)?);
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
                self.base()
            ),
        )
    }
}

/// Follows a task of the server in this process until its stream ends.
async fn follow_here(
    engine: &Arc<Engine>,
    task: &str,
    last: &mut u64,
    see: &mut impl FnMut(&StreamEvent) -> bool,
) -> Result<End, Unanswered> {
    let id: TaskId = task.parse().map_err(|_| {
        let message = format!("`{task}` is not the id of a task");
        Unanswered::Refused(exit::error(Exit::Usage, message))
    })?;
    let follower = engine.follow(TenantId::DEFAULT, id, *last).await;
    let mut follower = follower.map_err(refused)?;
    let mut end = End::Empty;
    while let Some(followed) = follower.next(SILENCE).await.map_err(refused)? {
        end = End::Cut;
        match followed {
            Followed::Events(page) => {
                for event in &page.events {
                    *last = event.seq;
                    let view = ops_server::event_view(event);
                    let event = StreamEvent {
                        kind: event.event.kind.clone(),
                        data: serde_json::from_slice(&view).unwrap_or(Value::Null),
                    };
                    if !see(&event) {
                        return Ok(End::Whole);
                    }
                }
            }
            Followed::Resync { .. } => *last = 0,
            Followed::End { .. } => return Ok(End::Whole),
            // A command shows whole answers.
            Followed::Delta(_) | Followed::Quiet => {}
        }
    }
    Ok(end)
}

fn refused(error: ops_engine::Error) -> Unanswered {
    let exit = match error.code {
        Code::TaskNotFound => Exit::Usage,
        _ => Exit::Unavailable,
    };
    let error = Exiting {
        exit,
        message: error.message,
        fix: Some(error.code.fix().to_owned()),
        code: Some(error.code.as_str().to_owned()),
    };
    Unanswered::Refused(error.into())
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

    use super::{super::folder::Server, *};

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
        (Client::new(None, Server::at(&url)).unwrap(), asked)
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
