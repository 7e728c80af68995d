//! Steps and pages of events.

use ops_core::event::{NewEvent, StepKind, StepStatus};
use serde_json::{Value, json};

use crate::harness::{App, event};

/// A completed task with three tool steps; 9 events.
pub(crate) async fn worked(app: &App) -> String {
    let id = app.echo().await;
    let task = app.claim().await.task.id;
    for number in 0..3 {
        let started = event(
            number,
            StepStatus::Started,
            json!({"name": "write_file", "input": {"n": number}}),
        );
        app.append(task, vec![started], ops_core::Next::Continue)
            .await;
        let done = event(
            number,
            StepStatus::Completed,
            json!({"output": {"text": "a\nb\r\u{2028}"}}),
        );
        app.append(task, vec![done], ops_core::Next::Continue).await;
    }
    let result = ops_core::Json::from(&json!({"answer": "x"}));
    let next = ops_core::Next::Complete { result };
    app.append(task, Vec::new(), next).await;
    id
}

#[tokio::test]
async fn steps_show_what_went_in_and_out() {
    let app = App::start().await;
    let id = worked(&app).await;
    let steps = app.get(&format!("/api/v1/tasks/{id}/steps")).await.json();
    assert_eq!(steps["next_cursor"], Value::Null);
    let steps = steps["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 3);
    let step = &steps[1];
    assert_eq!(step["step"], 1);
    assert_eq!(step["seq"], 5);
    assert_eq!(step["kind"], "tool");
    assert_eq!(step["name"], "write_file");
    assert_eq!(step["status"], "completed");
    assert_eq!(step["attempt"], 1);
    assert_eq!(step["effect"], "write");
    assert_eq!(step["input"], json!({"n": 1}));
    assert_eq!(step["output"], json!({"text": "a\nb\r\u{2028}"}));
    assert_eq!(step["error"], Value::Null);
    assert_eq!(
        step["usage"],
        json!({"input_tokens": 6, "output_tokens": 4, "cost_usd": 0.003})
    );
    assert!(step["started_at"].as_str().unwrap() < step["ended_at"].as_str().unwrap());
    let task = app.task(&id).await;
    assert_eq!(task["usage"]["input_tokens"], 18);
}

#[tokio::test]
async fn pages_of_logs_join_without_gap_or_repeat() {
    let app = App::start().await;
    let id = worked(&app).await;
    for (list, last, total) in [("steps", 7, 3), ("events", 9, 9)] {
        let whole = app.get(&format!("/api/v1/tasks/{id}/{list}")).await.json();
        let whole = whole[list].as_array().unwrap().clone();
        assert_eq!(whole.len(), total);
        assert_eq!(whole[total - 1]["seq"], last);
        for limit in 1..=total + 1 {
            let mut seen = Vec::new();
            let mut cursor = String::new();
            loop {
                let path = format!("/api/v1/tasks/{id}/{list}?limit={limit}{cursor}");
                let page = app.get(&path).await.json();
                seen.extend(page[list].as_array().unwrap().iter().cloned());
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(seen, whole, "{list} limit {limit}");
        }
        let path = format!("/api/v1/tasks/{id}/{list}?after={}", whole[0]["seq"]);
        assert_eq!(
            app.get(&path).await.json()[list].as_array().unwrap()[..],
            whole[1..]
        );
    }
}

#[tokio::test]
async fn events_are_gapless_and_carry_the_stored_body() {
    let app = App::start().await;
    let id = worked(&app).await;
    let page = app.get(&format!("/api/v1/tasks/{id}/events")).await.json();
    let events = page["events"].as_array().unwrap();
    let seqs: Vec<_> = events
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=9).collect::<Vec<_>>());
    assert_eq!(events[0]["type"], "task.submitted");
    assert_eq!(events[0]["data"]["task_type"], "echo");
    assert_eq!(events[1]["type"], "task.leased");
    assert_eq!(events[2]["type"], "tool.started");
    assert_eq!(events[2]["data"]["input"], json!({"n": 0}));
    assert_eq!(events[8]["type"], "task.completed");
    for event in events {
        assert_eq!(event["type"], event["data"]["type"]);
        assert!(event["at"].as_str().unwrap().ends_with('Z'));
    }
}

