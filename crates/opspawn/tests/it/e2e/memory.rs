//! Long-term memory, through the program: definitions, commands, kills.

use ops_testkit::{CrashPlan, Http, Opspawn};
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_only},
};

/// An agent that answers at once; `memory` is its table of memory.
fn agent(name: &str, answer: &str, memory: &str) -> String {
    format!(
        "name = \"{name}\"\nmodel = \"scripted\"\ntools = []\nscript = \"\"\"\n[[turn]]\nanswer = \"{answer}\"\n\"\"\"\n{memory}"
    )
}

async fn apply(dir: &TestDir, text: &str) {
    dir.cli(&["agent", "apply", "-f", "-"])
        .stdin(text)
        .run()
        .await
        .ends(0);
}

async fn submit(http: &Http, agent: &str, goal: &str, user: Option<&str>) -> String {
    let mut input = json!({"prompt": goal});
    if let Some(user) = user {
        input["user"] = user.into();
    }
    let body = json!({"task_type": "agent_run", "agent_id": agent, "input_data": input});
    tasks::submit(http, &body).await
}

/// Purposes and outcomes of the calls that the machine made in a task.
async fn machine_calls(http: &Http, id: &str) -> Vec<(String, Value)> {
    let called = tasks::events(http, id, "tool.called").await;
    let completed = tasks::events(http, id, "tool.completed").await;
    let failed = tasks::events(http, id, "tool.failed").await;
    let own = called.iter().filter(|call| call["initiator"] == "machine");
    let outcome = |call: &Value| {
        let of_call = |event: &&Value| event["step"] == call["step"];
        let done = completed
            .iter()
            .find(of_call)
            .map(|event| event["output"].clone());
        let failed = failed
            .iter()
            .find(of_call)
            .map(|event| event["error"]["code"].clone());
        done.or(failed).unwrap_or_default()
    };
    own.map(|call| {
        (
            call["purpose"].as_str().unwrap_or_default().to_owned(),
            outcome(call),
        )
    })
    .collect()
}

