//! Lists: pages, odd entries, changes.

use serde_json::json;

use crate::world::{World, call, listed, names, stub, until};

#[tokio::test]
async fn all_pages_are_followed() {
    let world = World::new(&json!({"s": stub(&json!({"many": 95, "page": 10}))}));
    let listing = listed(&world.server("s")).await;
    let tools = listing
        .listed
        .iter()
        .filter(|one| one.kind == agentkit_mcp::Kind::Tool);
    assert_eq!(tools.count(), 95);
    assert!(listing.notes.is_empty(), "{:?}", listing.notes);
    world.host.stop().await;
}

/// Promise P10: a list that is too long is used up to the bound, and the server says that it is.
#[tokio::test]
async fn twenty_thousand_tools_are_cut() {
    let world = World::new(&json!({"s": stub(&json!({"many": 20_000}))}));
    let server = world.server("s");
    let listing = listed(&server).await;
    let tools = listing
        .listed
        .iter()
        .filter(|one| one.kind == agentkit_mcp::Kind::Tool);
    assert_eq!(tools.count(), 2_000);
    assert!(
        listing.notes[0].contains("more than 2000 items"),
        "{:?}",
        listing.notes
    );
    server.approve(&listing.listed);
    assert_eq!(
        call(&server, "tool_7", json!({})).await.unwrap().content,
        "{}"
    );
    world.host.stop().await;
}

/// ahead-tools/26: tools are always asked for, and prompts cost no tools.
#[tokio::test]
async fn capabilities_that_lie_cost_nothing() {
    let world = World::new(&json!({
        "silent": stub(&json!({"capabilities": {}})),
        "loud": stub(&json!({"capabilities": {"prompts": {}, "tools": {}}, "broken_prompts": true})),
    }));
    let silent = listed(&world.server("silent")).await;
    assert!(names(&silent).contains(&"echo"));
    let loud = listed(&world.server("loud")).await;
    assert!(names(&loud).contains(&"echo"));
    assert!(loud.notes[0].contains("prompts"), "{:?}", loud.notes);
    world.host.stop().await;
}

/// A list that changes is asked for again, in both eras; what is not approved cannot be called.
#[tokio::test]
async fn a_changed_list_is_heard_of() {
    for era in ["modern", "legacy"] {
        let world = World::new(&json!({"s": stub(&json!({"era": era}))}));
        let server = world.ready("s").await;
        let before = server.lists();
        // The subscription takes its time to reach the server.
        until_subscribed(&server).await;
        call(&server, "change", json!({"add": "new_one"}))
            .await
            .unwrap();
        let listed = tokio::time::timeout(
            std::time::Duration::from_secs(20),
            server.newer_than(before),
        );
        listed
            .await
            .unwrap_or_else(|_| panic!("{era}: no new list"));
        let listing = server.listing().unwrap();
        assert!(names(&listing).contains(&"new_one"), "{era}");
        let refused = call(&server, "new_one", json!({})).await.unwrap_err();
        assert!(
            refused.message.contains("held until a person approves"),
            "{era}: {}",
            refused.message
        );
        server.approve(&listing.listed);
        assert!(call(&server, "new_one", json!({})).await.is_ok(), "{era}");
        world.host.stop().await;
    }
}

async fn until_subscribed(server: &agentkit_mcp::Server) {
    if server.era() == Some(agentkit_mcp::Era::Modern) {
        // A request that is sent after the subscription is read after it.
        call(server, "echo", json!({})).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn prompts_and_resources_are_read() {
    let world = World::new(&json!({"s": stub(&json!({}))}));
    let server = world.ready("s").await;
    let output = server.read_resource("stub://note").await.unwrap();
    assert_eq!(output.content, "[stub://note]\nthe contents of stub://note");
    assert_eq!(server.resources().await.unwrap().len(), 1);
    let output = server.prompt("greet", &json!({})).await.unwrap();
    assert_eq!(output.content, "[user]\nGreet somebody.");
    world.host.stop().await;
}

/// Fifty servers of twenty tools begin beside other work.
#[tokio::test]
async fn fifty_servers_with_a_thousand_tools_are_listed() {
    let mut servers = json!({});
    for at in 0..50 {
        servers[format!("s{at}")] = stub(&json!({"many": 20}));
    }
    let begun = std::time::Instant::now();
    let world = World::new(&servers);
    let made = begun.elapsed();
    let mut tools = 0;
    for server in world.host.servers() {
        let listing = listed(&server).await;
        tools += listing
            .listed
            .iter()
            .filter(|one| one.kind == agentkit_mcp::Kind::Tool)
            .count();
    }
    println!(
        "50 servers: made in {made:?}, {tools} tools listed in {:?}",
        begun.elapsed()
    );
    assert_eq!(tools, 1_000);
    until(
        || {
            world
                .host
                .servers()
                .iter()
                .all(|one| one.counts().connections == 1)
        },
        "one connection each",
    )
    .await;
    world.host.stop().await;
}
