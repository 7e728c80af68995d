//! What a reviewer sees before a decision, and approvals that nobody answers: over kills of the server.

use std::time::Duration;

use ops_testkit::{CrashPlan, Opspawn};
use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

const WRITES_TWICE: &str = r#"
[[turn]]
calls = [{ tool = "write_file", arguments = { path = "note.txt", content = "first" } }]
[[turn]]
calls = [{ tool = "write_file", arguments = { path = "note.txt", content = "second" } }]
[[turn]]
answer = "{{ last }}"
"#;

fn policy(test_dir: &TestDir, more: &str) {
    std::fs::create_dir_all(test_dir.data()).unwrap();
    let rule = "[[rule]]\ntool = \"write_file\"\naction = \"ask\"\nreason = \"files are precious\"\n\
                when = { content = \"second\" }\n";
    std::fs::write(
        test_dir.data().join("policy.toml"),
        format!("{rule}{more}\n"),
    )
    .unwrap();
}

async fn submit(server: &Opspawn) -> String {
    let body = json!({"task_type": "agent_run", "input_data": {
        "prompt": "write", "agent_config": {"provider": "scripted", "script": WRITES_TWICE},
    }});
    tasks::submit(server.http(), &body).await
}

async fn approval(test_dir: &TestDir, id: &str) -> Value {
    let get = test_dir.cli(&["approval", "get", id, "4", "--json"]);
    get.run().await.ends(0).json()
}

#[tokio::test]
async fn a_reviewer_sees_the_preview_although_the_server_dies_in_it() {
    let test_dir = TestDir::new();
    policy(
        &test_dir,
        "preview = { tool = \"read_file\", arguments = { path = \"{path}\" } }",
    );
    let plan = CrashPlan::new("run.after_machine_intent", 1, test_dir.join("crashes"));
    let mut server = test_dir.dev().crash(&plan).start().await.unwrap();
    let id = submit(&server).await;
    server.wait_exit(Duration::from_secs(30)).await.unwrap();
    plan.must_have_fired().unwrap();

    let server = test_dir.server().await;
    tasks::in_state(server.http(), &id, &["waiting"]).await;
    let open = approval(&test_dir, &id).await;
    let preview = &open["preview"];
    assert_eq!(preview["status"], "completed", "{open:#}");
    assert_eq!(preview["input"], json!({"path": "note.txt"}));
    assert!(preview["output"].to_string().contains("first"), "{open:#}");
    assert_eq!(preview["outdated"], false);
    let get = test_dir
        .cli(&["approval", "get", &id, "4"])
        .run()
        .await
        .ends(0);
    assert!(get.stdout.contains("preview   `read_file`: "), "{get:#?}");
    assert!(get.stdout.contains("first"), "{get:#?}");

    // It is a step like any other, of the machine's own.
    let steps = server
        .http()
        .get(&format!("/api/v1/tasks/{id}/steps"))
        .await;
    let steps: Value = steps.unwrap().json().unwrap();
    let step = &steps["steps"][4];
    assert_eq!(
        (&step["name"], &step["initiator"]),
        (&json!("read_file"), &json!("machine"))
    );
    assert_eq!(preview["step"], step["step"], "{step:#}");

    let approve = ["approval", "approve", &id, "4"];
    test_dir.cli(&approve).run().await.ends(0);
    tasks::answer(server.http(), &id).await;
    let file = test_dir
        .data()
        .join("workspaces")
        .join(&id)
        .join("note.txt");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "second");
    assert_eq!(approval(&test_dir, &id).await["preview"], *preview);
}

#[tokio::test]
async fn a_preview_that_fails_is_shown_and_an_edit_makes_it_old() {
    let test_dir = TestDir::new();
    policy(
        &test_dir,
        "preview = { tool = \"read_file\", arguments = { path = \"gone.txt\" } }",
    );
    let server = test_dir.server().await;
    let id = submit(&server).await;
    tasks::in_state(server.http(), &id, &["waiting"]).await;
    let input = r#"{"path": "note.txt", "content": "third"}"#;
    let edit = ["approval", "edit", &id, "4", "--input", input];
    test_dir.cli(&edit).run().await.ends(0);
    let open = approval(&test_dir, &id).await;
    assert_eq!(open["preview"]["status"], "failed", "{open:#}");
    assert_eq!(open["preview"]["outdated"], true);
    let get = test_dir
        .cli(&["approval", "get", &id, "4"])
        .run()
        .await
        .ends(0);
    assert!(get.stdout.contains("before the edit failed: "), "{get:#?}");
    let approve = ["approval", "approve", &id, "4", "--revision", "2"];
    test_dir.cli(&approve).run().await.ends(0);
    tasks::answer(server.http(), &id).await;
}

#[tokio::test]
async fn an_unanswered_approval_escalates_and_expires_over_a_kill() {
    let test_dir = TestDir::new();
    policy(
        &test_dir,
        "timeout = \"2s\"\non_timeout = \"escalate\"\nescalate_to = \"on-call\"\nescalated_timeout = \"2s\"",
    );
    let mut server = test_dir.server().await;
    let id = submit(&server).await;
    tasks::in_state(server.http(), &id, &["waiting"]).await;
    let open = approval(&test_dir, &id).await;
    assert_eq!(open["escalation"]["to"], "on-call", "{open:#}");
    assert_eq!(open["status"], "pending");
    server.sigkill().unwrap();

    // Whoever comes back records the escalation, also where the time of it was over meanwhile.
    let server = test_dir.server().await;
    let answer = tasks::answer(server.http(), &id).await;
    assert!(
        answer.contains("nobody approved this call in time"),
        "{answer}"
    );
    let escalated = tasks::events(server.http(), &id, "tool.escalated").await;
    assert_eq!(escalated.len(), 1);
    let expired = approval(&test_dir, &id).await;
    assert_eq!(expired["status"], "expired", "{expired:#}");
    assert_eq!(expired["escalation"]["escalated"], true);
}

#[tokio::test]
async fn an_approval_that_was_escalated_is_open_and_listed_with_its_group() {
    let test_dir = TestDir::new();
    policy(
        &test_dir,
        "timeout = \"1s\"\non_timeout = \"escalate\"\nescalate_to = \"on-call\"",
    );
    let server = test_dir.server().await;
    let id = submit(&server).await;
    let escalated = || async {
        let events = tasks::events(server.http(), &id, "tool.escalated").await;
        (!events.is_empty()).then_some(())
    };
    ops_testkit::wait_until("the escalation", Duration::from_secs(30), escalated)
        .await
        .unwrap();
    let task = tasks::in_state(server.http(), &id, &["waiting"]).await;
    assert_eq!(
        task["state_detail"],
        json!({"on": "approval", "steps": [4]})
    );
    let ls = test_dir.cli(&["approval", "ls"]).run().await.ends(0);
    assert!(ls.stdout.contains("on-call"), "{ls:#?}");
    let get = test_dir
        .cli(&["approval", "get", &id, "4"])
        .run()
        .await
        .ends(0);
    assert!(get.stdout.contains("escalated to on-call"), "{get:#?}");
    let approve = ["approval", "approve", &id, "4", "--by", "ann"];
    test_dir.cli(&approve).run().await.ends(0);
    tasks::answer(server.http(), &id).await;
}
