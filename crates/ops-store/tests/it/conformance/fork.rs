use ops_core::{
    Lifecycle, Next, StoredEvent, TaskAction, TaskId, WaitRequest,
    event::{ChildEnd, StepStatus, TaskError, TaskEvent, Usage},
    ports::{NewTask, StoreError},
    task::StateName,
};
use serde_json::json;

use crate::world::{OTHER, TENANT, World, fork_of, json, pair, state, step};

fn fork(world: &World, from: TaskId, until: u64) -> NewTask {
    let mut new = world.new_task();
    new.fork = Some(fork_of(from, 3, until));
    new
}

async fn log(world: &World, task: TaskId) -> Vec<StoredEvent> {
    world.store.events(TENANT, task, 0, 1_000).await.unwrap()
}

fn kinds(log: &[StoredEvent]) -> Vec<&str> {
    log.iter()
        .map(|stored| stored.event.kind.as_str())
        .collect()
}

async fn two_appends(world: &World) -> Lifecycle {
    let (_, life) = world.running().await;
    let life = world.append(&life, pair(1), Next::Continue).await.unwrap();
    let complete = Next::Complete { result: json("{}") };
    world.append(&life, pair(3), complete).await.unwrap()
}

pub(crate) async fn copies_the_log_up_to_a_step(world: &World) {
    let old = two_appends(world).await;
    let before = log(world, old.id).await;
    let until = before
        .iter()
        .find(|stored| stored.event.step.is_some_and(|mark| mark.number == 3))
        .unwrap()
        .seq
        - 1;
    let mut new = fork(world, old.id, until);
    let from = new.fork.as_mut().unwrap();
    from.also = vec![until + 1];
    from.resets = vec![(4, Some(json!({"a": 1})))];
    from.note = Some("use metric units".into());
    let id = world.submit_new(new).await;

    let record = world.task(id).await;
    assert_eq!(record.life.state, state::pending());
    assert!(record.life.run_started);
    assert_eq!(record.life.usage, Usage::default());
    let copy = log(world, id).await;
    assert_eq!(copy.len() as u64, record.life.seq);
    assert!(copy.iter().map(|stored| stored.seq).eq(1..=record.life.seq));
    let mut expected = vec!["task.submitted"];
    let run =
        |stored: &&StoredEvent| stored.seq <= until + 1 && !stored.event.kind.starts_with("task.");
    expected.extend(
        before
            .iter()
            .filter(run)
            .map(|stored| stored.event.kind.as_str()),
    );
    expected.extend(["task.forked", "step.reset", "task.noted"]);
    assert_eq!(kinds(&copy), expected);
    for (copied, original) in copy[1..].iter().zip(before.iter().filter(run)) {
        assert_eq!(copied.event.body, original.event.body);
        assert_eq!(copied.event.step, original.event.step);
        assert_eq!(copied.event.usage, Usage::default());
    }
    // The original is as it was, and the copy goes on by itself.
    assert_eq!(log(world, old.id).await, before);
    let session = world.session().await;
    let life = world.claim(session, 1).await[0].life.clone();
    assert_eq!(life.id, id);
    world.append(&life, pair(5), Next::Continue).await.unwrap();
}

pub(crate) async fn keeps_what_was_told_to_the_run(world: &World) {
    let (_, life) = world.running().await;
    let signal = TaskAction::Signal {
        name: "answer".into(),
        payload: json!("x".repeat(20_000)),
    };
    let external_pending = world.apply(life.id, signal).await.unwrap();
    let wait = Next::Wait(WaitRequest::InDoubt { steps: vec![1] });
    let parked = world
        .append(&external_pending, vec![step(1, StepStatus::Started)], wait)
        .await
        .unwrap();
    let id = world.submit_new(fork(world, life.id, parked.seq)).await;
    let copy = log(world, id).await;
    assert_eq!(
        kinds(&copy),
        [
            "task.submitted",
            "task.signalled",
            "tool.started",
            "task.forked"
        ]
    );
    let TaskEvent::Signalled { payload, .. } = TaskEvent::decode(&copy[1].event.body).unwrap()
    else {
        panic!("not a signal");
    };
    assert_eq!(payload.as_str().unwrap().len(), 20_000);
}

pub(crate) async fn takes_a_dead_letter_off_the_list(world: &World) {
    let mut new = world.new_task();
    new.retry.max_attempts = 1;
    let (_, life) = world.running_new(new).await;
    let failed = Next::Fail {
        error: TaskError {
            code: "model_unreachable".into(),
            message: "no connection".into(),
        },
        retryable: true,
    };
    let dead = world.append(&life, pair(1), failed).await.unwrap();
    assert_eq!(dead.state, state::failed(true));
    let letters = || async { world.dead_letters().await };
    assert_eq!(letters().await, [dead.id]);
    let mut new = fork(world, dead.id, dead.seq);
    new.fork.as_mut().unwrap().redrives = true;
    world.submit_new(new).await;
    assert!(letters().await.is_empty());
    assert_eq!(world.task(dead.id).await.life, dead);
}

pub(crate) async fn tells_of_children_that_were_lost(world: &World) {
    let old = two_appends(world).await;
    let mut new = fork(world, old.id, old.seq);
    let end = ChildEnd {
        child: world.new_task().task.id,
        state: StateName::Completed,
        result: Some("x".repeat(20_000).into()),
        stored: None,
        error: None,
        used: Default::default(),
    };
    new.fork.as_mut().unwrap().lost = vec![end.clone()];
    let id = world.submit_new(new).await;
    let copy = log(world, id).await;
    let (last, before) = (&copy[copy.len() - 1], &copy[copy.len() - 2]);
    assert_eq!(before.event.kind, "task.forked");
    let told = TaskEvent::decode(&last.event.body).unwrap();
    assert_eq!(told, TaskEvent::ChildEnded(end));
    assert_eq!(world.task(id).await.life.seq, copy.len() as u64);
}

pub(crate) async fn refuses_what_is_not_there(world: &World) {
    let old = two_appends(world).await;
    let mut new = fork(world, old.id, 3);
    new.task.tenant = OTHER;
    assert_eq!(
        world.store.submit(new).await.unwrap_err(),
        StoreError::NotFound
    );
    let unknown = world.new_task().task.id;
    let refused = world.store.submit(fork(world, unknown, 3)).await;
    assert_eq!(refused.unwrap_err(), StoreError::NotFound);
}
