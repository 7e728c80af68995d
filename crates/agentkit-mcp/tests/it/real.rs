//! Servers that others wrote, from npm, and one that is made with the SDK of Python; `cargo xtask test` installs them.

use std::process::Stdio;

use agentkit::{
    event::StepId,
    tool::{Effect, OutputPart, ToolContext},
};
use agentkit_mcp::{Era, Kind};
use ops_testkit::EverythingOverHttp;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::world::{World, call, listed, names};

fn node(package: &str, args: &[&str]) -> Option<Value> {
    let script = ops_testkit::npm_package(package)?;
    let mut all = vec![json!(script)];
    all.extend(args.iter().map(|arg| json!(arg)));
    Some(json!({"command": "node", "args": all}))
}

/// Over stdio, and over streamable HTTP with sessions.
#[tokio::test]
#[ignore = "needs npm packages, which `cargo xtask test` installs"]
async fn the_server_that_has_everything() {
    let Some(local) = node("@modelcontextprotocol/server-everything/dist/index.js", &[]) else {
        return;
    };
    let Some(mut remote) = EverythingOverHttp::start().await.unwrap() else {
        return;
    };
    let world = World::new(&json!({"stdio": local, "http": {"url": remote.url}}));
    for name in ["stdio", "http"] {
        uses_everything(&world, name).await;
    }
    // Gone, it costs the other one nothing, and the call says that nothing was done or that nobody knows.
    remote.kill().await.unwrap();
    let lost = call(&world.server("http"), "echo", json!({"message": "x"})).await;
    let lost = lost.unwrap_err();
    assert!(
        ["server_unavailable", "outcome_unknown"].contains(&lost.code.as_str()),
        "{lost:?}"
    );
    let echo = call(&world.server("stdio"), "echo", json!({"message": "x"})).await;
    assert!(echo.is_ok(), "{echo:?}");
    world.host.stop().await;
}

async fn uses_everything(world: &World, name: &str) {
    let server = world.ready(name).await;
    let listing = listed(&server).await;
    assert!(
        listing
            .listed
            .iter()
            .filter(|one| one.kind == Kind::Tool)
            .count()
            > 5,
        "{:?}",
        names(&listing)
    );
    assert_eq!(listing.refused, []);
    let echo = call(&server, "echo", json!({"message": "grüße"}))
        .await
        .unwrap();
    assert!(echo.content.as_str().unwrap().contains("grüße"), "{echo:?}");
    let sum = call(&server, "get-sum", json!({"a": 17, "b": 25}))
        .await
        .unwrap();
    assert!(sum.content.to_string().contains("42"), "{sum:?}");
    let image = call(&server, "get-tiny-image", json!({})).await.unwrap();
    assert!(
        image
            .parts
            .iter()
            .any(|part| matches!(part, OutputPart::Image(_))),
        "{image:?}"
    );
    assert!(!server.resources().await.unwrap().is_empty());
    // The proxy reaches it by the names of the server and of the tool.
    let tools = world.host.proxy_tools();
    let proxy = tools
        .iter()
        .find(|tool| tool.spec().name == "mcp_proxy_tool");
    let context = ToolContext::outside_of_runs(StepId(3), Effect::Write, "/nonexistent".into());
    let arguments =
        json!({"server_name": name, "tool_name": "echo", "arguments": {"message": "by proxy"}});
    let echo = proxy.unwrap().call(&context, arguments).await.unwrap();
    assert!(
        echo.content.as_str().unwrap().contains("by proxy"),
        "{echo:?}"
    );
}

#[tokio::test]
#[ignore = "needs npm packages, which `cargo xtask test` installs"]
async fn the_server_of_files_and_its_death_in_a_call() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "what is in it").unwrap();
    let path = folder.path().canonicalize().unwrap();
    let path = path.to_str().unwrap();
    let package = "@modelcontextprotocol/server-filesystem/dist/index.js";
    let Some(server) = node(package, &[path]) else {
        return;
    };
    let Some(other) = node("@modelcontextprotocol/server-everything/dist/index.js", &[]) else {
        return;
    };
    let world = World::new(&json!({"files": server, "other": other}));
    let (server, other) = (world.ready("files").await, world.ready("other").await);
    assert_eq!(server.era(), Some(Era::Legacy));
    let file = format!("{path}/a.txt");
    let read = call(&server, "read_text_file", json!({"path": file}))
        .await
        .unwrap();
    // The server says it twice, as a text and as a value; the model is told once.
    assert_eq!(read.content, "what is in it", "{read:?}");
    assert!(read.parts.is_empty(), "{read:?}");
    let outside = call(&server, "read_text_file", json!({"path": "/etc/passwd"}))
        .await
        .unwrap_err();
    assert_eq!(outside.code, "tool_error", "{outside:?}");
    let echo = call(&other, "echo", json!({"message": "x"})).await.unwrap();
    assert!(echo.content.to_string().contains('x'));
    world.host.stop().await;
}

/// A server that is made with PyPI's `mcp`, over both transports; it dies in a call over stdio, and comes back.
#[tokio::test]
#[ignore = "needs Python packages, which `cargo xtask test` installs"]
async fn a_server_of_the_python_sdk() {
    let Some([python, script]) = ops_testkit::python_mcp_server() else {
        return;
    };
    let mut http = Command::new(&python)
        .arg(&script)
        .arg("http")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(http.stdout.as_mut().unwrap())
        .read_line(&mut url)
        .await
        .unwrap();
    let world = World::new(&json!({
        "stdio": {"command": python, "args": [script]},
        "http": {"type": "http", "url": url.trim()},
    }));
    for name in ["stdio", "http"] {
        let server = world.ready(name).await;
        assert_eq!(server.era(), Some(Era::Modern), "{name}");
        let listing = listed(&server).await;
        assert_eq!(listing.refused, [], "{name}");
        let tools = ["add", "die", "fail", "meta"];
        let listed: Vec<_> = tools
            .iter()
            .filter(|tool| names(&listing).contains(tool))
            .collect();
        assert_eq!(listed.len(), tools.len(), "{:?}", names(&listing));
        let sum = call(&server, "add", json!({"a": 17, "b": 25}))
            .await
            .unwrap();
        assert!(sum.content.to_string().contains("42"), "{name}: {sum:?}");
        let meta = call(&server, "meta", json!({})).await.unwrap();
        let meta = meta.content.to_string();
        assert!(meta.contains("opspawn/idempotency-key"), "{name}: {meta}");
        let failed = call(&server, "fail", json!({})).await.unwrap_err();
        assert_eq!(failed.code, "tool_error", "{name}: {failed:?}");
        assert!(
            failed.message.contains("it did not work"),
            "{name}: {failed:?}"
        );
        assert!(!server.resources().await.unwrap().is_empty(), "{name}");
    }
    let (stdio, other) = (world.server("stdio"), world.server("http"));
    let died = call(&stdio, "die", json!({})).await.unwrap_err();
    assert_eq!(died.code, "outcome_unknown", "{died:?}");
    let sum = call(&other, "add", json!({"a": 1, "b": 2})).await.unwrap();
    assert!(sum.content.to_string().contains('3'), "{sum:?}");
    let sum = call(&stdio, "add", json!({"a": 2, "b": 2})).await.unwrap();
    assert!(sum.content.to_string().contains('4'), "{sum:?}");
    world.host.stop().await;
    http.kill().await.unwrap();
}
