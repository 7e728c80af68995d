//! Commands at the same time in one folder, without a server (cli/C1): the one that comes first serves
//! the others, and those that it leaves behind go on by themselves.

use std::{process::Command, time::Duration};

use ops_testkit::{ModelStub, Process, Signal, Stream, wait_until};

use super::place::{Place, binary};

const PATIENCE: Duration = Duration::from_secs(40);

/// A `run` that is to be signalled: its process once it has a task, and the task's id.
async fn run(place: &Place, stub: &ModelStub, goal: &str) -> (Process, String) {
    let mut command = Command::new(binary());
    command
        .args(["run", goal])
        .env_clear()
        .env("HOME", place.join("home"))
        .env("OPSPAWN_DATA", place.data())
        .env("OPENAI_BASE_URL", stub.base_url());
    let task = |line: &str| line.strip_prefix("task ").map(str::to_owned);
    Process::start(command, Stream::Stderr, PATIENCE, task)
        .await
        .unwrap()
}

/// Waits until the model was asked so many times.
async fn asked(stub: &ModelStub, times: usize) {
    let asked = || async { (stub.requests().unwrap().len() >= times).then_some(()) };
    wait_until("model calls", PATIENCE, asked).await.unwrap();
}

/// A goal that takes so many model calls.
fn goal(name: &str, calls: usize) -> String {
    let call = serde_json::json!({"tool": "list_files", "arguments": {}});
    serde_json::json!({"key": name, "plan": vec![call; calls - 1], "answer": format!("{name} is done")})
        .to_string()
}

