//! `@copilotkit/aimock`, a mock of the model providers' wire written by others, as a process.
//!
//! It serves OpenAI at `/v1/chat/completions` and `/v1/responses`, Anthropic at `/v1/messages` and
//! Gemini at `/v1beta/models/MODEL:generateContent` (`:streamGenerateContent`), streaming as the
//! request asks, on one port. What it answers stands in a fixture file:
//!
//! ```json
//! {"fixtures": [
//!   {"match": {"userMessage": "add", "hasToolResult": false},
//!    "response": {"toolCalls": [{"id": "call_1", "name": "calculator", "arguments": {"x": "1+1"}}]}},
//!   {"match": {"userMessage": "add", "hasToolResult": true}, "response": {"content": "2"}}
//! ]}
//! ```
//!
//! The first fixture whose `match` holds wins. `userMessage` is a part of the last user message,
//! `model` the exact model, `turnIndex` the number of assistant messages (it orders, it does not
//! reject), `hasToolResult` whether a tool message follows the last user message, `toolCallId` and
//! `toolResultContains` look at the last tool message, `sequenceIndex` is how often this match has
//! been served (with one fixture for each index: first 429, then an answer). An empty `match` takes
//! everything. A response may set `usage`, `finishReason`, `id` and `model`.
//!
//! Faults
//! - **429 with Retry-After**: the response `{"error": {"message": "..", "type":
//!   "rate_limit_error"}, "status": 429, "retryAfter": 2}` (seconds), or `"chaos":
//!   {"rateLimitRate": 1}` beside `response` (Retry-After 1, code `chaos_ratelimit`).
//! - **500**: the response `{"error": {..}, "status": 500}`, or `"chaos": {"dropRate": 1}`.
//! - **Malformed JSON with status 200**: `"chaos": {"malformedRate": 1}`, also when streaming is
//!   asked for (the body is then `application/json`).
//! - **Connection closed before the headers**: `"chaos": {"disconnectRate": 1}`.
//! - **Connection cut in mid-stream**: `"disconnectAfterMs": 150` or `"truncateAfterChunks": 2`
//!   beside `response`, together with `"latency": 50` (milliseconds between chunks): without a
//!   latency the cut overtakes the headers. Fixtures with these faults must be streamed.
//! - **Slow**: `"latency"`, or `"streamingProfile": {"ttft": 500, "tps": 20}`.
//!
//! The same faults for every request: flags `--chaos-drop`, `--chaos-malformed`,
//! `--chaos-disconnect`, `--chaos-ratelimit` (0 to 1) and `--chaos-latency` (ms); for one request:
//! headers `x-aimock-chaos-drop`, `-malformed`, `-disconnect`, `-ratelimit`, `-latency`; while it
//! runs: `POST /__aimock/chaos {"dropRate": 1}`, and `DELETE` to end it.
//! `GET /__aimock/journal` lists the requests it saw (path, headers, body, status). A request that
//! no fixture matches is answered 503 with code `no_fixture_match`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{DataDir, Http, Process, Stream, programs, skip};

const START: Duration = Duration::from_secs(20);
const CLI: &str = "testkit/npm/node_modules/@copilotkit/aimock/dist/cli.js";

/// Where the installed program is.
#[derive(Clone, Debug)]
pub struct AimockPath(PathBuf);

/// A file of an npm package, which `cargo xtask test` installs where npm is there. Elsewhere the caller gets
/// `None` and must return: the test is [skipped](skip).
///
/// # Panics
/// If the package is missing, where [`skip`] panics.
pub fn npm_package(file: &str) -> Option<PathBuf> {
    let target = programs::target().map(|target| target.join("testkit/npm/node_modules"));
    let found = target
        .map(|target| target.join(file))
        .filter(|path| path.is_file());
    if found.is_none() {
        skip(&format!("the npm package of {file} is not installed"));
    }
    found
}

/// The Python of the environment with the SDK of MCP, which `cargo xtask test` makes, and the server of `pypi/server.py`. Else
/// `None`, and the test is [skipped](skip).
///
/// # Panics
/// If the environment is missing, where [`skip`] panics.
pub fn python_mcp_server() -> Option<[PathBuf; 2]> {
    let server = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pypi/server.py");
    Some([python_packages()?, server])
}

/// The Python of the environment with the packages of tests, which `cargo xtask test` makes. Else `None`, and the test is
/// [skipped](skip).
///
/// # Panics
/// If the environment is missing, where [`skip`] panics.
pub fn python_packages() -> Option<PathBuf> {
    let target = programs::target().map(|target| target.join("testkit/pypi"));
    let found = target.filter(|folder| folder.join("installed.txt").is_file());
    if found.is_none() {
        skip("the Python packages of tests are not installed");
    }
    Some(found?.join("bin/python"))
}

/// Finds aimock, which `cargo xtask test` installs where npm is there. Elsewhere the caller gets
/// `None` and must return: the test is [skipped](skip). Tests that need it are `#[ignore]`d, so that
/// no other runner counts them as passed.
///
/// # Panics
/// If the package is missing, where [`skip`] panics.
pub fn require_aimock() -> Option<AimockPath> {
    let told = env::var_os("OPSPAWN_AIMOCK").map(PathBuf::from);
    let installed = || programs::target().map(|target| target.join(CLI));
    if let Some(path) = told.or_else(installed).filter(|path| path.is_file()) {
        return Some(AimockPath(path));
    }
    skip("aimock is not installed (npm is needed; run `cargo xtask test`)");
    None
}

/// A running aimock. Dropping it kills it.
#[derive(Debug)]
pub struct Aimock {
    process: Process,
    http: Http,
    _fixtures: DataDir,
}

impl Aimock {
    /// Starts it on a free port with fixtures (the object described in the [module](self)) and
    /// more arguments, for instance `["--chaos-ratelimit", "0.5"]`.
    pub async fn start(path: &AimockPath, fixtures: &Value, args: &[&str]) -> anyhow::Result<Self> {
        let folder = DataDir::new()?;
        let file = folder.join("fixtures.json");
        std::fs::write(&file, serde_json::to_vec(fixtures)?)?;
        let mut command = command(&path.0, &file);
        command.args(args);
        let (process, base) = Process::start(command, Stream::Stdout, START, listening).await?;
        Ok(Self {
            process,
            http: Http::new(&base),
            _fixtures: folder,
        })
    }

    /// The base URL of its OpenAI surface.
    pub fn openai(&self) -> String {
        format!("{}/v1", self.http.base())
    }

    /// A client for its control surface.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The process, to stop or kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The bodies of the requests that it received at `path`, in order.
    pub async fn requests(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let journal: Vec<Value> = self.http.get("/__aimock/journal").await?.ok()?.json()?;
        let of_path = journal.into_iter().filter(|entry| entry["path"] == path);
        Ok(of_path.map(|mut entry| entry["body"].take()).collect())
    }
}

fn command(program: &Path, fixtures: &Path) -> Command {
    let mut command = Command::new("node");
    command
        .arg(program)
        .args(["--host", "127.0.0.1", "--port", "0", "--strict"]);
    command
        .arg("--validate-on-load")
        .arg("--fixtures")
        .arg(fixtures);
    command
}

/// `[aimock] aimock server listening on http://127.0.0.1:37315` -> the address.
fn listening(line: &str) -> Option<String> {
    Some(line.split_once("listening on ")?.1.trim().to_owned())
}
