//! The exit codes of `run` and of commands that find nobody.

use std::{process::Stdio, time::Duration};

use ops_testkit::{ModelStub, Process, Signal, Stream};

use super::{
    tasks,
    test_dir::{TestDir, binary},
};

#[tokio::test]
async fn two_is_a_wrong_command_line_or_input() {
    let test_dir = TestDir::new();
    test_dir.cli(&["run"]).run().await.ends(2).says(&["<GOAL>"]);
    test_dir
        .cli(&["run", "  "])
        .run()
        .await
        .ends(2)
        .says(&["the goal is empty"]);
    test_dir
        .cli(&["run", "-"])
        .stdin("\n")
        .run()
        .await
        .ends(2)
        .says(&["the goal is empty"]);
    test_dir
        .cli(&["run", "x", "--detach"])
        .run()
        .await
        .ends(2)
        .says(&["--detach needs a running server", "opspawn dev"]);
    test_dir
        .cli(&["run", "x", "--timeout", "5 parsecs"])
        .run()
        .await
        .ends(2)
        .says(&["--timeout", "`5 parsecs` is not a duration like 500ms"]);
    test_dir
        .cli(&["task", "get", "task_none"])
        .run()
        .await
        .ends(2)
        .says(&["there is no task", "opspawn task ls"]);
}

#[tokio::test]
async fn three_is_a_task_that_failed() {
    let test_dir = TestDir::new();
    let script = "[[turn]]\nerror = \"invalid_request\"\n";
    std::fs::write(test_dir.join("s.toml"), script).unwrap();
    let run = |args| {
        let cli = test_dir.cli(args).env("OPSPAWN_PROVIDER", "scripted");
        cli.env("OPSPAWN_SCRIPT", test_dir.join("s.toml")).run()
    };
    let ran = run(&["run", "x"]).await.ends(3).says(&["the task failed"]);
    assert_eq!(ran.stdout, "");
    let task = run(&["run", "x", "--json"]).await.ends(3).json();
    assert_eq!(task["status"], "failed");
    test_dir
        .cli(&["task", "watch", &tasks::id(&task)])
        .run()
        .await
        .ends(3);
}

#[tokio::test]
async fn five_is_nobody_there() {
    let test_dir = TestDir::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{port}");
    for args in [
        &["task", "ls"][..],
        &["run", "x"],
        &["reconcile", "ls", "--json"],
    ] {
        let ran = test_dir
            .cli(args)
            .env("OPSPAWN_URL", &url)
            .run()
            .await
            .ends(5);
        let ran = ran.says(&["cannot reach the server", &url, "refused", "opspawn doctor"]);
        assert_eq!(ran.stdout, "");
    }
    let ran = test_dir.cli(&["task", "ls"]).run().await.ends(5);
    ran.says(&["there is no data folder", "opspawn dev", "OPSPAWN_URL"]);
    assert!(!test_dir.data().exists(), "asking makes nothing");
}

#[tokio::test]
async fn a_hundred_and_twenty_four_is_time_that_was_up() {
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &["--latency-ms", "20000"])
        .await
        .unwrap();
    let run = |args| {
        test_dir
            .cli(args)
            .env("OPENAI_BASE_URL", stub.base_url())
            .run()
    };
    let ran = run(&["run", "slow", "--timeout", "400ms"]).await.ends(124);
    ran.says(&["deadline", "limits.timeout"]);
}

#[tokio::test]
async fn a_hundred_and_thirty_is_an_interrupt_and_the_task_goes_on_later() {
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &["--latency-ms", "3000"])
        .await
        .unwrap();
    let mut command = std::process::Command::new(binary());
    command
        .args(["run", "hello"])
        .env_clear()
        .env("HOME", test_dir.join("home"))
        .env("OPSPAWN_DATA", test_dir.data())
        .env("OPSPAWN_GRACE", "100ms")
        .env("OPENAI_BASE_URL", stub.base_url());
    let patience = Duration::from_secs(20);
    let found = |line: &str| line.strip_prefix("task ").map(str::to_owned);
    let (mut process, id) = Process::start(command, Stream::Stderr, patience, found)
        .await
        .unwrap();
    let asked = || async { (stub.requests().unwrap().len() == 1).then_some(()) };
    ops_testkit::wait_until("a model call", patience, asked)
        .await
        .unwrap();
    process.signal(Signal::INT).unwrap();
    assert_eq!(process.wait_exit(patience).await.unwrap().code(), Some(130));
    let said = process.output();
    assert!(said.contains(&format!("opspawn task watch {id}")), "{said}");

    let again = test_dir
        .cli(&["task", "watch", &id])
        .env("OPENAI_BASE_URL", stub.base_url());
    let again = again.run_into(Stdio::piped()).await.ends(0);
    assert!(again.stdout.contains("\"answer\": \"done\""), "{again:#?}");
}
