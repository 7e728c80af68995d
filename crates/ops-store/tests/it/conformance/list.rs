use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

use ops_core::{
    Next, RunCommand, TaskAction, TaskId, WaitRequest,
    ports::{ClaimRequest, Counts, TaskFilter},
    task::{StateName, Status},
};

use crate::world::{OTHER, TENANT, World, error, json};

/// One task in each state, oldest first.
async fn one_of_each(world: &World) -> Vec<(StateName, TaskId)> {
    let mut tasks = Vec::new();
    let (_, life) = world.running().await;
    world
        .append(&life, Vec::new(), Next::Complete { result: json("1") })
        .await
        .unwrap();
    tasks.push((StateName::Completed, life.id));
    let (_, life) = world.running().await;
    let fail = Next::Fail {
        error: error("bad"),
        retryable: false,
    };
    world.append(&life, Vec::new(), fail).await.unwrap();
    tasks.push((StateName::Failed, life.id));
    let id = world.submit().await;
    world.apply(id, TaskAction::Cancel).await.unwrap();
    tasks.push((StateName::Cancelled, id));
    let (_, life) = world.running().await;
    let wait = WaitRequest::InDoubt { steps: vec![1] };
    world
        .append(&life, Vec::new(), Next::Wait(wait))
        .await
        .unwrap();
    tasks.push((StateName::Waiting, life.id));
    let (_, life) = world.running().await;
    tasks.push((StateName::Running, life.id));
    let (_, life) = world.running().await;
    world.apply(life.id, TaskAction::Cancel).await.unwrap();
    tasks.push((StateName::Cancelling, life.id));
    let mut new = world.new_task();
    new.task.run_at = Some(new.task.created_at.plus(1_000_000));
    tasks.push((StateName::Scheduled, world.submit_new(new).await));
    // Pending after a start: version 1 calls it running.
    let (_, life) = world.running().await;
    world
        .apply(life.id, RunCommand::release(life.epoch))
        .await
        .unwrap();
    tasks.push((StateName::Pending, life.id));
    let mut new = world.new_task();
    new.task.queue = "another".into();
    tasks.push((StateName::Pending, world.submit_new(new).await));
    tasks
}

async fn list(world: &World, filter: TaskFilter) -> Vec<TaskId> {
    let limit = if filter.limit == 0 {
        1_000
    } else {
        filter.limit
    };
    let found = world
        .store
        .tasks(TENANT, TaskFilter { limit, ..filter })
        .await
        .unwrap();
    found.into_iter().map(|record| record.task.id).collect()
}

pub(crate) async fn filters_and_orders(world: &World) {
    let tasks = one_of_each(world).await;
    let all: Vec<TaskId> = tasks.iter().rev().map(|(_, id)| *id).collect();
    assert_eq!(list(world, TaskFilter::default()).await, all);
    let of = |wanted: &[StateName]| -> Vec<TaskId> {
        tasks
            .iter()
            .rev()
            .filter(|(state, _)| wanted.contains(state))
            .map(|(_, id)| *id)
            .collect()
    };
    for state in StateName::ALL {
        let filter = TaskFilter {
            states: vec![state],
            ..Default::default()
        };
        assert_eq!(list(world, filter).await, of(&[state]), "{state}");
    }
    let states = vec![StateName::Failed, StateName::Pending, StateName::Completed];
    let filter = TaskFilter {
        states: states.clone(),
        ..Default::default()
    };
    assert_eq!(list(world, filter.clone()).await, of(&states));
    let two = TaskFilter {
        limit: 2,
        ..filter.clone()
    };
    assert_eq!(list(world, two).await, of(&states)[..2]);
    let older = TaskFilter {
        before: Some(of(&states)[1]),
        ..filter
    };
    assert_eq!(list(world, older).await, of(&states)[2..]);

    for status in [
        Status::Pending,
        Status::Running,
        Status::Completed,
        Status::Failed,
        Status::Cancelled,
    ] {
        let mut expected = Vec::new();
        for id in &all {
            if world.task(*id).await.life.status() == status {
                expected.push(*id);
            }
        }
        assert!(!expected.is_empty());
        let filter = TaskFilter {
            status: Some(status),
            ..Default::default()
        };
        assert_eq!(list(world, filter).await, expected, "{status:?}");
    }
    let both = TaskFilter {
        states: vec![StateName::Pending],
        status: Some(Status::Running),
        ..Default::default()
    };
    assert_eq!(list(world, both).await, [tasks[7].1]);
    let in_doubt = TaskFilter {
        in_doubt: true,
        ..Default::default()
    };
    assert_eq!(
        list(world, in_doubt.clone()).await,
        of(&[StateName::Waiting])
    );
    let none = TaskFilter {
        states: vec![StateName::Failed],
        ..in_doubt
    };
    assert!(list(world, none).await.is_empty());
}

