use ops_core::{
    Append, Code, Json, Lifecycle, Next, TaskId, WaitRequest, event::TaskError, ports::Retention,
};
use ops_engine::{DryRun, Rerun};

use crate::world::{World, called, model, returned, spawned, waits};

fn from(step: u32) -> Rerun {
    Rerun {
        from_step: Some(step),
        ..Rerun::default()
    }
}

impl World {
    async fn rerun(&self, task: TaskId, step: u32) -> Result<TaskId, ops_engine::Error> {
        let done = self.engine.rerun(&self.caller, task, from(step)).await;
        done.map(|accepted| accepted.submitted.record.task.id)
    }

    /// The task, in the hands of a worker again.
    async fn taken(&self, task: TaskId) -> Lifecycle {
        let claimed = self.claim().await;
        let of_task = claimed.into_iter().find(|record| record.task.id == task);
        of_task.expect("the task is ready").life
    }
}

fn chain(events: &[Vec<ops_core::NewEvent>]) -> Vec<ops_core::NewEvent> {
    events.concat()
}

#[tokio::test]
async fn a_rerun_takes_over_what_came_before_its_step() {
    let world = World::new();
    let life = world.running().await;
    let events = chain(&[model(1), vec![called(2), returned(2)], model(3)]);
    let life = world.record(&life, events, Next::Continue).await;
    world.complete(&life).await;
    let new = world.rerun(life.id, 3).await.unwrap();
    let record = world.task(new).await;
    assert_eq!(record.task.retry_of, Some(life.id));
    assert_eq!(record.life.usage, Default::default(), "the first task paid");
    let kinds = world.kinds(new).await;
    let expected = [
        "model.started",
        "model.completed",
        "tool.called",
        "tool.completed",
    ];
    assert_eq!(kinds[1..5], expected);
    assert_eq!(kinds[5..], ["task.forked"]);
    let refused = world.rerun(life.id, 9).await.unwrap_err();
    assert_eq!(refused.code, Code::CannotRerun);
    let with_input = Rerun {
        input: Some(serde_json::json!({})),
        ..from(3)
    };
    let refused = world.engine.rerun(&world.caller, life.id, with_input).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, Code::InvalidBody);
    assert_eq!(refused.fields[0].path, ["arguments"]);
}

