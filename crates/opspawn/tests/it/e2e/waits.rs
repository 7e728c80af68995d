//! Tasks that wait for people and for other tasks, stand still, and are done again.

use std::time::Duration;

use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

fn scripted(goal: &str, script: &str) -> Value {
    json!({"task_type": "agent_run", "input_data": {
        "prompt": goal, "agent_config": {"provider": "scripted", "script": script},
    }})
}

const ASKING_AGENT: &str = r#"
[[turn]]
calls = [{ tool = "ask_human", arguments = { question = "Which colour?", options = ["red", "blue"] } }]
[[turn]]
answer = "You said {{ last }}."
"#;

#[tokio::test]
async fn a_question_waits_through_a_kill_and_is_answered_from_the_command_line() {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    let id = tasks::submit(server.http(), &scripted("paint", ASKING_AGENT)).await;
    let task = tasks::in_state(server.http(), &id, &["waiting"]).await;
    assert_eq!(task["state_detail"]["on"], "signal", "{task:#}");
    assert_eq!(task["state_detail"]["signals"], json!(["human.call_2"]));
    let steps = tasks::steps(server.http(), &id).await;
    assert_eq!(
        (&steps[1]["name"], &steps[1]["status"]),
        (&json!("ask_human"), &json!("waiting"))
    );

    server.sigkill().unwrap();
    let server = test_dir.server().await;
    let watch = test_dir.cli(&["task", "watch", &id]).run().await.ends(6);
    assert!(watch.stderr.contains("opspawn task signal"), "{watch:#?}");
    let open = test_dir
        .cli(&["task", "questions", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(
        open["questions"],
        json!([{
            "task_id": id, "step": 2, "signal": "human.call_2",
            "question": "Which colour?", "options": ["red", "blue"],
        }])
    );
    let green = test_dir.cli(&["task", "signal", &id, "green"]).run().await;
    let green = green.ends(2);
    assert!(green.stderr.contains("`red`, `blue`"), "{green:#?}");
    test_dir
        .cli(&["task", "signal", &id, "red"])
        .run()
        .await
        .ends(0);
    assert_eq!(tasks::answer(server.http(), &id).await, "You said red.");
    test_dir
        .cli(&["task", "signal", &id, "blue"])
        .run()
        .await
        .ends(2);
}

/// Writes files small and large, below folders as well, and reads them after the question.
const WRITES: &str = r#"
[[turn]]
calls = [
  { tool = "write_file", arguments = { path = "a/b/kept.txt", content = "first" } },
  { tool = "write_file", arguments = { path = "a/b/kept.txt", content = "second" } },
  { tool = "write_file", arguments = { path = "large.txt", content = { "$expr" = "'0123456789abcdef' * 2000" } } },
]
[[turn]]
calls = [{ tool = "ask_human", arguments = { question = "Go on?" } }]
[[turn]]
calls = [
  { tool = "read_file", arguments = { path = "a/b/kept.txt" } },
  { tool = "read_file", arguments = { path = "given.txt" } },
  { tool = "search_files", arguments = { pattern = "0123456789abcdef" } },
]
[[turn]]
answer = "{{ result(5) }} | {{ result(6) }} | {{ result(7) | length > 20 }}"
"#;

/// tests/X11: the folder of a task is a copy of what its log says.
#[tokio::test]
async fn a_workspace_that_is_lost_is_brought_back_and_the_run_goes_on() {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    let mut body = scripted("write", WRITES);
    body["input_data"]["files"] = json!({"given.txt": "given"});
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let id = tasks::submit(server.http(), &body).await;
        tasks::in_state(server.http(), &id, &["waiting"]).await;
        waiting.push(id);
    }
    let workspaces = test_dir.data().join("workspaces");
    let large = workspaces.join(&waiting[0]).join("large.txt");
    assert_eq!(std::fs::metadata(large).unwrap().len(), 32_000);
    // One loses a file while the server runs, the other everything while it does not.
    std::fs::remove_file(workspaces.join(&waiting[0]).join("a/b/kept.txt")).unwrap();
    answer_question(&server, &waiting[0]).await;
    let is_whole = |answer: &str| {
        let parts: Vec<_> = answer.split(" | ").collect();
        assert!(
            parts[0].contains("second") && parts[1].contains("given") && parts[2] == "True",
            "{answer}"
        );
    };
    is_whole(&tasks::answer(server.http(), &waiting[0]).await);
    server.sigkill().unwrap();
    std::fs::remove_dir_all(&workspaces).unwrap();
    let server = test_dir.server().await;
    answer_question(&server, &waiting[1]).await;
    is_whole(&tasks::answer(server.http(), &waiting[1]).await);
    let large = workspaces.join(&waiting[1]).join("large.txt");
    assert_eq!(std::fs::metadata(large).unwrap().len(), 32_000);
}

async fn answer_question(server: &ops_testkit::Opspawn, task: &str) {
    let waiting = tasks::get(server.http(), task).await;
    let name = waiting["state_detail"]["signals"][0].as_str().unwrap();
    let signal = json!({"name": name, "payload": "yes"});
    let path = format!("/api/v1/tasks/{task}/signals");
    server
        .http()
        .post(&path, &signal)
        .await
        .unwrap()
        .ok()
        .unwrap();
}

const PARENT_AGENT: &str = r#"
[[turn]]
  [[turn.case]]
  when = "'part' in goal"
  calls = [{ tool = "calculator", arguments = { expression = "6 * 7" } }]
  [[turn.case]]
  calls = [
    { tool = "spawn_agent", arguments = { goal = "part one" } },
    { tool = "spawn_agent", arguments = { goal = "part two" } },
  ]
[[turn]]
  [[turn.case]]
  when = "'part' in goal"
  answer = "{{ goal }} is {{ (last | fromjson).result }}"
  [[turn.case]]
  calls = [{ tool = "await_agents", arguments = { tasks = { "$expr" = "[(result(1) | fromjson).task, (result(2) | fromjson).task]" } } }]
[[turn]]
answer = "{{ (last | fromjson)[0].output.answer }}; {{ (last | fromjson)[1].output.answer }}"
"#;

#[tokio::test]
async fn children_work_for_their_parent() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let id = tasks::submit(server.http(), &scripted("whole", PARENT_AGENT)).await;
    let answer = tasks::answer(server.http(), &id).await;
    assert_eq!(answer, "part one is 42; part two is 42");
    let path = format!("/api/v1/tasks?parent={id}");
    let list = server.http().get(&path).await.unwrap().ok().unwrap();
    let list: Value = list.json().unwrap();
    assert_eq!(
        (&list["total"], list["tasks"].as_array().unwrap().len()),
        (&json!(2), 2)
    );
    let ends = tasks::events(server.http(), &id, "task.child_ended").await;
    assert_eq!(ends.len(), 2);
    for end in ends {
        let child = tasks::get(server.http(), end["child"].as_str().unwrap()).await;
        assert_eq!(
            (&child["parent"], &child["state"]),
            (&json!(id), &json!("completed"))
        );
    }
}

