//! The policy of an agent binds the tasks that its runs begin, whatever their agents allow.

use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

/// A definition that the server takes.
async fn apply(dir: &TestDir, name: &str, text: &str) {
    let file = dir.join(&format!("{name}.toml"));
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    dir.cli(&["agent", "apply", "-f", &file])
        .run()
        .await
        .ends(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_binds_children_and_their_children() {
    let dir = TestDir::new();
    let server = dir.server().await;
    let http = server.http();
    let spawns = |child: &str| {
        format!(
            "model = 'scripted'\nagents = ['{child}']\nscript = '''\n[[turn]]\n\
             calls = [{{ tool = \"spawn_agent\", arguments = {{ goal = \"g\", agent = \"{child}\" }} }}]\n\
             [[turn]]\ncalls = [{{ tool = \"await_agents\", arguments = {{ tasks = [\"{{{{ (last | fromjson).task }}}}\"] }} }}]\n\
             [[turn]]\nanswer = \"over\"\n'''\n"
        )
    };
    let writer = "name = 'writer'\nmodel = 'scripted'\nscript = '''\n[[turn]]\n\
                  calls = [{ tool = \"write_file\", arguments = { path = \"a.txt\", content = \"x\" } }]\n\
                  [[turn]]\nanswer = \"{{ last }}\"\n'''\n";
    apply(&dir, "writer", writer).await;
    apply(
        &dir,
        "middle",
        &format!("name = 'middle'\n{}", spawns("writer")),
    )
    .await;
    let rule = "[[policy.rule]]\ntool = 'write_file'\naction = 'deny'\nreason = 'nothing is written here'\n";
    apply(
        &dir,
        "bound",
        &format!("name = 'bound'\n{}{rule}", spawns("middle")),
    )
    .await;
    apply(
        &dir,
        "free",
        &format!("name = 'free'\n{}", spawns("middle")),
    )
    .await;
    for (agent, is_bound) in [("free", false), ("bound", true)] {
        let body =
            json!({"task_type": "agent_run", "agent_id": agent, "input_data": {"prompt": "go"}});
        let id = tasks::submit(http, &body).await;
        let ended = tasks::ended(http, &id).await;
        assert_eq!(ended["status"], "completed", "{ended:#}");
        let middle = child(http, &id).await;
        let writer = child(http, &middle).await;
        let failed = tasks::events(http, &writer, "tool.called").await;
        let refused: Vec<&Value> = failed
            .iter()
            .filter(|event| event["verdict"] == "refuse")
            .collect();
        assert_eq!(!refused.is_empty(), is_bound, "{agent}: {failed:#?}");
        if is_bound {
            assert_eq!(refused[0]["error"]["code"], "denied", "{refused:#?}");
            let message = refused[0]["error"]["message"].as_str().unwrap();
            assert!(message.contains("nothing is written here"), "{message}");
        }
    }
}

/// The task that a task has begun.
async fn child(http: &ops_testkit::Http, id: &str) -> String {
    let completed = tasks::events(http, id, "tool.completed").await;
    let mut children = completed
        .iter()
        .filter_map(|event| event["child"]["task"].as_str());
    children
        .next()
        .expect("the task began another one")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_may_bring_policies_that_make_it_stricter() {
    let dir = TestDir::new();
    let server = dir.server().await;
    let http = server.http();
    let script = "[[turn]]\ncalls = [{ tool = \"write_file\", arguments = { path = \"a.txt\", content = \"x\" } }]\n\
                  [[turn]]\nanswer = \"{{ last }}\"\n";
    let body = |policies: Value| {
        json!({"task_type": "agent_run", "input_data": {"prompt": "go", "agent_config": {
            "provider": "scripted", "script": script, "policies": policies,
        }}})
    };
    let denies =
        json!([{"rule": [{"tool": "write_file", "action": "deny", "reason": "not today"}]}]);
    let id = tasks::submit(http, &body(denies)).await;
    let ended = tasks::ended(http, &id).await;
    assert!(
        ended["output"].to_string().contains("not today"),
        "{ended:#}"
    );
    for (policies, says) in [
        (json!({}), "must be a list of policies"),
        (json!([{"rules": []}]), "there is no key `rules`"),
        (json!([1]), "must be a table"),
    ] {
        let reply = http.post("/api/v1/tasks", &body(policies)).await.unwrap();
        assert_eq!(reply.status.as_u16(), 422, "{}", reply.text());
        assert!(reply.text().contains(says), "{}", reply.text());
    }
}
