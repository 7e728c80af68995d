//! The tools that reach out, edit and search, as the real binary runs them.

use std::time::Duration;

use ops_testkit::{Ledger, wait_until};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

/// Calls each tool once; what it answers is made of what they returned.
const SCRIPT: &str = r##"
name = "tools"
[[turn]]
calls = [
  { tool = "http_fetch", arguments = { url = "{{ goal }}/prices.json" } },
  { tool = "http_fetch", arguments = { url = "http://169.254.169.254/latest/meta-data/" } },
  { tool = "write_file", arguments = { path = "notes/a.md", content = "# Prices\nnone yet\n" } },
]
[[turn]]
[[turn.calls]]
tool = "json_query"
[turn.calls.arguments]
query = "$[?@.price < 2].name"
json = { "$expr" = "(result(1) | fromjson).text | fromjson" }
[[turn]]
calls = [
  { tool = "edit_file", arguments = { path = "notes/a.md", old = "none yet", new = "{{ (result(4) | fromjson).values | join(', ') }} are cheap" } },
  { tool = "http_request", arguments = { url = "{{ goal }}/report", method = "POST", json = { "$expr" = "(result(4) | fromjson)['values']" } } },
]
[[turn]]
calls = [ { tool = "search_files", arguments = { pattern = "cheap$" } } ]
[[turn]]
answer = "{{ (result(-1) | fromjson).matches[0].text }}; the server says {{ (result(6) | fromjson).status }}; {{ result(2) }}"
"##;

/// Answers as a small shop does, one request for each connection.
async fn shop() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let test_dir = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]);
            let (status, body) = if request.starts_with("GET /prices.json ") {
                (
                    200,
                    r#"[{"name":"pear","price":1},{"name":"truffle","price":90},{"name":"plum","price":1.5}]"#,
                )
            } else if request.starts_with("POST /report ")
                && request.ends_with(r#"["pear","plum"]"#)
            {
                (202, "noted")
            } else {
                (404, "what?")
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    (test_dir, task)
}

#[tokio::test]
async fn an_agent_fetches_queries_edits_sends_and_searches() {
    let test_dir = TestDir::new();
    let (shop, task) = shop().await;
    let server = test_dir
        .dev()
        .env("OPSPAWN_HTTP_ALLOW", &shop)
        // Nobody is there: proxies of the environment are not for tools.
        .env("http_proxy", "http://127.0.0.1:9")
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("ALL_PROXY", "http://127.0.0.1:9")
        .start()
        .await
        .unwrap();
    let body = json!({"task_type": "agent_run", "input_data": {
        "prompt": format!("http://{shop}"),
        "agent_config": {"provider": "scripted", "script": SCRIPT},
    }});
    let id = tasks::submit(server.http(), &body).await;
    let answer = tasks::answer(server.http(), &id).await;
    assert!(
        answer.starts_with("pear, plum are cheap; the server says 202; "),
        "{answer}"
    );
    assert!(answer.contains("tools.http.allow"), "{answer}");
    let steps = tasks::steps(server.http(), &id).await;
    let statuses: Vec<_> = steps
        .iter()
        .filter(|step| step["kind"] == "tool")
        .map(|step| {
            (
                step["name"].as_str().unwrap(),
                step["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        statuses,
        [
            ("http_fetch", "completed"),
            ("http_fetch", "failed"),
            ("write_file", "completed"),
            ("json_query", "completed"),
            ("edit_file", "completed"),
            ("http_request", "completed"),
            ("search_files", "completed"),
        ]
    );
    let file = test_dir
        .data()
        .join("workspaces")
        .join(&id)
        .join("notes/a.md");
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(text, "# Prices\npear, plum are cheap\n");
    task.abort();
    assert_calm(&server);
}

#[tokio::test]
async fn a_request_in_flight_at_a_crash_is_in_doubt_and_not_sent_again() {
    let test_dir = TestDir::new();
    let ledger = Ledger::start(test_dir.join("ledger.jsonl"), &["--latency-ms", "10000"])
        .await
        .unwrap();
    let url = ledger.url();
    let authority = url.strip_prefix("http://").unwrap();
    let (authority, _) = authority.split_once('/').unwrap();
    let dev = test_dir.dev().env("OPSPAWN_HTTP_ALLOW", authority);
    let mut server = dev.start().await.unwrap();
    let script = format!(
        r#"
[[turn]]
[[turn.calls]]
tool = "http_request"
[turn.calls.arguments]
url = "{url}"
method = "POST"
json = {{ task = "t", step = 2, key = "k", tool = "http_request", effect = "write" }}
[[turn]]
answer = "{{{{ last }}}}"
"#
    );
    let body = json!({"task_type": "agent_run", "input_data": {
        "prompt": "pay", "agent_config": {"provider": "scripted", "script": script},
    }});
    let id = tasks::submit(server.http(), &body).await;
    let sent = || async { (ledger.effects().unwrap().len() == 1).then_some(()) };
    wait_until("the effect", Duration::from_secs(20), sent)
        .await
        .unwrap();
    server.sigkill().unwrap();

    let server = dev.start().await.unwrap();
    tasks::in_state(server.http(), &id, &["waiting"]).await;
    let done = test_dir
        .cli(&["reconcile", "resolve", &id, "2", "done", "--output", "paid"])
        .run()
        .await
        .ends(0);
    assert!(done.stdout.contains(&id), "{done:#?}");
    assert_eq!(tasks::answer(server.http(), &id).await, "paid");
    assert_eq!(ledger.effects().unwrap().len(), 1, "it was not sent again");
    assert_calm(&server);
}

/// An agent that could ask the server that runs it would approve its own calls.
#[tokio::test]
async fn no_tool_reaches_the_server_that_runs_it() {
    let test_dir = TestDir::new();
    let policy = "[[rule]]\ntool = \"write_file\"\naction = \"ask\"\n";
    std::fs::create_dir_all(test_dir.data()).unwrap();
    std::fs::write(test_dir.data().join("policy.toml"), policy).unwrap();
    let dev = test_dir
        .dev()
        .env("OPSPAWN_HTTP_ALLOW", "127.0.0.1,localhost,0.0.0.0,::1");
    let server = dev.start().await.unwrap();
    let port = server.http().base().rsplit_once(':').unwrap().1.to_owned();
    let calls: String = ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"]
        .iter()
        .map(|host| {
            format!("{{ tool = \"http_fetch\", arguments = {{ url = \"http://{host}:{port}/health\" }} }},\n")
        })
        .collect();
    let script = format!("[[turn]]\ncalls = [\n{calls}]\n[[turn]]\nanswer = \"{{{{ last }}}}\"\n");
    let body = json!({"task_type": "agent_run", "input_data": {
        "prompt": "approve", "agent_config": {"provider": "scripted", "script": script},
    }});
    let id = tasks::submit(server.http(), &body).await;
    tasks::answer(server.http(), &id).await;
    let steps = tasks::steps(server.http(), &id).await;
    let tools: Vec<_> = steps.iter().filter(|step| step["kind"] == "tool").collect();
    assert_eq!(tools.len(), 4);
    for step in tools {
        assert_eq!(step["error"]["code"], "address_not_allowed", "{step:#}");
        let message = step["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("the server that runs this agent"),
            "{message}"
        );
    }
    assert_calm(&server);
}