/// A parent whose children wait for somebody who never comes.
const STUCK: &str = r#"
[[turn]]
  [[turn.case]]
  when = "goal == 'child'"
  calls = [{ tool = "ask_human", arguments = { question = "Well?" } }]
  [[turn.case]]
  calls = [{ tool = "spawn_agent", arguments = { goal = "child" } }]
[[turn]]
calls = [{ tool = "await_agents", arguments = { tasks = { "$expr" = "[(result(1) | fromjson).task]" } } }]
"#;

#[tokio::test]
async fn a_cancel_reaches_the_children() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let http = server.http();
    let id = tasks::submit(http, &scripted("parent", STUCK)).await;
    let parent = tasks::in_state(http, &id, &["waiting"]).await;
    assert_eq!(parent["state_detail"]["on"], "child", "{parent:#}");
    let child = parent["state_detail"]["tasks"][0].as_str().unwrap();
    tasks::in_state(http, child, &["waiting"]).await;
    test_dir.cli(&["task", "cancel", &id]).run().await.ends(0);
    assert_eq!(tasks::get(http, &id).await["state"], "cancelled");
    assert_eq!(tasks::get(http, child).await["state"], "cancelled");
}

/// Slow turns, so that a pause comes in the middle.
const SLOW: &str = r#"
latency_ms = 150
repeat_from = 1
[[turn]]
  [[turn.case]]
  when = "turn > 12"
  answer = "done"
  [[turn.case]]
  calls = [{ tool = "calculator", arguments = { expression = "{{ turn }} + 1" } }]
