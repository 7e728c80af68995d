//! A limit that is used up: the task waits until somebody raises it, and goes on.

use serde_json::{Value, json};

use super::{place::Place, tasks};

const SUMS: &str = r#"
repeat_from = 1
[[turn]]
  [[turn.case]]
  when = "turn > 4"
  answer = "done after {{ turn }} turns"
  [[turn.case]]
  calls = [{ tool = "calculator", arguments = { expression = "{{ turn }} + 1" } }]
"#;

fn sums(limits: &Value) -> Value {
    json!({"task_type": "agent_run", "limits": limits, "input_data": {
        "prompt": "add", "agent_config": {"provider": "scripted", "script": SUMS},
    }})
}

#[tokio::test]
async fn a_task_out_of_steps_waits_through_a_kill_and_goes_on_with_more() {
    let place = Place::new();
    let dev = || place.dev().env("OPSPAWN_ON_EXHAUSTED", "wait");
    let mut server = dev().start().await.unwrap();
    let id = tasks::submit(server.http(), &sums(&json!({"max_steps": 4}))).await;
    let task = tasks::in_state(server.http(), &id, &["waiting"]).await;
    let detail = &task["state_detail"];
    assert_eq!(
        (&detail["on"], &detail["limit"]),
        (&json!("budget"), &json!("max_steps"))
    );

    server.sigkill().unwrap();
    let server = dev().start().await.unwrap();
    let watch = place.cli(&["task", "watch", &id]).run().await.ends(6);
    assert!(watch.stderr.contains("opspawn task limit"), "{watch:#?}");
    place.cli(&["task", "limit", &id]).run().await.ends(2);
    place
        .cli(&["task", "limit", &id, "--max-steps", "0"])
        .run()
        .await
        .ends(2);
    // One that is not enough: it waits again.
    let limit = |steps: &'static str| place.cli(&["task", "limit", &id, "--max-steps", steps]);
    limit("5").run().await.ends(0);
    let task = tasks::in_state(server.http(), &id, &["waiting"]).await;
    assert_eq!(task["limits"]["max_steps"], 5);
    limit("50").run().await.ends(0);
    assert_eq!(
        tasks::answer(server.http(), &id).await,
        "done after 5 turns"
    );

    let calls = tasks::events(server.http(), &id, "model.started").await;
    assert_eq!(calls.len(), 5, "no model call was repeated");
    let tools = tasks::events(server.http(), &id, "tool.completed").await;
    assert_eq!(tools.len(), 4, "no tool call was repeated");
    limit("60").run().await.ends(2);
}

#[tokio::test]
async fn a_task_or_its_agent_says_what_it_does_without() {
    let place = Place::new();
    let server = place.server().await;
    let limits = json!({"max_steps": 4, "on_exhausted": "wait"});
    let id = tasks::submit(server.http(), &sums(&limits)).await;
    let task = tasks::in_state(server.http(), &id, &["waiting"]).await;
    assert_eq!(task["limits"]["on_exhausted"], "wait", "{task:#}");
    // Whoever no longer wants to wait says so.
    let path = format!("/api/v1/tasks/{id}/limits");
    let fail = json!({"on_exhausted": "fail"});
    server
        .http()
        .post(&path, &fail)
        .await
        .unwrap()
        .ok()
        .unwrap();
    let task = tasks::ended(server.http(), &id).await;
    assert_eq!(task["error"]["code"], "step_limit", "{task:#}");

    let agent = place.data().join("patient.toml");
    let text = format!(
        "name = 'patient'\nmodel = 'scripted'\nscript = '''{SUMS}'''\n\
         limits = {{ max_steps = 4, on_exhausted = 'wait' }}"
    );
    std::fs::write(&agent, text).unwrap();
    let agent = agent.to_str().unwrap();
    place
        .cli(&["agent", "apply", "-f", agent])
        .run()
        .await
        .ends(0);
    let body =
        json!({"task_type": "agent_run", "agent_id": "patient", "input_data": {"prompt": "add"}});
    let id = tasks::submit(server.http(), &body).await;
    tasks::in_state(server.http(), &id, &["waiting"]).await;
    let mut own = body;
    own["limits"] = json!({"on_exhausted": "fail"});
    let id = tasks::submit(server.http(), &own).await;
    assert_eq!(tasks::ended(server.http(), &id).await["state"], "failed");
    let wrong = json!({"task_type": "agent_run", "limits": {"on_exhausted": "wiat"}});
    let refused = server.http().post("/api/v1/tasks", &wrong).await.unwrap();
    assert_eq!(refused.status.as_u16(), 422);
    assert!(refused.text().contains("wait"), "{}", refused.text());
}

#[tokio::test]
async fn a_run_at_work_hears_of_a_raise_with_its_next_step() {
    let place = Place::new();
    let server = place.server().await;
    let mut slow = sums(&json!({"max_steps": 4}));
    slow["input_data"]["agent_config"]["script"] = format!("latency_ms = 400\n{SUMS}").into();
    let id = tasks::submit(server.http(), &slow).await;
    tasks::in_state(server.http(), &id, &["running"]).await;
    let path = format!("/api/v1/tasks/{id}/limits");
    let more = json!({"max_steps": 50});
    let raised = server.http().post(&path, &more).await.unwrap();
    raised.ok().unwrap();
    assert_eq!(
        tasks::answer(server.http(), &id).await,
        "done after 5 turns"
    );
    let leases = tasks::events(server.http(), &id, "task.leased").await;
    assert_eq!(leases.len(), 1, "the worker went on with it");
    let calls = tasks::events(server.http(), &id, "model.started").await;
    assert_eq!(calls.len(), 5, "no model call was repeated");
}

#[tokio::test]
async fn without_that_setting_it_fails() {
    let place = Place::new();
    let server = place.server().await;
    let id = tasks::submit(server.http(), &sums(&json!({"max_steps": 4}))).await;
    let task = tasks::ended(server.http(), &id).await;
    assert_eq!(task["error"]["code"], "step_limit", "{task:#}");
}
