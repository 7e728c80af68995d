//! MCP servers over REST: what is held, and who approves it.

use std::sync::Arc;

use ops_core::{
    Caller, Json, TenantId,
    mcp::{McpApproval, McpDefinition, McpKey, McpListed, McpPins},
    ports::{Fut, McpServerView, McpServers, McpStore, StoreError},
};
use serde_json::{Value, json};

use crate::harness::App;

/// One server, `github`, whose definitions are pinned in the store of the test.
pub(crate) struct TestServers(pub(crate) Arc<dyn McpStore>);

impl McpServers for TestServers {
    fn servers(&self, tenant: TenantId) -> Fut<'_, Result<Vec<McpServerView>, StoreError>> {
        Box::pin(async move {
            let known = self.0.mcp_servers(tenant).await?;
            let pins = known.into_iter().find(|(name, _)| name == "github");
            Ok(vec![view(pins.map(|(_, pins)| pins))])
        })
    }

    fn approve<'a>(
        &'a self,
        caller: Caller,
        server: &'a str,
        approvals: Vec<McpApproval>,
    ) -> Fut<'a, Result<Option<McpServerView>, StoreError>> {
        Box::pin(async move {
            if server != "github" {
                return Ok(None);
            }
            let approved =
                self.0
                    .mcp_approve(caller.tenant, server.to_owned(), approvals, caller.actor);
            Ok(Some(view(Some(approved.await?))))
        })
    }
}

fn view(pins: Option<McpPins>) -> McpServerView {
    McpServerView {
        name: "github".to_owned(),
        source: "github".to_owned(),
        transport: "stdio".to_owned(),
        place: "github-mcp".to_owned(),
        // Before its first list it starts, so that other tests are warned of nothing.
        status: if pins.is_some() { "away" } else { "starting" }.to_owned(),
        reason: pins.is_some().then(|| "it left".to_owned()),
        info: Some("github 1".to_owned()),
        protocol: Some("2025-11-25".to_owned()),
        unusable: vec![("odd".to_owned(), "it has no name".to_owned())],
        notes: vec!["a note".to_owned()],
        pins,
        calls: [5, 3, 1],
    }
}

/// The digest of a definition that these tests list.
pub(crate) fn digest(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// Has `github` list these tools.
pub(crate) async fn list(app: &App, tools: &[(&str, char)]) {
    let definition = |digit: char| McpDefinition {
        digest: digest(digit),
        raw: Json::from(&json!({"description": digit.to_string()})),
    };
    let key = |name: &str| McpKey {
        kind: "tool".to_owned(),
        name: name.to_owned(),
    };
    let listed = McpListed {
        identity: "i".to_owned(),
        era: "legacy".to_owned(),
        definitions: tools
            .iter()
            .map(|(name, digit)| (key(name), definition(*digit)))
            .collect(),
        is_partial: false,
    };
    app.store
        .mcp_listed(TenantId::DEFAULT, "github".to_owned(), listed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_held_definition_is_shown_and_approved() {
    let app = App::start().await;
    list(&app, &[("a", '1')]).await;
    list(&app, &[("a", '2'), ("b", '3')]).await;
    let server: Value = app.get("/api/v1/mcp/servers/github").await.json();
    assert_eq!(
        (&server["approved"], &server["held"]),
        (&json!(0), &json!(2)),
        "{server:#}"
    );
    let definition = &server["definitions"][0];
    assert_eq!(definition["state"], "changed");
    assert_eq!(
        definition["approved"]["definition"],
        json!({"description": "1"})
    );
    assert_eq!(
        definition["listed"]["definition"],
        json!({"description": "2"})
    );

    let approve = "/api/v1/mcp/servers/github/approve";
    let old = app
        .post(approve, &json!({"name": "a", "digest": digest('9')}))
        .await;
    assert_eq!(
        (old.status, &old.json()["code"]),
        (409, &json!("mcp_definition_changed"))
    );
    let approved = app
        .post(approve, &json!({"name": "a", "digest": digest('2')}))
        .await;
    let approved: Value = approved.json();
    assert_eq!(
        (&approved["approved"], &approved["held"]),
        (&json!(1), &json!(1)),
        "{approved:#}"
    );
    assert_eq!(approved["definitions"][0]["approved_by"], "local");

    let ready: Value = app.get("/ready").await.json();
    let warnings = ready["warnings"].to_string();
    assert!(warnings.contains("`github` is away: it left"), "{warnings}");
    assert!(
        warnings.contains("1 definition of the MCP server `github` is held"),
        "{warnings}"
    );
    let metrics = app.get("/metrics").await.text();
    for line in [
        "opspawn_mcp_server_ready{server=\"github\"} 0",
        "opspawn_mcp_held_definitions{server=\"github\"} 1",
        "opspawn_mcp_calls_total{server=\"github\",outcome=\"unknown\"} 1",
        "opspawn_mcp_calls_total{server=\"github\",outcome=\"failed\"} 2",
        "opspawn_mcp_calls_total{server=\"github\",outcome=\"completed\"} 2",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}