"#;

#[tokio::test]
async fn a_paused_task_stands_still_through_a_restart() {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    let id = tasks::submit(server.http(), &scripted("count", SLOW)).await;
    tasks::in_state(server.http(), &id, &["running"]).await;
    test_dir.cli(&["task", "pause", &id]).run().await.ends(0);
    let paused = tasks::in_state(server.http(), &id, &["paused"]).await;
    assert_eq!(
        (&paused["status"], &paused["paused"]),
        (&json!("running"), &json!(true))
    );
    let before = tasks::steps(server.http(), &id).await.len();
    server.sigkill().unwrap();
    let server = test_dir.server().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(tasks::get(server.http(), &id).await["state"], "paused");
    assert_eq!(tasks::steps(server.http(), &id).await.len(), before);
    test_dir.cli(&["task", "resume", &id]).run().await.ends(0);
    assert_eq!(tasks::answer(server.http(), &id).await, "done");
}

const TWO_SUMS: &str = r#"
[[turn]]
calls = [
  { tool = "calculator", arguments = { expression = "1 + 1" } },
  { tool = "calculator", arguments = { expression = "2 + 2" } },
]
[[turn]]
answer = "{{ result(1) }} and {{ result(2) }}"
"#;

#[tokio::test]
async fn a_rerun_takes_over_what_came_before_it() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let http = server.http();
    let id = tasks::submit(http, &scripted("sums", TWO_SUMS)).await;
    let first = tasks::answer(http, &id).await;
    let before = http
        .get(&format!("/api/v1/tasks/{id}/events"))
        .await
        .unwrap()
        .text()
        .to_string();

    let edited = [
        "--from-step",
        "3",
        "--input",
        r#"{"expression": "40 + 2"}"#,
        "--json",
    ];
    let again = test_dir
        .cli(&[&["task", "rerun", &id][..], &edited].concat())
        .run()
        .await
        .ends(0);
    let new = tasks::id(&again.json());
    let other = tasks::answer(http, &new).await;
    let (one, two) = other.split_once(" and ").unwrap();
    assert!(first.starts_with(one), "{first}: {other}");
    assert!(
        two.contains("changed the arguments") && two.contains("42"),
        "{two}"
    );
    let task = tasks::get(http, &new).await;
    assert_eq!(task["retry_of"], json!(id));
    // The model was asked once: its first answer was taken over.
    assert_eq!(tasks::events(http, &new, "model.completed").await.len(), 2);
    assert_eq!(tasks::events(http, &new, "task.forked").await[0]["step"], 3);
    let after = http
        .get(&format!("/api/v1/tasks/{id}/events"))
        .await
        .unwrap()
        .text()
        .to_string();
    assert_eq!(before, after, "the original is as it was");

    // From the model call on, everything before it stays.
    let again = test_dir
        .cli(&["task", "rerun", &id, "--from-step", "4", "--json"])
        .run()
        .await
        .ends(0);
    assert_eq!(tasks::answer(http, &tasks::id(&again.json())).await, first);
    let wrong = test_dir
        .cli(&["task", "rerun", &id, "--from-step", "9"])
        .run()
        .await
        .ends(2);
    assert!(wrong.stderr.contains("it has steps 1 to 4"), "{wrong:#?}");
}

