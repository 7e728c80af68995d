//! Submits as the first clients wrote them: parts of the input beside it, and what the answer says of
//! them.

use serde_json::{Value, json};

use crate::{client::request, harness::App};

const TASKS: &str = "/api/v1/tasks/";

/// What these clients name where they test that a task fails.
fn nowhere() -> Value {
    json!({"llm_provider": "non_existent_provider", "llm_model": "error-model"})
}

#[tokio::test]
async fn parts_of_the_input_may_stand_beside_it() {
    let app = App::start().await;
    for (body, task_type, input) in [
        (
            json!({"prompt": "say hello", "task_type": "agent_task"}),
            "agent_task",
            json!({"prompt": "say hello"}),
        ),
        (
            json!({"prompt": "say hello"}),
            "agent_run",
            json!({"prompt": "say hello"}),
        ),
        (
            json!({"goal": "g", "agent_config": {"planner": "react"}, "inject_mcp_proxy": false,
                "input_data": {"rows": [1, 2]}}),
            "agent_run",
            json!({"goal": "g", "agent_config": {"planner": "react"}, "inject_mcp_proxy": false,
                "rows": [1, 2]}),
        ),
        (
            json!({"prompt": "p", "input_data": {"prompt": "p"}}),
            "agent_run",
            json!({"prompt": "p"}),
        ),
        (
            json!({"input_data": {"goal": "g"}}),
            "agent_run",
            json!({"goal": "g"}),
        ),
    ] {
        let reply = app.post(TASKS, &body).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        let task = reply.json();
        assert_eq!(
            (&task["task_type"], &task["input_data"]),
            (&json!(task_type), &input),
            "{body}"
        );
        assert_eq!(task.get("warnings"), None, "there is nothing to warn of");
        let seen = app.task(task["task_id"].as_str().unwrap()).await;
        assert_eq!(seen, task, "{body}");
    }
}

#[tokio::test]
async fn two_places_that_say_different_things_are_refused() {
    let app = App::start().await;
    for (body, loc) in [
        (
            json!({"prompt": "a", "input_data": {"prompt": "b"}}),
            json!(["body", "prompt"]),
        ),
        (
            json!({"prompt": "a", "agent_config": {"model": "x"},
                "input_data": {"agent_config": {"model": "y"}}}),
            json!(["body", "agent_config"]),
        ),
        (
            json!({"prompt": "a", "inject_mcp_proxy": true, "input_data": {"inject_mcp_proxy": false}}),
            json!(["body", "inject_mcp_proxy"]),
        ),
    ] {
        let problem = app.post(TASKS, &body).await.problem(422, "invalid_body");
        assert_eq!(problem["errors"][0]["loc"], loc, "{problem}");
        let says = problem["detail"].as_str().unwrap();
        assert!(says.contains("say different things"), "{says}");
    }
    let problem = app.post(TASKS, &json!({"agent_config": {}})).await;
    let problem = problem.problem(422, "invalid_body");
    assert_eq!(problem["detail"], "`task_type` is missing");
}

#[tokio::test]
async fn the_201_says_what_will_fail_where_the_client_wrote_it() {
    let app = App::start().await;
    let beside = json!({"prompt": "p", "task_type": "agent_task", "agent_config": nowhere()});
    let within = json!({"task_type": "agent_task",
        "input_data": {"prompt": "p", "agent_config": nowhere()}});
    for (body, loc) in [
        (&beside, json!(["body", "agent_config", "llm_provider"])),
        (
            &within,
            json!(["body", "input_data", "agent_config", "llm_provider"]),
        ),
    ] {
        let reply = app.post(TASKS, body).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        let task = reply.json();
        let warning = &task["warnings"][0];
        assert_eq!(
            (&warning["loc"], &warning["type"]),
            (&loc, &json!("unknown_provider")),
            "{task}"
        );
        assert!(warning["msg"].to_string().contains("non_existent_provider"));
        let seen = app.task(task["task_id"].as_str().unwrap()).await;
        assert_eq!(seen.get("warnings"), None, "the answer to the submit alone");
    }

    let batch = json!({"tasks": [beside, {"prompt": "p"}, {"prompt": 7}]});
    let answer = app.post("/api/v1/tasks:batch", &batch).await.json();
    assert_eq!(
        (&answer["accepted"], &answer["refused"]),
        (&json!(2), &json!(1))
    );
    let results = answer["results"].as_array().unwrap();
    assert_eq!(
        results[0]["task"]["warnings"][0]["loc"],
        json!(["body", "agent_config", "llm_provider"])
    );
    assert_eq!(results[1]["task"]["task_type"], "agent_run");
    assert_eq!(results[1]["task"].get("warnings"), None);
    assert_eq!(
        results[2]["error"]["errors"][0]["loc"],
        json!(["body", "prompt"])
    );

    let schedule = json!({"cron": "@daily", "task": beside}).to_string();
    let headers = [("content-type", "application/json")];
    let path = "/api/v1/schedules/nightly";
    let reply = request(app.addr, "PUT", path, &headers, schedule.as_bytes()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let stored = reply.json();
    assert_eq!(stored["task"]["input_data"]["prompt"], "p");
    let loc = &stored["warnings"][0]["loc"];
    assert_eq!((&loc[0], &loc[1]), (&json!("body"), &json!("task")));
    assert_eq!(app.get(path).await.json().get("warnings"), None);
}

#[tokio::test]
async fn a_task_carries_its_answer_as_text() {
    let app = App::start().await;
    for (result, output) in [
        (
            json!({"answer": "4 \n \"quoted\""}),
            json!("4 \n \"quoted\""),
        ),
        (
            json!({"answer": {"sum": 4, "of": [1, 3]}}),
            json!(r#"{"of":[1,3],"sum":4}"#),
        ),
        (json!({"answer": 4.5}), json!("4.5")),
        (json!({"rows": 4}), Value::Null),
        (json!({"answer": null}), Value::Null),
    ] {
        let id = app.echo().await;
        assert_eq!(app.task(&id).await["output"], Value::Null);
        app.complete_next(&result).await;
        let task = app.task(&id).await;
        assert_eq!((&task["output"], &task["result"]), (&output, &result));
        let listed = app.get("/api/v1/tasks?limit=1").await.json();
        assert_eq!(listed["tasks"][0], task);
    }
}
