use ops_core::{
    Append, Lifecycle, Next, RunCommand, SessionId, State, TaskAction, TaskId, Wait, WaitRequest,
    event::{TaskError, TaskEvent, Usage},
    ports::{ClaimRequest, Clock as _, NewTask},
    rules::claim::{AGED_AFTER, serves_aged},
    task::StateName,
    time::SECOND,
};

use serde_json::json;

use crate::world::{OTHER, TENANT, World, json as text, pair, state};

/// A running parent that has just started so many children.
async fn parent_with_children(
    world: &World,
    children: usize,
) -> (SessionId, Lifecycle, Vec<TaskId>) {
    let (session, life) = world.running().await;
    let (life, ids) = spawn(world, &life, children).await;
    (session, life, ids)
}

async fn spawn(world: &World, life: &Lifecycle, children: usize) -> (Lifecycle, Vec<TaskId>) {
    let new: Vec<_> = (0..children).map(|_| world.child(2)).collect();
    let ids = new.iter().map(|child| child.id).collect();
    let append = Append {
        children: new,
        ..Append::new(life.seq, pair(1), Next::Continue)
    };
    let spawn = RunCommand::append(life.epoch, append);
    let after = world.apply(life.id, spawn).await.unwrap();
    (after, ids)
}

async fn claim_one(world: &World, session: SessionId) -> Lifecycle {
    let mut claimed = world.claim(session, 1).await;
    claimed.remove(0).life
}

fn complete(result: &str) -> Next {
    Next::Complete {
        result: text(result),
    }
}

/// The ends of children that a task was told of.
async fn ends(world: &World, task: TaskId) -> Vec<ops_core::event::ChildEnd> {
    let log = world.store.events(TENANT, task, 0, 1_000).await.unwrap();
    log.iter()
        .filter(|stored| stored.event.kind == "task.child_ended")
        .map(
            |stored| match TaskEvent::decode(&stored.event.body).unwrap() {
                TaskEvent::ChildEnded(end) => end,
                other => panic!("{other:?}"),
            },
        )
        .collect()
}

pub(crate) async fn starts_children_with_the_append(world: &World) {
    let (session, life) = world.running().await;
    let child = world.child(2);
    let id = child.id;
    let append = Append {
        children: vec![child],
        ..Append::new(life.seq, pair(1), Next::Continue)
    };
    // A lease that is over starts nothing.
    let stale = RunCommand::append(life.epoch + 1, append.clone());
    assert!(world.apply(life.id, stale).await.is_err());
    let spawn = RunCommand::append(life.epoch, append);
    assert!(world.store.task(TENANT, id).await.is_err());

    let after = world.apply(life.id, spawn.clone()).await.unwrap();
    assert!(after.relations.children);
    let child = world.task(id).await;
    assert_eq!(child.task.parent.unwrap().task, life.id);
    assert_eq!(child.task.parent.unwrap().step, 2);
    assert!(child.life.relations.parent && child.life.state == state::pending());
    // An acknowledgement that was lost makes no second child.
    let again = world.apply(life.id, spawn).await.unwrap();
    assert_eq!(again, after);
    assert_eq!(world.claim(session, 10).await.len(), 1);
}