#[tokio::test]
async fn a_rerun_from_the_start_takes_over_the_request_alone() {
    let world = World::new();
    let life = world.running().await;
    world.complete(&life).await;
    let input = Json::parse(r#"{"prompt":"other"}"#).unwrap();
    let rerun = Rerun {
        input_data: Some(input.clone()),
        ..Rerun::default()
    };
    let accepted = world
        .engine
        .rerun(&world.caller, life.id, rerun)
        .await
        .unwrap();
    let record = accepted.submitted.record;
    assert_eq!((record.task.input, record.life.seq), (input, 1));
}

/// A task with the turns spawn (2), calculator (4), await (6), and its child.
async fn spawn_calculate_await(world: &World) -> (TaskId, TaskId) {
    let life = world.running().await;
    let child = world.child(2);
    let events = chain(&[
        model(1),
        vec![called(2), spawned(2, child.id)],
        model(3),
        vec![called(4), returned(4)],
        model(5),
        vec![called(6), waits(6)],
    ]);
    let wait = WaitRequest::Child {
        tasks: vec![child.id],
        until: None,
    };
    let append = Append {
        children: vec![child.clone()],
        ..Append::new(life.seq, events, Next::Wait(wait))
    };
    world.append(&life, append).await;
    let of_child = world.taken(child.id).await;
    world.complete(&of_child).await;
    let life = world.taken(life.id).await;
    let events = chain(&[vec![returned(6)], model(7)]);
    let life = world.record(&life, events, Next::Continue).await;
    world.complete(&life).await;
    (life.id, child.id)
}

/// Everything that may go is deleted at once.
fn nothing() -> Retention {
    Retention {
        completed: Some(0),
        failed: Some(0),
        cancelled: Some(0),
    }
}

/// engine/E1: a rerun of a rerun knows the children that it took over, also once they were deleted.
#[tokio::test]
async fn e1_a_rerun_of_a_rerun_waits_for_no_child_that_has_ended() {
    let world = World::new();
    let (first, child) = spawn_calculate_await(&world).await;
    let refused = world.rerun(first, 4).await.unwrap_err();
    assert_eq!(refused.code, Code::CannotRerun);
    let second = world.rerun(first, 7).await.unwrap();
    let again = world.rerun(second, 4).await.unwrap_err();
    assert_eq!(
        (again.code, &again.message),
        (refused.code, &refused.message)
    );
    assert!(
        again.message.contains(&child.to_string()),
        "{}",
        again.message
    );

    world.pass(10);
    world.engine.delete_expired(nothing()).await.unwrap();
    assert!(
        world
            .engine
            .task(crate::world::TENANT, child)
            .await
            .is_err()
    );
    let again = world.rerun(second, 4).await.unwrap_err();
    assert_eq!(again.message, refused.message);
    // From before the child began there is nothing to wait for.
    let third = world.rerun(second, 1).await.unwrap();
    assert_eq!(world.kinds(third).await, ["task.submitted", "task.forked"]);
}

/// engine/E1: the end of a child whose start is done anew is not taken over.
#[tokio::test]
async fn e1_a_rerun_from_the_call_that_started_a_child_knows_no_end_of_it() {
    let world = World::new();
    let life = world.running().await;
    let child = world.child(3);
    let events = chain(&[
        model(1),
        vec![called(2), called(3), waits(2), spawned(3, child.id)],
    ]);
    let wait = WaitRequest::Timer {
        until: life.updated_at.plus(1_000_000),
    };
    let append = Append {
        children: vec![child.clone()],
        ..Append::new(life.seq, events, Next::Wait(wait))
    };
    world.append(&life, append).await;
    let of_child = world.taken(child.id).await;
    world.complete(&of_child).await;
    world.pass(2);
    let id = life.id;
    world
        .until("it wakes", || async { world.state(id).await == "pending" })
        .await;
    let life = world.taken(id).await;
    let events = chain(&[vec![returned(2)], model(4)]);
    let life = world.record(&life, events, Next::Continue).await;
    world.complete(&life).await;

    let second = world.rerun(id, 4).await.unwrap();
    assert!(
        world
            .kinds(second)
            .await
            .contains(&"task.child_ended".to_owned())
    );
    world.engine.delete_expired(nothing()).await.unwrap();
    for task in [second, world.rerun(second, 3).await.unwrap()] {
        let third = world.rerun(task, 3).await.unwrap();
        let kinds = world.kinds(third).await;
        assert!(!kinds.contains(&"task.child_ended".to_owned()), "{kinds:?}");
        assert!(kinds.contains(&"step.reset".to_owned()));
    }
}

async fn dead_letter(world: &World) -> TaskId {
    let mut request = world.request();
    request.retry = Some(ops_engine::RetryRequest {
        max_attempts: Some(1),
        ..Default::default()
    });
    let id = world.submit_as(request).await;
    let life = world.taken(id).await;
    let error = TaskError {
        code: "model_unreachable".into(),
        message: "no connection".into(),
    };
    let fail = Next::Fail {
        error,
        retryable: true,
    };
    world.record(&life, model(1), fail).await;
    id
}

#[tokio::test]
async fn a_dead_letter_is_redriven_once() {
    let world = World::new();
    let (engine, caller) = (&world.engine, &world.caller);
    let (one, two) = (dead_letter(&world).await, dead_letter(&world).await);
    let first = engine.redrive(caller, one).await.unwrap().submitted;
    assert!(!first.existing);
    let again = engine.redrive(caller, one).await.unwrap().submitted;
    assert!(again.existing);
    assert_eq!(again.record.task.id, first.record.task.id);
    let named = engine.redrive_all(caller, 10, DryRun::Yes).await.unwrap();
    let named: Vec<TaskId> = named.iter().map(|of| of.from).collect();
    assert_eq!(named, [two]);
    let redriven = engine.redrive_all(caller, 10, DryRun::No).await.unwrap();
    assert!(redriven.len() == 1 && redriven[0].task.is_ok());
    assert!(
        engine
            .redrive_all(caller, 10, DryRun::No)
            .await
            .unwrap()
            .is_empty()
    );
    let done = world.running().await;
    world.complete(&done).await;
    let refused = engine.redrive(caller, done.id).await.unwrap_err();
    assert_eq!(refused.code, Code::NotDeadLetter);
}
