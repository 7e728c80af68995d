use super::*;
use crate::{
    json::Json,
    ports::Fork,
    rules::fixtures::{id, new_task, ready, running, session},
};

fn spec() -> ChildSpec {
    ChildSpec {
        id: id(9),
        step: 4,
        input: Json::null(),
        agent: None,
        name: None,
        max_steps: None,
        max_tokens: None,
        max_cost_micros: None,
        deadline: None,
        depth_left: 2,
    }
}

fn fork() -> Fork {
    Fork {
        from: id(2),
        step: 1,
        until: 0,
        also: Vec::new(),
        resets: Vec::new(),
        note: None,
        lost: Vec::new(),
        redrives: false,
    }
}

#[test]
fn a_task_begins_ready_or_with_a_delay() {
    let now = Micros(100);
    for (run_at, delayed) in [(None, false), (Some(100), false), (Some(101), true)] {
        let mut new = new_task(1);
        new.task.run_at = run_at.map(Micros);
        let Birth { life, event } = submit(&new, 0, now);
        assert_eq!(life.state.due().is_some(), delayed, "{run_at:?}");
        assert_eq!((life.seq, life.epoch, life.attempt), (1, 0, 1));
        assert_eq!(TaskEvent::actor(&event.body), Some(Actor::Local));
    }
}

#[test]
fn the_links_of_a_task_are_those_that_it_was_submitted_with() {
    let mut new = new_task(1);
    assert_eq!(
        submit(&new, 0, Micros(1)).life.relations,
        Relations::default()
    );
    new.task.concurrency_key = Some("k".into());
    new.task.parent = Some(Parent {
        task: id(2),
        step: 1,
        depth_left: 0,
    });
    let life = submit(&new, 0, Micros(1)).life;
    assert!(life.relations.key && life.relations.parent && !life.relations.children);
}

#[test]
fn a_fork_counts_the_events_that_it_copies() {
    let mut new = new_task(1);
    new.fork = Some(fork());
    let life = submit(&new, 7, Micros(1)).life;
    assert_eq!(life.seq, 8);
    assert!(life.run_started);
}

#[test]
fn a_task_is_pinned_to_the_version_that_its_log_was_made_with() {
    let digest = AgentDigest::from_bytes([1; 32]);
    let mut new = new_task(1);
    assert_eq!(pin(&new), Pin::Nothing);
    new.task.agent_id = Some("clerk".into());
    assert_eq!(pin(&new), Pin::Current("clerk"));
    new.fork = Some(fork());
    assert_eq!(pin(&new), Pin::AsTask(id(2)));
    new.task.agent_digest = Some(digest);
    assert_eq!(pin(&new), Pin::Version(digest));
}

#[test]
fn a_child_gets_no_more_than_its_parent_has() {
    let mut parent = new_task(1).task;
    parent.limits.max_tokens = Some(100);
    parent.limits.max_steps = Some(7);
    let child_of = |spec| child(spec, &parent, &running(1), Micros(50)).unwrap();
    let cut = child_of(ChildSpec {
        max_tokens: Some(1_000),
        deadline: Some(Micros(40)),
        ..spec()
    });
    assert_eq!(cut.task.limits.max_tokens, Some(100));
    assert_eq!(cut.task.limits.timeout_micros, Some(1), "the time is over");
    let own = child_of(ChildSpec {
        max_tokens: Some(10),
        max_steps: Some(3),
        deadline: Some(Micros(80)),
        ..spec()
    });
    assert_eq!(own.task.limits.max_tokens, Some(10));
    assert_eq!(own.task.limits.max_steps, Some(3));
    assert_eq!(own.task.limits.timeout_micros, Some(30));
    assert_eq!(child_of(spec()).task.limits.max_tokens, Some(100));
    assert_eq!(child_of(spec()).task.limits.max_steps, Some(7));
}

#[test]
fn generations_end_where_the_parent_says() {
    let mut parent = new_task(1).task;
    for (left, requested, expected) in [
        (None, 5, Ok(5)),
        (Some(3), 5, Ok(2)),
        (Some(3), 1, Ok(1)),
        (Some(1), 9, Ok(0)),
        (Some(0), 9, Err(4)),
    ] {
        parent.parent = left.map(|depth_left| Parent {
            task: id(3),
            step: 1,
            depth_left,
        });
        let made = child(
            ChildSpec {
                depth_left: requested,
                ..spec()
            },
            &parent,
            &running(1),
            Micros(1),
        );
        let made =
            made.map(|new| new.task.parent.unwrap().depth_left)
                .map_err(|error| match error {
                    Rejection::Child { step, .. } => step,
                    other => panic!("{other}"),
                });
        assert_eq!(made, expected, "{left:?}");
    }
}

#[test]
fn a_child_is_its_parents_in_all_that_a_model_may_not_choose() {
    let mut parent = new_task(1).task;
    parent.agent_id = Some("clerk".into());
    parent.agent_digest = Some(AgentDigest::from_bytes([1; 32]));
    parent.labels.insert("team".into(), "a".into());
    parent.priority = 9;
    parent.queue = "slow".into();
    let made = |agent: Option<&str>| {
        let requested = ChildSpec {
            agent: agent.map(str::to_owned),
            name: Some("é".repeat(200)),
            ..spec()
        };
        child(requested, &parent, &running(1), Micros(1))
    };
    let same = made(None).unwrap();
    assert_eq!(same.task.agent_digest, parent.agent_digest);
    assert_eq!(same.task.labels, parent.labels);
    assert_eq!((same.task.priority, &*same.task.queue), (9, "slow"));
    assert_eq!(same.task.parent.unwrap().task, parent.id);
    assert_eq!(same.actor, Actor::Session(session()));
    assert_eq!(same.task.name.unwrap(), "é".repeat(128));
    let other = made(Some("scout")).unwrap();
    assert_eq!(other.task.agent_digest, None, "its current version");
    assert!(made(Some("")).is_err());
    assert!(made(Some(&"a".repeat(257))).is_err());
    let unheld = child(spec(), &parent, &ready(1), Micros(1)).unwrap();
    assert_eq!(unheld.actor, Actor::Machine);
}
