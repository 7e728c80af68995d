//! A SQLite query in a process of its own.
//!
//! SQLite looks at no clock within a step of a statement: one function over a long text runs for minutes, and the columns of
//! one row take gigabytes. A process can be ended, and has bounds of memory and processor time that the kernel keeps.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use agentkit::event::Failure;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    answer::{Answer, Bounds},
    sqlite,
};

/// The argument that makes a program the process of a query.
const ARGUMENT: &str = "__agentkit-sql-query";
/// The most memory of a statement.
const MEMORY: u64 = 512 << 20;
/// The most bytes of a file that the process writes.
const FILE: u64 = 1 << 30;
/// How long the process may take beyond the time of its statement, to start and to answer.
const GRACE: Duration = Duration::from_secs(3);
/// The most bytes of an answer beyond the bytes of its values: JSON has at most six bytes for a byte of text.
const FRAME: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Question {
    path: PathBuf,
    sql: String,
    rows: usize,
    bytes: usize,
    timeout_ms: u64,
}

/// Answers a query and ends the process, if the process was started for a query; else returns at once. The first thing
/// that a program does which is the `helper` of a [`Base`](crate::Base): no thread has begun then.
pub fn helper() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == ARGUMENT) {
        let code = match answer() {
            Ok(()) => 0,
            Err(_) => 1,
        };
        std::process::exit(code);
    }
}

fn answer() -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut question = Vec::new();
    std::io::stdin().lock().read_to_end(&mut question)?;
    let question: Question = serde_json::from_slice(&question)?;
    let timeout = Duration::from_millis(question.timeout_ms);
    // Whoever asked ends the process first, and knows why.
    let seconds = (timeout + GRACE + GRACE).as_secs();
    for (resource, most) in [
        (Resource::Data, data()?.saturating_add(MEMORY)),
        (Resource::Cpu, seconds),
        (Resource::Core, 0),
        // The index of a write-ahead log, and temporary files of a sort.
        (Resource::Fsize, FILE),
        (Resource::Nofile, 32),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)?;
    }
    let within = sqlite::Within {
        bounds: Bounds {
            rows: question.rows,
            bytes: question.bytes,
        },
        timeout,
        abandoned: Arc::new(AtomicBool::new(false)),
    };
    let answered = sqlite::query(&question.path, &question.sql, &within);
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, &answered)?;
    output.flush()
}

/// The bytes of memory that the process has, as the kernel counts for its limit: an allocator may have taken some for later.
fn data() -> std::io::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split_ascii_whitespace().nth(5);
    let pages: u64 = pages.and_then(|pages| pages.parse().ok()).unwrap_or(0);
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Runs one statement in a process of `program`, which calls [`helper`].
pub(crate) async fn query(
    program: &Path,
    path: &Path,
    sql: &str,
    bounds: Bounds,
    timeout: Duration,
) -> Result<Answer, Failure> {
    let question = Question {
        path: path.to_owned(),
        sql: sql.to_owned(),
        rows: bounds.rows,
        bytes: bounds.bytes,
        timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
    };
    let asked = tokio::time::timeout(timeout + GRACE, ask(program, &question)).await;
    let Ok(asked) = asked else {
        return Err(Failure::last(
            "query_timeout",
            format!(
                "the query took longer than {} s, within one function; narrow it, or ask for less at a time",
                timeout.as_secs_f64()
            ),
        ));
    };
    let output = asked.map_err(|error| {
        Failure::passing(
            "database_unavailable",
            format!("the process of the query cannot be started: {error}"),
        )
    })?;
    serde_json::from_slice::<Result<Answer, Failure>>(&output).unwrap_or_else(|_| {
        Err(Failure::last(
            "query_failed",
            format!(
                "the query took more than {} MiB of memory, or all of its processor time; select fewer columns and \
                 smaller values",
                MEMORY >> 20
            ),
        ))
    })
}

/// The output of the process. The process ends with this future.
async fn ask(program: &Path, question: &Question) -> std::io::Result<Vec<u8>> {
    let mut child = tokio::process::Command::new(program)
        .arg(ARGUMENT)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let text = serde_json::to_vec(question)?;
    if let Some(mut input) = child.stdin.take() {
        // A process that ends before it has read tells by its answer.
        let _ = input.write_all(&text).await;
    }
    let mut output = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        let most = FRAME + 8 * question.bytes as u64;
        pipe.take(most).read_to_end(&mut output).await?;
    }
    // Nothing is left to wait for: a process that writes on is ended.
    child.start_kill()?;
    child.wait().await?;
    Ok(output)
}
