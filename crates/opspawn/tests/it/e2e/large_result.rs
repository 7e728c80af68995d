//! A tool result of 50 MB: kept whole, read in pages, and gone from memory afterwards.

use std::time::Duration;

use ops_testkit::{Opspawn, wait_until};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

const SIZE: usize = 50_000_000;
const LINE: &str = "a line of text, 32 bytes long..\n";

/// Answers each connection with [`SIZE`] bytes of lines.
async fn library() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let test_dir = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let lines = LINE.repeat(1000);
            for _ in 0..SIZE / lines.len() {
                stream.write_all(lines.as_bytes()).await.unwrap();
            }
            let rest = &lines[..SIZE % lines.len()];
            stream.write_all(rest.as_bytes()).await.unwrap();
        }
    });
    (test_dir, task)
}

/// The most memory that the process has had, in bytes.
fn peak(server: &mut Opspawn) -> usize {
    let status = format!("/proc/{}/status", server.process().id());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn a_result_of_50_mb_is_kept_whole_in_little_more_memory_than_it_has() {
    let test_dir = TestDir::new();
    let (library, task) = library().await;
    let mut server = test_dir
        .dev()
        .env("OPSPAWN_HTTP_ALLOW", &library)
        .env("OPSPAWN_HTTP_MAX_BYTES", SIZE.to_string())
        .env("OPSPAWN_HTTP_TIMEOUT", "10m")
        .start()
        .await
        .unwrap();
    let before = peak(&mut server);
    // The text is the last part of the result, and each of its line ends takes two bytes there.
    let script = r#"
[[turn]]
calls = [{ tool = "http_fetch", arguments = { url = "{{ goal }}" } }]
[[turn]]
calls = [
  { tool = "read_result", arguments = { handle = "call_2", offset = 25000000 } },
  { tool = "read_result", arguments = { handle = "call_2", offset = 51562600 } },
]
[[turn]]
answer = "{{ (result(1) | fromjson).bytes }} {{ (result(2) | fromjson).text[:100] }} {{ (result(3) | fromjson).next_offset }}"
"#;
    let body = json!({"task_type": "agent_run", "input_data": {
        "prompt": format!("http://{library}"),
        "agent_config": {"provider": "scripted", "script": script},
    }});
    let id = tasks::submit(server.http(), &body).await;
    let ended = || async {
        let task = tasks::get(server.http(), &id).await;
        (task["status"] != "pending" && task["status"] != "running").then_some(task)
    };
    let done = wait_until("the end", Duration::from_secs(300), ended)
        .await
        .unwrap();
    let answer = done["result"]["answer"].as_str().unwrap_or_default();
    let total: usize = answer.split(' ').next().unwrap().parse().unwrap();
    assert!(total > SIZE + SIZE / LINE.len(), "{done:#}");
    assert!(
        answer.contains(LINE.trim_end()) && answer.ends_with("None"),
        "{answer}"
    );
    let grown = peak(&mut server) - before;
    assert!(grown < 4 * SIZE, "{grown} bytes more for {SIZE}");
    task.abort();
    assert_calm(&server);
}
