//! A step whose outcome nobody knows, as the command line shows it: code 6, `reconcile`.

use std::time::Duration;

use ops_testkit::{Ledger, ModelStub, wait_until};
use serde_json::json;

use super::{tasks, test_dir::TestDir};

#[tokio::test]
async fn six_is_a_task_that_waits_for_a_decision() {
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &[])
        .await
        .unwrap();
    let ledger = Ledger::start(test_dir.join("ledger.jsonl"), &["--latency-ms", "10000"])
        .await
        .unwrap();
    let dev = test_dir.dev().env("OPENAI_BASE_URL", stub.base_url()).env(
        "OPSPAWN_TEST_LEDGER",
        ledger.url().trim_end_matches("/effect"),
    );
    let mut server = dev.start().await.unwrap();
    let plan =
        json!({"plan": [{"tool": "ledger_write", "arguments": {"key": "k"}}], "answer": "decided"});
    let id = tasks::agent(server.http(), &plan.to_string()).await;
    let written = || async { (ledger.effects().unwrap().len() == 1).then_some(()) };
    wait_until("the effect", Duration::from_secs(20), written)
        .await
        .unwrap();
    server.sigkill().unwrap();

    let server = dev.start().await.unwrap();
    tasks::in_state(server.http(), &id, &["waiting"]).await;
    let watch = test_dir.cli(&["task", "watch", &id]).run().await.ends(6);
    watch.says(&["opspawn reconcile ls"]);
    let open = test_dir
        .cli(&["reconcile", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    let open = &open["reconciliations"][0];
    assert_eq!(
        (&open["task_id"], &open["name"]),
        (&json!(id), &json!("ledger_write")),
        "{open:#}"
    );
    let step = open["step"].to_string();
    let table = test_dir.cli(&["reconcile", "ls"]).run().await.ends(0);
    assert!(
        table.stdout.contains(&id) && table.stdout.contains("ledger_write"),
        "{table:#?}"
    );

    test_dir
        .cli(&["reconcile", "resolve", &id, &step, "retry", "--output", "x"])
        .run()
        .await
        .ends(2);
    let done = test_dir
        .cli(&["reconcile", "resolve", &id, &step, "done"])
        .run()
        .await
        .ends(0);
    assert!(done.stdout.contains(&id), "{done:#?}");
    assert_eq!(tasks::answer(server.http(), &id).await, "decided");
    assert_eq!(ledger.effects().unwrap().len(), 1, "it did not run again");
    test_dir
        .cli(&["reconcile", "resolve", &id, &step, "done"])
        .run()
        .await
        .ends(2)
        .says(&["final"]);
}
