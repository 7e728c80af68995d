//! P20: a provider that counts what no call can have used.

use ops_testkit::{Answer, StandIn};
use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

/// One such answer used up a budget that never begins anew, and every task after it failed.
#[tokio::test]
async fn an_absurd_count_leaves_room_in_a_budget_without_a_window() {
    let answer = json!({
        "choices": [{"message": {"content": "four"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1_000_000_000_000_u64, "completion_tokens": 2},
    });
    let stand_in = StandIn::start(move |_| Answer::Whole(answer.to_string()))
        .await
        .unwrap();
    let test_dir = TestDir::new();
    std::fs::create_dir_all(test_dir.data()).unwrap();
    let text = "[budgets.all]\nperiod = 'total'\ntokens = 300_000\n";
    std::fs::write(test_dir.data().join("opspawn.toml"), text).unwrap();
    let base_url = format!("{}/v1", stand_in.url());
    let server = test_dir
        .dev()
        .env("OPENAI_BASE_URL", &base_url)
        .start()
        .await
        .unwrap();
    let http = server.http();
    let body = json!({"task_type": "agent_run", "input_data": {"prompt": "What is 2 + 2?"}});
    for _ in 0..3 {
        let id = tasks::submit(http, &body).await;
        assert_eq!(tasks::answer(http, &id).await, "four");
        let calls = tasks::events(http, &id, "model.completed").await;
        let [call] = &*calls else { panic!("{calls:?}") };
        let told = call.to_string();
        assert!(told.contains("claimed_usage"), "{told}");
        assert!(told.contains("1000000000000"), "{told}");
        let used = call["usage"]["input_tokens"].as_u64().unwrap();
        assert!((1..100_000).contains(&used), "{told}");
    }
    let metrics = http.get("/metrics").await.unwrap().text();
    let line = "opspawn_refused_usages_total 3";
    assert!(metrics.contains(line), "{metrics}");
    let ready = http.get("/ready").await.unwrap().ok().unwrap();
    let ready: Value = ready.json().unwrap();
    let part = ready["parts"]["models"].as_str().unwrap_or_default();
    assert!(part.ends_with(": 3"), "{ready:#}");
}
