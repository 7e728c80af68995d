//! The effect ledger: takes the effects of tools and writes each of them down, outside the product.
//!
//! `POST /effect {"task": .., "step": .., "key": "..", "tool": .., "effect": ..}` appends a line to
//! the log and answers `{"ok": true, "n": N}`, where N is how often this key has been written.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use clap::Parser;
use ops_testkit::{
    Effect, LogFile, clock, read_log,
    serve::{Until, serve},
};
use serde_json::{Value, json};

/// Takes the effects of tools at `POST /effect` and appends each to a log before it answers.
#[derive(Parser)]
struct Args {
    /// Where to append one JSON line for each effect; counts go on from what stands there.
    #[arg(long)]
    log: Option<PathBuf>,
    /// How long to wait between the effect and the answer.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    latency_ms: u64,
    /// Write down effects whose key ends like this, and never answer them.
    #[arg(long, value_name = "END")]
    hold: Option<String>,
    /// The loopback port; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// End when standard input closes.
    #[arg(long)]
    until_stdin_closes: bool,
}

struct Ledger {
    book: Mutex<Book>,
    latency: Duration,
    hold: Option<String>,
}

struct Book {
    log: LogFile,
    counts: HashMap<String, u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut counts = HashMap::new();
    if let Some(path) = &args.log {
        for effect in read_log::<Effect>(path)? {
            counts.insert(effect.key, effect.n);
        }
    }
    let book = Book {
        log: LogFile::open(args.log.as_deref())?,
        counts,
    };
    let latency = Duration::from_millis(args.latency_ms);
    let ledger = Arc::new(Ledger {
        book: Mutex::new(book),
        latency,
        hold: args.hold,
    });
    let routes = Router::new()
        .route("/effect", post(effect))
        .with_state(ledger);
    let until = if args.until_stdin_closes {
        Until::StdinCloses
    } else {
        Until::Killed
    };
    serve(args.port, routes, until).await
}

async fn effect(
    State(ledger): State<Arc<Ledger>>,
    Json(mut effect): Json<Value>,
) -> (StatusCode, Json<Value>) {
    effect["n"] = json!(0);
    let mut effect: Effect = match serde_json::from_value(effect) {
        Ok(effect) => effect,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    effect.mono_us = clock::monotonic_us();
    effect.wall_us = clock::wall_us();
    let written = {
        let mut book = ledger.book.lock().unwrap_or_else(PoisonError::into_inner);
        let count = book.counts.entry(effect.key.clone()).or_default();
        *count += 1;
        effect.n = *count;
        book.log.append(&effect)
    };
    if let Err(error) = written {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
    }
    if ledger
        .hold
        .as_ref()
        .is_some_and(|end| effect.key.ends_with(end))
    {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(ledger.latency).await;
    (StatusCode::OK, Json(json!({"ok": true, "n": effect.n})))
}

fn refused(status: StatusCode, why: &str) -> (StatusCode, Json<Value>) {
    (status, Json(json!({"ok": false, "error": why})))
}
