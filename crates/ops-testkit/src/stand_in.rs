use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

use crate::clock;

/// A provider inside the test, which says what is answered, and what is held back.
///
/// Kills of the product do not reach it, so it knows what was asked before and after one. It says
/// the bytes of a body and nothing of their type. Dropping it takes its address away.
#[derive(Debug)]
pub struct StandIn {
    url: String,
    asked: Arc<Mutex<Vec<SeenRequest>>>,
    task: JoinHandle<()>,
}

/// A request that a [`StandIn`] received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRequest {
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: String,
    /// Which of the different bodies this is, from 0.
    pub nth: usize,
    /// How often the same body came before.
    pub repeat: usize,
    /// When it was there, in microseconds since 1970.
    pub wall_us: i64,
    /// How many bytes of the answer's body were handed to the system.
    pub sent: usize,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200 with this body.
    Whole(String),
    /// The same after a while, if the other side is still there.
    Late(Duration, String),
    /// 200 with the beginning of a body; the rest never comes.
    Part(String),
    /// This, as soon as somebody is notified.
    When(Arc<Notify>, Box<Answer>),
    /// Nothing, until the other side is gone.
    Silence,
}

type Script = dyn Fn(&SeenRequest) -> Answer + Send + Sync;

impl StandIn {
    /// Listens on a free port of this machine. `script` must not wait.
    pub async fn start(
        script: impl Fn(&SeenRequest) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (asked, script) = (Arc::default(), Arc::new(script) as Arc<Script>);
        let task = tokio::spawn({
            let asked = Arc::clone(&asked);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&asked), Arc::clone(&script)));
                }
            }
        });
        Ok(Self { url, asked, task })
    }

    /// Its address without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The requests so far, in the order in which they came.
    pub fn asked(&self) -> Vec<SeenRequest> {
        lock(&self.asked).clone()
    }

    /// Their bodies.
    pub fn bodies(&self) -> Vec<String> {
        let asked = lock(&self.asked);
        asked.iter().map(|asked| asked.body.clone()).collect()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(asked: &Mutex<Vec<SeenRequest>>) -> MutexGuard<'_, Vec<SeenRequest>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one request of a connection.
async fn serve(mut stream: TcpStream, all: Arc<Mutex<Vec<SeenRequest>>>, script: Arc<Script>) {
    let Some((path, body)) = read(&mut stream).await else {
        return;
    };
    let (index, asked) = {
        let mut all = lock(&all);
        let before = all.iter().filter(|before| before.body == body);
        let repeat = before.clone().count();
        let news = all.iter().filter(|before| before.repeat == 0).count();
        let nth = before.map(|before| before.nth).next().unwrap_or(news);
        let asked = SeenRequest {
            path,
            body,
            nth,
            repeat,
            wall_us: clock::wall_us(),
            sent: 0,
        };
        all.push(asked.clone());
        (all.len() - 1, asked)
    };
    let mut answer = script(&asked);
    while let Answer::When(notified, then) = answer {
        notified.notified().await;
        answer = *then;
    }
    let (body, is_whole) = match answer {
        Answer::Whole(body) => (body, true),
        Answer::Late(after, body) => {
            tokio::time::sleep(after).await;
            (body, true)
        }
        Answer::Part(body) => (body, false),
        Answer::When(..) | Answer::Silence => {
            // Until the other side is gone.
            drop(stream.read_u8().await);
            return;
        }
    };
    let length = match is_whole {
        true => format!("content-length: {}\r\n", body.len()),
        false => String::new(),
    };
    let whole = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{length}\r\n{body}");
    // Who is gone needs no answer.
    if stream.write_all(whole.as_bytes()).await.is_err() {
        return;
    }
    lock(&all)[index].sent = body.len();
    if !is_whole {
        drop(stream.read_u8().await);
    }
}

/// The path and the body of a request; none if the other side is gone before they are there.
async fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            break String::from_utf8(std::mem::replace(&mut bytes, body)).ok()?;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let length = head.lines().find_map(|line| {
        let line = line.to_ascii_lowercase();
        line.strip_prefix("content-length: ")?.parse::<usize>().ok()
    });
    while bytes.len() < length.unwrap_or(0) {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1)?.to_owned();
    Some((path, String::from_utf8(bytes).ok()?))
}