const REFUSED: &str = r#"
[[turn]]
calls = [{ tool = "calculator", arguments = { formula = "1 + 1" } }]
[[turn]]
answer = "{{ last }}"
"#;

#[tokio::test]
async fn a_refused_call_is_done_again_with_arguments_that_fit() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let http = server.http();
    let id = tasks::submit(http, &scripted("sum", REFUSED)).await;
    let first = tasks::answer(http, &id).await;
    assert!(first.contains("expression"), "{first}");
    let input = r#"{"expression": "40 + 2"}"#;
    let again = test_dir
        .cli(&[
            "task",
            "rerun",
            &id,
            "--from-step",
            "2",
            "--input",
            input,
            "--json",
        ])
        .run()
        .await
        .ends(0);
    let answer = tasks::answer(http, &tasks::id(&again.json())).await;
    assert!(answer.contains("42"), "{answer}");
}

const BREAKS: &str = r#"
[[turn]]
calls = [{ tool = "calculator", arguments = { expression = "1 + 1" } }]
[[turn]]
error = "server_error"
error_times = 1
answer = "well after all"
"#;

#[tokio::test]
async fn a_dead_letter_goes_on_from_where_it_was_given_up() {
    let test_dir = TestDir::new();
    let tries = test_dir.dev().env("OPSPAWN_MODEL_TRIES", "1");
    let server = tries.start().await.unwrap();
    let http = server.http();
    let mut body = scripted("try", BREAKS);
    body["retry"] = json!({"max_attempts": 1});
    let id = tasks::submit(http, &body).await;
    let dead = tasks::ended(http, &id).await;
    assert_eq!(
        (&dead["state"], &dead["dead_letter"]),
        (&json!("failed"), &json!(true)),
        "{dead:#}"
    );
    let ls = test_dir
        .cli(&["dead-letter", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(ls["tasks"][0]["task_id"], json!(id));
    let all = test_dir
        .cli(&["dead-letter", "redrive", "--all", "--dry-run"])
        .run()
        .await
        .ends(0);
    assert!(all.stdout.contains("would go on"));
    // A resumed run loads its script anew, so the first of them fails once more.
    let redrive = || test_dir.cli(&["dead-letter", "redrive", "--all", "--json"]);
    let redriven = redrive().run().await.ends(0).json_lines();
    let again = redriven[0]["task_id"].as_str().unwrap().to_owned();
    assert_eq!(tasks::ended(http, &again).await["dead_letter"], json!(true));
    let redriven = redrive().run().await.ends(0).json_lines();
    assert_eq!(redriven.len(), 1, "{redriven:#?}");
    assert_eq!(redriven[0]["from"], json!(again));
    let new = redriven[0]["task_id"].as_str().unwrap().to_owned();
    assert_eq!(tasks::answer(http, &new).await, "well after all");
    assert_eq!(tasks::events(http, &new, "tool.called").await.len(), 1);
    let ls = test_dir
        .cli(&["dead-letter", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(ls["tasks"], json!([]));
}

#[tokio::test]
async fn tasks_of_one_key_run_one_after_the_other() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let http = server.http();
    let mut body = scripted("ask", ASKING_AGENT);
    body["concurrency_key"] = "customer-7".into();
    let first = tasks::submit(http, &body).await;
    tasks::in_state(http, &first, &["waiting"]).await;
    let second = tasks::submit(http, &body).await;
    let blocked = tasks::in_state(http, &second, &["waiting"]).await;
    let detail = json!({"on": "concurrency", "key": "customer-7"});
    assert_eq!(
        (&blocked["state_detail"], &blocked["status"]),
        (&detail, &json!("pending"))
    );
    test_dir
        .cli(&["task", "signal", &first, "blue"])
        .run()
        .await
        .ends(0);
    tasks::answer(http, &first).await;
    let turn = tasks::in_state(http, &second, &["waiting"]).await;
    let asks = || async { tasks::get(http, &second).await["state_detail"]["on"] == "signal" };
    for _ in 0..100 {
        if asks().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the second never had its turn: {turn:#}");
}

/// A parent that is given up while its child waits for somebody who never comes.
const LEAVES: &str = r#"
[[turn]]
  [[turn.case]]
  when = "goal == 'child'"
  calls = [{ tool = "ask_human", arguments = { question = "Well?" } }]
  [[turn.case]]
  calls = [{ tool = "spawn_agent", arguments = { goal = "child" } }]
[[turn]]
error = "server_error"
error_times = 1
calls = [{ tool = "await_agents", arguments = { tasks = { "$expr" = "[(result(1) | fromjson).task]" } } }]
[[turn]]
answer = "{{ (last | fromjson)[0].status }}"
"#;

#[tokio::test]
async fn a_dead_letter_whose_child_still_ran_goes_on_and_hears_of_it() {
    let test_dir = TestDir::new();
    let tries = test_dir.dev().env("OPSPAWN_MODEL_TRIES", "1");
    let server = tries.start().await.unwrap();
    let http = server.http();
    let mut body = scripted("parent", LEAVES);
    body["retry"] = json!({"max_attempts": 1});
    let id = tasks::submit(http, &body).await;
    assert_eq!(tasks::ended(http, &id).await["dead_letter"], json!(true));
    let redrive = || test_dir.cli(&["dead-letter", "redrive", "--all", "--json"]);
    // A resumed run loads its script anew, so the first of them fails once more.
    let redriven = redrive().run().await.ends(0).json_lines();
    let again = redriven[0]["task_id"].as_str().unwrap().to_owned();
    assert_eq!(tasks::ended(http, &again).await["dead_letter"], json!(true));
    let redriven = redrive().run().await.ends(0).json_lines();
    let new = redriven[0]["task_id"].as_str().unwrap().to_owned();
    assert_eq!(tasks::answer(http, &new).await, "cancelled");
    // The child is started and told of once.
    assert_eq!(tasks::events(http, &new, "tool.called").await.len(), 2);
    assert_eq!(tasks::events(http, &new, "task.child_ended").await.len(), 1);
}

#[tokio::test]
async fn many_tasks_are_steered_by_a_filter() {
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let http = server.http();
    let mut body = scripted("paint", ASKING_AGENT);
    let mut ids = Vec::new();
    for team in ["a", "a", "b"] {
        body["labels"] = json!({"team": team});
        let id = tasks::submit(http, &body).await;
        tasks::in_state(http, &id, &["waiting"]).await;
        ids.push(id);
    }
    let cli = |args: &[&str]| test_dir.cli(&[&["task"], args].concat());
    let named = cli(&["cancel", "--label", "team=a", "--dry-run", "--json"]);
    let named = named.run().await.ends(0).json_lines();
    assert_eq!(named.len(), 2, "{named:#?}");
    assert_eq!(named[0]["task_id"], json!(ids[1]));
    assert_eq!(tasks::get(http, &ids[0]).await["state"], "waiting");
    cli(&["pause", "--state", "waiting"]).run().await.ends(0);
    for id in &ids {
        assert_eq!(tasks::get(http, id).await["paused"], json!(true));
    }
    cli(&["resume", "--label", "team=b"]).run().await.ends(0);
    assert_eq!(tasks::get(http, &ids[2]).await["paused"], json!(false));
    assert_eq!(tasks::get(http, &ids[1]).await["paused"], json!(true));
    let cancelled = cli(&["cancel", "--label", "team=a"]).run().await.ends(0);
    assert!(cancelled.stdout.contains("2 tasks"), "{cancelled:#?}");
    for (id, state) in ids.iter().zip(["cancelled", "cancelled", "waiting"]) {
        assert_eq!(tasks::get(http, id).await["state"], state);
    }
    // Nobody means all of them by saying nothing.
    cli(&["cancel"]).run().await.ends(2);
    cli(&["cancel", &ids[2], "--label", "team=b"])
        .run()
        .await
        .ends(2);
    cli(&["cancel", "--state", "failed"]).run().await.ends(2);
}
