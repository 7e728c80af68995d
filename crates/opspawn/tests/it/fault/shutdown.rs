//! SIGTERM while tasks run.

use std::time::{Duration, Instant};

use super::{
    checks::{Seen, Witnesses},
    history,
    plan::{Job, Luck},
    world::{World, complete_all, submit, task},
};

const SOON: Duration = Duration::from_secs(40);

/// Ten tasks are stopped in the middle with this grace; gives how long the stop took, how many
/// steps were in doubt after it, and how many calls were repeated.
async fn stop_in_the_middle(world: &World, grace: &str) -> (Duration, usize, usize) {
    let launch = world.launch().env("OPSPAWN_GRACE", grace);
    let mut server = launch.start().await.unwrap();
    let mut luck = Luck(7);
    let jobs: Vec<Job> = (0..10).map(|index| Job::mixed(index, &mut luck)).collect();
    let mut ids = Vec::new();
    for job in &jobs {
        ids.push(submit(server.http(), job).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(1_700)).await;
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
    let (took, in_doubt, repeats) = stop_in_the_middle(&world, "20s").await;
    println!("stopped in {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(
        (in_doubt, repeats),
        (0, 0),
        "calls in flight were to be waited for"
    );
}

#[tokio::test]
async fn a_stop_that_nobody_waits_for_ends_in_time_and_repeats_no_write() {
    let world = World::slow(100, 3_000).await.unwrap();
    let (took, in_doubt, repeats) = stop_in_the_middle(&world, "500ms").await;
    println!("stopped in {took:?}, {in_doubt} in doubt, {repeats} repeated");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(
        in_doubt > 0 && repeats > 0,
        "{in_doubt} in doubt, {repeats} repeated"
    );
}
