//! Secrets that provably reached a program, a server's variables and a header, and came back as results and as errors of
//! every kind. They are nowhere: not in steps, events, spans, the log, metrics or a file of the data folder.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use ops_testkit::{McpStub, mcp_stub, wait_until};
use serde_json::{Value, json};

use super::{command_tools::files_below, mcp, tasks, telemetry::Collector, test_dir::TestDir};

const PROGRAM: &str = "canary-1-of-a-program";
const VARIABLE: &str = "canary-2-of-a-variable";
const HEADER: &str = "canary-3-of-a-header";
const LEAKS: [&str; 4] = ["text", "error", "tool_error", "structured"];

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_nowhere_in_what_is_kept_or_told() {
    let dir = TestDir::new();
    let remote = McpStub::start(&json!({})).await.unwrap();
    dir.configure(
        "[tools.command.says]\ndescription = 'x'\nsecrets = ['TOKEN']\ntext = true\n\
         command = ['sh', '-c', 'echo \"have $TOKEN\"']\n\
         [tools.command.fails]\ndescription = 'x'\nsecrets = ['TOKEN']\ntext = true\n\
         command = ['sh', '-c', 'echo \"no $TOKEN\" >&2; exit 3']\n",
    );
    mcp::servers(
        &dir,
        &json!({
            "near": {"command": mcp_stub().unwrap(), "env": {"STUB_TOKEN": "${NEAR_TOKEN}"}},
            "far": {"url": remote.url(), "headers": {"X-Api-Key": "${FAR_TOKEN}"}},
        }),
    );
    let secrets = dir.data().join("secrets.env");
    let text = format!("TOKEN={PROGRAM}\nNEAR_TOKEN={VARIABLE}\nFAR_TOKEN={HEADER}\n");
    fs::write(&secrets, text).unwrap();
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600)).unwrap();
    let collector = Collector::start();
    let dev = dir
        .dev()
        .env("OPSPAWN_LOG", "trace")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .env("OPSPAWN_TELEMETRY_CONTENT", "true");
    let mut server = dev.start().await.unwrap();
    let http = server.http().clone();
    mcp::listed(&http, "near").await;
    mcp::listed(&http, "far").await;
    let mut calls = vec![("says", json!({})), ("fails", json!({}))];
    for server in ["near", "far"] {
        let leak = |how: &str| mcp::through_the_proxy(server, "leak", &json!({"how": how}));
        calls.extend(LEAKS.map(|how| ("mcp_proxy_tool", leak(how))));
    }
    let id = tasks::submit(&http, &mcp::calls(&calls)).await;
    let ended = tasks::ended(&http, &id).await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    let steps: Vec<Value> = tasks::steps(&http, &id).await;
    // They were there, in each answer.
    let told: Vec<String> = steps
        .iter()
        .filter(|step| step["kind"] == "tool")
        .map(|step| format!("{}{}", step["output"], step["error"]))
        .collect();
    assert_eq!(told.len(), calls.len());
    for (told, call) in told.iter().zip(&calls) {
        let mark = if call.0 == "mcp_proxy_tool" {
            "[secret]"
        } else {
            "[secret TOKEN]"
        };
        assert!(told.contains(mark), "{call:?}: {told}");
    }
    let spans = || async { (collector.spans().len() > calls.len() * 2).then_some(()) };
    wait_until("the spans", Duration::from_secs(60), spans)
        .await
        .unwrap();
    let shown = [
        json!(steps).to_string(),
        ended.to_string(),
        http.get(&format!("/api/v1/tasks/{id}/events?limit=1000"))
            .await
            .unwrap()
            .text(),
        http.get("/api/v1/mcp/servers").await.unwrap().text(),
        http.get("/metrics").await.unwrap().text(),
        http.get("/ready").await.unwrap().text(),
    ];
    server.stop(Duration::from_secs(30)).await.unwrap();
    assert!(collector.has("[secret"), "spans have content");
    let log = server.output();
    fs::remove_file(secrets).unwrap();
    for canary in [PROGRAM, VARIABLE, HEADER] {
        for text in &shown {
            assert!(!text.contains(canary), "{canary}: {text}");
        }
        assert!(!log.contains(canary), "{canary} is in the log");
        assert!(!collector.has(canary), "{canary} is in spans");
        for file in files_below(&dir.data()) {
            let bytes = fs::read(&file).unwrap_or_default();
            let found = bytes
                .windows(canary.len())
                .any(|part| part == canary.as_bytes());
            assert!(!found, "{canary} is in {}", file.display());
        }
    }
}
