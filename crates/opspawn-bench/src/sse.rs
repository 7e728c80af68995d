//! Event streams: how far behind the log many followers are, some of which do not read.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hyper::Method;
use ops_testkit::clock;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::{
    cli,
    figures::{percentiles, round},
    http::Connection,
    server::{Binary, Server},
};

/// What each model call of the followed tasks takes.
const MODEL_LATENCY_MS: u64 = 1_000;
/// The receive buffer of a client that does not read.
const STALLED_BUFFER: u32 = 4 << 10;
/// Followers that connect at once.
const CONNECTING: usize = 64;
/// The log of the task that stalled followers follow: so many events of so many bytes, more than the
/// sockets between them and the server hold.
const BULK: (usize, usize) = (128, 60_000);
/// How long a task may go on before its followers are there and after they have left.
const SPARE: usize = 300;
/// After the end of the measurement, the time in which what was committed before it must come.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What one follower saw.
#[derive(Default)]
struct Seen {
    /// The last event.
    last: u64,
    /// Events out of their order: a gap or a repeat.
    wrong: u64,
    /// Commit and arrival of each event, in UTC microseconds.
    events: Vec<(i64, i64)>,
}

/// Follows tasks with so many clients.
pub(crate) async fn sse(binary: &Binary, load: &cli::Sse) -> Result<()> {
    let tasks = load.tasks.max(1);
    let stalled = load.stalled.min(load.followers);
    let reading = load.followers - stalled;
    let length = Duration::from_secs(load.seconds.max(1));
    let folder = tempfile::tempdir_in(".").context("cannot make a folder for the database here")?;
    let at_once = (tasks + 1).to_string();
    let settings = [
        ("OPSPAWN_MAX_STEPS", "100000"),
        ("OPSPAWN_CONCURRENCY", at_once.as_str()),
        ("OPSPAWN_PROVIDER", "scripted"),
    ];
    let server = Server::start(binary, folder.path(), &settings).await?;
    let mut connection = Connection::open(&server.url).await?;
    let idle = server.usage()?.rss;
    let bulk = submit(&mut connection, BULK.0, 0, BULK.1).await?;
    let mut ids = Vec::new();
    for _ in 0..tasks {
        let turns = SPARE + usize::try_from(load.seconds).unwrap_or(SPARE);
        ids.push(submit(&mut connection, turns, MODEL_LATENCY_MS, 0).await?);
        // Not all at the same moment of each second.
        tokio::time::sleep(Duration::from_millis(MODEL_LATENCY_MS / tasks as u64)).await;
    }

    let begin = Instant::now();
    let (stop, stopped) = watch::channel(false);
    let mut unread = open(&server.url, &[bulk], stalled, Some(STALLED_BUFFER)).await?;
    let mut followers = JoinSet::new();
    for (id, stream) in open(&server.url, &ids, reading, None).await? {
        followers.spawn(read(id, stream, stopped.clone()));
    }
    let connected = begin.elapsed();
    let before = server.usage()?;
    let from = clock::wall_us();
    tokio::time::sleep(length).await;
    let to = clock::wall_us();
    let after = server.usage()?;
    // The server has closed the first connection, which was idle for too long.
    let mut connection = Connection::open(&server.url).await?;
    let mut log = Vec::new();
    for id in &ids {
        log.push(last(&mut connection, id).await?);
    }
    tokio::time::sleep(TIMEOUT).await;
    stop.send_replace(true);
    let (mut lags, mut wrong, mut behind) = (Vec::new(), 0, 0);
    while let Some(follower) = followers.join_next().await {
        let (task, seen) = follower??;
        wrong += seen.wrong;
        behind += usize::from(seen.last < log[task]);
        let within = seen.events.iter().filter(|(at, _)| (from..to).contains(at));
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        lags.extend(within.map(|(at, came)| (came - at) as f64 / 1e3));
    }
    let peak = server.usage()?.peak;
    let stuck = count_stuck(&mut unread);
    drop(unread);
    server.stop().await?;

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (delivered, followers) = (lags.len() as f64, load.followers.max(1) as f64);
    let cpu = after.cpu - before.cpu;
    let line = json!({
        "bench": "sse",
        "what": "clients that follow tasks over server-sent events; each task commits twice a second",
        "store": "sqlite",
        "durability": "WAL, synchronous=FULL; an event is sent once it is committed",
        "followers": load.followers,
        "stalled": stalled,
        "stuck_at_the_end": stuck,
        "tasks": tasks,
        "seconds": load.seconds,
        "connected_in_seconds": round(connected.as_secs_f64()),
        "events_delivered": lags.len(),
        "events_per_second": round(delivered / length.as_secs_f64()),
        "behind_the_log_ms": percentiles(&mut lags),
        "gaps_or_repeats": wrong,
        "followers_that_missed_something": behind,
        "server_cpu_us_per_event": round(cpu * 1e6 / delivered),
        "server_cpu_share": round(cpu / length.as_secs_f64()),
        "idle_rss_mib": round(idle),
        "server_peak_rss_mib": round(peak),
        "rss_kib_per_follower": round((peak - idle) * 1_024.0 / followers),
    });
    println!("{line}");
    Ok(())
}

