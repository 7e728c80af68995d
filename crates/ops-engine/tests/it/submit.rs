use ops_core::{Actor, Caller, Code, event::TaskEvent, ports::TaskFilter};
use ops_engine::ClientKey;

use crate::world::{OTHER, TENANT, World};

#[tokio::test]
async fn a_task_is_stored_with_its_first_event() {
    let world = World::new();
    let id = world.submit().await;
    assert_eq!(world.state(id).await, "pending");
    let log = world.log(id).await;
    assert_eq!(log.len(), 1);
    let body = &log[0].event.body;
    assert!(matches!(
        TaskEvent::decode(body),
        Ok(TaskEvent::Submitted { .. })
    ));
    assert_eq!(TaskEvent::actor(body), Some(Actor::Local));
    assert_eq!(world.claim().await[0].task.id, id);
}

#[tokio::test]
async fn every_wrong_part_of_a_request_is_named() {
    let world = World::new();
    let mut request = world.request();
    request.priority = 10;
    request.labels = [("schedule".to_owned(), "mine".to_owned())].into();
    let refused = world.engine.submit(&world.caller, request).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, Code::InvalidBody);
    let mut paths: Vec<String> = refused
        .fields
        .iter()
        .map(|field| field.path.join("."))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 2, "{paths:?}");
    let mut request = world.request();
    request.queue = "nobody's".into();
    let refused = world.engine.submit(&world.caller, request).await;
    assert_eq!(refused.unwrap_err().code, Code::UnknownQueue);
    let mut request = world.request();
    request.task_type = "nothing".into();
    let refused = world.engine.submit(&world.caller, request).await;
    assert_eq!(refused.unwrap_err().code, Code::UnknownTaskType);
    let all = world.engine.count(TENANT, TaskFilter::default()).await;
    assert_eq!(all.unwrap(), 0, "nothing was stored");
}

#[tokio::test]
async fn a_key_stands_for_one_task() {
    let world = World::new();
    let with_key = |priority| {
        let mut request = world.request();
        request.priority = priority;
        request.key = Some(ClientKey {
            key: "once".into(),
            former: None,
        });
        request
    };
    let first = world.submit_as(with_key(1)).await;
    let again = world
        .engine
        .submit(&world.caller, with_key(1))
        .await
        .unwrap();
    assert!(again.submitted.existing);
    assert_eq!(again.submitted.record.task.id, first);
    let other = world.engine.submit(&world.caller, with_key(2)).await;
    assert_eq!(other.unwrap_err().code, Code::IdempotencyMismatch);
    let theirs = Caller::local(OTHER);
    let theirs = world.engine.submit(&theirs, with_key(2)).await.unwrap();
    assert!(!theirs.submitted.existing);
}
