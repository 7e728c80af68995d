//! `opspawn doctor`: what this installation can do, and what keeps it from it.

mod server;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Instant};

use agentkit_mcp::config::Transport;
use agentkit_tools::http::Listeners;
use anyhow::Result;
use ops_agents::{CassetteMode, Outline, Providers};
use ops_store::sqlite::doctor::WalState;
use serde_json::{Value, json};

use crate::{
    agents,
    config::Config,
    exit::Exit,
    output::{self, show},
};

/// One finding.
struct Finding {
    name: &'static str,
    good: bool,
    text: String,
}

fn finding(name: &'static str, good: bool, text: impl Into<String>) -> Finding {
    Finding {
        name,
        good,
        text: text.into(),
    }
}

/// Looks at everything and prints what it found; fails if something must be mended.
pub(super) async fn doctor(config: &Config, as_json: bool) -> Result<Exit> {
    let mut findings = vec![finding(
        "version",
        true,
        format!("opspawn {}", env!("CARGO_PKG_VERSION")),
    )];
    let dir = config.data_dir();
    match config.optional("url") {
        // What is configured here means nothing there.
        Some(url) => findings.extend(server::look(url).await),
        None => {
            let owner = ops_store::sqlite::running_server(&dir);
            match owner.and_then(|owner| owner.url) {
                // Tasks are run by the server, with the models and MCP servers that it has.
                Some(url) => findings.extend(server::look(&url).await),
                None => {
                    findings.extend(models(config));
                    findings.extend(mcp(config));
                }
            }
            findings.push(policy(config));
            findings.push(sandbox(config).await);
            findings.push(wasm(config));
            findings.extend(databases(config).await);
            findings.extend(memory(config));
            match config.optional("store.url") {
                Some(url) => {
                    findings.push(postgres(url));
                    findings.extend(broker(config).await);
                }
                None => {
                    findings.extend(storage(&dir));
                    findings.extend(queues(config, &dir));
                }
            }
            findings.push(listener("listen", "--listen", config.listen(), config).await);
            findings.extend(grpc(config).await);
        }
    }
    let good = findings.iter().all(|finding| finding.good);
    if as_json {
        let rows: Vec<Value> = findings
            .iter()
            .map(|found| json!({"name": found.name, "ok": found.good, "text": found.text}))
            .collect();
        output::json(&json!({"ok": good, "findings": rows}));
    } else {
        for found in &findings {
            let mark = if found.good { "ok  " } else { "FAIL" };
            show!("{mark} {:<9} {}", found.name, output::one_line(&found.text));
        }
    }
    Ok(if good { Exit::Ok } else { Exit::Failed })
}

/// The models of tasks that ask for none: which surface each is called on, and whether there is a
/// key.
fn models(config: &Config) -> Vec<Finding> {
    let settings = match agents::models(config) {
        Ok(settings) => settings,
        Err(error) => return vec![finding("model", false, format!("{error:#}"))],
    };
    let replayed = settings.cassette.as_ref().map(|cassette| cassette.mode);
    let providers = Providers::new(&settings).and_then(|providers| {
        if replayed != Some(CassetteMode::Replay) {
            providers.check_endpoints()?;
            providers.check_default()?;
        }
        Ok(providers)
    });
    let providers = match providers {
        Ok(providers) => providers,
        Err(error) => return vec![finding("model", false, error.to_string())],
    };
    let describe = |(index, model): (usize, &Outline)| {
        let what = if index == 0 { "answers" } else { "stands by" };
        let Some(surface) = model.surface else {
            let text = format!(
                "the scripted model {what}, which is no LLM; set OPENAI_API_KEY, ANTHROPIC_API_KEY, \
                 GOOGLE_API_KEY or OPENROUTER_API_KEY, or a base URL, to use one"
            );
            return finding("model", true, text);
        };
        let key = if model.has_key {
            "with a key"
        } else {
            "without a key"
        };
        let price = if model.has_price {
            "known"
        } else {
            "not known"
        };
        let text = format!(
            "{} on `{}` {what}, {key}; its price is {price}",
            model.name,
            surface.name()
        );
        finding("model", true, text)
    };
    let models = providers.outline();
    if models.is_empty() {
        let text = "no LLM is configured, and tasks without a script are refused; set OPENAI_API_KEY, \
                    ANTHROPIC_API_KEY, GOOGLE_API_KEY or OPENROUTER_API_KEY, or a base URL";
        return vec![finding("model", true, text)];
    }
    models.iter().enumerate().map(describe).collect()
}

fn policy(config: &Config) -> Finding {
    let tools = match crate::tools::all(config, &Listeners::default()) {
        Ok(tools) => tools,
        Err(error) => return finding("tools", false, format!("{error:#}")),
    };
    let specs = tools.iter().map(|tool| Arc::new(tool.spec().clone()));
    match crate::policy::load(config) {
        Ok(loaded) => {
            let specs: Vec<_> = specs.collect();
            finding("policy", true, loaded.summary(&specs))
        }
        Err(error) => finding("policy", false, format!("{error:#}")),
    }
}

