//! What MCP servers cost: a start with many of them, and one call.

use std::{path::Path, process::Stdio, time::Instant};

use agentkit_mcp::{Host, HostSettings, Outcome, Server, ToolCall, config};
use anyhow::{Context as _, Result, bail};
use ops_testkit::mcp_stub;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Duration, sleep, timeout},
};

use crate::{
    cli::Servers,
    figures::{percentile, percentiles, round},
    http::Connection,
    server::{Binary, Server as Measured},
};

/// Calls of each side between two changes of sides.
const TURN: usize = 100;
/// The longest that all lists may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Starts with the servers on a new folder and on the same one again, then calls a tool of one server.
pub(crate) async fn mcp(binary: &Binary, load: &Servers) -> Result<()> {
    let folder = tempfile::tempdir_in(".").context("cannot make a folder for the database here")?;
    let servers =
        (0..load.servers).map(|at| (format!("s{at}"), stub(&json!({"many": load.tools}))));
    let servers: Result<serde_json::Map<_, _>> =
        servers.map(|(name, server)| Ok((name, server?))).collect();
    let file = json!({"mcpServers": servers?});
    std::fs::write(folder.path().join("mcp_servers.json"), file.to_string())?;
    for start in ["first", "second"] {
        let begun = Instant::now();
        let server =
            Measured::start(binary, folder.path(), &[("OPSPAWN_PROVIDER", "scripted")]).await?;
        let listed = timeout(TIMEOUT, listed(&server, load));
        let tools = listed
            .await
            .context("the servers were not listed in time")??;
        let all_listed = begun.elapsed();
        let usage = server.usage()?;
        let line = json!({
            "bench": "mcp",
            "what": "start to the ready line, and to the lists of all servers",
            "start": start,
            "servers": load.servers,
            "tools": tools,
            "ready_ms": round(server.ready.as_secs_f64() * 1e3),
            "listed_ms": round(all_listed.as_secs_f64() * 1e3),
            "server_cpu_ms": round(usage.cpu * 1e3),
            "server_peak_rss_mib": round(usage.peak),
        });
        println!("{line}");
        server.stop().await?;
    }
    call(folder.path(), load.calls).await
}

fn stub(plan: &Value) -> Result<Value> {
    Ok(json!({"command": mcp_stub()?, "args": [plan.to_string()]}))
}

/// Waits until every server is connected and listed. The number of tools.
async fn listed(server: &Measured, load: &Servers) -> Result<u64> {
    let mut connection = Connection::open(&server.url).await?;
    loop {
        let all = connection.get("/api/v1/mcp/servers").await?;
        let all = all["servers"]
            .as_array()
            .context("the answer has no servers")?;
        let ready = all
            .iter()
            .filter(|one| one["status"] == "ready" && one["approved"].is_u64());
        let definitions: u64 = ready
            .clone()
            .filter_map(|one| one["approved"].as_u64())
            .sum();
        if ready.count() == load.servers {
            // Each has a prompt beside its tools.
            return Ok(definitions - load.servers as u64);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Calls one tool through the host, and by the bare messages, one call after another.
async fn call(folder: &Path, calls: usize) -> Result<()> {
    let text = json!({"mcpServers": {"stub": stub(&json!({}))?}}).to_string();
    let config =
        config::read(&text, folder, &|_| None).context("the file of servers is not read")?;
    let host = Host::new(config, &HostSettings::default());
    host.start();
    let server = host
        .server("stub")
        .map_err(|failure| anyhow::anyhow!(failure.message))?;
    server.newer_than(0).await;
    let listing = server.listing().context("the server has no list")?;
    drop(server.approve(&listing.listed));
    let mut bare = Bare::start()?;
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    while own.len() < calls {
        for at in 0..TURN {
            let begun = Instant::now();
            through_the_host(&server, at).await?;
            own.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        for at in 0..TURN {
            let begun = Instant::now();
            bare.call(at).await?;
            peer.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    let (own_ms, bare_ms) = (percentiles(&mut own), percentiles(&mut peer));
    let line = json!({
        "bench": "mcp",
        "what": "a tool call over stdio through the host, beside the same messages on the pipes of the same server",
        "calls": own.len(),
        "call_ms": own_ms,
        "bare_ms": bare_ms,
        "host_share_ms": {
            "p50": round(percentile(&own, 0.5) - percentile(&peer, 0.5)),
            "p99": round(percentile(&own, 0.99) - percentile(&peer, 0.99)),
        },
    });
    println!("{line}");
    host.stop().await;
    Ok(())
}

fn arguments(at: usize) -> Value {
    json!({"at": at, "text": "some words of an argument"})
}

async fn through_the_host(server: &Server, at: usize) -> Result<()> {
    let failed = |failure: agentkit::event::Failure| anyhow::anyhow!(failure.message);
    let definition = server.tool("echo").map_err(failed)?;
    let call = ToolCall {
        definition: &definition,
        arguments: definition
            .arguments(arguments(at))
            .map_err(anyhow::Error::msg)?,
        key: "a-key-of-a-call",
        answers: None,
        has_person: false,
    };
    match server.call(&call).await.map_err(failed)? {
        Outcome::Done(_) => Ok(()),
        Outcome::InputRequired { .. } => bail!("the stub asked a question"),
    }
}

/// The stub's process with its pipes.
struct Bare {
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Bare {
    fn start() -> Result<Self> {
        let mut child = Command::new(mcp_stub()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the stub cannot be started")?;
        let stdin = child.stdin.take().context("the stub has no stdin")?;
        let stdout = child.stdout.take().context("the stub has no stdout")?;
        Ok(Self {
            stdin,
            lines: BufReader::new(stdout).lines(),
            _child: child,
        })
    }

    async fn call(&mut self, at: usize) -> Result<()> {
        let request = json!({
            "jsonrpc": "2.0", "id": at, "method": "tools/call",
            "params": {"name": "echo", "arguments": arguments(at)},
        });
        self.stdin
            .write_all(format!("{request}\n").as_bytes())
            .await?;
        let answer = self.lines.next_line().await?.context("the stub left")?;
        let answer: Value = serde_json::from_str(&answer)?;
        if answer["id"] != at {
            bail!("the stub answered {answer}");
        }
        Ok(())
    }
}
