//! Chains of models, limits on cost, and what `doctor` says of models.

use ops_testkit::{Aimock, require_aimock};
use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

/// One mock for two providers: it tells their models apart.
async fn mock() -> Option<Aimock> {
    let path = require_aimock()?;
    let error = |status: u16, kind: &str| json!({"error": {"message": "no", "type": kind}, "status": status});
    let usage = json!({"prompt_tokens": 40, "completion_tokens": 7, "total_tokens": 47});
    let fixtures = json!({"fixtures": [
        {"match": {"model": "claude-opus-5-5", "userMessage": "quota"},
            "response": error(402, "billing_error")},
        {"match": {"model": "claude-opus-5-5", "userMessage": "broken"},
            "response": error(500, "api_error")},
        {"match": {"model": "claude-opus-5-5"}, "response": {"content": "first", "usage": usage}},
        {"match": {"model": "gpt-5"}, "response": {"content": "second", "usage": usage}},
        {"match": {"model": "nameless"}, "response": {"content": "third", "usage": usage}},
    ]});
    Some(Aimock::start(&path, &fixtures, &[]).await.unwrap())
}

/// The settings of both providers.
fn settings(mock: &Aimock) -> [(&'static str, String); 7] {
    [
        ("ANTHROPIC_BASE_URL", mock.http().base()),
        ("ANTHROPIC_API_KEY", "sk-ant-secret".to_owned()),
        ("OPENAI_BASE_URL", mock.openai()),
        ("OPSPAWN_PROVIDER", "anthropic".to_owned()),
        ("OPSPAWN_MODEL", "claude-opus-5-5".to_owned()),
        ("OPSPAWN_MODEL_FALLBACK", "openai/gpt-5".to_owned()),
        ("OPSPAWN_MODEL_TRIES", "1".to_owned()),
    ]
}

#[tokio::test]
#[ignore = "needs aimock: run by cargo xtask test"]
async fn where_a_model_cannot_go_on_the_next_one_does_and_the_log_says_so() {
    let Some(mock) = mock().await else { return };
    let test_dir = TestDir::new();
    let launch = settings(&mock)
        .into_iter()
        .fold(test_dir.dev(), |dev, (k, v)| dev.env(k, v));
    let server = launch.start().await.unwrap();
    let http = server.http();
    for (goal, answer, code) in [
        ("easy", "first", None),
        ("quota", "second", Some("model_quota_exceeded")),
        ("broken", "second", Some("model_server_error")),
    ] {
        let task = tasks::run(http, goal).await;
        assert_eq!(task["result"]["answer"], answer, "{task:#}");
        assert_eq!(task["attempt"], 1);
        let id = tasks::id(&task);
        let failed = tasks::events(http, &id, "model.failed").await;
        assert_eq!(failed.len(), usize::from(code.is_some()), "{failed:#?}");
        if let Some(code) = code {
            assert_eq!(failed[0]["error"]["code"], code);
            assert_eq!(failed[0]["fallback"], "openai/gpt-5");
        }
    }
    // Who names a chain gets that one.
    let body = json!({"task_type": "agent_run", "input_data": {"goal": "quota",
        "agent_config": {"model": ["openai/gpt-5", "anthropic/claude-opus-5-5"]}}});
    let id = tasks::submit(http, &body).await;
    assert_eq!(tasks::answer(http, &id).await, "second");
    assert!(tasks::events(http, &id, "model.failed").await.is_empty());
}

/// A task of one model with a limit on its cost.
fn limited(model: &str, max_cost_usd: f64) -> Value {
    json!({"task_type": "agent_run", "limits": {"max_cost_usd": max_cost_usd}, "input_data":
        {"goal": "easy", "agent_config": {"provider": "openai", "model": model}}})
}

#[tokio::test]
#[ignore = "needs aimock: run by cargo xtask test"]
async fn a_limit_on_cost_is_kept_before_the_call() {
    let Some(mock) = mock().await else { return };
    let test_dir = TestDir::new();
    let launch = settings(&mock)
        .into_iter()
        .fold(test_dir.dev(), |dev, (k, v)| dev.env(k, v));
    let server = launch.start().await.unwrap();
    let http = server.http();
    let task = tasks::submit(http, &limited("gpt-5", 0.5)).await;
    let task = tasks::ended(http, &task).await;
    assert_eq!(task["result"]["answer"], "second", "{task:#}");
    assert_eq!(task["limits"]["max_cost_usd"], 0.5);
    assert_eq!(task["usage"]["cost_usd"], 0.000_12);
    let asked = mock.requests("/v1/responses").await.unwrap().len();

    let id = tasks::submit(http, &limited("gpt-5", 0.000_001)).await;
    let task = tasks::ended(http, &id).await;
    assert_eq!(task["error"]["code"], "cost_limit", "{task:#}");
    let id = tasks::submit(http, &limited("nameless", 0.5)).await;
    let task = tasks::ended(http, &id).await;
    assert_eq!(task["error"]["code"], "unknown_price", "{task:#}");
    let message = task["error_message"].as_str().unwrap();
    assert!(
        message.contains("[models.\"openai/nameless\"]"),
        "{message}"
    );
    assert_eq!(mock.requests("/v1/responses").await.unwrap().len(), asked);
    assert!(
        mock.requests("/v1/chat/completions")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
#[ignore = "needs aimock: run by cargo xtask test"]
async fn a_row_of_the_users_gives_a_model_its_price_and_its_surface() {
    let Some(mock) = mock().await else { return };
    let test_dir = TestDir::new();
    std::fs::create_dir_all(test_dir.data()).unwrap();
    let row = "[models.\"openai/nameless\"]\nsurface = 'responses'\n\
        prices = [{ input = 1_000_000, output = 10_000_000 }]\n";
    std::fs::write(test_dir.data().join("opspawn.toml"), row).unwrap();
    let launch = settings(&mock)
        .into_iter()
        .fold(test_dir.dev(), |dev, (k, v)| dev.env(k, v));
    let server = launch.start().await.unwrap();
    let id = tasks::submit(server.http(), &limited("nameless", 0.5)).await;
    let task = tasks::ended(server.http(), &id).await;
    assert_eq!(task["result"]["answer"], "third", "{task:#}");
    assert_eq!(task["usage"]["cost_usd"], 0.000_11);
    assert_eq!(mock.requests("/v1/responses").await.unwrap().len(), 1);
}

#[tokio::test]
async fn doctor_names_models_surfaces_and_keys_and_shows_no_key() {
    let test_dir = TestDir::new();
    let doctor = |variables: &[(&str, &str)]| {
        let doctor = test_dir
            .cli(&["doctor"])
            .env("OPSPAWN_LISTEN", "127.0.0.1:0");
        variables
            .iter()
            .fold(doctor, |doctor, (name, value)| doctor.env(name, *value))
            .run()
    };
    let ran = doctor(&[
        ("ANTHROPIC_API_KEY", "sk-ant-secret"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"),
        ("AGENTKIT_LLM_PROVIDER", "anthropic"),
        ("AGENTKIT_LLM_MODEL", "claude-opus-5-5"),
        ("OPSPAWN_MODEL_FALLBACK", "openai/gpt-5,openai/nameless"),
    ])
    .await
    .ends(0);
    for line in [
        "anthropic/claude-opus-5-5 on `messages` answers, with a key; its price is known",
        "openai/gpt-5 on `responses` stands by, without a key; its price is known",
        "openai/nameless on `chat` stands by, without a key; its price is not known",
    ] {
        assert!(ran.stdout.contains(line), "{line} in {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("secret"), "{}", ran.stdout);

    let ran = doctor(&[("GEMINI_API_KEY", "k")]).await;
    assert_ne!(ran.code, Some(0));
    assert!(ran.stdout.contains("set OPSPAWN_MODEL"), "{}", ran.stdout);
}