/// Tries the whole set-up of the sandbox. It matters only where command tools are declared.
async fn sandbox(config: &Config) -> Finding {
    let sandbox = crate::commands_source::sandbox(config);
    let is_needed = !config.commands().is_empty();
    match sandbox.start().await {
        Ok(report) => finding("sandbox", true, report.to_string()),
        Err(error) if is_needed => finding("sandbox", false, error.to_string()),
        Err(error) => {
            let text = format!("command tools could not run here: {error}");
            finding("sandbox", true, text)
        }
    }
}

/// The runtime of WebAssembly, which is in some builds.
fn wasm(config: &Config) -> Finding {
    let declared = config.commands().iter();
    let modules = declared.filter(|declared| declared.definition.kind() == "wasm");
    let text = match agentkit_sandbox::wasm::VERSION {
        Some(version) => {
            let count = modules.count();
            format!("{version} compiles and runs modules in that sandbox; {count} declared")
        }
        None => "this build runs no modules; `--features wasm` builds one that does".to_owned(),
    };
    finding("wasm", true, text)
}

/// Asks the databases of `sql_query`.
async fn databases(config: &Config) -> Vec<Finding> {
    // A database that cannot be used is told with the other tools.
    let Ok(Some(tool)) = crate::sql_query::query(config) else {
        return Vec::new();
    };
    let asked = tool.check().await.into_iter();
    let told = asked.map(|(name, answer)| match answer {
        Ok(()) => finding("database", true, format!("{name} answers")),
        Err(error) => finding(
            "database",
            false,
            format!("{name}: {} ({})", error.message, error.code),
        ),
    });
    told.collect()
}

/// Long-term memory, where the configuration or the folder has it.
fn memory(config: &Config) -> Option<Finding> {
    match crate::memory::settings(config) {
        Err(error) => Some(finding("memory", false, format!("{error:#}"))),
        Ok(settings) => {
            let store = crate::memory::store(config).ok().flatten()?;
            let is_used = settings.everywhere || store.path().exists();
            is_used.then(|| {
                finding(
                    "memory",
                    !crate::memory::is_damaged(store.path()),
                    crate::memory::told(&store),
                )
            })
        }
    }
}

/// The file of MCP servers, and the programs that it names.
fn mcp(config: &Config) -> Vec<Finding> {
    let loaded = match crate::mcp::load(config) {
        Ok(loaded) => loaded,
        Err(error) => return vec![finding("mcp", false, format!("{error:#}"))],
    };
    let Some(path) = &loaded.path else {
        return Vec::new();
    };
    let mut findings = vec![finding(
        "mcp",
        true,
        format!(
            "{} servers from {}",
            loaded.config.servers.len(),
            path.display()
        ),
    )];
    for (name, server) in &loaded.config.servers {
        if let Transport::Stdio(program) = &server.transport
            && let Err(error) = program.resolve()
        {
            findings.push(finding("mcp", false, format!("server `{name}`: {error}")));
        }
    }
    let notes = crate::mcp::notes(&loaded.config).into_iter();
    findings.extend(notes.map(|note| finding("mcp", false, note)));
    findings
}

/// The PostgreSQL database.
fn postgres(url: &str) -> Finding {
    match crate::database::inspect(url) {
        Ok(text) => finding("data", true, text),
        Err(error) => finding("data", false, format!("{error:#}")),
    }
}

/// The broker, with the queues that this process would serve.
async fn broker(config: &Config) -> Vec<Finding> {
    let Some(url) = config.optional("queue.url") else {
        return Vec::new();
    };
    let queues: Vec<String> = config.queues().keys().cloned().collect();
    match crate::broker::check(url, &queues).await {
        Ok(text) => vec![finding("queue", true, text)],
        Err(defects) => {
            let told = defects.into_iter();
            told.map(|text| finding("queue", false, text)).collect()
        }
    }
}

fn storage(dir: &Path) -> Vec<Finding> {
    if !dir.exists() {
        let text = format!("{} is not there yet; `opspawn dev` makes it", dir.display());
        return vec![finding("data", true, text)];
    }
    let mut findings = Vec::new();
    if let Some(owner) = ops_store::sqlite::running_server(dir) {
        let at = owner
            .url
            .map_or_else(String::new, |url| format!(" at {url}"));
        let text = format!("{} is in use by process {}{at}", dir.display(), owner.pid);
        findings.push(finding("data", true, text));
    } else {
        findings.extend(database(dir));
    }
    findings.push(match fsync_cost(dir) {
        Ok(micros) => finding("disk", true, format!("a durable write takes {micros} us")),
        Err(error) => finding(
            "disk",
            false,
            format!(
                "{} cannot be written: {error}; check its owner and free space",
                dir.display()
            ),
        ),
    });
    findings
}

