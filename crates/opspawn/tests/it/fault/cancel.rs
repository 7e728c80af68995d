//! Cancelling what is under way.

use std::time::{Duration, Instant};

use ops_testkit::{Http, clock};
use serde_json::{Value, json};

use super::{
    checks::{Seen, Witnesses},
    history::{self, History},
    plan::Job,
    world::{World, submit, task, until_state},
};

const SOON: Duration = Duration::from_secs(60);
/// How long after the acknowledgement a call may still begin.
const GRACE: i64 = 2_000_000;

fn job(name: &str) -> Job {
    Job::sequence(
        name,
        &[
            "ledger_pure",
            "ledger_write",
            "ledger_idempotent",
            "ledger_write",
        ],
    )
}

/// Cancels a task, and gives the time of the acknowledgement in microseconds since 1970.
async fn cancel(http: &Http, id: &str) -> i64 {
    let reply = http
        .post(&format!("/api/v1/tasks/{id}/cancel"), &json!({}))
        .await
        .unwrap();
    let task: Value = reply.ok().unwrap().json().unwrap();
    let state = task["state"].as_str();
    assert!(matches!(state, Some("cancelling" | "cancelled")), "{task}");
    clock::wall_us()
}

/// Nothing is wrong with a cancelled task.
async fn check(world: &World, http: &Http, job: &Job, id: &str) -> (Witnesses, History) {
    let history = history::read(http, id).await.unwrap();
    let witnesses = Witnesses::of(world).unwrap();
    let task = task(http, id).await.unwrap();
    let wrong = witnesses.findings((job, id), &task, &history, &Seen::new());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(history.end(), Some("task.cancelled"));
    (witnesses, history)
}

/// Cancels a task while its `busy`-th call is under way, with witnesses that take so long.
async fn cancelled_while_busy(model_ms: u32, tool_ms: u32, busy: usize) {
    let world = World::slow(model_ms, tool_ms).await.unwrap();
    let server = world.launch().start().await.unwrap();
    let http = server.http();
    let job = job("stops");
    let id = submit(http, &job).await.unwrap();
    let begun = Instant::now();
    while Witnesses::of(&world).unwrap().calls_after(&job, 0) < busy {
        assert!(begun.elapsed() < SOON, "the call did not begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (asked, acknowledged) = (Instant::now(), cancel(http, &id).await);
    until_state(http, &id, "cancelled", SOON).await.unwrap();
    let took = asked.elapsed();
    println!("cancelled {took:?} after it was asked for");
    // Before a slow call would end; on a quiet machine it is a few milliseconds.
    assert!(took < Duration::from_secs(10), "{took:?}");
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let (witnesses, _) = check(&world, http, &job, &id).await;
    assert_eq!(witnesses.calls_after(&job, acknowledged + GRACE), 0);
}

#[tokio::test]
async fn a_cancel_reaches_a_model_call_under_way() {
    cancelled_while_busy(120_000, 0, 1).await;
    cancelled_while_busy(500, 0, 3).await;
}

#[tokio::test]
async fn a_cancel_reaches_a_slow_tool_under_way() {
    cancelled_while_busy(0, 18_000, 2).await;
    cancelled_while_busy(0, 500, 4).await;
}

#[tokio::test]
async fn a_cancel_that_was_not_confirmed_outlives_the_process() {
    let world = World::slow(0, 18_000).await.unwrap();
    let mut between = 0;
    for index in 0..8 {
        let mut server = world.launch().start().await.unwrap();
        let job = job(&format!("killed-{index}"));
        let id = submit(server.http(), &job).await.unwrap();
        let begun = Instant::now();
        while Witnesses::of(&world).unwrap().calls_after(&job, 0) < 2 {
            assert!(begun.elapsed() < SOON, "the call did not begin");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel(server.http(), &id).await;
        server.sigkill().unwrap();
        let died = clock::wall_us();

        let server = world.launch().start().await.unwrap();
        until_state(server.http(), &id, "cancelled", SOON)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (witnesses, history) = check(&world, server.http(), &job, &id).await;
        assert_eq!(witnesses.calls_after(&job, died), 0);
        // Event times are cut to milliseconds.
        let confirmed = history.first("task.cancelled").unwrap();
        between += usize::from(confirmed + 1_000 > died);
        assert!(history.first("task.cancel_requested").is_some());
    }
    println!("{between} of 8 kills came between acknowledgement and confirmation");
    assert!(between > 0, "every cancel was confirmed before its kill");
}