pub(crate) async fn pages_through_everything(world: &World) {
    let mut ids = Vec::new();
    for _ in 0..300 {
        ids.push(world.submit().await);
    }
    ids.reverse();
    let filter = |limit, before| TaskFilter {
        limit,
        before,
        ..Default::default()
    };
    assert_eq!(list(world, filter(257, None)).await, ids[..257]);
    assert_eq!(list(world, filter(128, None)).await, ids[..128]);
    assert_eq!(list(world, filter(1_000, Some(ids[10]))).await, ids[11..]);
    let none = TaskFilter {
        limit: 0,
        ..Default::default()
    };
    assert!(world.store.tasks(TENANT, none).await.unwrap().is_empty());
}

/// engine/E2: tasks that go on all the while are in every list of them, once, and every total counts them all,
/// though each is now running and now ready again.
pub(crate) async fn sees_one_state_while_tasks_move(world: &World) {
    const TASKS: usize = 16;
    let session = world.session().await;
    for _ in 0..TASKS {
        world.submit().await;
    }
    let mut held = world.claim(session, 100).await;
    assert_eq!(held.len(), TASKS);
    let (stop, turns) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let (store, stopped, turned) = (world.store.clone(), stop.clone(), turns.clone());
    let moving = tokio::spawn(async move {
        while !stopped.load(SeqCst) {
            let mut releases = tokio::task::JoinSet::new();
            for record in held {
                let store = store.clone();
                let release = RunCommand::release(record.life.epoch);
                releases.spawn(async move {
                    let released = store.record(TENANT, record.task.id, release, Vec::new());
                    released.await.unwrap();
                });
            }
            releases.join_all().await;
            let request = ClaimRequest {
                session,
                queue: "default".into(),
                max: 100,
                rate: None,
                after: None,
            };
            held = store.claim(request).await.unwrap().tasks;
            assert_eq!(held.len(), TASKS);
            turned.fetch_add(1, SeqCst);
        }
    });
    let filter = TaskFilter {
        status: Some(Status::Running),
        limit: 100,
        ..TaskFilter::default()
    };
    let mut round = 0;
    while round < 300 || (turns.load(SeqCst) < 20 && !moving.is_finished()) {
        round += 1;
        let found = list(world, filter.clone()).await;
        let mut once = found.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!((found.len(), once.len()), (TASKS, TASKS), "list {round}");
        let total = world.store.count(TENANT, filter.clone()).await.unwrap();
        assert_eq!(total, TASKS as u64, "total {round}");
    }
    stop.store(true, SeqCst);
    moving.await.unwrap();
}

pub(crate) async fn counts_states(world: &World) {
    assert!(world.store.counts(TENANT).await.unwrap().is_empty());
    let tasks = one_of_each(world).await;
    let mut expected = Counts::new();
    for (state, _) in &tasks {
        *expected.entry(*state).or_default() += 1;
    }
    assert_eq!(world.store.counts(TENANT).await.unwrap(), expected);
    assert!(world.store.counts(OTHER).await.unwrap().is_empty());
}

pub(crate) async fn names_ready_queues(world: &World) {
    assert!(world.store.ready_queues().await.unwrap().is_empty());
    for queue in ["b", "a", "b", "ü", "a"] {
        let mut new = world.new_task();
        new.task.queue = queue.into();
        world.submit_new(new).await;
    }
    world.running().await;
    assert_eq!(world.store.ready_queues().await.unwrap(), ["a", "b", "ü"]);
}

