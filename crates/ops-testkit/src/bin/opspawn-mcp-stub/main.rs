//! An MCP server that misbehaves on demand: over stdio, or with `--http` over streamable HTTP.
//!
//! The argument is a plan in JSON (see [`plan::Plan`]): which protocol it speaks, how it answers the first
//! question, what it writes that is no message, and which tools it lists. What its tools do follows from their
//! names, see [`answer`]. With `log`, each call is appended to a file before it is answered, so that a test
//! can count effects whatever became of the answer.

mod answer;
mod http;
mod plan;

use std::{
    io::{BufRead as _, Write as _},
    process::exit,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use self::{
    answer::{Answer, Server},
    plan::{Discover, Plan},
};

/// The usage.
const HELP: &str = "Usage: opspawn-mcp-stub [--http] [PLAN]\n\nAn MCP server for tests. PLAN is a JSON object that says how it behaves, `{}` \
                    unless given.\n  --http  serve streamable HTTP instead of standard input and output";

fn main() -> anyhow::Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        let _ = writeln!(std::io::stdout(), "{HELP}");
        return Ok(());
    }
    let is_http = args.first().is_some_and(|arg| arg == "--http");
    if is_http {
        args.remove(0);
    }
    let plan = args.first().map_or("{}", String::as_str);
    let plan: Plan = match serde_json::from_str(plan) {
        Ok(plan) => plan,
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "error: the plan is not valid: {error}\n\n{HELP}"
            );
            exit(2);
        }
    };
    match is_http {
        true => http::run(plan),
        false => {
            stdio(plan);
            Ok(())
        }
    }
}

/// Where messages go: one at a time, a byte at a time if the plan says so.
#[derive(Clone)]
struct Out {
    lock: Arc<Mutex<()>>,
    byte_by_byte: bool,
}

impl Out {
    fn raw(&self, bytes: &[u8]) {
        let _guard = self.lock.lock();
        let mut out = std::io::stdout().lock();
        if self.byte_by_byte {
            for byte in bytes {
                let _ = out.write_all(&[*byte]);
                let _ = out.flush();
            }
        } else {
            let _ = out.write_all(bytes);
            let _ = out.flush();
        }
    }

    fn message(&self, message: &Value) {
        self.raw(format!("{message}\n").as_bytes());
    }
}

fn stdio(plan: Plan) {
    if plan.leave_behind {
        // One in the group, and one that leaves it.
        let _ = std::process::Command::new("sh")
            .args(["-c", "sleep 600 & setsid sleep 600 &"])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn();
    }
    if plan.ignore_end {
        let _ = std::process::Command::new("true").status();
    }
    thread::sleep(Duration::from_millis(plan.start_ms));
    if let Some(marker) = &plan.started {
        let _ = std::fs::write(marker, std::process::id().to_string());
    }
    let out = Out {
        lock: Arc::default(),
        byte_by_byte: plan.byte_by_byte,
    };
    if plan.noise {
        out.raw(b"Server started\n \n{\"level\":\"info\",\"msg\":\"x\"}\n12\n\xef\xbb\xbf\n");
    }
    if plan.stderr_bytes > 0 {
        let _ = std::io::stderr().write_all(&vec![b'e'; plan.stderr_bytes]);
        let _ = std::io::stderr().write_all(b"\rthe end of stderr");
    }
    let server = Arc::new(Server::new(plan));
    let mut line = Vec::new();
    let mut input = std::io::stdin().lock();
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(read) if read > 0 => {}
            Ok(_) | Err(_) if server.plan.ignore_end => thread::sleep(Duration::from_secs(600)),
            Ok(_) | Err(_) => return,
        }
        let Ok(message) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        if server.plan.echo {
            // What it is sent comes back as well.
            out.raw(&line);
        }
        if message["method"] == "server/discover" {
            match server.plan.discover {
                Discover::Exit => exit(1),
                Discover::Silent => continue,
                Discover::Hang => thread::sleep(Duration::from_secs(600)),
                Discover::Answer | Discover::Error => {}
            }
        }
        if message.get("method").is_none() {
            server.answered(&message);
            continue;
        }
        if message.get("id").is_none() {
            server.notified(&message);
            continue;
        }
        let (server, out) = (Arc::clone(&server), out.clone());
        // Calls overlap, as those of real servers do.
        thread::spawn(move || {
            let say = |message: &Value| out.message(message);
            let answer = server.answer(&message, &say);
            if server.plan.noise {
                out.raw(b"still here\n");
            }
            deliver(&out, &message["id"], answer);
        });
    }
}

/// The beginning of an answer, without its last byte at the least.
fn beginning(id: &Value, result: &Value, luck: u64) -> Vec<u8> {
    let text = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    let at = usize::try_from(luck % text.len() as u64).unwrap_or_default();
    text.as_bytes()[..at].to_vec()
}

fn deliver(out: &Out, id: &Value, answer: Answer) {
    match answer {
        Answer::Result(result) => {
            let mut message = json!({"jsonrpc": "2.0", "id": id});
            message["result"] = result;
            out.message(&message);
        }
        Answer::Cut(result, luck) => {
            out.raw(&beginning(id, &result, luck));
            deliver(out, id, Answer::Die);
        }
        Answer::Error(code, text) => {
            out.message(
                &json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}}),
            );
        }
        Answer::Raw(bytes) => {
            let text = String::from_utf8_lossy(&bytes).replace("$ID", &id.to_string());
            out.raw(text.as_bytes());
        }
        Answer::Large(bytes) => {
            out.raw(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"x\":\"").as_bytes());
            let chunk = vec![b'x'; 1024 * 1024];
            for _ in 0..bytes / chunk.len() {
                out.raw(&chunk);
            }
            out.raw(b"\"}}\n");
        }
        Answer::Endless => loop {
            out.raw(&[b'x'; 64 * 1024]);
        },
        Answer::Nothing => {}
        Answer::Die => {
            let own = rustix::process::getpid();
            let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
            thread::sleep(Duration::from_secs(600));
        }
        Answer::CloseStdout => {
            use std::os::unix::process::CommandExt as _;
            // It lives on, and nobody has its stdout.
            let mut sleep = std::process::Command::new("sh");
            let _ = sleep.args(["-c", "exec >&-; exec sleep 600"]).exec();
        }
    }
}
