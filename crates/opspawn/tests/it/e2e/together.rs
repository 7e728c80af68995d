//! Commands at the same time in one folder, without a server (cli/C1): the one that comes first serves
//! the others, and those that it leaves behind go on by themselves.

use std::{process::Command, time::Duration};

use ops_testkit::{ModelStub, Process, Signal, Stream, wait_until};

use super::test_dir::{TestDir, binary};

const TIMEOUT: Duration = Duration::from_secs(40);

/// A `run` that is to be signalled: its process once it has a task, and the task's id.
async fn run(test_dir: &TestDir, stub: &ModelStub, goal: &str) -> (Process, String) {
    let mut command = Command::new(binary());
    command
        .args(["run", goal])
        .env_clear()
        .env("HOME", test_dir.join("home"))
        .env("OPSPAWN_DATA", test_dir.data())
        .env("OPENAI_BASE_URL", stub.base_url());
    let task = |line: &str| line.strip_prefix("task ").map(str::to_owned);
    Process::start(command, Stream::Stderr, TIMEOUT, task)
        .await
        .unwrap()
}

/// Waits until the model was asked so many times.
async fn asked(stub: &ModelStub, times: usize) {
    let asked = || async { (stub.requests().unwrap().len() >= times).then_some(()) };
    wait_until("model calls", TIMEOUT, asked).await.unwrap();
}

/// A goal that takes so many model calls.
fn goal(name: &str, calls: usize) -> String {
    let call = serde_json::json!({"tool": "list_files", "arguments": {}});
    serde_json::json!({"key": name, "plan": vec![call; calls - 1], "answer": format!("{name} is done")})
        .to_string()
}

#[tokio::test]
async fn eight_examples_at_once_in_an_empty_folder_all_end_well() {
    let test_dir = TestDir::new();
    let runs = (0..8).map(|_| {
        test_dir
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
    let page = test_dir
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
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &["--latency-ms", "3000"])
        .await
        .unwrap();
    let (mut first, id) = run(&test_dir, &stub, "first").await;
    let commands: [&[&str]; 3] = [&["task", "ls"], &["task", "get", &id], &["approval", "ls"]];
    let commands = commands.map(|args| test_dir.cli(args).run());
    for ran in futures_util::future::join_all(commands).await {
        ran.ends(0);
    }
    assert!(
        first.exited().unwrap().is_none(),
        "the run was still under way"
    );
    assert!(first.wait_exit(TIMEOUT).await.unwrap().success());
}

#[tokio::test]
async fn a_run_whose_server_is_killed_takes_the_folder_over() {
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &["--latency-ms", "1000"])
        .await
        .unwrap();
    let (mut first, other) = run(&test_dir, &stub, &goal("first", 20)).await;
    let goal = goal("second", 3);
    let second = test_dir
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
    wait_until("the second run", TIMEOUT, both).await.unwrap();
    first.sigkill().unwrap();
    let second = second.await.unwrap().ends(0);
    assert_eq!(second.stdout, "second is done\n");
    // The call that the first process had under way was made again by the second one.
    second.says(&["list_files("]);
    let task = test_dir
        .cli(&["task", "get", "--json", &other])
        .run()
        .await
        .ends(0)
        .json();
    assert_ne!(task["status"], "failed", "{task:#}");
}

#[tokio::test]
async fn a_run_that_others_use_ends_after_them() {
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &["--latency-ms", "500"])
        .await
        .unwrap();
    let (mut first, _) = run(&test_dir, &stub, &goal("first", 2)).await;
    let goal = goal("second", 6);
    let second = test_dir
        .cli(&["run", &goal])
        .env("OPENAI_BASE_URL", stub.base_url());
    let second = tokio::spawn(second.run());
    let says = || async {
        first
            .output()
            .contains("which ends with them")
            .then_some(())
    };
    wait_until("the first run to be done", TIMEOUT, says)
        .await
        .unwrap();
    assert!(
        first.output().contains("first is done"),
        "the answer does not wait"
    );
    assert!(!second.is_finished());
    let second = second.await.unwrap().ends(0);
    assert_eq!(second.stdout, "second is done\n");
    assert!(first.wait_exit(TIMEOUT).await.unwrap().success());
}

#[tokio::test]
async fn interrupted_it_ends_at_once_and_the_others_go_on() {
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &["--latency-ms", "500"])
        .await
        .unwrap();
    let (mut first, id) = run(&test_dir, &stub, &goal("first", 30)).await;
    let goal = goal("second", 5);
    let second = test_dir
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
    wait_until("the first run to wait", TIMEOUT, says)
        .await
        .unwrap();
    first.signal(Signal::INT).unwrap();
    assert_eq!(first.wait_exit(TIMEOUT).await.unwrap().code(), Some(130));
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
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &["--latency-ms", "500"])
        .await
        .unwrap();
    let (mut first, id) = run(&test_dir, &stub, &goal("first", 30)).await;
    asked(&stub, 1).await;
    first.signal(Signal::INT).unwrap();
    assert_eq!(first.wait_exit(TIMEOUT).await.unwrap().code(), Some(130));
    let later = test_dir
        .cli(&["run", "hello"])
        .env("OPENAI_BASE_URL", stub.base_url());
    let says =
        format!("the unfinished task {id} goes on as well; `opspawn task cancel {id}` ends it");
    later.run().await.ends(0).says(&[&says]);
}

#[tokio::test]
async fn stop_ends_the_server_of_the_folder() {
    let test_dir = TestDir::new();
    test_dir
        .cli(&["stop"])
        .run()
        .await
        .ends(2)
        .says(&["no process has the data folder"]);
    let mut server = test_dir.server().await;
    let ran = test_dir
        .cli(&["dev", "--listen", "127.0.0.1:0"])
        .run()
        .await
        .ends(5);
    ran.says(&[
        "is in use by another process",
        &server.http().base(),
        "opspawn stop",
    ]);
    let ran = test_dir.cli(&["stop", "--json"]).run().await.ends(0).json();
    assert_eq!(ran["stopped"], true);
    assert!(server.wait_exit(TIMEOUT).await.unwrap().success());
}