/// Queues that hold tasks and are not configured: nothing is broken, but their tasks wait for ever.
fn queues(config: &Config, dir: &Path) -> Option<Finding> {
    let waiting = ops_store::sqlite::doctor::ready_queues(dir).ok()?;
    let known = config.queues();
    let unserved: Vec<String> = waiting
        .iter()
        .filter(|queue| !known.contains_key(*queue))
        .map(|queue| format!("`{queue}`"))
        .collect();
    let names = unserved.join(", ");
    let text = format!(
        "tasks wait in {names}, which no worker serves; configure `[queues.NAME]`, or cancel them"
    );
    (!unserved.is_empty()).then(|| finding("queues", true, text))
}

/// Reads the whole database, which nobody else has open.
fn database(dir: &Path) -> Vec<Finding> {
    let report = match ops_store::sqlite::doctor::inspect(dir) {
        Ok(Some(report)) => report,
        Ok(None) => {
            let text = format!("{} has no database yet", dir.display());
            return vec![finding("data", true, text)];
        }
        Err(error) => return vec![finding("data", false, error.to_string())],
    };
    let mib = |bytes: u64| bytes / (1 << 20);
    let free = report
        .free_bytes
        .map_or_else(String::new, |bytes| format!(", {} MiB free", mib(bytes)));
    let text = format!(
        "{}: SQLite {}, schema {} of {}, {} MiB, WAL {} MiB{free}",
        dir.display(),
        report.sqlite_version,
        report.schema_version,
        report.known_schema_version,
        mib(report.database_bytes),
        mib(report.wal_bytes),
    );
    if report.schema_version > report.known_schema_version {
        let text = format!("{text}; use the newer release that wrote it, or another folder");
        return vec![finding("data", false, text)];
    }
    let data = match report.problems.as_slice() {
        [] if report.unsummed == 0 => finding("data", true, text),
        [] => {
            let rows = report.unsummed;
            let text = format!("{text}; {rows} rows of an older release have no checksum");
            finding("data", true, text)
        }
        problems => finding(
            "data",
            false,
            format!(
                "{text}; the database is damaged ({}): restore a copy of it",
                problems.join("; ")
            ),
        ),
    };
    let mut findings = vec![data];
    findings.extend(report.wal.and_then(write_ahead_log));
    findings.extend(report.kept_logs.iter().map(|log| {
        let text = format!(
            "commits were lost with the log that {} is a copy of; compare with a backup, then take it away",
            log.display()
        );
        finding("wal", false, text)
    }));
    findings
}

/// What stands behind the last commit of the write-ahead log.
fn write_ahead_log(state: WalState) -> Option<Finding> {
    let WalState {
        valid_bytes,
        unfinished_bytes,
        lost_bytes,
        lost_commits,
    } = state;
    if lost_commits > 0 {
        let text = format!(
            "the write-ahead log can be read for {valid_bytes} bytes; {lost_bytes} bytes with \
             {lost_commits} commits behind them are lost: restore a backup, or start, which goes on \
             without them"
        );
        return Some(finding("wal", false, text));
    }
    (unfinished_bytes > 0).then(|| {
        let text = format!(
            "{unfinished_bytes} bytes of a write that was never committed stand at its end, as after a kill"
        );
        finding("wal", true, text)
    })
}

/// The median of a few small durable writes, in microseconds.
pub(super) fn fsync_cost(dir: &Path) -> std::io::Result<u128> {
    use std::io::Write as _;
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    let measure = || {
        let mut file = std::fs::File::create(&path)?;
        let mut times = Vec::new();
        for _ in 0..11 {
            let start = Instant::now();
            file.write_all(&[0; 4096])?;
            file.sync_data()?;
            times.push(start.elapsed().as_micros());
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    };
    let result = measure();
    let removed = std::fs::remove_file(&path);
    result.and_then(|micros| removed.map(|()| micros))
}

/// An address of the server, which is free or the running server's.
async fn listener(
    name: &'static str,
    flag: &str,
    address: Result<SocketAddr>,
    config: &Config,
) -> Finding {
    let address = match address {
        Ok(address) => address,
        Err(error) => return finding(name, false, format!("{error:#}")),
    };
    match tokio::net::TcpListener::bind(address).await {
        Ok(_) => finding(name, true, format!("{address} is free")),
        Err(_) if ops_store::sqlite::running_server(&config.data_dir()).is_some() => finding(
            name,
            true,
            format!("{address} is in use, probably by the running server"),
        ),
        Err(error) => finding(
            name,
            false,
            format!("{address}: {error}; choose another with {flag}"),
        ),
    }
}

/// The address of gRPC, where this build has gRPC. A default that is taken keeps no server from its start.
async fn grpc(config: &Config) -> Option<Finding> {
    if !cfg!(feature = "grpc") {
        return None;
    }
    let listen = config.grpc_listen();
    let chosen = listen.as_ref().is_ok_and(|listen| listen.chosen);
    let found = listener(
        "grpc",
        "--grpc-listen",
        listen.map(|listen| listen.address),
        config,
    )
    .await;
    Some(match found.good || chosen {
        true => found,
        false => finding("grpc", true, format!("none: {}", found.text)),
    })
}
