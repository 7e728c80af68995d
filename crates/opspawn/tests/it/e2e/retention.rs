//! `[retention]` and `opspawn retention`.

use std::time::Duration;

use ops_testkit::{Http, wait_until};
use serde_json::json;

use super::{
    place::{Place, assert_calm},
    tasks,
};

const PATIENCE: Duration = Duration::from_secs(30);

async fn until_gone(http: &Http, id: &str) {
    let gone = || async {
        let reply = http.get(&format!("/api/v1/tasks/{id}")).await.ok()?;
        (reply.status.as_u16() == 404).then_some(())
    };
    wait_until("a task to be deleted", PATIENCE, gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_deletes_what_its_configuration_says() {
    let place = Place::new();
    std::fs::create_dir_all(place.data()).unwrap();
    std::fs::write(
        place.data().join("opspawn.toml"),
        "[retention]\ncompleted = \"1s\"\n",
    )
    .unwrap();
    let server = place.server().await;
    let example = place
        .cli(&["run", "--example", "report", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    let id = tasks::id(&example);
    let folder = place.data().join("workspaces").join(&id);
    // The newest task stays; this one is older than the next.
    let failing = json!({"task_type": "agent_run", "input_data": {"prompt": "x",
        "agent_config": {"script": "[[turn]]\nerror = \"invalid_request\"\n"}}});
    let failed = tasks::submit(server.http(), &failing).await;
    until_gone(server.http(), &id).await;
    let removed = || async { (!folder.exists()).then_some(()) };
    wait_until("its folder to be removed", PATIENCE, removed)
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
    let place = Place::new();
    let server = place.server().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(tasks::id(&tasks::run(server.http(), "hello").await));
    }
    let unset = place.cli(&["retention", "run"]).run().await.ends(2);
    unset.says(&["kept for ever", "retention.completed"]);
    let show = place.cli(&["retention", "show"]).run().await.ends(0);
    assert!(show.stdout.contains("ever"), "{show:#?}");
    let wrong = place
        .cli(&["retention", "run", "--completed", "soon"])
        .run()
        .await
        .ends(2);
    wrong.says(&["--completed", "`soon` is not a duration like 500ms"]);

    let dry = place
        .cli(&["retention", "run", "--dry-run", "--completed", "0s"])
        .run()
        .await
        .ends(0);
    assert!(
        dry.stdout.contains("completed 2 would be deleted"),
        "{dry:#?}"
    );
    let all = place
        .cli(&["task", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(all["total"], 3);
    let args = ["retention", "run", "--completed", "0s", "--json"];
    let done = place.cli(&args).run().await.ends(0).json();
    assert_eq!(
        (&done["tasks"], &done["dry_run"]),
        (&json!({"completed": 2}), &json!(false))
    );
    for id in &ids[..2] {
        place
            .cli(&["task", "get", id])
            .run()
            .await
            .ends(2)
            .says(&["there is no task"]);
    }
    place.cli(&["task", "get", &ids[2]]).run().await.ends(0);
    assert_calm(&server);
}
