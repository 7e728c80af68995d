//! A limit that is used up: the task waits until somebody raises it, and goes on.

use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

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
    let test_dir = TestDir::new();
    let dev = || test_dir.dev().env("OPSPAWN_ON_EXHAUSTED", "wait");
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
    let watch = test_dir.cli(&["task", "watch", &id]).run().await.ends(6);
    assert!(watch.stderr.contains("opspawn task limit"), "{watch:#?}");
    test_dir.cli(&["task", "limit", &id]).run().await.ends(2);
    test_dir
        .cli(&["task", "limit", &id, "--max-steps", "0"])
        .run()
        .await
        .ends(2);
    // One that is not enough: it waits again.
    let limit = |steps: &'static str| test_dir.cli(&["task", "limit", &id, "--max-steps", steps]);
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
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
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

    let agent = test_dir.data().join("patient.toml");
    let text = format!(
        "name = 'patient'\nmodel = 'scripted'\nscript = '''{SUMS}'''\n\
         limits = {{ max_steps = 4, on_exhausted = 'wait' }}"
    );
    std::fs::write(&agent, text).unwrap();
    let agent = agent.to_str().unwrap();
    test_dir
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
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
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
    let test_dir = TestDir::new();
    let server = test_dir.server().await;
    let id = tasks::submit(server.http(), &sums(&json!({"max_steps": 4}))).await;
    let task = tasks::ended(server.http(), &id).await;
    assert_eq!(task["error"]["code"], "step_limit", "{task:#}");
}

/// Adds in two turns, as a task of a team.
fn of_team(team: &str, limits: &Value) -> Value {
    let mut body = sums(limits);
    body["labels"] = json!({"team": team});
    body
}

fn configure(test_dir: &TestDir, tokens: u64) {
    let text = format!(
        "[budgets.red]\nperiod = 'total'\ntokens = {tokens}\ncost_usd = 1\nlabels = {{ team = 'red' }}\n"
    );
    std::fs::create_dir_all(test_dir.data()).unwrap();
    std::fs::write(test_dir.data().join("opspawn.toml"), text).unwrap();
}

async fn warnings(http: &ops_testkit::Http) -> String {
    let ready = http.get("/ready").await.unwrap().ok().unwrap();
    ready.json::<Value>().unwrap()["warnings"].to_string()
}

/// The fifth call has the answer. A budget of 100 tokens has no room for the first.
#[tokio::test]
async fn a_budget_without_room_fails_its_tasks_or_has_them_wait_for_a_larger_one() {
    let test_dir = TestDir::new();
    configure(&test_dir, 100);
    let server = test_dir.server().await;
    let http = server.http();
    let fails = tasks::submit(http, &of_team("red", &json!({}))).await;
    let failed = tasks::ended(http, &fails).await;
    assert_eq!(failed["error"]["code"], "budget_exhausted", "{failed:#}");
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("100 tokens left of 100"), "{message}");
    let other = tasks::submit(http, &of_team("blue", &json!({}))).await;
    assert_eq!(tasks::answer(http, &other).await, "done after 5 turns");

    let patient = json!({"on_exhausted": "wait"});
    let waits = tasks::submit(http, &of_team("red", &patient)).await;
    let waiting = tasks::in_state(http, &waits, &["waiting"]).await;
    let detail = &waiting["state_detail"];
    assert_eq!(detail["on"], "budget", "{waiting:#}");
    assert_eq!(detail["limit"], "budgets.red");
    assert!(detail["until"].is_string(), "it looks again: {detail}");
    let watch = test_dir.cli(&["task", "watch", &waits]).run().await;
    watch.ends(6).says(&["`opspawn budget ls`"]);
    let calls = tasks::events(http, &waits, "model.started").await;
    assert!(calls.is_empty(), "a refused call is no event: {calls:?}");
    drop(server);

    configure(&test_dir, 1_000_000);
    let server = test_dir.server().await;
    let http = server.http();
    assert!(!warnings(http).await.contains("the budget"));
    // It looks again by itself, or at once if a limit is raised.
    let path = format!("/api/v1/tasks/{waits}/limits");
    let raised = http.post(&path, &json!({"max_steps": 60})).await.unwrap();
    raised.ok().unwrap();
    assert_eq!(tasks::answer(http, &waits).await, "done after 5 turns");
    let done = tasks::events(http, &waits, "model.completed").await;
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let used: u64 = done
        .iter()
        .map(|call| {
            number(&call["usage"]["input_tokens"]) + number(&call["usage"]["output_tokens"])
        })
        .sum();
    let listed = test_dir.cli(&["budget", "ls", "--json"]).run().await.json();
    let tokens = &listed["budgets"][0]["tokens"];
    assert_eq!(tokens["used"], used, "the script's own tokens: {listed:#}");
    assert!(used > 0, "{done:?}");
    drop(server);

    configure(&test_dir, used + 1);
    let server = test_dir.server().await;
    let warned = warnings(server.http()).await;
    assert!(
        warned.contains("budget `red` has 1 tokens left"),
        "{warned}"
    );
    let url = server.http().base();
    let doctor = test_dir.cli(&["doctor", "--url", &url]).run().await;
    let doctor = doctor.ends(0);
    assert!(doctor.stdout.contains("budget `red`"), "{doctor:?}");
}

/// Five tasks of five calls each; the budget has room for all that they use, and for the worst cases of three calls at once.
#[tokio::test]
async fn a_budget_that_calls_under_way_fill_fails_no_task() {
    let test_dir = TestDir::new();
    configure(&test_dir, 75_000);
    let dev = test_dir.dev().env("OPSPAWN_CONCURRENCY", "5");
    let server = dev.start().await.unwrap();
    let http = server.http();
    let mut body = of_team("red", &json!({}));
    body["input_data"]["agent_config"]["script"] = format!("latency_ms = 150\n{SUMS}").into();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(tasks::submit(http, &body).await);
    }
    // Nobody has to do anything: the command follows the task to its end.
    test_dir
        .cli(&["task", "watch", &ids[4]])
        .run()
        .await
        .ends(0);
    let mut waits = 0;
    for id in &ids {
        assert_eq!(tasks::answer(http, id).await, "done after 5 turns");
        waits += tasks::events(http, id, "task.waiting").await.len();
    }
    assert!(waits > 0, "all calls had room at once");
    let listed = test_dir.cli(&["budget", "ls", "--json"]).run().await.json();
    let tokens = &listed["budgets"][0]["tokens"];
    assert_eq!(tokens["under_way"], 0, "{listed:#}");
    let used = tokens["used"].as_u64().unwrap();
    assert!(0 < used && used < 75_000, "{listed:#}");
    println!("{waits} waits of 5 tasks, {used} tokens used");
}
