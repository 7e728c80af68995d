//! Spans, as a collector gets them.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use ops_testkit::{mcp_stub, wait_until};
use prost::Message as _;
use serde_json::json;

use super::{tasks, test_dir::TestDir};

const SCRIPT: &str = r#"
[[turn]]
calls = [{ tool = "calculator", arguments = { expression = "41 + 1" } }]
[[turn]]
calls = [{ tool = "calculator", arguments = { expression = "1 / 0" } }]
[[turn]]
answer = "the secret answer"
"#;

/// A collector that takes every span.
pub(super) struct Collector {
    pub(super) url: String,
    taken: Arc<Mutex<(Vec<Span>, Vec<u8>)>>,
}

impl Collector {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::<Mutex<(Vec<Span>, Vec<u8>)>>::default();
        let to = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                assert!(line.starts_with("POST /v1/traces "), "{line}");
                let mut length = 0;
                loop {
                    line.clear();
                    stream.read_line(&mut line).unwrap();
                    let header = line.trim().to_ascii_lowercase();
                    if let Some(bytes) = header.strip_prefix("content-length: ") {
                        length = bytes.parse().unwrap();
                    }
                    if header.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let request = ExportTraceServiceRequest::decode(&*body).unwrap();
                {
                    let mut taken = to.lock().unwrap();
                    taken.1.extend(&body);
                    for scope in request
                        .resource_spans
                        .into_iter()
                        .flat_map(|r| r.scope_spans)
                    {
                        taken.0.extend(scope.spans);
                    }
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.get_mut().write_all(answer).unwrap();
            }
        });
        Self { url, taken }
    }

    /// The spans so far, by their begin, and whether a text is in what was sent.
    pub(super) fn spans(&self) -> Vec<Span> {
        let mut spans = self.taken.lock().unwrap().0.clone();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }

    pub(super) fn has(&self, text: &str) -> bool {
        let taken = self.taken.lock().unwrap();
        let text = text.as_bytes();
        taken.1.windows(text.len()).any(|part| part == text)
    }
}

fn value(attributes: &[KeyValue], key: &str) -> Option<Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.clone()?.value
}

fn text(span: &Span, key: &str) -> String {
    match value(&span.attributes, key) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key} of {}: {other:?}", span.name),
    }
}

fn number(span: &Span, key: &str) -> i64 {
    match value(&span.attributes, key) {
        Some(Value::IntValue(number)) => number,
        other => panic!("{key} of {}: {other:?}", span.name),
    }
}

#[tokio::test]
async fn a_collector_gets_the_spans_of_a_task_and_no_content() {
    let test_dir = TestDir::new();
    std::fs::write(test_dir.join("s.toml"), SCRIPT).unwrap();
    let collector = Collector::start();
    let run = |args: &[&str]| {
        test_dir
            .cli(args)
            .env("OPSPAWN_SCRIPT", test_dir.join("s.toml"))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
    };
    run(&["run", "the secret goal"]).run().await.ends(0);

    let spans = collector.spans();
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(
        names,
        [
            "task",
            "invoke_agent default",
            "chat script",
            "execute_tool calculator",
            "chat script",
            "execute_tool calculator",
            "chat script",
        ]
    );
    let (task, agent) = (&spans[0], &spans[1]);
    assert!(text(task, "opspawn.task.id").starts_with("task_"));
    assert_eq!(agent.parent_span_id, task.span_id);
    for span in &spans[2..] {
        assert_eq!(span.parent_span_id, agent.span_id, "{}", span.name);
        assert_eq!(span.trace_id, task.trace_id);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    assert_eq!(text(&spans[2], "gen_ai.operation.name"), "chat");
    assert_eq!(text(&spans[2], "gen_ai.provider.name"), "scripted");
    assert!(number(&spans[2], "gen_ai.usage.input_tokens") > 0);
    assert_eq!(
        text(&spans[2], "gen_ai.response.finish_reasons"),
        r#"["tool_calls"]"#
    );
    assert_eq!(text(&spans[3], "gen_ai.tool.name"), "calculator");
    assert_eq!(text(&spans[3], "gen_ai.tool.call.id"), "call_2");
    assert_eq!(value(&spans[3].attributes, "error.type"), None);
    assert_eq!(spans[5].status.clone().unwrap().code, 2, "ERROR");
    for secret in ["secret goal", "secret answer", "41 + 1"] {
        assert!(!collector.has(secret), "{secret}");
    }

    let with_content = run(&["run", "the secret goal"]).env("OPSPAWN_TELEMETRY_CONTENT", "true");
    with_content.run().await.ends(0);
    for shown in ["secret goal", "secret answer", "41 + 1"] {
        assert!(collector.has(shown), "{shown}");
    }

    // Of an image, its kind is enough.
    let image = test_dir.join("a.png");
    let bytes = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 3_000]].concat();
    std::fs::write(&image, bytes).unwrap();
    let with_image = run(&["run", "--image", image.to_str().unwrap(), "look"]);
    let with_image = with_image.env("OPSPAWN_TELEMETRY_CONTENT", "true");
    with_image.run().await.ends(0);
    assert!(collector.has("image/png") && !collector.has(&"A".repeat(100)));
}

