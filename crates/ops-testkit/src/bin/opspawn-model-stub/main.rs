//! A stand-in for an OpenAI-compatible provider that writes down every request, outside the
//! product.
//!
//! It keeps no state that an answer depends on: the turn is the number of assistant messages in
//! the request. So a run that resumes after a crash, of the product or of the stub, gets the same
//! answers. Where the product drops old messages from the request, the turn counts what is left.

mod behaviour;
mod wire;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    response::Response,
    routing::{get, post},
};
use behaviour::{Behaviour, Fault, Script};
use clap::Parser;
use ops_testkit::{
    LogFile, ModelRequest, clock,
    serve::{Until, serve},
};
use serde_json::{Value, json};

/// Answers `POST /v1/chat/completions` by a plan, streaming and not, and logs each request.
///
/// The plan of a task stands in its goal: the first user message holds a JSON object
/// {"plan": [CALL, ...], "answer": "text", "key": "name"}, in which CALL is {"tool": "name",
/// "arguments": {..}} or a list of those (parallel calls). Each turn makes the calls of one entry; after
/// the last, the answer is "answer", or "done". "key" names the conversation in the log. Without a
/// plan, --script speaks; without either, every answer is "done".
#[derive(Parser)]
struct Args {
    /// Where to append one JSON line for each request.
    #[arg(long)]
    log: Option<PathBuf>,
    /// A file {"turns": [CALL, ..], "answer": "text"} in the form of a plan, for every request that
    /// brings none.
    #[arg(long)]
    script: Option<PathBuf>,
    /// What becomes of the first requests, in order: `ok`, a status from 400 on, `hang`, `garbage`
    /// (broken JSON, 200), `error200` (an error body, 200), `disconnect` (cut in the middle),
    /// `truncate` (a stream that ends without its end). Later requests are answered.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// The header Retry-After of faults that are a status.
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u64>,
    /// How long to wait before an answer.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    latency_ms: u64,
    /// How long to wait between the pieces of a stream.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    chunk_ms: u64,
    /// The loopback port; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// End when standard input closes.
    #[arg(long)]
    until_stdin_closes: bool,
}

struct Stub {
    behaviour: Behaviour,
    latency: Duration,
    chunk_delay: wire::ChunkDelay,
    book: Mutex<Book>,
}

struct Book {
    log: LogFile,
    requests: u64,
    calls: HashMap<String, u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let script = match &args.script {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("reading {}", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?
        }
        None => Script::default(),
    };
    let stub = Arc::new(Stub {
        behaviour: Behaviour {
            script,
            faults: args.faults,
            retry_after: args.retry_after,
        },
        latency: Duration::from_millis(args.latency_ms),
        chunk_delay: wire::ChunkDelay(Duration::from_millis(args.chunk_ms)),
        book: Mutex::new(Book {
            log: LogFile::open(args.log.as_deref())?,
            requests: 0,
            calls: HashMap::new(),
        }),
    });
    let routes = Router::new()
        .route("/v1/chat/completions", post(complete))
        .route("/v1/models", get(models))
        .layer(DefaultBodyLimit::disable())
        .with_state(stub);
    let until = if args.until_stdin_closes {
        Until::StdinCloses
    } else {
        Until::Killed
    };
    serve(args.port, routes, until).await
}

async fn complete(State(stub): State<Arc<Stub>>, Json(request): Json<Value>) -> Response {
    let (mono_us, wall_us) = (clock::monotonic_us(), clock::wall_us());
    let seen = behaviour::read(&request);
    let (n, reaction) = {
        let mut book = stub.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.requests += 1;
        let n = book.requests;
        let call = book.calls.entry(seen.conversation.clone()).or_default();
        *call += 1;
        let call = *call;
        let reaction = stub.behaviour.react(n, &seen);
        // Without a log the stub costs next to nothing, as benchmarks want it.
        if book.log.is_kept() {
            let line = ModelRequest {
                n,
                conversation: seen.conversation.clone(),
                call,
                turn: seen.turn,
                did: reaction.name().to_owned(),
                mono_us,
                wall_us,
                request: request.clone(),
            };
            if let Err(error) = book.log.append(&line) {
                let message = format!("the stub cannot write its log: {error:#}");
                return wire::error(500, None, &message);
            }
        }
        (n, reaction)
    };
    tokio::time::sleep(stub.latency).await;
    wire::respond(n, seen.turn, &request, reaction, stub.chunk_delay).await
}

async fn models() -> Json<Value> {
    Json(json!({"object": "list", "data": [{"id": "stub", "object": "model"}]}))
}
