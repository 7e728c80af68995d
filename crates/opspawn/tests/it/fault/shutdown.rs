//! SIGTERM while tasks run.

use std::time::{Duration, Instant};

use ops_testkit::{Http, wait_until};
use serde_json::Value;

use super::{
    checks::{Seen, Witnesses},
    history,
    plan::{Job, Luck},
    world::{World, complete_all, submit, task},
};

const SOON: Duration = Duration::from_secs(60);

/// Waits until the steps of the tasks, a list for each, are as the stop is to find them.
async fn until(http: &Http, ids: &[String], ripe: fn(&[Vec<Value>]) -> bool) {
    let look = || async {
        let mut all = Vec::new();
        for id in ids {
            let path = format!("/api/v1/tasks/{id}/steps?limit=1000");
            let mut page: Value = http.get(&path).await.ok()?.ok().ok()?.json().ok()?;
            all.push(serde_json::from_value(page["steps"].take()).ok()?);
        }
        ripe(&all).then_some(())
    };
    let found = wait_until("the middle of the tasks", SOON, look).await;
    found.unwrap();
}

/// Whether a step is under way.
fn is_open(step: &Value) -> bool {
    step["status"] == "started"
}

/// Ten tasks are stopped once their steps are `ripe`, with this grace; gives how long the stop took,
/// how many steps were in doubt after it, and how many calls were repeated.
async fn stop_in_the_middle(
    world: &World,
    grace: &str,
    ripe: fn(&[Vec<Value>]) -> bool,
) -> (Duration, usize, usize) {
    let launch = world.launch().env("OPSPAWN_GRACE", grace);
    let mut server = launch.start().await.unwrap();
    let mut luck = Luck(7);
    let jobs: Vec<Job> = (0..10).map(|index| Job::mixed(index, &mut luck)).collect();
    let mut ids = Vec::new();
    for job in &jobs {
        ids.push(submit(server.http(), job).await.unwrap());
    }
    until(server.http(), &ids, ripe).await;
    for id in &ids {
        assert_eq!(task(server.http(), id).await.unwrap()["state"], "running");
    }
    let asked = Instant::now();
    let status = server.stop(SOON).await.unwrap();
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(0), "{}", server.output());

    let server = launch.start().await.unwrap();
    let in_doubt = complete_all(server.http(), &ids, SOON).await.unwrap();
    let witnesses = Witnesses::of(world).unwrap();
    let mut repeats = 0;
    for (job, id) in jobs.iter().zip(&ids) {
        let (task, history) = (
            task(server.http(), id).await.unwrap(),
            history::read(server.http(), id).await.unwrap(),
        );
        let wrong = witnesses.findings((job, id), &task, &history, &Seen::new());
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(
            history.first("task.released").is_some(),
            "{job:?} was not interrupted"
        );
        repeats += history.repeats.values().map(Vec::len).sum::<usize>();
    }
    assert_eq!(witnesses.writes_again(), 0);
    (took, in_doubt, repeats)
}

#[tokio::test]
async fn a_stop_drains_and_what_was_not_done_goes_on_later() {
    let world = World::slow(500, 500).await.unwrap();
    // Each has something behind it, and a call under way.
    let ripe = |tasks: &[Vec<Value>]| {
        let both = |steps: &Vec<Value>| {
            steps.iter().any(is_open) && steps.iter().any(|step| step["status"] == "completed")
        };
        tasks.iter().all(both)
    };
    let (took, in_doubt, repeats) = stop_in_the_middle(&world, "20s", ripe).await;
    println!("stopped in {took:?}");
    // The drain would take 20 s if nothing ended it.
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert_eq!(
        (in_doubt, repeats),
        (0, 0),
        "calls in flight were to be waited for"
    );
}

#[tokio::test]
async fn a_stop_that_nobody_waits_for_ends_in_time_and_repeats_no_write() {
    let world = World::slow(100, 3_000).await.unwrap();
    // A call that is in doubt if it is given up, and one that is repeated.
    let ripe = |tasks: &[Vec<Value>]| {
        let open = |write: bool| {
            let is = move |step: &Value| {
                is_open(step) && step["kind"] == "tool" && (step["effect"] == "write") == write
            };
            tasks.iter().flatten().any(is)
        };
        open(true) && open(false)
    };
    let (took, in_doubt, repeats) = stop_in_the_middle(&world, "500ms", ripe).await;
    println!("stopped in {took:?}, {in_doubt} in doubt, {repeats} repeated");
    // That calls were given up is told by what follows; this is far above the time on a quiet machine.
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(
        in_doubt > 0 && repeats > 0,
        "{in_doubt} in doubt, {repeats} repeated"
    );
}
