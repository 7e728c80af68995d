//! Two processes on one folder.

use std::time::Duration;

use tokio::process::Command;

use super::{
    plan::Job,
    world::{World, submit, until_state},
};

#[tokio::test]
async fn a_second_process_is_refused_and_the_first_goes_on() {
    let world = World::slow(300, 0).await.unwrap();
    let mut server = world.launch().start().await.unwrap();
    let job = Job::sequence("alone", &["ledger_write", "ledger_pure", "ledger_write"]);
    let id = submit(server.http(), &job).await.unwrap();
    until_state(server.http(), &id, "running", Duration::from_secs(10))
        .await
        .unwrap();

    let second = Command::from(world.launch().command().unwrap())
        .kill_on_drop(true)
        .output();
    let second = tokio::time::timeout(Duration::from_secs(10), second)
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(5), "{said}");
    let folder = world.data.join("product").display().to_string();
    let holder = server.process().id().to_string();
    for part in [
        folder.as_str(),
        holder.as_str(),
        server.http().base().as_str(),
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert!(
        !said.contains("ready ") && !said.contains("panicked"),
        "{said}"
    );

    let task = until_state(server.http(), &id, "completed", Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(task["result"]["answer"], job.answer());
    let effects = world.ledger.effects().unwrap();
    assert!(
        effects.len() == 3 && effects.iter().all(|effect| effect.n == 1),
        "{effects:?}"
    );
}