#[tokio::test]
async fn a_collector_that_is_away_costs_no_task() {
    let test_dir = TestDir::new();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let cli = test_dir
        .cli(&["run", "x"])
        .env("OPSPAWN_OTLP_ENDPOINT", &url);
    cli.run().await.ends(0);
    let cli = test_dir
        .cli(&["run", "x"])
        .env("OPSPAWN_OTLP_ENDPOINT", "nowhere");
    cli.run()
        .await
        .ends(2)
        .says(&["telemetry.otlp_endpoint", "http://127.0.0.1:4318"]);
}

/// An MCP server is told the span of the call, so that its own spans go on from there.
#[tokio::test]
async fn an_mcp_server_is_told_the_span_of_a_call() {
    let test_dir = TestDir::new();
    let collector = Collector::start();
    std::fs::create_dir_all(test_dir.data()).unwrap();
    let log = test_dir.join("log.jsonl");
    let stub = json!({"command": mcp_stub().unwrap(), "args": [json!({"log": log}).to_string()]});
    let servers = json!({"mcpServers": {"stub": stub}}).to_string();
    std::fs::write(test_dir.data().join("mcp_servers.json"), servers).unwrap();
    let dev = test_dir
        .dev()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
    let mut server = dev.start().await.unwrap();
    let listed = || async {
        let shown = server.http().get("/api/v1/mcp/servers/stub").await.ok()?;
        let shown: serde_json::Value = shown.json().ok()?;
        (!shown["approved"].is_null()).then_some(())
    };
    wait_until("the server's list", Duration::from_secs(30), listed)
        .await
        .unwrap();
    let script = "[[turn]]\ncalls = [{ tool = \"mcp_proxy_tool\", arguments = { server_name = \"stub\", \
                  tool_name = \"echo\", arguments = { a = 1 } } }]\n\
                  [[turn]]\nanswer = \"{{ last }}\"\n";
    let body = json!({"task_type": "agent_run", "input_data": {
        "prompt": "go", "agent_config": {"provider": "scripted", "script": script},
    }});
    let id = tasks::submit(server.http(), &body).await;
    tasks::answer(server.http(), &id).await;
    server.stop(Duration::from_secs(30)).await.unwrap();

    let lines = std::fs::read_to_string(log).unwrap();
    let mut lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let line: serde_json::Value = lines
        .find(|line: &serde_json::Value| line["tool"] == "echo")
        .unwrap();
    let spans = collector.spans();
    let span = spans
        .iter()
        .find(|span| span.name == "execute_tool mcp_proxy_tool");
    let span = span.unwrap();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let expected = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
    assert_eq!(line["traceparent"], expected.as_str());
}
