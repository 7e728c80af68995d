//! A budget through kills: its ledger holds what the calls have used, and the worst case of each call that was lost.

use std::time::Duration;

use ops_testkit::{Http, wait_until};
use serde_json::Value;

use super::{
    plan::Job,
    world::{World, submit, task},
};

const TIMEOUT: Duration = Duration::from_secs(60);
const KILLS: usize = 6;
const TASKS: usize = 10;
/// Tokens of the budget: room for some lost calls, and not for all.
const BUDGET_TOKENS: u64 = 400_000;

async fn budget(http: &Http) -> Value {
    let listed: Value = http
        .get("/api/v1/budgets")
        .await
        .unwrap()
        .ok()
        .unwrap()
        .json()
        .unwrap();
    listed["budgets"][0]["tokens"].clone()
}

async fn log(http: &Http, id: &str) -> Vec<Value> {
    let path = format!("/api/v1/tasks/{id}/events?limit=1000");
    let page: Value = http.get(&path).await.unwrap().ok().unwrap().json().unwrap();
    page["events"].as_array().unwrap().clone()
}

/// What a log says of the tokens of its model calls, and how many calls were lost.
fn spent(log: &[Value]) -> (u64, usize) {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (mut sum, mut lost, mut open) = (0, 0, None);
    for event in log {
        let data = &event["data"];
        match event["type"].as_str().unwrap() {
            "model.started" => {
                if let Some(reserved) = open.replace(number(&data["reserved_tokens"])) {
                    sum += reserved;
                    lost += 1;
                }
            }
            "model.completed" => {
                open = None;
                let usage = &data["usage"];
                sum += number(&usage["input_tokens"]) + number(&usage["output_tokens"]);
            }
            "model.failed" => {
                open = None;
                sum += number(&data["charged_tokens"]);
            }
            _ => {}
        }
    }
    (sum + open.unwrap_or(0), lost + usize::from(open.is_some()))
}

#[tokio::test]
async fn a_ledger_is_exact_through_kills() {
    let world = World::slow(150, 5).await.unwrap();
    let file = world.data.join("product").join("opspawn.toml");
    let text = format!("[budgets.all]\nperiod = 'total'\ntokens = {BUDGET_TOKENS}\n");
    std::fs::write(file, text).unwrap();
    let launch = world.launch().env("OPSPAWN_CONCURRENCY", "3");
    let mut ids = Vec::new();
    for kill in 0..KILLS {
        let mut server = launch.start().await.unwrap();
        let http = server.http().clone();
        while ids.len() < (kill + 1) * TASKS / KILLS {
            let tools = ["ledger_pure", "ledger_pure", "ledger_pure"];
            let job = Job::sequence(&format!("spends-{}", ids.len()), &tools);
            ids.push(submit(&http, &job).await.unwrap());
        }
        // The kill comes while a call is under way, as the stub takes its time; or nothing is left to do.
        let before = world.stub.requests().unwrap().len();
        let asked = wait_until("calls were made, or all has ended", TIMEOUT, || async {
            if world.stub.requests().ok()?.len() >= before + 2 {
                return Some(());
            }
            for id in &ids {
                let task = task(&http, id).await.ok()?;
                if task["completed_at"].is_null() {
                    return None;
                }
            }
            Some(())
        });
        asked.await.unwrap();
        let now = budget(&http).await;
        assert!(now["used"].as_u64().unwrap() <= BUDGET_TOKENS, "{now}");
        server.sigkill().unwrap();
    }
    let server = launch.start().await.unwrap();
    let http = server.http();
    for id in &ids {
        let ended = wait_until("the task ends", TIMEOUT, || async {
            let task = task(http, id).await.ok()?;
            (!task["completed_at"].is_null()).then_some(task)
        });
        let ended = ended.await.unwrap();
        match ended["state"].as_str().unwrap() {
            "completed" => {}
            "failed" => assert_eq!(ended["error"]["code"], "budget_exhausted", "{ended:#}"),
            other => panic!("{other}: {ended:#}"),
        }
    }
    let (mut sum, mut lost) = (0, 0);
    for id in &ids {
        let (tokens, calls) = spent(&log(http, id).await);
        sum += tokens;
        lost += calls;
    }
    let now = budget(http).await;
    assert_eq!(
        now["used"].as_u64().unwrap(),
        sum,
        "{now}, {lost} lost calls"
    );
    assert!(sum <= BUDGET_TOKENS);
    assert!(lost > 0, "no kill came during a call");
    // The stand-in's own count: no call was made that the ledger does not know.
    let requests = world.stub.requests().unwrap();
    let asked: u64 = requests
        .iter()
        .map(|request| request.request["messages"].to_string().len() as u64 / 4 + 1)
        .sum();
    assert!(asked <= sum, "the stub counted {asked}, the ledger {sum}");
    println!(
        "{KILLS} kills, {lost} lost calls, {} calls, {asked} tokens of the stub, {sum} of the ledger",
        requests.len()
    );
}
