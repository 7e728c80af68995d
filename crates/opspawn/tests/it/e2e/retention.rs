//! `[retention]` and `opspawn retention`.

use std::time::Duration;

use ops_testkit::{Http, wait_until};
use serde_json::json;

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

const TIMEOUT: Duration = Duration::from_secs(30);

async fn until_gone(http: &Http, id: &str) {
    let gone = || async {
        let reply = http.get(&format!("/api/v1/tasks/{id}")).await.ok()?;
        (reply.status.as_u16() == 404).then_some(())
    };
    wait_until("a task to be deleted", TIMEOUT, gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_deletes_what_its_configuration_says() {
    let test_dir = TestDir::new();
    std::fs::create_dir_all(test_dir.data()).unwrap();
    std::fs::write(
        test_dir.data().join("opspawn.toml"),
        "[retention]\ncompleted = \"1s\"\n",
    )
    .unwrap();
    let server = test_dir.server().await;
    let example = test_dir
        .cli(&["run", "--example", "report", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    let id = tasks::id(&example);
    let folder = test_dir.data().join("workspaces").join(&id);
    // The newest task stays; this one is older than the next.
    let failing = json!({"task_type": "agent_run", "input_data": {"prompt": "x",
        "agent_config": {"script": "[[turn]]\nerror = \"invalid_request\"\n"}}});
    let failed = tasks::submit(server.http(), &failing).await;
    until_gone(server.http(), &id).await;
    let removed = || async { (!folder.exists()).then_some(()) };
    wait_until("its folder to be removed", TIMEOUT, removed)
        .await
        .unwrap();
    assert_eq!(
        tasks::ended(server.http(), &failed).await["status"],
        "failed"
    );
    assert_calm(&server);
}

#[tokio::test]
async fn a_run_deletes_what_its_dry_run_says() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(tasks::id(&tasks::run(server.http(), "hello").await));
    }
    let unset = test_dir.cli(&["retention", "run"]).run().await.ends(2);
    unset.says(&["kept for ever", "retention.completed"]);
    let show = test_dir.cli(&["retention", "show"]).run().await.ends(0);
    assert!(show.stdout.contains("ever"), "{show:#?}");
    let wrong = test_dir
        .cli(&["retention", "run", "--completed", "soon"])
        .run()
        .await
        .ends(2);
    wrong.says(&["--completed", "`soon` is not a duration like 500ms"]);

    let dry = test_dir
        .cli(&["retention", "run", "--dry-run", "--completed", "0s"])
        .run()
        .await
        .ends(0);
    assert!(
        dry.stdout.contains("completed 2 would be deleted"),
        "{dry:#?}"
    );
    let all = test_dir
        .cli(&["task", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(all["total"], 3);
    let args = ["retention", "run", "--completed", "0s", "--json"];
    let done = test_dir.cli(&args).run().await.ends(0).json();
    assert_eq!(
        (&done["tasks"], &done["dry_run"]),
        (&json!({"completed": 2}), &json!(false))
    );
    for id in &ids[..2] {
        test_dir
            .cli(&["task", "get", id])
            .run()
            .await
            .ends(2)
            .says(&["there is no task"]);
    }
    test_dir.cli(&["task", "get", &ids[2]]).run().await.ends(0);
    assert_calm(&server);
}
