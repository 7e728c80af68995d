//! Calls that run at the same time: each outcome is recorded as it comes.

use std::time::Duration;

use ops_testkit::{Ledger, wait_until};

use super::{
    checks::{Seen, Witnesses},
    history,
    plan::Job,
    world::{World, submit, task, until_state},
};

const SOON: Duration = Duration::from_secs(30);

/// tests/X9: of four calls at once three have returned when the process dies, and one is repeated.
#[tokio::test]
async fn a_kill_repeats_only_the_calls_that_had_not_returned() {
    let mut world = World::new(&[], &["--hold", "/2"]).await.unwrap();
    let job = Job::of("together", vec![vec!["ledger_idempotent"; 4]]);
    let mut server = world.launch().start().await.unwrap();
    let id = submit(server.http(), &job).await.unwrap();
    let recorded = wait_until("three outcomes are recorded", SOON, || async {
        let history = history::read(server.http(), &id).await.ok()?;
        let returned = history.events.iter();
        let returned = returned.filter(|event| event.kind == "tool.completed");
        (returned.count() == 3).then_some(())
    });
    recorded.await.unwrap();
    assert_eq!(
        world.effects_of("together/0/2").await.unwrap(),
        1,
        "it is under way"
    );
    server.sigkill().unwrap();

    // The same ledger, which holds nothing back any more.
    world.ledger = Ledger::start(world.data.join("ledger.log"), &[])
        .await
        .unwrap();
    let server = world.launch().start().await.unwrap();
    until_state(server.http(), &id, "completed", SOON)
        .await
        .unwrap();
    for (key, times) in [("0", 1), ("1", 1), ("2", 2), ("3", 1)] {
        let effects = world
            .effects_of(&format!("together/0/{key}"))
            .await
            .unwrap();
        assert_eq!(effects, times, "call {key}");
    }
    let history = history::read(server.http(), &id).await.unwrap();
    assert_eq!(history.repeats.values().flatten().count(), 1);
    let task = task(server.http(), &id).await.unwrap();
    let witnesses = Witnesses::of(&world).unwrap();
    let wrong = witnesses.findings((&job, &id), &task, &history, &Seen::new());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
