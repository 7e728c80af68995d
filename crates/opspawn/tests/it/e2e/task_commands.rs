//! `opspawn task` and `opspawn reconcile ls`: with a server found through the data folder, with one
//! that was named, and with none.

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

/// How the command line finds its tasks.
#[derive(Clone, Copy, PartialEq)]
enum Found {
    /// A server runs on the data folder, whose lock names it.
    ByLock,
    /// A server is named by `OPSPAWN_URL`; the data folder is another one.
    ByUrl,
    /// Nothing runs.
    Embedded,
}

/// Every command once, as text and as JSON.
async fn every_command(found: Found) {
    let test_dir = TestDir::new();
    let elsewhere = TestDir::new();
    let mut server = test_dir.server().await;
    let http = server.http().clone();
    let url = http.base();
    let done = tasks::id(&tasks::run(&http, "say hello").await);
    let body = serde_json::json!({"task_type": "agent_run", "name": "later",
        "input_data": {"prompt": "wait"}, "run_at": "2099-01-01T00:00:00Z"});
    let later = tasks::submit(&http, &body).await;
    if found == Found::Embedded {
        assert!(
            server
                .stop(std::time::Duration::from_secs(10))
                .await
                .unwrap()
                .success()
        );
    }
    let cli = |args: &[&str]| match found {
        Found::ByLock | Found::Embedded => test_dir.cli(args),
        Found::ByUrl => elsewhere.cli(args).env("OPSPAWN_URL", &url),
    };

    let ls = cli(&["task", "ls"]).run().await.ends(0);
    assert!(
        ls.stdout.contains(&done) && ls.stdout.contains(&later),
        "{ls:#?}"
    );
    assert!(ls.stdout.contains("2 of 2 tasks") && ls.stdout.contains("say hello"));
    let page = cli(&["task", "ls", "--json", "--state", "completed"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(
        (
            &page["tasks"][0]["task_id"],
            page["tasks"].as_array().unwrap().len()
        ),
        (&done.as_str().into(), 1)
    );

    let end = &done[done.len() - 8..];
    let by_end = cli(&["task", "get", end, "--json"]).run().await.ends(0);
    assert_eq!(by_end.json()["task_id"], done.as_str());
    for verb in ["get", "watch", "cancel", "logs"] {
        let empty = cli(&["task", verb, ""]).run().await.ends(2);
        empty.says(&["the id of a task is empty"]);
        let short = cli(&["task", verb, "task_01"]).run().await.ends(2);
        short.says(&["too short"]);
    }
    let get = cli(&["task", "get", &done]).run().await.ends(0);
    assert!(get.stdout.contains("state     completed"), "{get:#?}");
    assert_eq!(
        cli(&["task", "get", &done, "--json"])
            .run()
            .await
            .ends(0)
            .json()["task_id"],
        done.as_str()
    );

    let watch = cli(&["task", "watch", &done]).run().await.ends(0);
    assert!(watch.stdout.contains("state     completed"), "{watch:#?}");
    let events = cli(&["task", "watch", "--json", &done])
        .run()
        .await
        .ends(0)
        .json_lines();
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        (kinds[0], *kinds.last().unwrap()),
        ("task.submitted", "task.completed")
    );
    let numbers: Vec<_> = events
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert!(
        numbers.iter().copied().eq(1..=numbers.len() as u64),
        "{numbers:?}"
    );

    let logs = cli(&["task", "logs", &done]).run().await.ends(0);
    assert!(logs.stdout.contains("scripted/echo"), "{logs:#?}");
    let steps = cli(&["task", "logs", "--json", &done])
        .run()
        .await
        .ends(0)
        .json_lines();
    assert_eq!((steps.len(), steps[0]["kind"].as_str()), (1, Some("model")));

    let cancel = cli(&["task", "cancel", &later]).run().await.ends(0);
    assert!(cancel.stdout.contains("state     cancelled"), "{cancel:#?}");
    let again = cli(&["task", "cancel", &done]).run().await.ends(2);
    again.says(&["the task is completed", "opspawn task retry"]);
    let retry = cli(&["task", "retry", "--json", &done])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(retry["retry_of"], done.as_str());
    let new = tasks::id(&retry);
    cli(&["task", "watch", &new]).run().await.ends(0);
    cli(&["task", "watch", &later]).run().await.ends(3);

    let open = cli(&["reconcile", "ls"]).run().await.ends(0);
    assert!(open.stdout.contains("TASK"), "{open:#?}");
    let open = cli(&["reconcile", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    let none = serde_json::json!({"reconciliations": [], "next_cursor": null});
    assert_eq!(open, none);
    if found == Found::ByUrl {
        assert!(
            !elsewhere.data().exists(),
            "a named server needs no folder here"
        );
    }
    assert_calm(&server);
}

#[tokio::test]
async fn with_a_server_on_the_data_folder() {
    every_command(Found::ByLock).await;
}

#[tokio::test]
async fn with_a_server_that_is_named() {
    every_command(Found::ByUrl).await;
}

#[tokio::test]
async fn without_a_server() {
    every_command(Found::Embedded).await;
}

#[tokio::test]
async fn run_uses_the_running_server_and_the_same_key_finds_the_same_task() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let run = |goal: &'static str| {
        test_dir
            .cli(&["run", goal, "--detach", "--idempotency-key", "k1"])
            .run()
    };
    let first = run("hello").await.ends(0).stdout;
    assert_eq!(run("hello").await.ends(0).stdout, first);
    run("another").await.ends(2).says(&["idempotency key"]);
    let id = first.trim();
    assert!(tasks::answer(server.http(), id).await.contains("hello"));
    let all = test_dir.cli(&["task", "ls", "--json"]).run().await.json();
    assert_eq!(all["total"], 1);
    assert_calm(&server);
}