#[tokio::test]
async fn logs_of_no_task_give_404_and_wrong_parameters_422() {
    let app = App::start().await;
    let id = worked(&app).await;
    for list in ["steps", "events"] {
        let missing = format!("/api/v1/tasks/task_6ba7b810-9dad-41d1-80b4-00c04fd430c8/{list}");
        app.get(&missing).await.problem(404, "task_not_found");
        for query in [
            "limit=0",
            "after=-1",
            "afer=1",
            "cursor=x",
            "cursor=t1",
            "after=1&cursor=e1&limit=1",
            "after=9223372036854775808",
        ] {
            let path = format!("/api/v1/tasks/{id}/{list}?{query}");
            app.get(&path).await.problem(422, "invalid_query");
        }
    }
}

fn model(number: u32, status: StepStatus) -> NewEvent {
    let mut event = event(number, status, json!({"name": "m", "input": number}));
    if let Some(mark) = &mut event.step {
        mark.kind = StepKind::Model;
    }
    event
}

/// A task of turns in which calls end out of order, model calls are made again, and a step was in
/// doubt.
async fn long(app: &App) -> String {
    let id = app.echo().await;
    let task = app.claim().await.task.id;
    let mut events = Vec::new();
    let mut number = 0;
    for turn in 0..30 {
        number += 1;
        let step = number;
        events.push(model(step, StepStatus::Started));
        for _ in 0..turn % 3 {
            events.extend(
                [StepStatus::Failed, StepStatus::Started].map(|status| model(step, status)),
            );
        }
        events.push(model(step, StepStatus::Completed));
        let calls = number + 1..=number + turn % 4;
        number += turn % 4;
        for call in calls.clone() {
            events.push(event(
                call,
                StepStatus::Queued,
                json!({"name": "t", "input": call}),
            ));
        }
        for call in calls.clone().rev() {
            events.push(event(call, StepStatus::Started, json!({})));
        }
        for call in calls {
            events.push(event(call, StepStatus::Completed, json!({"output": call})));
        }
    }
    app.append(task, events, ops_core::Next::Continue).await;
    let started = event(number + 1, StepStatus::Started, json!({"name": "t"}));
    let wait = ops_core::WaitRequest::InDoubt {
        steps: vec![number + 1],
    };
    app.append(task, vec![started], ops_core::Next::Wait(wait))
        .await;
    let open = app.get("/api/v1/reconciliations").await.json();
    assert_eq!(open["reconciliations"].as_array().unwrap().len(), 1);
    assert_eq!(open["reconciliations"][0]["step"], number + 1);
    assert_eq!(open["reconciliations"][0]["status"], "in_doubt");
    let path = format!("/api/v1/reconciliations/{id}/{}", number + 1);
    let resolved = app
        .post(&path, &json!({"resolution": "done", "output": "it was"}))
        .await;
    assert_eq!(resolved.status, 200, "{}", resolved.text());
    app.claim().await;
    let more = [StepStatus::Started, StepStatus::Completed].map(|status| model(number + 2, status));
    let result = ops_core::Json::from(&json!({}));
    app.append(task, more.to_vec(), ops_core::Next::Complete { result })
        .await;
    id
}

