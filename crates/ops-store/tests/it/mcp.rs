//! The verbs of MCP servers, in each store that has them.

use std::sync::Arc;

use ops_core::{
    Actor, Json, TenantId,
    mcp::{McpApproval, McpDefinition, McpKey, McpListed, McpPinState, McpPins},
    ports::{McpStore, StoreError},
};
use serde_json::json;

use crate::world::{OTHER, TENANT};

fn key(name: &str) -> McpKey {
    McpKey {
        kind: "tool".to_owned(),
        name: name.to_owned(),
    }
}

fn listed(tools: &[(&str, &str)]) -> McpListed {
    let definition = |digest: &str| McpDefinition {
        digest: digest.to_owned(),
        raw: Json::from(&json!({"description": digest})),
    };
    McpListed {
        identity: "i".to_owned(),
        era: "modern".to_owned(),
        definitions: tools
            .iter()
            .map(|(name, digest)| (key(name), definition(digest)))
            .collect(),
        is_partial: false,
    }
}

fn states(pins: &McpPins) -> Vec<(&str, McpPinState)> {
    pins.pins
        .iter()
        .map(|pin| (pin.key.name.as_str(), pin.state()))
        .collect()
}

async fn check(store: Arc<dyn McpStore>) {
    let list = async |tenant: TenantId, tools: &[(&str, &str)]| {
        store
            .mcp_listed(tenant, "s".to_owned(), listed(tools))
            .await
            .unwrap()
    };
    let approve = async |name: &str, digest: &str| {
        let approval = McpApproval {
            key: key(name),
            digest: Some(digest.to_owned()),
        };
        store
            .mcp_approve(TENANT, "s".to_owned(), vec![approval], Actor::Local)
            .await
    };
    assert_eq!(approve("a", "1").await.unwrap_err(), StoreError::NotFound);
    let first = list(TENANT, &[("a", "1"), ("b", "1")]).await;
    assert_eq!(
        first,
        list(TENANT, &[("b", "1"), ("a", "1")]).await,
        "listed again, nothing changes"
    );
    let second = list(TENANT, &[("a", "2"), ("c", "1")]).await;
    assert_eq!(
        states(&second),
        [
            ("a", McpPinState::Changed),
            ("b", McpPinState::Gone),
            ("c", McpPinState::New)
        ]
    );
    assert!(matches!(
        approve("a", "1").await.unwrap_err(),
        StoreError::McpRefused(_)
    ));
    let approved = approve("a", "2").await.unwrap();
    assert_eq!(states(&approved)[0], ("a", McpPinState::Approved));
    assert_eq!(
        approve("a", "2").await.unwrap(),
        approved,
        "approved again, nothing changes"
    );
    assert_eq!(
        store.mcp_servers(TENANT).await.unwrap(),
        [("s".to_owned(), approved)]
    );

    // Another tenant's server of the name is another one.
    assert!(store.mcp_servers(OTHER).await.unwrap().is_empty());
    let other = list(OTHER, &[("a", "9")]).await;
    assert_eq!(states(&other), [("a", McpPinState::Approved)]);
    let of_others = store
        .mcp_approve(OTHER, "t".to_owned(), Vec::new(), Actor::Local)
        .await;
    assert_eq!(of_others.unwrap_err(), StoreError::NotFound);
}

#[tokio::test]
async fn sqlite_pins_what_servers_list() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = crate::sqlite::open_in(dir.path(), |_| {}).unwrap();
    check(Arc::clone(&store) as _).await;
    let before = store.mcp_servers(TENANT).await.unwrap();
    store.close();
    drop(store);
    let (_, store) = crate::sqlite::open_in(dir.path(), |_| {}).unwrap();
    assert_eq!(
        store.mcp_servers(TENANT).await.unwrap(),
        before,
        "it is on disk"
    );
}

#[tokio::test]
async fn memory_pins_what_servers_list() {
    let clock = crate::world::TestClock::new();
    let options = ops_memory::Options::new(clock);
    check(Arc::new(ops_memory::MemoryStore::new(options))).await;
}
