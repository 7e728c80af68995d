//! A process that stands still for longer than its leases hold.

use std::time::Duration;

use ops_testkit::{Opspawn, Signal};

use super::{
    checks::{Seen, Witnesses},
    history,
    plan::{Job, Luck},
    world::{World, complete_all, submit, task},
};

const SOON: Duration = Duration::from_secs(40);
/// When the process goes on, its heartbeat and the search for lost leases are due at the same
/// moment: if the heartbeat is first, the leases are kept, which is right as well. So it is tried
/// again until a lease was lost.
const TRIES: u64 = 10;

/// Ten tasks, frozen twice in the middle; gives the leases that were lost and the writes in doubt.
async fn freeze(world: &World, server: &mut Opspawn, round: u64) -> (usize, usize) {
    let mut luck = Luck(round);
    let jobs: Vec<Job> = (0..10)
        .map(|index| Job::mixed(usize::try_from(round).unwrap() * 100 + index, &mut luck))
        .collect();
    let mut ids = Vec::new();
    for job in &jobs {
        ids.push(submit(server.http(), job).await.unwrap());
    }
    for _ in 0..2 {
        let pause = 300 + luck.below(800) as u64;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.process().signal(Signal::STOP).unwrap();
        tokio::time::sleep(Duration::from_millis(2_600)).await;
        server.process().signal(Signal::CONT).unwrap();
    }
    let in_doubt = complete_all(server.http(), &ids, SOON).await.unwrap();
    let witnesses = Witnesses::of(world).unwrap();
    let mut losses = 0;
    for (job, id) in jobs.iter().zip(&ids) {
        let history = history::read(server.http(), id).await.unwrap();
        let task = task(server.http(), id).await.unwrap();
        let wrong = witnesses.findings((job, id), &task, &history, &Seen::new());
        assert!(wrong.is_empty(), "{wrong:#?}\n{}", server.output());
        losses += history.losses;
    }
    assert_eq!(witnesses.writes_again(), 0);
    (losses, in_doubt)
}

#[tokio::test]
async fn a_process_that_was_frozen_past_its_lease_repeats_no_write() {
    let world = World::slow(150, 250).await.unwrap();
    let launch = world.launch().env("OPSPAWN_LEASE", "2s");
    let mut server = launch.start().await.unwrap();
    for round in 1..=TRIES {
        let (losses, in_doubt) = freeze(&world, &mut server, round).await;
        println!("10 tasks frozen twice: {losses} leases lost, {in_doubt} writes in doubt");
        if losses > 0 {
            return;
        }
    }
    panic!("no lease was lost in {TRIES} tries: nothing was tested");
}