#[tokio::test]
async fn a_page_of_steps_from_any_place_is_that_part_of_the_whole() {
    let app = App::start().await;
    let id = long(&app).await;
    let steps = async |query: &str| {
        let page = app.get(&format!("/api/v1/tasks/{id}/steps?{query}")).await;
        page.json()
    };
    let whole = steps("limit=1000").await;
    assert_eq!(whole["next_cursor"], Value::Null);
    let whole = whole["steps"].as_array().unwrap().clone();
    // 30 model steps, their calls, the one in doubt, its wait and the last model step.
    assert_eq!(
        whole.len(),
        30 + (0..30).map(|turn| turn % 4).sum::<usize>() + 3
    );
    assert!(
        whole.iter().all(|step| step["status"] == "completed"),
        "{whole:?}"
    );
    assert_eq!(whole[whole.len() - 3]["output"], "it was");
    assert_eq!(whole[whole.len() - 2]["kind"], "wait");
    let last = app.task(&id).await["last_seq"].as_u64();
    let last = last.unwrap_or_else(|| whole[whole.len() - 1]["seq"].as_u64().unwrap() + 2);
    for after in 0..=last {
        let begins = whole
            .iter()
            .position(|step| step["seq"].as_u64().unwrap() > after);
        let rest = &whole[begins.unwrap_or(whole.len())..];
        for limit in [1, 2, 5, 1_000] {
            let page = steps(&format!("after={after}&limit={limit}")).await;
            let expected = &rest[..rest.len().min(limit)];
            assert_eq!(
                page["steps"].as_array().unwrap(),
                expected,
                "{after} {limit}"
            );
            assert_eq!(
                page["next_cursor"].is_null(),
                rest.len() <= limit,
                "{after} {limit}"
            );
        }
    }
}

#[tokio::test]
async fn large_pages_end_early_and_join_without_gap() {
    let app = App::start().await;
    let id = app.echo().await;
    let task = app.claim().await.task.id;
    let large = "x".repeat(700_000);
    for number in 1..=10 {
        let body = json!({"name": "m", "input": large});
        let mut started = event(number, StepStatus::Started, body);
        if let Some(mark) = &mut started.step {
            mark.kind = StepKind::Model;
        }
        let events = vec![started, model(number, StepStatus::Completed)];
        app.append(task, events, ops_core::Next::Continue).await;
    }
    for (list, key) in [("steps", "step"), ("events", "seq")] {
        let mut seen = Vec::new();
        let mut pages = 0;
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/tasks/{id}/{list}?limit=1000{cursor}");
            let page = app.get(&path).await.json();
            let items = page[list].as_array().unwrap();
            seen.extend(items.iter().map(|item| item[key].as_u64().unwrap()));
            pages += 1;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let total = if list == "steps" { 10 } else { 22 };
        assert_eq!(seen, (1..=total).collect::<Vec<_>>());
        assert!(pages > 1, "{list}");
    }
}

/// engine/E8: the name of an answer is the run's own, so that none may be there before its question.
#[tokio::test]
async fn an_answer_is_taken_only_while_its_question_is_open() {
    let app = App::start().await;
    let id = app.echo().await;
    let path = format!("/api/v1/tasks/{id}/signals");
    let answer = json!({"name": "human.call_2", "payload": "yes"});
    let early = app.post(&path, &answer).await;
    let problem = early.problem(409, "question_not_open");
    assert!(
        problem["detail"]
            .to_string()
            .contains("has no open question")
    );
    // Other names are the client's: they may come before the call that waits for them.
    let go = json!({"name": "go", "payload": 1});
    assert_eq!(app.post(&path, &go).await.status, 200);

    let task = app.claim().await.task.id;
    let asked = json!({"name": "ask_human", "input": {"question": "?"}});
    let question = event(2, StepStatus::Waiting, asked);
    let other = event(3, StepStatus::Started, json!({"name": "slow"}));
    app.append(task, vec![question, other], ops_core::Next::Continue)
        .await;
    for wrong in [
        "human.call_1",
        "human.call_3",
        "human.",
        "human.call_x",
        "human.call_02x",
    ] {
        let reply = app.post(&path, &json!({"name": wrong})).await;
        let problem = reply.problem(409, "question_not_open");
        let open = problem["detail"]
            .to_string()
            .contains("open are `human.call_2`");
        assert!(open, "{problem}");
    }
    // Another call of its turn still runs.
    assert_eq!(app.task(&id).await["state"], "running");
    assert_eq!(app.post(&path, &answer).await.status, 200);
}
