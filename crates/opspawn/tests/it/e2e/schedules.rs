//! `opspawn schedule`, and what a server does at the dates.

use std::time::Duration;

use ops_testkit::{Http, wait_until};
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{Ran, TestDir, assert_calm},
};

const TIMEOUT: Duration = Duration::from_secs(40);

const YEARLY: &str = r#"
name = "yearly"
cron = "0 2 1 1 *"
timezone = "europe/berlin"
catch_up = "all"

[task]
task_type = "agent_run"
name = "summary"
labels = { team = "books" }
input_data = { prompt = "sum up the year" }
"#;

/// The runs of a schedule that started a task, newest first.
async fn started(http: &Http, name: &str) -> Vec<Value> {
    let path = format!("/api/v1/schedules/{name}/runs?limit=1000");
    let page: Value = http.get(&path).await.unwrap().ok().unwrap().json().unwrap();
    let runs = page["runs"].as_array().unwrap().iter();
    runs.filter(|run| run["outcome"] == "started")
        .cloned()
        .collect()
}

async fn until_started(http: &Http, name: &str, count: usize) -> Vec<Value> {
    let ask = || async {
        let runs = started(http, name).await;
        (runs.len() >= count).then_some(runs)
    };
    wait_until("runs of a schedule", TIMEOUT, ask)
        .await
        .unwrap()
}

async fn every_command(test_dir: &TestDir) {
    let cli = async |args: &[&str]| -> Ran { test_dir.cli(args).run().await.ends(0) };
    std::fs::write(test_dir.join("s.toml"), YEARLY).unwrap();
    let dry = cli(&["schedule", "apply", "-f", "s.toml", "--dry-run"]).await;
    assert!(
        dry.stdout
            .contains("schedule yearly would be stored; next run 20"),
        "{dry:#?}"
    );
    assert!(dry.stdout.contains("-01-01T01:00:00.000Z"), "{dry:#?}");
    let none = cli(&["schedule", "ls", "--json"]).await.json();
    assert_eq!(none, json!({"schedules": []}));

    let applied = cli(&["schedule", "apply", "-f", "s.toml", "--json"])
        .await
        .json();
    assert_eq!(applied["schedules"][0]["timezone"], "Europe/Berlin");
    assert_eq!(applied["schedules"][0]["revision"], 1);
    let from_stdin = test_dir
        .cli(&["schedule", "apply", "-f", "-"])
        .stdin(YEARLY);
    let again = from_stdin.run().await.ends(0);
    assert!(
        again.stdout.contains("schedule yearly is stored"),
        "{again:#?}"
    );
    let ls = cli(&["schedule", "ls"]).await;
    for word in ["yearly", "0 2 1 1 *", "Europe/Berlin", "active", "skip"] {
        assert!(ls.stdout.contains(word), "{word}: {ls:#?}");
    }

    let run = cli(&["schedule", "run", "yearly"]).await;
    let task = cli(&["task", "get", "--json", run.stdout.trim()])
        .await
        .json();
    assert_eq!(
        task["labels"],
        json!({"team": "books", "schedule": "yearly"})
    );
    let get = cli(&["schedule", "get", "yearly", "--next", "2"]).await;
    for word in [
        "next run 20",
        "manual",
        "started",
        run.stdout.trim(),
        "sum up the year",
    ] {
        assert!(get.stdout.contains(word), "{word}: {get:#?}");
    }
    let shown = cli(&["schedule", "get", "yearly", "--next", "2", "--json"])
        .await
        .json();
    assert_eq!(
        (
            shown["next_runs"].as_array().unwrap().len(),
            shown["runs"].as_array().unwrap().len()
        ),
        (2, 1)
    );
    assert_eq!(shown["revision"], 1, "applying the same changed nothing");

    let paused = cli(&["schedule", "pause", "yearly"]).await;
    assert_eq!(paused.stdout.trim(), "schedule yearly is paused");
    assert!(cli(&["schedule", "ls"]).await.stdout.contains("paused"));
    let resumed = cli(&["schedule", "resume", "yearly"]).await;
    assert!(
        resumed
            .stdout
            .starts_with("schedule yearly is resumed; next run 20"),
        "{resumed:#?}"
    );
    cli(&["schedule", "rm", "yearly"]).await;
    let gone = test_dir
        .cli(&["schedule", "get", "yearly"])
        .run()
        .await
        .ends(2);
    gone.says(&["there is no schedule `yearly`", "opspawn schedule ls"]);
}