pub(crate) async fn tells_the_parent_how_children_end(world: &World) {
    let (session, parent, ids) = parent_with_children(world, 4).await;
    let one = claim_one(world, session).await;
    let one = world
        .append(&one, pair(1), complete(r#"{"answer":1}"#))
        .await
        .unwrap();
    let large = format!(r#"{{"answer":"{}"}}"#, "x".repeat(20_000));
    let two = claim_one(world, session).await;
    world.append(&two, pair(1), complete(&large)).await.unwrap();
    let three = claim_one(world, session).await;
    let error = TaskError {
        code: "broken".into(),
        message: "it broke".into(),
    };
    let failed = Next::Fail {
        error: error.clone(),
        retryable: false,
    };
    world.append(&three, pair(1), failed).await.unwrap();
    world.apply(ids[3], TaskAction::Cancel).await.unwrap();

    let ends = ends(world, parent.id).await;
    assert_eq!(ends.iter().map(|end| end.child).collect::<Vec<_>>(), ids);
    assert_eq!(ends[0].result, Some(serde_json::json!({"answer": 1})));
    assert_eq!(ends[0].used, one.usage);
    let stored = ends[1].stored.as_ref().unwrap();
    assert_eq!(stored.bytes, large.len() as u64);
    let bytes = world
        .store
        .blob(TENANT, &stored.digest, 0, 1 << 20)
        .await
        .unwrap();
    assert_eq!(bytes, large.as_bytes());
    assert_eq!(
        (ends[2].state, &ends[2].error),
        (StateName::Failed, &Some(error))
    );
    assert_eq!(ends[3].state, StateName::Cancelled);
    let mut all = Usage::default();
    for _ in 0..3 {
        all += one.usage;
    }
    assert_eq!(world.task(parent.id).await.life.children_usage, all);
}

pub(crate) async fn wakes_the_parent_once_all_have_ended(world: &World) {
    let (session, parent, ids) = parent_with_children(world, 2).await;
    let first = claim_one(world, session).await;
    let second = claim_one(world, session).await;
    let wait = Next::Wait(WaitRequest::Child {
        tasks: ids.clone(),
        until: None,
    });
    world.append(&parent, pair(3), wait.clone()).await.unwrap();
    world.append(&first, pair(1), complete("{}")).await.unwrap();
    let life = world.task(parent.id).await.life;
    let rest = state::waiting(json!({"on": "child", "tasks": [ids[1]]}));
    assert_eq!(life.state, rest);
    world
        .append(&second, pair(1), complete("{}"))
        .await
        .unwrap();
    assert_eq!(world.task(parent.id).await.life.state, state::pending());

    // One that ended before its parent began to wait for it counts as well.
    let parent = claim_one(world, session).await;
    let (parent, ids) = spawn(world, &parent, 1).await;
    let child = claim_one(world, session).await;
    world.append(&child, pair(1), complete("{}")).await.unwrap();
    let mut known = parent.clone();
    known.seq = world.task(parent.id).await.life.seq;
    let wait = Next::Wait(WaitRequest::Child {
        tasks: ids,
        until: None,
    });
    let after = world.append(&known, pair(5), wait).await.unwrap();
    assert_eq!(after.state, state::pending());
}

pub(crate) async fn cancels_children_with_their_parent(world: &World) {
    let (session, parent, ids) = parent_with_children(world, 3).await;
    let running = claim_one(world, session).await;
    let cancelled = world.apply(parent.id, TaskAction::Cancel).await.unwrap();
    assert_eq!(cancelled.state, state::cancelling(session));
    assert_eq!(
        world.task(ids[0]).await.life.state,
        state::cancelling(session)
    );
    assert_eq!(running.id, ids[0]);
    for id in &ids[1..] {
        assert_eq!(world.task(*id).await.life.state, state::cancelled());
    }
    let reply = world.store.heartbeat(session).await.unwrap();
    assert_eq!(reply.cancel.len(), 2);
    // No child can begin any more.
    let mut known = parent.clone();
    known.seq = world.task(parent.id).await.life.seq;
    let late = Append {
        children: vec![world.child(2)],
        ..Append::new(known.seq, pair(3), Next::Continue)
    };
    let late = RunCommand::append(known.epoch, late);
    assert!(world.apply(parent.id, late).await.is_err());
    // It holds when the worker dies.
    world.store.close_session(session).await.unwrap();
    assert_eq!(world.task(parent.id).await.life.state, state::cancelled());
    assert_eq!(world.task(ids[0]).await.life.state, state::cancelled());
}

pub(crate) async fn cancels_grandchildren_at_once(world: &World) {
    let (session, parent, _) = parent_with_children(world, 1).await;
    let child = claim_one(world, session).await;
    let (_, grandchildren) = spawn(world, &child, 2).await;
    let running = claim_one(world, session).await;
    world.apply(parent.id, TaskAction::Cancel).await.unwrap();
    assert_eq!(running.id, grandchildren[0]);
    let state = |id| async move { world.task(id).await.life.state };
    assert_eq!(state(grandchildren[0]).await, state::cancelling(session));
    assert_eq!(state(grandchildren[1]).await, state::cancelled());
}

pub(crate) async fn ends_children_that_their_parent_leaves(world: &World) {
    let (_, parent, ids) = parent_with_children(world, 2).await;
    world
        .append(&parent, pair(3), complete("{}"))
        .await
        .unwrap();
    for id in ids {
        assert_eq!(world.task(id).await.life.state, state::cancelled());
    }
    assert_eq!(world.task(parent.id).await.life.state, state::completed());
}

fn keyed(world: &World, key: &str) -> NewTask {
    let mut new = world.new_task();
    new.task.concurrency_key = Some(key.into());
    new
}

pub(crate) async fn runs_one_task_of_a_key(world: &World) {
    let first = world.submit_new(keyed(world, "k")).await;
    let second = world.submit_new(keyed(world, "k")).await;
    let other = world.submit_new(keyed(world, "other")).await;
    let session = world.session().await;
    let claimed = world.claim(session, 10).await;
    let ids: Vec<_> = claimed.iter().map(|record| record.task.id).collect();
    assert_eq!(ids, [first, other]);
    assert_eq!(claimed[0].task.concurrency_key.as_deref(), Some("k"));
    let blocked = state::waiting(json!({"on": "concurrency", "key": "k"}));
    assert_eq!(world.task(second).await.life.state, blocked);
    // It is held from the first start to the end, through every wait.
    let life = claimed[0].life.clone();
    let wait = Next::Wait(WaitRequest::Timer {
        until: life.updated_at,
    });
    world.append(&life, pair(1), wait).await.unwrap();
    assert_eq!(world.task(second).await.life.state, blocked);
    world.store.wake_due(10).await.unwrap();
    let life = claim_one(world, session).await;
    assert_eq!(life.id, first);
    world.append(&life, pair(3), complete("{}")).await.unwrap();
    assert_eq!(claim_one(world, session).await.id, second);
}

/// Case: engine, ageing of low priorities, of tasks that wait for a key.
pub(crate) async fn gives_a_key_to_an_aged_waiter_in_its_slices(world: &World) {
    let with = |priority| {
        let mut new = keyed(world, "k");
        new.task.priority = priority;
        world.submit_new(new)
    };
    let until = |aged: bool| {
        while serves_aged(world.clock.now()) != aged {
            world.clock.advance(1);
        }
    };
    let session = world.session().await;
    with(5).await;
    let mut holder = claim_one(world, session).await;
    let (low, high) = (with(0).await, [with(9).await, with(9).await, with(9).await]);
    assert!(world.claim(session, 10).await.is_empty());
    let mut next = async || {
        world
            .append(&holder, pair(1), complete("{}"))
            .await
            .unwrap();
        holder = claim_one(world, session).await;
        holder.id
    };
    // No waiter is aged yet.
    until(true);
    assert_eq!(next().await, high[0]);
    world.clock.advance(AGED_AFTER / SECOND);
    until(false);
    assert_eq!(next().await, high[1], "a slice of the priorities");
    until(true);
    assert_eq!(next().await, low, "the oldest first");
    assert_eq!(next().await, high[2]);
}

/// The same while tasks of a higher priority never cease to come. The waiter that is readied has just become ready, and
/// is no younger for that, nor for being blocked again by a task that overtakes it.
pub(crate) async fn keeps_the_age_of_a_waiter_that_is_readied(world: &World) {
    let with = |priority| {
        let mut new = keyed(world, "k");
        new.task.priority = priority;
        world.submit_new(new)
    };
    let until = |aged: bool| {
        while serves_aged(world.clock.now()) != aged {
            world.clock.advance(1);
        }
    };
    let release = async |holder: &Lifecycle| {
        let end = world.append(holder, pair(1), complete("{}"));
        end.await.unwrap();
    };
    let session = world.session().await;
    with(9).await;
    let holder = claim_one(world, session).await;
    let low = with(0).await;
    assert!(world.claim(session, 10).await.is_empty());
    world.clock.advance(AGED_AFTER / SECOND);
    until(true);
    release(&holder).await;
    // The waiter is ready, and its slice is over before a worker asks.
    until(false);
    let high = with(9).await;
    let claimed = world.claim(session, 10).await;
    assert_eq!(claimed.len(), 1);
    let holder = claimed[0].life.clone();
    assert_eq!(holder.id, high);
    assert_eq!(world.task(low).await.life.state.name(), StateName::Waiting);
    until(true);
    with(9).await;
    release(&holder).await;
    assert_eq!(claim_one(world, session).await.id, low);
}

pub(crate) async fn gives_a_key_to_the_next_in_turn(world: &World) {
    let first = world.submit_new(keyed(world, "k")).await;
    let low = world.submit_new(keyed(world, "k")).await;
    let mut new = keyed(world, "k");
    new.task.priority = 9;
    let session = world.session().await;
    assert_eq!(claim_one(world, session).await.id, first);
    let high = world.submit_new(new).await;
    let still = world.submit_new(keyed(world, "k")).await;
    assert!(world.claim(session, 10).await.is_empty());
    world.apply(high, TaskAction::Pause).await.unwrap();
    // The holder is lost for good; the most urgent one that does not stand still is next.
    world.apply(first, TaskAction::Cancel).await.unwrap();
    world.store.close_session(session).await.unwrap();
    let session = world.session().await;
    let next = claim_one(world, session).await;
    assert_eq!(next.id, low);
    world.apply(high, TaskAction::Resume).await.unwrap();
    assert!(world.claim(session, 10).await.is_empty());
    world.append(&next, pair(1), complete("{}")).await.unwrap();
    assert_eq!(claim_one(world, session).await.id, high);
    // One that waits for its turn can be cancelled.
    assert_eq!(
        world.apply(still, TaskAction::Cancel).await.unwrap().state,
        state::cancelled()
    );
}

pub(crate) async fn passes_on_a_turn_that_is_not_taken(world: &World) {
    for (command, state) in [
        (TaskAction::Cancel, state::cancelled()),
        (TaskAction::Pause, state::paused()),
    ] {
        let key = format!("{state:?}");
        let ids = [(); 3].map(|()| keyed(world, &key));
        let mut first = Vec::new();
        for new in ids {
            first.push(world.submit_new(new).await);
        }
        let [holder, second, third] = first.try_into().unwrap();
        let session = world.session().await;
        let life = claim_one(world, session).await;
        assert_eq!(life.id, holder);
        assert!(world.claim(session, 10).await.is_empty());
        // While somebody holds the key, nobody's turn comes.
        let fourth = world.submit_new(keyed(world, &key)).await;
        world.apply(fourth, TaskAction::Cancel).await.unwrap();
        assert!(matches!(
            world.task(second).await.life.state,
            State::Waiting(Wait::Concurrency { .. })
        ));
        world.append(&life, pair(1), complete("{}")).await.unwrap();
        assert_eq!(world.task(second).await.life.state, state::pending());
        let stopped = world.apply(second, command).await.unwrap();
        assert_eq!(stopped.state, state);
        let next = claim_one(world, session).await;
        assert_eq!(next.id, third);
        world.append(&next, pair(1), complete("{}")).await.unwrap();
    }
}

/// engine/E3: the first in turn may be of a queue that is full, held back by a rate, or served by nobody.
pub(crate) async fn holds_no_key_for_a_queue_that_is_not_served(world: &World) {
    let holder = world.submit_new(keyed(world, "k")).await;
    let session = world.session().await;
    let life = claim_one(world, session).await;
    assert_eq!(life.id, holder);
    let other = || ClaimRequest {
        session,
        queue: "other".into(),
        max: 10,
        rate: None,
        after: None,
    };
    let mut elsewhere = Vec::new();
    for _ in 0..2 {
        let mut new = keyed(world, "k");
        (new.task.queue, new.task.priority) = ("other".into(), 9);
        elsewhere.push(world.submit_new(new).await);
    }
    let second = world.submit_new(keyed(world, "k")).await;
    let third = world.submit_new(keyed(world, "k")).await;
    assert!(world.store.claim(other()).await.unwrap().tasks.is_empty());
    assert!(world.claim(session, 10).await.is_empty());
    world.append(&life, pair(1), complete("{}")).await.unwrap();
    // Nobody asks for the tasks of the other queue, whose turn would be first.
    let next = claim_one(world, session).await;
    assert_eq!(next.id, second);
    // One task has the key, whoever asks.
    assert!(world.store.claim(other()).await.unwrap().tasks.is_empty());
    assert!(world.claim(session, 10).await.is_empty());
    world.append(&next, pair(1), complete("{}")).await.unwrap();
    let claimed = world.store.claim(other()).await.unwrap().tasks;
    let ids: Vec<_> = claimed.iter().map(|record| record.task.id).collect();
    assert_eq!(ids, [elsewhere[0]]);
    assert!(world.claim(session, 10).await.is_empty());
    let life = claimed[0].life.clone();
    world.append(&life, pair(1), complete("{}")).await.unwrap();
    assert_eq!(claim_one(world, session).await.id, third);
}

pub(crate) async fn passes_over_those_that_are_blocked(world: &World) {
    for _ in 0..5 {
        world.submit_new(keyed(world, "k")).await;
    }
    let behind = world.submit().await;
    let session = world.session().await;
    let claimed = world.claim(session, 2).await;
    assert_eq!(claimed.len(), 2);
    assert_eq!(claimed[1].task.id, behind);
}

pub(crate) async fn keeps_keys_of_tenants_apart(world: &World) {
    world.submit_new(keyed(world, "k")).await;
    let mut new = keyed(world, "k");
    new.task.tenant = OTHER;
    world.store.submit(new).await.unwrap();
    let session = world.session().await;
    let request = ClaimRequest {
        session,
        queue: "default".into(),
        max: 10,
        rate: None,
        after: None,
    };
    assert_eq!(world.store.claim(request).await.unwrap().tasks.len(), 2);
}
