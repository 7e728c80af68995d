//! SIGKILL while a schedule is due again and again: each of its dates has one task.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use http::Method;
use ops_testkit::{CrashPlan, Http, Opspawn, wait_until};
use serde_json::{Value, json};

use super::{
    plan::Luck,
    world::{World, ask, text},
};

const TIMEOUT: Duration = Duration::from_secs(60);
const PATH: &str = "/api/v1/schedules/tick";

async fn get(http: &Http, path: &str) -> Option<Value> {
    http.get(path).await.ok()?.ok().ok()?.json().ok()
}

async fn runs(http: &Http) -> Option<Vec<Value>> {
    let page = get(http, &format!("{PATH}/runs?limit=1000")).await?;
    page["runs"].as_array().cloned()
}

/// Waits until a run has started whose date is not before the start of this.
async fn goes_on(server: &Opspawn) {
    let before = runs(server.http()).await.map_or(0, |runs| runs.len());
    let more = || async { (runs(server.http()).await?.len() > before).then_some(()) };
    wait_until("a further run", TIMEOUT, more).await.unwrap();
}

#[tokio::test]
async fn kills_repeat_no_run_and_lose_none() {
    let world = World::new(&[], &[]).await.unwrap();
    let mut server = world.launch().start().await.unwrap();
    let body = json!({
        "cron": "* * * * * *", "overlap": "allow", "catch_up": "all",
        "task": {"task_type": "agent_run", "input_data": {"prompt": "tick"}},
    });
    let stored = ask(server.http(), Method::PUT, PATH, Some(&body), None);
    stored.await.unwrap().unwrap().ok().unwrap();
    goes_on(&server).await;
    server.sigkill().unwrap();

    let mut luck = Luck(20_261_124);
    let mut crashes = 0;
    for round in 0..4 {
        for point in ["submit.before_commit", "submit.after_commit"] {
            let plan = CrashPlan::new(point, 1 + round % 2, world.crash_log());
            // It may be dead before it says that it is ready: a run is due at once.
            if let Ok(mut server) = world.launch().crash(&plan).start().await {
                server.wait_exit(TIMEOUT).await.unwrap();
            }
            crashes += 1;
            assert_eq!(plan.fired().unwrap().len(), crashes);
        }
        let mut server = world.launch().start().await.unwrap();
        goes_on(&server).await;
        tokio::time::sleep(Duration::from_millis(luck.below(700) as u64)).await;
        server.sigkill().unwrap();
    }

    let mut server = world.launch().start().await.unwrap();
    goes_on(&server).await;
    let http = server.http().clone();
    http.post(&format!("{PATH}/pause"), &json!({}))
        .await
        .unwrap()
        .ok()
        .unwrap();
    let runs = runs(&http).await.unwrap();
    assert!((12..100).contains(&runs.len()), "{}", runs.len());
    let dates: BTreeSet<String> = runs.iter().map(|run| text(run, "due_at")).collect();
    assert_eq!(dates.len(), runs.len(), "a date twice: {runs:#?}");
    // Every second from the first to the last, each with a task of its own.
    let seconds: Vec<i64> = dates.iter().map(|date| second(date)).collect();
    let gaps: Vec<_> = seconds
        .windows(2)
        .filter(|pair| (pair[1] - pair[0]).rem_euclid(86_400) != 1)
        .collect();
    assert!(gaps.is_empty(), "{gaps:?} in {dates:?}");
    let started: BTreeMap<String, String> = runs
        .iter()
        .map(|run| (text(run, "task_id"), text(run, "outcome")))
        .collect();
    assert!(
        started.values().all(|outcome| outcome == "started"),
        "{started:?}"
    );

    let page = get(&http, "/api/v1/tasks?limit=1000").await.unwrap();
    let tasks = page["tasks"].as_array().unwrap();
    let ids: BTreeSet<String> = tasks.iter().map(|task| text(task, "task_id")).collect();
    assert!(
        tasks
            .iter()
            .all(|task| task["labels"]["schedule"] == "tick")
    );
    assert_eq!(ids, started.into_keys().collect());
    let ended = || async {
        let page = get(&http, "/api/v1/tasks?status=completed&limit=1").await?;
        (page["total"].as_u64()? == ids.len() as u64).then_some(())
    };
    wait_until("every task to end", TIMEOUT, ended)
        .await
        .unwrap();
    println!(
        "{} runs, each once, over {} kills and {crashes} crash points",
        runs.len(),
        5
    );
    assert!(server.stop(TIMEOUT).await.unwrap().success());
}

/// The second of the day of `2026-11-24T15:00:59.000Z`.
fn second(date: &str) -> i64 {
    let parts: Vec<i64> = date[11..19]
        .split(':')
        .map(|part| part.parse().unwrap())
        .collect();
    parts[0] * 3_600 + parts[1] * 60 + parts[2]
}