#[tokio::test]
async fn commands_work_with_a_server() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    every_command(&test_dir).await;
    assert_calm(&server);
}

#[tokio::test]
async fn commands_work_without_a_server() {
    let test_dir = TestDir::new();
    drop(test_dir.server().await);
    every_command(&test_dir).await;
}

#[tokio::test]
async fn mistakes_in_a_file_are_named() {
    let test_dir = TestDir::new();
    let _server = test_dir.server().await;
    let apply = async |text: &str, says: &[&str]| {
        let ran = test_dir
            .cli(&["schedule", "apply", "-f", "-"])
            .stdin(text)
            .run()
            .await;
        ran.ends(2).says(says);
    };
    apply("cron =", &["-: is not valid TOML"]).await;
    apply("cron = \"@daily\"", &["a schedule has no `name`"]).await;
    let with = |from: &str, to: &str| YEARLY.replace(from, to);
    apply(
        &with("0 2 1 1 *", "0 2 32 1 *"),
        &["schedule `yearly`", "is not a cron pattern"],
    )
    .await;
    apply(&with("0 2 1 1 *", "0 2 30 2 *"), &["is never due"]).await;
    apply(
        &with("europe/berlin", "Europe/Berlni"),
        &["did you mean `Europe/Berlin`?"],
    )
    .await;
    apply(&with("\"all\"", "\"al\""), &["did you mean `all`?"]).await;
    apply(
        &with("agent_run", "agent_rnu"),
        &["no worker knows the task type `agent_rnu`"],
    )
    .await;
    apply(&with("labels", "lables"), &["did you mean `labels`?"]).await;
    apply(&with("cron", "corn"), &["did you mean `cron`?"]).await;
    let missing = test_dir
        .cli(&["schedule", "apply", "-f", "none.toml"])
        .run()
        .await;
    missing.ends(2).says(&["cannot read none.toml"]);
}

#[tokio::test]
async fn a_server_starts_the_runs_and_a_command_does_not() {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    let file = "name = \"tick\"\ncron = \"* * * * * *\"\noverlap = \"allow\"\n\
                [task]\ntask_type = \"agent_run\"\ninput_data = { prompt = \"tick\" }\n";
    test_dir
        .cli(&["schedule", "apply", "-f", "-"])
        .stdin(file)
        .run()
        .await
        .ends(0);
    let runs = until_started(server.http(), "tick", 3).await;
    let id = runs[0]["task_id"].as_str().unwrap();
    let task = tasks::ended(server.http(), id).await;
    assert_eq!(task["status"], "completed", "{task:#}");
    // Not before its time.
    assert!(
        runs.iter()
            .all(|run| run["at"].as_str() >= run["due_at"].as_str()),
        "{runs:?}"
    );
    assert!(server.stop(TIMEOUT).await.unwrap().success());

    // A process that is there for one command begins nothing: two seconds of runs are due.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let shown = test_dir
        .cli(&["schedule", "get", "tick", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    let due = shown["next_run_at"].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shown = test_dir
        .cli(&["schedule", "get", "tick", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(shown["next_run_at"], due);

    let server = test_dir.server().await;
    let before = started(server.http(), "tick").await.len();
    until_started(server.http(), "tick", before + 1).await;
    assert_calm(&server);
}

#[tokio::test]
async fn a_run_that_waits_starts_when_the_one_before_has_ended() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let http = server.http();
    let file = "name = \"slow\"\ncron = \"* * * * * *\"\noverlap = \"queue_one\"\n\
                [task]\ntask_type = \"agent_run\"\n[task.input_data]\nprompt = \"slow\"\n\
                [task.input_data.agent_config]\nscript = \"[[turn]]\\nlatency_ms = 2500\\nanswer = \\\"done\\\"\\n\"\n";
    test_dir
        .cli(&["schedule", "apply", "-f", "-"])
        .stdin(file)
        .run()
        .await
        .ends(0);
    let runs = until_started(http, "slow", 3).await;
    test_dir
        .cli(&["schedule", "pause", "slow"])
        .run()
        .await
        .ends(0);
    let mut before: Option<Value> = None;
    for run in runs.iter().rev() {
        let task = tasks::ended(http, run["task_id"].as_str().unwrap()).await;
        assert_eq!(task["status"], "completed", "{task:#}");
        if let Some(before) = before {
            assert!(
                task["created_at"].as_str() >= before["completed_at"].as_str(),
                "they overlap: {before:#} {task:#}"
            );
        }
        before = Some(task);
    }
    assert_calm(&server);
}