pub(crate) async fn tells_the_observer(world: &World) {
    // Notices follow the answer; another commit closes the gap.
    let notices = async || {
        let mut seen = Vec::new();
        for _ in 0..200 {
            seen.append(&mut world.seen.take());
            if !seen.is_empty() {
                return seen;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("no notice");
    };
    let id = world.submit().await;
    let seen = notices().await;
    assert_eq!(seen.len(), 1);
    let hint = seen[0].hint;
    assert_eq!(
        (hint.tenant, hint.task, hint.seq, hint.state),
        (TENANT, id, 1, StateName::Pending)
    );
    assert_eq!(seen[0].ready.as_deref(), Some("default"));
    assert_eq!(seen[0].due, None);

    let session = world.session().await;
    let life = world.claim(session, 1).await.remove(0).life;
    let seen = notices().await;
    assert_eq!(
        (seen[0].hint.state, seen[0].ready.as_deref()),
        (StateName::Running, None)
    );

    let until = life.updated_at.plus(1_000_000);
    world
        .append(&life, Vec::new(), Next::Wait(WaitRequest::Timer { until }))
        .await
        .unwrap();
    assert_eq!(notices().await[0].due, Some(until));
    world.clock.advance(2);
    world.store.wake_due(1).await.unwrap();
    assert_eq!(notices().await[0].ready.as_deref(), Some("default"));

    world.claim(session, 1).await;
    notices().await;
    world.apply(id, TaskAction::Cancel).await.unwrap();
    let seen = notices().await;
    assert_eq!(seen[0].hint.state, StateName::Cancelling);

    // What is refused is not told.
    assert!(world.apply(id, TaskAction::Cancel).await.is_err());
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert!(world.seen.take().is_empty());
}

pub(crate) async fn finds_by_terms_and_time(world: &World) {
    let mut tasks = Vec::new();
    for (name, agent, team) in [
        (Some("Report of May"), Some("writer"), Some("a")),
        (Some("report of June"), None, Some("a")),
        (None, Some("writer"), Some("b")),
        (None, None, None),
    ] {
        let mut new = world.new_task();
        new.task.name = name.map(str::to_owned);
        new.task.agent_id = agent.map(str::to_owned);
        let label = team.map(|team| ("team".to_owned(), team.to_owned()));
        new.task.labels = label.into_iter().collect();
        let at = new.task.created_at;
        tasks.push((world.submit_new(new).await, at));
    }
    world.apply(tasks[1].0, TaskAction::Cancel).await.unwrap();
    let team = |team: &str| [("team".to_owned(), team.to_owned())].into();
    let all = TaskFilter::default;
    for (filter, expected) in [
        (
            TaskFilter {
                agent: Some("writer".into()),
                ..all()
            },
            &[2, 0][..],
        ),
        (
            TaskFilter {
                agent: Some("write".into()),
                ..all()
            },
            &[],
        ),
        (
            TaskFilter {
                labels: team("a"),
                ..all()
            },
            &[1, 0],
        ),
        (
            TaskFilter {
                labels: team("a"),
                agent: Some("writer".into()),
                ..all()
            },
            &[0],
        ),
        (
            TaskFilter {
                labels: team("a"),
                states: vec![StateName::Cancelled],
                ..all()
            },
            &[1],
        ),
        (
            TaskFilter {
                labels: team("a"),
                status: Some(Status::Pending),
                ..all()
            },
            &[0],
        ),
        (
            TaskFilter {
                labels: team("a"),
                in_doubt: true,
                ..all()
            },
            &[],
        ),
        (
            TaskFilter {
                text: Some("REPORT".into()),
                ..all()
            },
            &[1, 0],
        ),
        (
            TaskFilter {
                text: Some("f Ma".into()),
                ..all()
            },
            &[0],
        ),
        (
            TaskFilter {
                text: Some("%".into()),
                ..all()
            },
            &[],
        ),
        (
            TaskFilter {
                text: Some(tasks[3].0.to_string()),
                ..all()
            },
            &[3],
        ),
        (
            TaskFilter {
                created_after: Some(tasks[2].1),
                ..all()
            },
            &[3, 2],
        ),
        (
            TaskFilter {
                created_before: Some(tasks[2].1),
                ..all()
            },
            &[1, 0],
        ),
        (
            TaskFilter {
                created_before: Some(tasks[1].1),
                agent: Some("writer".into()),
                ..all()
            },
            &[0],
        ),
        (
            TaskFilter {
                created_after: Some(tasks[1].1),
                states: vec![StateName::Pending],
                ..all()
            },
            &[3, 2],
        ),
    ] {
        let expected: Vec<_> = expected
            .iter()
            .map(|index: &usize| tasks[*index].0)
            .collect();
        assert_eq!(list(world, filter.clone()).await, expected, "{filter:?}");
        let count = world.store.count(TENANT, filter.clone()).await.unwrap();
        assert_eq!(count, expected.len() as u64, "{filter:?}");
        if let [.., last] = expected[..] {
            let older = TaskFilter {
                before: Some(last),
                ..filter.clone()
            };
            assert!(list(world, older.clone()).await.is_empty());
            assert_eq!(world.store.count(TENANT, older).await.unwrap(), count);
        }
        assert_eq!(world.store.count(OTHER, filter).await.unwrap(), 0);
    }
}
