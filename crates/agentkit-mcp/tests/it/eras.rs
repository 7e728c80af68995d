//! How servers of both eras are found out (ahead-tools/18).

use agentkit_mcp::{Era, HostSettings, Status};
use serde_json::json;

use crate::world::{World, call, listed, names, stub, unknown};

#[tokio::test]
async fn each_era_is_spoken_to_in_its_words() {
    let world = World::new(&json!({
        "modern": stub(&json!({"era": "modern"})),
        "legacy": stub(&json!({"era": "legacy"})),
        "both": stub(&json!({})),
    }));
    for (name, era) in [
        ("modern", Era::Modern),
        ("legacy", Era::Legacy),
        ("both", Era::Modern),
    ] {
        let server = world.ready(name).await;
        assert_eq!(server.era(), Some(era), "{name}");
        let output = call(&server, "echo", json!({"a": [1, {"b": "ü"}]}))
            .await
            .unwrap();
        assert_eq!(output.content, json!("{\"a\":[1,{\"b\":\"ü\"}]}"), "{name}");
    }
    world.host.stop().await;
}

/// An older server that leaves at the first question, or hangs, is started anew and asked differently.
#[tokio::test]
async fn a_question_that_is_too_new_costs_no_server() {
    let world = World::new(&json!({
        "leaves": stub(&json!({"era": "legacy", "discover": "exit"})),
        "silent": stub(&json!({"era": "legacy", "discover": "silent"})),
        "refuses": stub(&json!({"era": "legacy", "discover": "error"})),
    }));
    for name in ["leaves", "silent", "refuses"] {
        let server = world.ready(name).await;
        assert_eq!(
            (server.era(), server.status()),
            (Some(Era::Legacy), Status::Ready),
            "{name}"
        );
        assert_eq!(
            call(&server, "echo", json!({})).await.unwrap().content,
            "{}"
        );
    }
    world.host.stop().await;
}

/// A server that hangs at the first question for good, as its loop is stuck, is found by a second process.
#[tokio::test]
async fn a_server_that_hangs_at_the_question_is_found_by_another_process() {
    let world = World::new(&json!({"hangs": stub(&json!({"era": "legacy", "discover": "hang"}))}));
    let server = world.ready("hangs").await;
    assert_eq!(server.era(), Some(Era::Legacy));
    assert_eq!(
        call(&server, "echo", json!({})).await.unwrap().content,
        "{}"
    );
    world.host.stop().await;
}

/// A remembered era spares the question.
#[tokio::test]
async fn a_remembered_era_is_used_and_a_wrong_one_forgotten() {
    let mut eras = unknown();
    eras.insert("old".to_owned(), Era::Legacy);
    eras.insert("new".to_owned(), Era::Legacy);
    let settings = HostSettings {
        eras,
        ..HostSettings::default()
    };
    let servers = json!({
        // It would hang if it were asked.
        "old": stub(&json!({"era": "legacy", "discover": "hang"})),
        "new": stub(&json!({"era": "modern"})),
    });
    let world = World::with(&servers, settings);
    let (old, new) = (world.server("old"), world.server("new"));
    let begun = tokio::time::Instant::now();
    assert!(names(&*listed(&old).await).contains(&"echo"));
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(15),
        "it was not asked"
    );
    listed(&new).await;
    assert_eq!(new.era(), Some(Era::Modern));
    world.host.stop().await;
}

/// ahead-tools/3: a first start that takes long is not begun anew, and costs no other server anything.
#[tokio::test]
async fn a_slow_first_start_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("started");
    let world = World::new(&json!({
        "slow": stub(&json!({"start_ms": 6_000, "started": marker})),
        "quick": stub(&json!({})),
    }));
    let quick = world.ready("quick").await;
    assert_eq!(world.server("slow").status(), Status::Starting);
    assert_eq!(call(&quick, "echo", json!({})).await.unwrap().content, "{}");
    let slow = world.ready("slow").await;
    assert_eq!(slow.counts().connections, 1);
    let first: u32 = std::fs::read_to_string(&marker).unwrap().parse().unwrap();
    assert!(
        crate::world::lives(first),
        "the first process is the one that serves"
    );
    world.host.stop().await;
}
