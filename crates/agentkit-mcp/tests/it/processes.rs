//! Processes end with all that they started (ahead-tools/2, 10).

use agentkit_mcp::{Records, Status};
use serde_json::json;

use crate::world::{World, call, listed, lives, processes_with, stub, until};

fn marks(world: &World) -> Vec<String> {
    let entries = std::fs::read_dir(world.folder.path().join("records")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn nothing_is_left_after_a_stop_or_a_death() {
    for (tool, ignore_end) in [
        (None, false),
        (None, true),
        (Some("die"), false),
        (Some("close"), false),
    ] {
        let plan = json!({"leave_behind": true, "ignore_end": ignore_end});
        let world = World::new(&json!({"s": stub(&plan)}));
        let server = world.ready("s").await;
        let marks = marks(&world);
        let [mark] = &marks[..] else {
            panic!("{marks:?}")
        };
        until(
            || processes_with(mark).len() >= 3,
            "the server and what it started",
        )
        .await;
        match tool {
            Some(tool) => drop(call(&server, tool, json!({})).await.unwrap_err()),
            None => world.host.stop().await,
        }
        until(|| processes_with(mark).is_empty(), "the end of all").await;
        world.host.stop().await;
        assert_eq!(world.records(), 0, "{tool:?}");
    }
}

/// A host that is gone cannot end its processes: the next one does.
#[tokio::test]
async fn what_a_dead_host_left_is_ended_by_the_next() {
    let program = ops_testkit::mcp_stub().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let records = Records::in_folder(folder.path()).unwrap();
    let mark = "0123456789abcdef0123456789abcdef";
    std::fs::write(folder.path().join(mark), "").unwrap();
    let started = folder.path().join("started");
    let mut child = std::process::Command::new(program)
        .arg(json!({"leave_behind": true, "ignore_end": true, "started": started}).to_string())
        .env("OPSPAWN_MCP_GROUP", mark)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until(|| processes_with(mark).len() >= 3, "the leftovers").await;
    assert_eq!(records.sweep(), 1);
    until(|| processes_with(mark).is_empty(), "their end").await;
    child.wait().unwrap();
}

/// ahead-tools/20, 3: a program that is not there, or leaves at once, says why and costs no other server.
#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let world = World::new(&json!({
        "missing": {"command": "no-such-program-here", "env": {"PATH": "/usr/bin:/opt/nowhere"}},
        "dies": {"command": "sh", "args": ["-c", "echo 'the license has expired' >&2; exit 3"]},
        "fine": stub(&json!({})),
    }));
    listed(&world.server("fine")).await;
    let missing = world.server("missing").first_listing().await.unwrap_err();
    assert!(
        missing.contains("searched /usr/bin, /opt/nowhere"),
        "{missing}"
    );
    let dies = world.server("dies").first_listing().await.unwrap_err();
    assert!(
        dies.contains("the license has expired") && dies.contains("exit status: 3"),
        "{dies}"
    );
    assert!(matches!(
        world.server("dies").status(),
        Status::Away(_) | Status::Starting
    ));
    let failure = call(&world.server("missing"), "x", json!({}))
        .await
        .unwrap_err();
    assert!(
        failure.message.contains("has not listed its tools yet"),
        "{}",
        failure.message
    );
    world.host.stop().await;
}

#[test]
fn this_process_lives() {
    assert!(lives(std::process::id()));
}
