use std::time::Duration;

use ops_testkit::{DataDir, Ledger};
use serde_json::{Value, json};

fn effect(key: &str) -> Value {
    json!({"task": "task_1", "step": 2, "key": key, "tool": "ledger_write", "effect": "write"})
}

async fn write(ledger: &Ledger, key: &str) -> Value {
    ledger
        .http()
        .post("/effect", &effect(key))
        .await
        .unwrap()
        .ok()
        .unwrap()
        .json()
        .unwrap()
}

#[tokio::test]
async fn an_effect_that_runs_twice_is_counted() {
    let data = DataDir::new().unwrap();
    let log = data.join("ledger.log");
    let mut ledger = Ledger::start(&log, &[]).await.unwrap();
    assert!(ledger.url().ends_with("/effect"));
    assert_eq!(write(&ledger, "a").await, json!({"ok": true, "n": 1}));
    assert_eq!(write(&ledger, "b").await, json!({"ok": true, "n": 1}));
    assert_eq!(write(&ledger, "a").await, json!({"ok": true, "n": 2}));
    ledger.process().sigkill().unwrap();

    let ledger = Ledger::start(&log, &[]).await.unwrap();
    assert_eq!(
        write(&ledger, "a").await["n"],
        3,
        "counts go on after a restart"
    );
    let effects = ledger.effects().unwrap();
    let seen: Vec<_> = effects
        .iter()
        .map(|effect| (effect.key.as_str(), effect.n))
        .collect();
    assert_eq!(seen, [("a", 1), ("b", 1), ("a", 2), ("a", 3)]);
    assert_eq!(
        (&effects[0].task, &effects[0].step),
        (&json!("task_1"), &json!(2))
    );
    assert!(effects.is_sorted_by_key(|effect| effect.mono_us));
}

#[tokio::test]
async fn the_effect_is_there_before_the_answer() {
    let data = DataDir::new().unwrap();
    let ledger = Ledger::start(data.join("l"), &["--latency-ms", "60000"])
        .await
        .unwrap();
    let late = tokio::time::timeout(Duration::from_millis(150), write(&ledger, "a")).await;
    assert!(late.is_err());
    assert_eq!(ledger.effects().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_effect_is_refused_and_not_written() {
    let data = DataDir::new().unwrap();
    let ledger = Ledger::start(data.join("l"), &[]).await.unwrap();
    let reply = ledger
        .http()
        .post("/effect", &json!({"task": 1}))
        .await
        .unwrap();
    assert_eq!(reply.status.as_u16(), 400, "{}", reply.text());
    assert_eq!(ledger.effects().unwrap(), []);
}
