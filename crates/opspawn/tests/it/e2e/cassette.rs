//! What models answer, recorded and played again by the built binary.

use ops_testkit::ModelStub;
use serde_json::json;

use super::test_dir::TestDir;

#[tokio::test]
async fn a_run_is_played_again_without_its_model_and_a_change_is_shown() {
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &[])
        .await
        .unwrap();
    let plan = json!({
        "plan": [{"tool": "calculator", "arguments": {"expression": "6*7"}}],
        "answer": "it is customer-17",
    });
    let goal = plan.to_string();
    let key = "a-key-that-nobody-may-see";
    let tape = |mode: &'static str, goal: &str| {
        test_dir
            .cli(&["run", goal])
            .env("OPSPAWN_CASSETTE", mode)
            .env("OPSPAWN_CASSETTE_PATH", test_dir.join("tape"))
            .env("OPSPAWN_CASSETTE_REDACT", r"customer-\d+")
            .env("OPSPAWN_PROVIDER", "openai")
            .env("OPSPAWN_MODEL", "gpt-4o-mini")
    };
    let recorded = tape("record", &goal)
        .env("OPENAI_BASE_URL", stub.base_url())
        .env("OPENAI_API_KEY", key)
        .run()
        .await
        .ends(0);
    assert_eq!(recorded.stdout.trim(), "it is customer-17");
    let mut kept = String::new();
    for file in std::fs::read_dir(test_dir.join("tape")).unwrap() {
        kept += &std::fs::read_to_string(file.unwrap().path()).unwrap();
    }
    assert!(
        kept.contains("it is [redacted]") && kept.contains("calculator"),
        "{kept}"
    );
    assert!(
        !kept.contains("customer-17") && !kept.contains(key),
        "{kept}"
    );

    drop(stub);
    let played = tape("replay", &goal).run().await.ends(0);
    assert_eq!(played.stdout.trim(), "it is [redacted]");
    played.says(&["no model is called: answers are replayed from the cassette"]);
    let changed = tape("replay", &goal.replace("6*7", "6*8")).run().await;
    changed
        .ends(3)
        .says(&["has no answer to this request", "6*7", "6*8"]);
    let nowhere = tape("replay", "x").env("OPSPAWN_CASSETTE_PATH", test_dir.join("none"));
    nowhere.run().await.ends(2).says(&["none cannot be used"]);
}