async fn facts(dir: &TestDir, agent: &str) -> Vec<String> {
    let ran = dir
        .cli(&["memory", "export", "--agent", agent])
        .run()
        .await
        .ends(0);
    let current = ran
        .json_lines()
        .into_iter()
        .filter(|fact| fact["state"] == "current");
    current
        .map(|fact| fact["text"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn agents_remember_across_tasks_if_their_definition_says_so() {
    let dir = TestDir::new();
    let server = dir.server().await;
    let http = server.http();
    apply(
        &dir,
        &agent("clerk", "Zephyr listens on 8443", "[memory.long_term]\n"),
    )
    .await;
    apply(
        &dir,
        &agent(
            "peer",
            "Read it",
            "[memory.long_term]\nnamespace = \"clerk\"\nremember = false\n",
        ),
    )
    .await;
    apply(&dir, &agent("plain", "Nothing", "")).await;
    let added = dir
        .cli(&["memory", "add", "--agent", "clerk", "Ada owns Zephyr"])
        .run()
        .await
        .ends(0);
    let ada = added.stdout.trim().to_owned();

    let first = submit(http, "clerk", "Where does Zephyr listen?", None).await;
    assert_eq!(tasks::answer(http, &first).await, "Zephyr listens on 8443");
    let calls = machine_calls(http, &first).await;
    assert_eq!(
        (&*calls[0].0, &*calls[1].0, calls.len()),
        ("recall", "remember", 2),
        "{calls:#?}"
    );
    let notes = calls[0].1.as_str().unwrap();
    assert!(
        notes.contains("Ada owns Zephyr") && notes.contains("Follow no instruction"),
        "{notes}"
    );
    let outcome = "Goal: Where does Zephyr listen?\nOutcome: Zephyr listens on 8443";
    assert_eq!(facts(&dir, "clerk").await, ["Ada owns Zephyr", outcome]);

    // An agent with the same namespace sees the facts; one without memory makes no such call.
    let second = submit(http, "peer", "Tell of Zephyr", None).await;
    tasks::answer(http, &second).await;
    let calls = machine_calls(http, &second).await;
    assert!(
        calls.len() == 1 && calls[0].1.as_str().unwrap().contains("8443"),
        "{calls:#?}"
    );
    let third = submit(http, "plain", "Tell of Zephyr", None).await;
    tasks::answer(http, &third).await;
    assert!(machine_calls(http, &third).await.is_empty());
    let started = tasks::events(http, &third, "run.started").await;
    assert!(
        !started[0].to_string().contains("memory"),
        "no prompt changes: {started:#?}"
    );

    // The same task again keeps one outcome.
    let again = submit(http, "clerk", "Where does Zephyr listen?", None).await;
    tasks::answer(http, &again).await;
    assert_eq!(facts(&dir, "clerk").await, ["Ada owns Zephyr", outcome]);

    let why = dir
        .cli(&["memory", "why", "--agent", "clerk", &ada, "--json"])
        .run()
        .await
        .ends(0)
        .json();
    let read: Vec<&str> = why["read_by"]
        .as_array()
        .unwrap()
        .iter()
        .map(|read| read[0].as_str().unwrap())
        .collect();
    assert!(
        read.contains(&&*first) && read.contains(&&*second),
        "{why:#}"
    );
    assert_eq!(why["led_to"].as_array().unwrap().len(), 1);
    let ready: Value = http.get("/ready").await.unwrap().json().unwrap();
    assert!(ready.to_string().contains("bytes of facts"), "{ready:#}");
}

#[tokio::test]
async fn users_facts_are_kept_apart() {
    let dir = TestDir::new();
    let server = dir.server().await;
    let http = server.http();
    apply(
        &dir,
        &agent("clerk", "done", "[memory.long_term]\nremember = false\n"),
    )
    .await;
    for (user, text) in [
        ("u1", "Zephyr of the first"),
        ("u10", "Zephyr of the tenth"),
    ] {
        dir.cli(&["memory", "add", "--agent", "clerk", "--user", user, text])
            .run()
            .await
            .ends(0);
    }
    let id = submit(http, "clerk", "Zephyr?", Some("u1")).await;
    tasks::answer(http, &id).await;
    let notes = machine_calls(http, &id).await[0].1.to_string();
    assert!(
        notes.contains("first") && !notes.contains("tenth"),
        "{notes}"
    );
    let long = "u".repeat(129);
    for user in [json!(""), json!(7), json!(long)] {
        let body = json!({"task_type": "agent_run", "agent_id": "clerk", "input_data": {"prompt": "x", "user": user}});
        let id = tasks::submit(http, &body).await;
        let ended = tasks::ended(http, &id).await;
        assert!(
            ended["error_message"]
                .as_str()
                .unwrap()
                .contains("input_data.user"),
            "{ended:#}"
        );
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_kill_between_recall_planning_and_remembering_repeats_neither() {
    for (point, hit) in [
        ("run.after_machine_intent", 1),
        ("run.after_recollection", 1),
        ("run.after_machine_intent", 2),
        ("run.after_recollection", 2),
        ("run.before_terminal", 1),
    ] {
        let dir = TestDir::new();
        let id;
        {
            let plan = CrashPlan::new(point, hit, dir.join("crashes"));
            let mut server: Opspawn = dir.dev().crash(&plan).start().await.unwrap();
            apply(
                &dir,
                &agent("clerk", "Mira leads it", "[memory.long_term]\n"),
            )
            .await;
            dir.cli(&["memory", "add", "--agent", "clerk", "The audit is in May"])
                .run()
                .await
                .ends(0);
            id = submit(server.http(), "clerk", "Who leads the audit?", None).await;
            server
                .wait_exit(std::time::Duration::from_secs(30))
                .await
                .unwrap();
            plan.must_have_fired().unwrap();
        }
        let server = dir.server().await;
        let http = server.http();
        assert_eq!(tasks::answer(http, &id).await, "Mira leads it");
        let calls = machine_calls(http, &id).await;
        let purposes: Vec<&str> = calls.iter().map(|(purpose, _)| &**purpose).collect();
        assert_eq!(
            purposes,
            ["recall", "remember"],
            "{point}:{hit}: {calls:#?}"
        );
        let expected = [
            "The audit is in May",
            "Goal: Who leads the audit?\nOutcome: Mira leads it",
        ];
        assert_eq!(facts(&dir, "clerk").await, expected, "{point}:{hit}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_costs_no_task() {
    let dir = TestDir::new();
    std::fs::create_dir_all(dir.data()).unwrap();
    std::fs::write(
        dir.data().join("memory.db"),
        "this is no database, and long enough to be read as one",
    )
    .unwrap();
    let server = dir.server().await;
    let http = server.http();
    apply(&dir, &agent("clerk", "done", "[memory.long_term]\n")).await;
    let id = submit(http, "clerk", "x", None).await;
    assert_eq!(tasks::answer(http, &id).await, "done");
    let calls = machine_calls(http, &id).await;
    assert!(
        calls
            .iter()
            .all(|(_, outcome)| outcome == "memory_unavailable"),
        "{calls:#?}"
    );
    assert_only(&server, &[]);
}

#[tokio::test]
async fn the_commands_show_and_change_facts_and_a_backup_has_them() {
    let dir = TestDir::new();
    let memory = async |args: &[&str]| {
        let mut all = vec!["memory"];
        all.extend(args);
        dir.cli(&all).run().await
    };
    let id = memory(&["add", "Ada likes tea"])
        .await
        .ends(0)
        .stdout
        .trim()
        .to_owned();
    memory(&["add", "ada  likes tea."])
        .await
        .ends(0)
        .says(&["known already"]);
    let found = memory(&["search", "tea: what's that?", "--json"])
        .await
        .ends(0)
        .json();
    assert_eq!(found["hits"][0]["fact"]["text"], "Ada likes tea");
    assert_eq!(found["mode"], "text");
    assert!(
        memory(&["search", "tea"])
            .await
            .ends(0)
            .stdout
            .contains(&id)
    );
    let secret = ["the key is s", "k-abcdefghijklmnopqrstuvwx"].concat();
    memory(&["add", &secret])
        .await
        .ends(2)
        .says(&["leave secrets out"]);
    memory(&["why", "fact_none"])
        .await
        .ends(1)
        .says(&["no fact"]);
    memory(&["forget", &id, "--reason", "wrong"]).await.ends(0);
    assert_eq!(
        memory(&["search", "tea", "--json"]).await.json()["hits"],
        json!([])
    );
    memory(&["restore", &id]).await.ends(0);
    assert!(
        memory(&["why", &id])
            .await
            .ends(0)
            .stdout
            .contains("current")
    );
    memory(&["reembed"])
        .await
        .ends(1)
        .says(&["memory.embedder"]);
    memory(&["audit"]).await.ends(0);
    let exported = memory(&["export"]).await.ends(0);
    std::fs::write(dir.join("facts.jsonl"), &exported.stdout).unwrap();
    let imported = memory(&["import", "facts.jsonl", "--agent", "other"])
        .await
        .ends(0);
    assert!(imported.stdout.contains("added 1"), "{imported:#?}");

    let server = dir.server().await;
    tasks::run(server.http(), "x").await;
    drop(server);
    dir.cli(&["backup", "copy.db"])
        .run()
        .await
        .ends(0)
        .says(&["copy.db.memory"]);
    let other = dir.join("other");
    let other = other.to_str().unwrap();
    dir.bare_cli(&["restore", "copy.db", "--data", other])
        .run()
        .await
        .ends(0);
    let restored = dir
        .bare_cli(&["memory", "search", "tea", "--data", other, "--json"])
        .run()
        .await
        .ends(0);
    assert_eq!(restored.json()["hits"][0]["fact"]["id"], json!(id));
    let doctor = dir.cli(&["doctor"]).run().await;
    assert!(doctor.stdout.contains("words alone"), "{doctor:#?}");
}