/// A task whose model takes so long for each of so many turns, and says so many bytes.
async fn submit(
    connection: &mut Connection,
    turns: usize,
    model_latency_ms: u64,
    says: usize,
) -> Result<String> {
    let script = format!(
        "name = \"follow\"\nlatency_ms = {model_latency_ms}\nrepeat_from = 1\n[[turn]]\n[[turn.case]]\n\
         when = \"turn > {turns}\"\nanswer = \"done\"\n[[turn.case]]\ntext = \"{}\"\ncalls = [{{ \
         tool = \"calculator\", arguments = {{ expression = \"1 + 2\" }} }}]\n",
        "x".repeat(says)
    );
    let config = json!({"provider": "scripted", "script": script});
    let task = json!({
        "task_type": "agent_run",
        "input_data": {"prompt": "follow", "agent_config": config},
    });
    let body = Bytes::from(task.to_string());
    let answer = connection
        .send(Method::POST, "/api/v1/tasks/", body)
        .await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    Ok(answer["task_id"].as_str().unwrap_or_default().to_owned())
}

/// Opens so many streams, in turn on each of the tasks; gives the index of the task with each.
async fn open(
    url: &str,
    ids: &[String],
    count: usize,
    buffer: Option<u32>,
) -> Result<Vec<(usize, TcpStream)>> {
    let mut opening = JoinSet::new();
    let mut streams = Vec::with_capacity(count);
    for index in 0..count {
        if opening.len() >= CONNECTING
            && let Some(stream) = opening.join_next().await
        {
            streams.push(stream??);
        }
        let task = index % ids.len();
        let (url, id) = (url.to_owned(), ids[task].clone());
        opening.spawn(async move { anyhow::Ok((task, follow(&url, &id, buffer).await?)) });
    }
    while let Some(stream) = opening.join_next().await {
        streams.push(stream??);
    }
    Ok(streams)
}

/// Asks for a stream; its answer is not read yet.
async fn follow(url: &str, id: &str, buffer: Option<u32>) -> Result<TcpStream> {
    let host = url.trim_start_matches("http://");
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let connecting = socket.connect(host.parse()?);
    let mut stream = connecting.await.context("cannot connect to the server")?;
    let head = format!(
        "GET /api/v1/tasks/{id}/events HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

/// Reads a stream until told to stop.
async fn read(
    task: usize,
    mut stream: TcpStream,
    mut stop: watch::Receiver<bool>,
) -> Result<(usize, Seen)> {
    let mut seen = Seen::default();
    let mut text = Vec::with_capacity(4 << 10);
    loop {
        let came = tokio::select! {
            read = stream.read_buf(&mut text) => read?,
            _ = stop.changed() => return Ok((task, seen)),
        };
        anyhow::ensure!(came > 0, "the server ended a stream");
        let now = clock::wall_us();
        // Whole events; a chunk's size line stands before each piece, and is no field.
        let Some(end) = text.windows(2).rposition(|pair| pair == b"\n\n") else {
            continue;
        };
        let mut id = None;
        for line in text[..end].split(|byte| *byte == b'\n') {
            if let Some(number) = line.strip_prefix(b"id: ") {
                id = std::str::from_utf8(number)
                    .ok()
                    .and_then(|id| id.parse::<u64>().ok());
            } else if let Some(data) = line.strip_prefix(b"data: ")
                && let Some(seq) = id.take()
            {
                seen.wrong += u64::from(seq != seen.last + 1);
                seen.last = seq;
                seen.events.push((committed(data)?, now));
            }
        }
        text.drain(..end + 2);
    }
}

/// The time of an event, from its data: the first `at`.
fn committed(data: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(data)?;
    let at = text
        .split_once("\"at\":\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let (at, _) = at.context("an event has no time")?;
    Ok(at.parse::<jiff::Timestamp>()?.as_microsecond())
}

/// The number of a task's last event.
async fn last(connection: &mut Connection, id: &str) -> Result<u64> {
    let mut last = 0;
    loop {
        let path = format!("/api/v1/tasks/{id}/events?limit=1000&after={last}");
        let page = connection.get(&path).await?;
        let events = page["events"].as_array().map(Vec::as_slice);
        match events.and_then(<[Value]>::last) {
            Some(event) => last = event["seq"].as_u64().unwrap_or(last),
            None => return Ok(last),
        }
    }
}

/// How many of the connections that nobody reads are still open.
fn count_stuck(streams: &mut [(usize, TcpStream)]) -> usize {
    let mut scrap = vec![0; 64 << 10];
    let mut open = 0;
    for (_, stream) in streams {
        let ended = loop {
            match stream.try_read(&mut scrap) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
            }
        };
        open += usize::from(!ended);
    }
    open
}