#[tokio::test]
async fn eight_examples_at_once_in_an_empty_folder_all_end_well() {
    let place = Place::new();
    let runs = (0..8).map(|_| {
        place
            .cli_without_a_script(&["run", "--example", "report"])
            .run()
    });
    for ran in futures_util::future::join_all(runs).await {
        let ran = ran.ends(0);
        assert!(
            ran.stdout.starts_with("The year to date comes to EUR "),
            "{ran:#?}"
        );
        assert!(!ran.stderr.contains("warn"), "{ran:#?}");
    }
    let page = place
        .cli(&["task", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(page["total"], 8);
    for task in page["tasks"].as_array().unwrap() {
        assert_eq!(task["state"], "completed", "{task:#}");
    }
}

#[tokio::test]
async fn any_command_uses_the_server_of_a_run() {
    let place = Place::new();
    let stub = ModelStub::start(place.join("stub.jsonl"), &["--latency-ms", "3000"])
        .await
        .unwrap();
    let (mut first, id) = run(&place, &stub, "first").await;
    let commands: [&[&str]; 3] = [&["task", "ls"], &["task", "get", &id], &["approval", "ls"]];
    let commands = commands.map(|args| place.cli(args).run());
    for ran in futures_util::future::join_all(commands).await {
        ran.ends(0);
    }
    assert!(
        first.exited().unwrap().is_none(),
        "the run was still under way"
    );
    assert!(first.wait_exit(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn a_run_whose_server_is_killed_takes_the_folder_over() {
    let place = Place::new();
    let stub = ModelStub::start(place.join("stub.jsonl"), &["--latency-ms", "1000"])
        .await
        .unwrap();
    let (mut first, other) = run(&place, &stub, &goal("first", 20)).await;
    let goal = goal("second", 3);
    let second = place
        .cli(&["run", &goal])
        .env("OPENAI_BASE_URL", stub.base_url());
    let second = tokio::spawn(second.run());
    let both = || async {
        let requests = stub.requests().unwrap();
        requests
            .iter()
            .any(|request| request.conversation == "second")
            .then_some(())
    };
    wait_until("the second run", PATIENCE, both).await.unwrap();
    first.sigkill().unwrap();
    let second = second.await.unwrap().ends(0);
    assert_eq!(second.stdout, "second is done\n");
    // The call that the first process had under way was made again by the second one.
    second.says(&["list_files("]);
    let task = place
        .cli(&["task", "get", "--json", &other])
        .run()
        .await
        .ends(0)
        .json();
    assert_ne!(task["status"], "failed", "{task:#}");
}

#[tokio::test]
async fn a_run_that_others_use_ends_after_them() {
    let place = Place::new();
    let stub = ModelStub::start(place.join("stub.jsonl"), &["--latency-ms", "500"])
        .await
        .unwrap();
    let (mut first, _) = run(&place, &stub, &goal("first", 2)).await;
    let goal = goal("second", 6);
    let second = place
        .cli(&["run", &goal])
        .env("OPENAI_BASE_URL", stub.base_url());
    let second = tokio::spawn(second.run());
    let says = || async {
        first
            .output()
            .contains("which ends with them")
            .then_some(())
    };
    wait_until("the first run to be done", PATIENCE, says)
        .await
        .unwrap();
    assert!(
        first.output().contains("first is done"),
        "the answer does not wait"
    );
    assert!(!second.is_finished());
    let second = second.await.unwrap().ends(0);
    assert_eq!(second.stdout, "second is done\n");
    assert!(first.wait_exit(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn interrupted_it_ends_at_once_and_the_others_go_on() {
    let place = Place::new();
    let stub = ModelStub::start(place.join("stub.jsonl"), &["--latency-ms", "500"])
        .await
        .unwrap();
    let (mut first, id) = run(&place, &stub, &goal("first", 30)).await;
    let goal = goal("second", 5);
    let second = place
        .cli(&["run", &goal])
        .env("OPENAI_BASE_URL", stub.base_url());
    let second = tokio::spawn(second.run());
    asked(&stub, 3).await;
    first.signal(Signal::INT).unwrap();
    let says = || async {
        first
            .output()
            .contains("which ends with them")
            .then_some(())
    };
    wait_until("the first run to wait", PATIENCE, says)
        .await
        .unwrap();
    first.signal(Signal::INT).unwrap();
    assert_eq!(first.wait_exit(PATIENCE).await.unwrap().code(), Some(130));
    let said = first.output();
    assert!(
        said.contains("interrupted: nothing works on the task any more")
            && said.contains(&format!("opspawn task cancel {id}")),
        "{said}"
    );
    assert_eq!(second.await.unwrap().ends(0).stdout, "second is done\n");
}

/// cli/C11: a later run went on with the interrupted task, and paid for it, without a word.
#[tokio::test]
async fn a_later_run_names_the_unfinished_tasks_that_go_on_with_it() {
    let place = Place::new();
    let stub = ModelStub::start(place.join("stub.jsonl"), &["--latency-ms", "500"])
        .await
        .unwrap();
    let (mut first, id) = run(&place, &stub, &goal("first", 30)).await;
    asked(&stub, 1).await;
    first.signal(Signal::INT).unwrap();
    assert_eq!(first.wait_exit(PATIENCE).await.unwrap().code(), Some(130));
    let later = place
        .cli(&["run", "hello"])
        .env("OPENAI_BASE_URL", stub.base_url());
    let says =
        format!("the unfinished task {id} goes on as well; `opspawn task cancel {id}` ends it");
    later.run().await.ends(0).says(&[&says]);
}

#[tokio::test]
async fn stop_ends_the_server_of_the_folder() {
    let place = Place::new();
    place
        .cli(&["stop"])
        .run()
        .await
        .ends(2)
        .says(&["no process has the data folder"]);
    let mut server = place.server().await;
    let ran = place
        .cli(&["dev", "--listen", "127.0.0.1:0"])
        .run()
        .await
        .ends(5);
    ran.says(&[
        "is in use by another process",
        &server.http().base(),
        "opspawn stop",
    ]);
    let ran = place.cli(&["stop", "--json"]).run().await.ends(0).json();
    assert_eq!(ran["stopped"], true);
    assert!(server.wait_exit(PATIENCE).await.unwrap().success());
}
