//! SIGKILL while a task waits for a point in time.

use std::time::Duration;

use super::{
    checks::{Seen, Witnesses},
    history,
    plan::Job,
    world::{World, submit, task, until_state},
};

const SOON: Duration = Duration::from_secs(60);
const SECOND: i64 = 1_000_000;

#[tokio::test]
async fn a_wait_for_the_provider_outlives_the_process() {
    let args = ["--faults", "ok,429", "--retry-after", "3"];
    let world = World::new(&args, &[]).await.unwrap();
    let mut server = world.launch().start().await.unwrap();
    let job = Job::sequence("waits", &["ledger_write", "ledger_pure"]);
    let id = submit(server.http(), &job).await.unwrap();
    let waiting = until_state(server.http(), &id, "waiting", SOON)
        .await
        .unwrap();
    assert_eq!(waiting["state_detail"]["on"], "timer", "{waiting}");
    let why = &waiting["state_detail"]["error"];
    assert!(
        why["message"].as_str().is_some_and(|why| !why.is_empty()),
        "{waiting}"
    );
    assert!(why["code"].is_string(), "{waiting}");
    server.sigkill().unwrap();

    // Dead for a part of the wait, and started again before it is over.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let server = world.launch().start().await.unwrap();
    let resumed = task(server.http(), &id).await.unwrap();
    assert_eq!(
        resumed["state_detail"], waiting["state_detail"],
        "{resumed}"
    );
    let task = until_state(server.http(), &id, "completed", SOON)
        .await
        .unwrap();

    let requests = world.stub.requests().unwrap();
    let times: Vec<i64> = requests.iter().map(|request| request.mono_us).collect();
    assert_eq!(times.len(), 4, "{requests:?}");
    let waited = times[2] - times[1];
    println!("asked to wait 3 s, waited {} ms", waited / 1_000);
    // What the provider asks for, a quarter of it for jitter, and the rest for a busy machine.
    let right = 3 * SECOND..3 * SECOND * 5 / 4 + 15 * SECOND;
    assert!(right.contains(&waited), "{waited}");
    let history = history::read(server.http(), &id).await.unwrap();
    let witnesses = Witnesses::of(&world).unwrap();
    let used = task["usage"]["input_tokens"].as_u64();
    assert!(used > Some(0), "{task}");
    let wrong = witnesses.findings((&job, &id), &task, &history, &Seen::new());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((history.losses, witnesses.effects()), (0, 2));
}
