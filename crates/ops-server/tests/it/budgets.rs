//! Budgets.

use std::sync::Arc;

use ops_core::{
    budget::{Budget, Most, Period},
    provider::{ProviderKey, ProviderLimit},
};
use serde_json::json;

use crate::harness::App;

/// The budgets of each test's server.
pub(crate) fn configured() -> Vec<Budget> {
    let budget = |name: &str, period, most| Budget {
        name: name.to_owned(),
        period,
        most,
        agent: None,
        labels: [("team".to_owned(), "blue".to_owned())].into(),
    };
    vec![
        budget(
            "all",
            Period::Total,
            Most {
                tokens: Some(1_000),
                cost_micros: None,
            },
        ),
        budget(
            "daily",
            Period::Day,
            Most {
                tokens: None,
                cost_micros: Some(2_500_000),
            },
        ),
    ]
}

/// A provider that no test calls.
pub(crate) fn providers() -> Vec<Arc<ProviderLimit>> {
    vec![Arc::new(ProviderLimit {
        provider: "openai".to_owned(),
        key: ProviderKey([3; 32]),
        requests: Some(60),
        tokens: None,
    })]
}

#[tokio::test]
async fn the_line_before_a_provider_is_measured() {
    let app = App::start().await;
    let metrics = app.get("/metrics").await.text();
    assert!(
        metrics.contains("opspawn_provider_line_seconds{provider=\"openai\"} 0"),
        "{metrics}"
    );
    assert!(
        metrics.contains("opspawn_provider_waits_total 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn budgets_are_listed_with_what_is_used_and_left() {
    let app = App::start().await;
    let listed = app.get("/api/v1/budgets").await.json();
    let budgets = listed["budgets"].as_array().unwrap();
    assert_eq!(budgets.len(), 2);
    let all = &budgets[0];
    assert_eq!(all["name"], "all");
    assert_eq!(all["period"], "total");
    assert_eq!(all["labels"], json!({"team": "blue"}));
    assert_eq!(
        all["tokens"],
        json!({"most": 1000, "used": 0, "under_way": 0, "left": 1000})
    );
    assert_eq!(
        all["cost_usd"],
        json!({"most": null, "used": 0.0, "under_way": 0.0, "left": null})
    );
    assert_eq!(all["until"], json!(null));
    let daily = &budgets[1];
    assert_eq!(daily["cost_usd"]["left"], 2.5);
    let [since, until] = ["since", "until"].map(|key| daily[key].as_str().unwrap());
    assert!(since.ends_with("T00:00:00.000Z"), "{since}");
    assert!(until > since, "{until}");
}
