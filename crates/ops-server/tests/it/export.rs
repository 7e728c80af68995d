//! Exporting a task.

use ops_core::{
    Next, RunCommand,
    event::StepStatus,
    ports::{Blob, RunStore as _},
};
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::harness::{App, event};

fn lines(text: &str) -> Vec<Value> {
    let read = |line: &str| serde_json::from_str(line).unwrap();
    text.lines().map(read).collect()
}

#[tokio::test]
async fn an_export_has_everything_in_its_order() {
    let app = App::start().await;
    let id = app.echo().await;
    let claimed = app.claim().await;
    // Larger than a piece, so that it comes in three.
    let large: Vec<u8> = (0..2_000_000_u32)
        .map(|n| (n.wrapping_mul(n) % 251) as u8)
        .collect();
    let digest: String = sha2::Sha256::digest(&large)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut done = event(
        1,
        StepStatus::Completed,
        json!({"name": "big", "output": "..."}),
    );
    done.blobs = vec![digest.clone()];
    let append = ops_core::Append::new(
        claimed.life.seq,
        vec![event(1, StepStatus::Started, json!({"name": "big"})), done],
        Next::Complete {
            result: ops_core::Json::from(&json!({"answer": "42"})),
        },
    );
    let blob = Blob {
        digest: digest.clone(),
        bytes: large.clone().into(),
    };
    let tenant = ops_core::TenantId::DEFAULT;
    let command = RunCommand::append(claimed.life.epoch, append);
    app.store
        .record(tenant, claimed.task.id, command, vec![blob])
        .await
        .unwrap();

    let reply = app.get(&format!("/api/v1/tasks/{id}/export")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/jsonl"));
    let lines = lines(&reply.text());
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "task", "step", "event", "event", "event", "event", "event", "blob", "blob", "blob",
            "end"
        ]
    );
    assert_eq!(lines[0]["task"], app.task(&id).await);
    let steps = app.get(&format!("/api/v1/tasks/{id}/steps")).await.json();
    assert_eq!(lines[1]["step"], steps["steps"][0]);
    let events = app.get(&format!("/api/v1/tasks/{id}/events")).await.json();
    let exported: Vec<_> = lines[2..7]
        .iter()
        .map(|line| line["event"].clone())
        .collect();
    assert_eq!(Value::from(exported), events["events"]);
    let mut whole = Vec::new();
    for line in &lines[7..10] {
        use base64::Engine as _;
        assert_eq!(line["digest"], digest);
        assert_eq!(line["offset"], whole.len());
        let text = line["base64"].as_str().unwrap();
        whole.extend(base64::prelude::BASE64_STANDARD.decode(text).unwrap());
    }
    assert!(whole == large, "the pieces join to the value");
    assert_eq!(
        lines[10],
        json!({"type": "end", "steps": 1, "events": 5, "blobs": 1})
    );
}
