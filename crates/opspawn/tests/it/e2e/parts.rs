//! Opaque parts of an answer survive a kill: what the provider is sent afterwards is, to the byte,
//! what it would have been sent before.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use ops_testkit::wait_until;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{place::Place, tasks};

/// Answers request by request; the one that has no answer is left waiting.
struct StandIn {
    url: String,
    bodies: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    async fn start(answers: Vec<Option<String>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn({
            let (bodies, answers) = (bodies.clone(), Arc::new(answers));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, bodies.clone(), answers.clone()));
                }
            }
        });
        Self { url, bodies, task }
    }

    fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }
}

/// Serves one request of a connection.
async fn serve(
    mut stream: TcpStream,
    bodies: Arc<Mutex<Vec<String>>>,
    answers: Arc<Vec<Option<String>>>,
) {
    let mut bytes = Vec::new();
    let body = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let line = line.to_ascii_lowercase();
                line.strip_prefix("content-length: ")?.parse::<usize>().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                break body.to_owned();
            }
        }
    };
    let index = {
        let mut bodies = bodies.lock().unwrap();
        bodies.push(body);
        bodies.len() - 1
    };
    match answers.get(index).cloned().flatten() {
        Some(answer) => {
            let head = "HTTP/1.1 200 OK\r\nconnection: close";
            let length = answer.len();
            let whole = format!("{head}\r\ncontent-length: {length}\r\n\r\n{answer}");
            let _ = stream.write_all(whole.as_bytes()).await;
        }
        // Until the other side is gone.
        None => drop(stream.read_u8().await),
    }
}

/// An answer as the provider sends it.
fn recorded(folder: &str, case: &str, stream: bool) -> String {
    let kind = if stream { "sse" } else { "json" };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../agentkit/tests/fixtures/models");
    std::fs::read_to_string(root.join(folder).join(format!("{case}.{kind}"))).unwrap()
}

async fn survives(folder: &str, provider: &str, model: &str, opaque: &[&str], stream: bool) {
    let answers = vec![
        Some(recorded(folder, "opaque", stream)),
        None,
        Some(recorded(folder, "good", stream)),
    ];
    let stand_in = StandIn::start(answers).await;
    let place = Place::new();
    let prefix = provider.to_ascii_uppercase();
    let dev = place
        .dev()
        .env("OPSPAWN_PROVIDER", provider)
        .env("OPSPAWN_MODEL", model)
        .env(format!("{prefix}_BASE_URL"), format!("{}/v1", stand_in.url))
        .env("OPSPAWN_STREAM", stream.to_string());
    let mut server = dev.start().await.unwrap();
    let body = json!({"task_type": "agent_run", "input_data":
        {"goal": "look", "files": {"ä.csv": "a,b"}}});
    let id = tasks::submit(server.http(), &body).await;
    let asked = || async { (stand_in.bodies().len() == 2).then_some(()) };
    wait_until("the second request", Duration::from_secs(30), asked)
        .await
        .unwrap();
    server.sigkill().unwrap();

    let server = dev.start().await.unwrap();
    assert_eq!(tasks::answer(server.http(), &id).await, "Grüße 😀");
    let bodies = stand_in.bodies();
    assert_eq!(bodies.len(), 3);
    for part in opaque {
        assert!(bodies[1].contains(part), "{part} in {}", bodies[1]);
    }
    assert_eq!(bodies[1], bodies[2], "{folder} {stream}");
}

#[tokio::test]
async fn opaque_parts_survive_a_kill_byte_for_byte() {
    for stream in [true, false] {
        let parts = ["gAAAAABo/T3BhcXVlAbC=="];
        survives("responses", "openai", "gpt-5", &parts, stream).await;
        let parts = [
            "EqQBCkgIARABGAIiQL+/T3BhcXVlAbC==",
            "EmwKAhgBEgy3va3pzix/LafPsn4a==",
        ];
        survives("messages", "anthropic", "claude-opus-5-5", &parts, stream).await;
        let parts = ["CiQB0e2Kb/T3BhcXVl+AbC=="];
        survives(
            "generate_content",
            "google",
            "gemini-3.8-flash",
            &parts,
            stream,
        )
        .await;
        let parts = ["T3BhcXVlQWJDPT0="];
        survives("openrouter", "openrouter", "a/b", &parts, stream).await;
    }
}
