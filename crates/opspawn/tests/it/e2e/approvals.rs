//! Leave that steps ask for, over restarts.

use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

const WRITES: &str = r#"
[[turn]]
calls = [{ tool = "write_file", arguments = { path = "note.txt", content = "first" } }]
[[turn]]
answer = "{{ last }}"
"#;

async fn asking(test_dir: &TestDir) -> String {
    asking_with(test_dir, WRITES).await
}

async fn asking_with(test_dir: &TestDir, script: &str) -> String {
    std::fs::create_dir_all(test_dir.data()).unwrap();
    let policy =
        "[[rule]]\ntool = \"write_file\"\naction = \"ask\"\nreason = \"files are precious\"\n";
    std::fs::write(test_dir.data().join("policy.toml"), policy).unwrap();
    let server = test_dir.server().await;
    let body = json!({"task_type": "agent_run", "input_data": {
        "prompt": "write", "agent_config": {"provider": "scripted", "script": script},
    }});
    let id = tasks::submit(server.http(), &body).await;
    let task = tasks::in_state(server.http(), &id, &["waiting"]).await;
    assert_eq!(
        task["state_detail"],
        json!({"on": "approval", "steps": [2]})
    );
    id
}

const WRITES_AND_ADDS: &str = r#"
[[turn]]
calls = [
  { tool = "write_file", arguments = { path = "note.txt", content = "first" } },
  { tool = "calculator", arguments = { expression = "40 + 2" } },
]
[[turn]]
answer = "{{ result(1) }} {{ result(2) }}"
"#;

#[tokio::test]
async fn a_rerun_asks_for_itself() {
    let test_dir = TestDir::new();
    let id = asking_with(&test_dir, WRITES_AND_ADDS).await;
    let server = test_dir.server().await;
    let http = server.http();
    let again = ["task", "rerun", &id, "--from-step", "3", "--json"];
    let again = test_dir.cli(&again).run().await.ends(0);
    let new = tasks::id(&again.json());
    tasks::in_state(http, &new, &["waiting"]).await;
    // Each has a question of its own, and an answer to one is none to the other.
    let open = show(&test_dir, &new).await;
    assert_eq!(open["status"], json!("pending"), "{open:#}");
    let approve = ["approval", "approve", &id, "2"];
    test_dir.cli(&approve).run().await.ends(0);
    let answer = tasks::answer(http, &id).await;
    assert!(answer.contains("42"), "{answer}");
    assert_eq!(show(&test_dir, &new).await["status"], json!("pending"));
    let deny = ["approval", "deny", &new, "2", "--reason", "once is enough"];
    test_dir.cli(&deny).run().await.ends(0);
    let answer = tasks::answer(http, &new).await;
    assert!(answer.contains("once is enough"), "{answer}");
    // The step says so as well.
    let steps = http.get(&format!("/api/v1/tasks/{new}/steps")).await;
    let steps: Value = steps.unwrap().json().unwrap();
    let step = &steps["steps"][1];
    assert_eq!(
        step["error"]["message"],
        json!("once is enough"),
        "{step:#}"
    );
}

async fn show(test_dir: &TestDir, id: &str) -> Value {
    let get = test_dir.cli(&["approval", "get", id, "2", "--json"]);
    get.run().await.ends(0).json()
}

#[tokio::test]
async fn an_approval_waits_through_three_restarts_is_edited_approved_and_runs_once() {
    let test_dir = TestDir::new();
    let id = asking(&test_dir).await;
    for _ in 0..3 {
        let mut server = test_dir.server().await;
        let ls = test_dir.cli(&["approval", "ls"]).run().await.ends(0);
        assert!(ls.stdout.contains("write_file"), "{ls:#?}");
        server.sigkill().unwrap();
    }
    let server = test_dir.server().await;
    let open = show(&test_dir, &id).await;
    assert_eq!(
        (&open["status"], &open["revision"]),
        (&json!("pending"), &json!(1))
    );
    assert_eq!(
        open["input"],
        json!({"path": "note.txt", "content": "first"})
    );

    let edit = |input: &str| {
        [
            "approval", "edit", &id, "2", "--by", "ann", "--input", input,
        ]
        .map(str::to_owned)
    };
    let run = |args: Vec<String>| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        test_dir.cli(&args)
    };
    let wrong = run(edit(r#"{"path": 7}"#).to_vec()).run().await.ends(2);
    assert!(wrong.stderr.contains("input"), "{wrong:#?}");
    run(edit(r#"{"path": "note.txt", "content": "second"}"#).to_vec())
        .run()
        .await
        .ends(0);
    // It still needs leave, and leave for what was there before does not count.
    assert_eq!(tasks::get(server.http(), &id).await["state"], "waiting");
    let approve = |revision: &'static str| {
        ["approval", "approve", &id, "2", "--revision", revision].map(str::to_owned)
    };
    run(approve("1").to_vec()).run().await.ends(2);
    run(approve("2").to_vec()).run().await.ends(0);
    let answer = tasks::answer(server.http(), &id).await;
    assert!(
        answer.contains("a person changed the arguments"),
        "{answer}"
    );
    let file = test_dir
        .data()
        .join("workspaces")
        .join(&id)
        .join("note.txt");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "second");
    assert_eq!(
        tasks::events(server.http(), &id, "tool.completed")
            .await
            .len(),
        1
    );
    run(approve("2").to_vec()).run().await.ends(2);
    let decided = show(&test_dir, &id).await;
    assert_eq!(
        (&decided["status"], &decided["revision"]),
        (&json!("approved"), &json!(2))
    );
}

#[tokio::test]
async fn what_is_denied_never_runs_and_the_agent_is_told_why() {
    let test_dir = TestDir::new();
    let id = asking(&test_dir).await;
    let server = test_dir.server().await;
    let watch = test_dir.cli(&["task", "watch", &id]).run().await.ends(6);
    assert!(watch.stderr.contains("opspawn approval"), "{watch:#?}");
    test_dir
        .cli(&["approval", "deny", &id, "2", "--reason", "not on a Friday"])
        .run()
        .await
        .ends(0);
    let answer = tasks::answer(server.http(), &id).await;
    assert!(answer.contains("not on a Friday"), "{answer}");
    assert!(
        !test_dir
            .data()
            .join("workspaces")
            .join(&id)
            .join("note.txt")
            .exists()
    );
}
