//! Runs calls: one JSON object a line in, one out.

use std::{
    io::{BufRead as _, Write as _},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use agentkit_sandbox::{
    Call, Dial, Ended, Error, Grant, Limits, Network, Options, Sandbox,
    deny::{Feature, deny},
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Lets named places through.
struct Allowed(Vec<String>);

impl Dial for Allowed {
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = Result<TcpStream, String>> + Send + 'a>> {
        Box::pin(async move {
            let place = format!("{host}:{port}");
            if !self.0.contains(&place) {
                return Err(format!("{place} is not granted"));
            }
            TcpStream::connect(("127.0.0.1", port))
                .await
                .map_err(|error| error.to_string())
        })
    }
}

pub(super) fn run(options: &[&str]) {
    let mut settings = Options::default();
    for option in options {
        match option.split_once('=') {
            None if *option == "without-cgroups" => settings.without_cgroups = true,
            Some(("deny", name)) => {
                let feature = Feature::ALL
                    .into_iter()
                    .find(|feature| format!("{feature:?}") == name);
                deny(feature.expect("a known feature")).expect("a filter can be installed");
            }
            _ => panic!("unknown option {option}"),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let sandbox = Sandbox::new(settings);
    let hello = match runtime.block_on(sandbox.start()) {
        Ok(report) => json!({"report": report.to_string(), "memory": report.memory.to_string(),
            "helper": runtime.block_on(sandbox.helper_id())}),
        Err(error) => json!({"refused": error.to_string()}),
    };
    print(&hello);
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let request: Value = serde_json::from_str(&line).expect("a request is JSON");
        print(&runtime.block_on(answer(&sandbox, &request)));
    }
}

fn print(value: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}");
    let _ = out.flush();
}

async fn answer(sandbox: &Sandbox, request: &Value) -> Value {
    if let Some(count) = request["times"].as_u64() {
        return many(sandbox, request, count).await;
    }
    let before = peak();
    let run = sandbox.run(call(request));
    let ended = match request["drop_after_ms"].as_u64() {
        Some(limit) => match tokio::time::timeout(Duration::from_millis(limit), run).await {
            Ok(ended) => ended,
            Err(_) => return json!({"ended": "dropped"}),
        },
        None => run.await,
    };
    let mut reply = match ended {
        Ok(outcome) => json!({
            "ended": match outcome.ended {
                Ended::Exited(code) => format!("exit {code}"),
                Ended::Signalled(signal) => format!("signal {signal}"),
                Ended::Passed(limit) => format!("passed {limit:?}"),
            },
            "output": String::from_utf8_lossy(&outcome.output[..outcome.output.len().min(1 << 16)]),
            "output_bytes": outcome.output.len(),
            "error": String::from_utf8_lossy(&outcome.error),
            "wall_ms": outcome.wall.as_millis() as u64,
            "cpu_ms": outcome.cpu.as_millis() as u64,
        }),
        Err(error) => {
            let kind = match &error {
                Error::Unavailable(_) => "unavailable",
                Error::NotStarted(_) => "not started",
                Error::Invalid(_) => "invalid",
                Error::Lost(_) => "lost",
            };
            json!({"ended": kind, "error": error.to_string()})
        }
    };
    reply["grown_kb"] = (peak() - before).into();
    reply
}

/// Runs a call so often, one after the other, and tells how long each took, in microseconds.
async fn many(sandbox: &Sandbox, request: &Value, count: u64) -> Value {
    let call = call(request);
    let mut micros = Vec::new();
    for _ in 0..count {
        let began = std::time::Instant::now();
        match sandbox.run(call.clone()).await {
            Ok(outcome) if outcome.ended == Ended::Exited(0) => {}
            other => return json!({"error": format!("{other:?}")}),
        }
        micros.push(began.elapsed().as_micros() as u64);
    }
    micros.sort_unstable();
    json!({"p50": micros[micros.len() / 2], "p99": micros[micros.len() * 99 / 100]})
}

/// The largest resident set of this process so far, in KiB.
fn peak() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn call(request: &Value) -> Call {
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let usual = Limits::default();
    let number = |name: &str, usual: u64| request[name].as_u64().unwrap_or(usual);
    let millis =
        |name: &str, usual: Duration| request[name].as_u64().map_or(usual, Duration::from_millis);
    let mut call = Call::new(texts(&request["arguments"]));
    call.input = request["input"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
        .into();
    if let Some(folder) = request["folder"].as_str() {
        call.folder = PathBuf::from(folder);
    }
    for variable in texts(&request["variables"]) {
        let (name, value) = variable.split_once('=').expect("NAME=value");
        call.variables.push((name.to_owned(), value.into()));
    }
    for grant in request["grants"].as_array().into_iter().flatten() {
        call.grants.push(Grant {
            source: grant["source"].as_str().expect("a source").into(),
            target: grant["target"].as_str().expect("a target").into(),
            writable: grant["writable"].as_bool().unwrap_or(false),
        });
    }
    if request["places"].is_array() {
        call.network = Network::Proxy(Arc::new(Allowed(texts(&request["places"]))));
    }
    call.limits = Limits {
        wall: millis("wall_ms", usual.wall),
        cpu: millis("cpu_ms", usual.cpu),
        memory: number("memory", usual.memory),
        processes: u32::try_from(number("processes", 64)).unwrap_or(64),
        output: number("output", usual.output),
        file: number("file", usual.file),
        disk: number("disk", usual.disk),
        files: number("files", usual.files),
    };
    call
}
