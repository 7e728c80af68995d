//! Disk quotas that several tasks share.

use serde_json::json;

use super::{tasks, test_dir::TestDir};

/// Parent and child each write a file; the parent gives its child's answer.
const PARENT_AND_CHILD: &str = r#"
[[turn]]
calls = [{ tool = "write_file", arguments = { path = "a.txt", content = "CONTENT" } }]
[[turn]]
  [[turn.case]]
  when = "goal == 'child'"
  answer = "{{ last }}"
  [[turn.case]]
  calls = [{ tool = "spawn_agent", arguments = { goal = "child" } }]
[[turn]]
calls = [{ tool = "await_agents", arguments = { tasks = { "$expr" = "[(result(2) | fromjson).task]" } } }]
[[turn]]
answer = "{{ (last | fromjson)[0].output.answer }}"
"#;

/// The child had a quota of its own: both files were written.
#[tokio::test]
async fn a_child_writes_within_the_quota_of_its_tree() {
    let test_dir = TestDir::new();
    let server = test_dir
        .dev()
        .env("OPSPAWN_QUOTA_TREE_BYTES", "1000")
        .start()
        .await
        .unwrap();
    let http = server.http();
    let script = PARENT_AND_CHILD.replace("CONTENT", &"x".repeat(600));
    let body = json!({"task_type": "agent_run", "input_data": {
        "prompt": "parent", "agent_config": {"provider": "scripted", "script": script},
    }});
    let id = tasks::submit(http, &body).await;
    let answer = tasks::answer(http, &id).await;
    assert!(
        answer.contains("have 600 bytes") && answer.contains("quota.tree_bytes"),
        "{answer}"
    );
    let metrics = http.get("/metrics").await.unwrap().text();
    for line in [
        "opspawn_quota_refused_total 1",
        "opspawn_workspace_bytes_written_total 600",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}
