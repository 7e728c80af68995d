//! Faults of the endpoint, made by aimock, on every surface: each task comes through, with the right
//! usage.

use std::time::Duration;

use ops_testkit::{Aimock, Http, require_aimock, wait_until};
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
    wire::{SURFACES, WireSurface},
};

/// The goals by fault, and whether a try that failed so may have been charged by the provider.
const FAULTS: [(&str, bool); 6] = [
    ("limited", false),
    ("failing", false),
    ("throttled", false),
    ("dropped", false),
    ("garbled", true),
    ("gone", true),
];

/// The first request for each goal fails in its own way, the second is answered.
fn fixtures() -> Value {
    let good = json!({"content": "through", "usage":
        {"prompt_tokens": 40, "completion_tokens": 7, "total_tokens": 47}});
    let first = |goal: &str| json!({"userMessage": goal, "sequenceIndex": 0});
    let error = |status: u16, kind: &str| json!({"error": {"message": "no", "type": kind}, "status": status});
    let mut limit = error(429, "rate_limit_error");
    limit["retryAfter"] = 1.into();
    let mut fixtures = vec![
        json!({"match": first("limited"), "response": limit}),
        json!({"match": first("failing"), "response": error(500, "server_error")}),
        json!({"match": first("throttled"), "response": good, "chaos": {"rateLimitRate": 1}}),
        json!({"match": first("dropped"), "response": good, "chaos": {"dropRate": 1}}),
        json!({"match": first("garbled"), "response": good, "chaos": {"malformedRate": 1}}),
        json!({"match": first("gone"), "response": good, "chaos": {"disconnectRate": 1}}),
        // The connection is cut in mid-stream, after some words.
        json!({"match": first("cut"), "latency": 30, "truncateAfterChunks": 3, "response":
            {"content": "many words, of which some are lost on the way, and so none counts at all"}}),
        // The same after some time.
        json!({"match": first("late"), "latency": 40, "disconnectAfterMs": 100, "response":
            {"content": "many words, of which some are lost on the way, and so none counts at all"}}),
        // Slow is no fault.
        json!({"match": {"userMessage": "slow"}, "response": good, "chaos": {"latencyMs": 300}}),
    ];
    for goal in FAULTS
        .map(|(goal, _)| goal)
        .into_iter()
        .chain(["cut", "late"])
    {
        fixtures
            .push(json!({"match": {"userMessage": goal, "sequenceIndex": 1}, "response": good}));
    }
    json!({"fixtures": fixtures})
}

/// One task that meets a fault and comes through.
async fn comes_through(http: &Http, id: &str, charged: bool) {
    let task = tasks::ended(http, id).await;
    assert_eq!(task["status"], "completed", "{task:#}");
    assert_eq!(task["result"]["answer"], "through");
    assert_eq!(
        task["attempt"], 1,
        "another try is no other attempt of the task"
    );
    assert_eq!(
        tasks::tokens(&task),
        (40, 7),
        "only what was reported: {task:#}"
    );
    let failed = tasks::events(http, id, "model.failed").await;
    assert_eq!(failed.len(), 1, "the fault landed once: {failed:#?}");
    let reserved = failed[0]["charged_tokens"].as_u64().unwrap();
    assert_eq!(reserved > 0, charged, "{failed:#?}");
    let steps = tasks::steps(http, id).await;
    let models: Vec<_> = steps
        .iter()
        .filter(|step| step["kind"] == "model")
        .collect();
    assert_eq!(
        (models.len(), &models[0]["attempt"]),
        (1, &json!(2)),
        "{steps:#?}"
    );
}

async fn every_fault(surface: WireSurface, stream: &str) {
    let Some(path) = require_aimock() else { return };
    let mock = Aimock::start(&path, &fixtures(), &[]).await.unwrap();
    let test_dir = TestDir::new();
    let server = surface.dev(&test_dir, &mock, stream).start().await.unwrap();
    let http = server.http();
    let cut = [("cut", true), ("late", true)];
    let cut = cut.into_iter().filter(|_| stream == "true");
    let slow = tasks::agent(http, "slow").await;
    let mut sent = Vec::new();
    for (goal, charged) in FAULTS.into_iter().chain(cut) {
        sent.push((tasks::agent(http, goal).await, charged));
    }
    for (id, charged) in &sent {
        comes_through(http, id, *charged).await;
    }
    assert_eq!(tasks::answer(http, &slow).await, "through");
    let failed = tasks::events(http, &slow, "model.failed").await;
    assert_eq!(failed.len(), 0, "{failed:#?}");
    assert_calm(&server);
}

#[tokio::test]
#[ignore = "needs aimock: run by cargo xtask test"]
async fn every_fault_is_come_through_streamed() {
    for surface in SURFACES {
        every_fault(surface, "true").await;
    }
}

#[tokio::test]
#[ignore = "needs aimock: run by cargo xtask test"]
async fn every_fault_is_come_through_not_streamed() {
    for surface in SURFACES {
        every_fault(surface, "false").await;
    }
}

/// When aimock took requests with this goal, in milliseconds since 1970.
async fn seen_at(surface: &WireSurface, mock: &Aimock, goal: &str) -> Vec<i64> {
    let journal = surface.seen(mock).await;
    let of_goal = |entry: &&Value| entry["body"]["messages"][0]["content"] == goal;
    let of_goal = journal.iter().filter(of_goal);
    of_goal
        .map(|entry| entry["timestamp"].as_i64().unwrap())
        .collect()
}

#[tokio::test]
#[ignore = "needs aimock: run by cargo xtask test"]
async fn a_task_that_waits_for_its_provider_leaves_its_place_to_another() {
    let Some(path) = require_aimock() else { return };
    let fixtures = json!({"fixtures": [
        {"match": {"userMessage": "limited", "sequenceIndex": 0}, "response": {"error":
            {"message": "slow down", "type": "rate_limit_error"}, "status": 429, "retryAfter": 2}},
        {"match": {"userMessage": "limited", "sequenceIndex": 1}, "response": {"content": "late"}},
        {"match": {"userMessage": "other"}, "response": {"content": "meanwhile"}},
    ]});
    let mock = Aimock::start(&path, &fixtures, &[]).await.unwrap();
    let test_dir = TestDir::new();
    let surface = &SURFACES[0];
    let server = surface
        .dev(&test_dir, &mock, "true")
        .env("OPSPAWN_CONCURRENCY", "1")
        .start()
        .await
        .unwrap();
    let http = server.http();
    let limited = tasks::agent(http, "limited").await;
    let refused = || async { (seen_at(surface, &mock, "limited").await.len() == 1).then_some(()) };
    wait_until("the refusal", Duration::from_secs(10), refused)
        .await
        .unwrap();

    let other = tasks::agent(http, "other").await;
    assert_eq!(tasks::answer(http, &other).await, "meanwhile");
    let waiting = tasks::get(http, &limited).await;
    assert_eq!(waiting["state"], "waiting", "{waiting:#}");
    assert_eq!(
        (&waiting["status"], &waiting["state_detail"]["on"]),
        (&json!("running"), &json!("timer"))
    );
    assert_eq!(tasks::answer(http, &limited).await, "late");

    let asked = seen_at(surface, &mock, "limited").await;
    assert_eq!(asked.len(), 2, "{asked:?}");
    let gap = asked[1] - asked[0];
    assert!((2_000..4_000).contains(&gap), "asked again after {gap} ms");
    let between = seen_at(surface, &mock, "other").await;
    assert!(
        between.len() == 1 && between[0] < asked[1],
        "{between:?} {asked:?}"
    );
}
