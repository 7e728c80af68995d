//! Limits of providers: calls keep to them, and waiting tasks hold no worker.

use std::time::Duration;

use ops_testkit::ModelStub;
use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

/// The most requests of the stub's log within any span of so many microseconds.
pub(super) fn most_within(stub: &ModelStub, span: i64) -> usize {
    let requests = stub.requests().unwrap();
    let times: Vec<i64> = requests.iter().map(|request| request.wall_us).collect();
    let within = |start: &i64| {
        let in_span = times
            .iter()
            .filter(|at| (*start..start + span).contains(at));
        in_span.count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

/// 60 a minute: two calls at once, and then one each second. The one slot of the worker serves another task meanwhile.
#[tokio::test]
async fn tasks_wait_for_their_turn_without_a_worker() {
    let dir = TestDir::new();
    let stub = ModelStub::start(dir.join("model.log"), &[]).await.unwrap();
    let server = dir
        .dev()
        .env("OPENAI_BASE_URL", stub.base_url())
        .env("OPSPAWN_PROVIDER", "openai")
        .env("OPSPAWN_OPENAI_REQUESTS_PER_MINUTE", "60")
        .env("OPSPAWN_CONCURRENCY", "1");
    let server = server.start().await.unwrap();
    let http = server.http();
    let mut ids = Vec::new();
    for number in 0..6 {
        ids.push(
            tasks::agent(
                http,
                &json!({"key": number, "plan": [], "answer": "x"}).to_string(),
            )
            .await,
        );
    }
    let waiting = tasks::in_state(http, ids.last().unwrap(), &["waiting"]).await;
    let detail = &waiting["state_detail"];
    assert_eq!(
        (&detail["on"], &detail["limit"]),
        (&json!("budget"), &json!("openai.requests_per_minute")),
        "{waiting:#}"
    );
    assert!(detail["until"].is_string(), "{waiting:#}");
    // The slot is free while the others wait.
    let other = json!({"task_type": "agent_run", "input_data": {
        "prompt": "say it", "agent_config": {"provider": "scripted", "script": "[[turn]]\nanswer = 'done'\n"},
    }});
    let other = tasks::submit(http, &other).await;
    assert_eq!(tasks::answer(http, &other).await, "done");
    let last = tasks::in_state(http, ids.last().unwrap(), &["waiting", "completed"]).await;
    assert_eq!(last["state"], "waiting", "the others were faster");
    // Nobody has to do anything: the command follows the task to its end.
    let watch = dir.cli(&["task", "watch", ids.last().unwrap()]).run().await;
    watch.ends(0);
    for id in &ids {
        assert_eq!(tasks::ended(http, id).await["state"], "completed");
        // No task looked again before its turn, but for one that came a moment too early.
        let waits = tasks::events(http, id, "task.waiting").await.len();
        assert!(waits <= 2, "{waits} waits");
    }
    assert_eq!(stub.requests().unwrap().len(), 6);
    let second = i64::try_from(Duration::from_millis(900).as_micros()).unwrap();
    let most = most_within(&stub, second);
    assert!(most <= 3, "{most} calls within a second");
    let metrics = http
        .get("/metrics")
        .await
        .unwrap()
        .ok()
        .unwrap()
        .text()
        .to_owned();
    assert!(
        metrics.contains("opspawn_provider_line_seconds{provider=\"openai\"}"),
        "{metrics}"
    );
    let waited = metrics
        .lines()
        .find_map(|line| line.strip_prefix("opspawn_provider_waits_total "));
    assert!(waited.unwrap().parse::<u64>().unwrap() >= 4, "{waited:?}");
    let info: Value = http
        .get("/ready")
        .await
        .unwrap()
        .ok()
        .unwrap()
        .json()
        .unwrap();
    assert!(!info.to_string().contains("the provider"), "{info}");
}
