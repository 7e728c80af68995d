use ops_core::{
    AgentDigest, AgentName, Json, TaskAction, TaskId,
    agent::{Agent, AgentSpec},
    ports::{
        Clock as _, Expected, ExpectedSchedule, NewAgent, NewSchedule, ScheduleChange, StoreError,
        Stored,
    },
    rules::agents::Uses,
    schedule::{CatchUp, Overlap, ScheduleSpec},
};

use crate::world::{OTHER, TENANT, World, fork_of, json};

fn name(text: &str) -> AgentName {
    text.parse().unwrap()
}

fn new(agent: &str, version: u8, agents: &[&str]) -> NewAgent {
    NewAgent {
        tenant: TENANT,
        name: name(agent),
        spec: AgentSpec {
            definition: json(&format!(r#"{{"name":"{agent}","n":{version}}}"#)),
            digest: digest(agent, version),
            description: format!("{agent} number {version}"),
            agents: agents.iter().map(|text| name(text)).collect(),
        },
        expected: Expected::Any,
    }
}

fn digest(agent: &str, version: u8) -> AgentDigest {
    let mut bytes = [version; 32];
    bytes[..agent.len()].copy_from_slice(agent.as_bytes());
    AgentDigest::from_bytes(bytes)
}

async fn put(world: &World, new: NewAgent) -> (Agent, Stored) {
    world.store.put_agent(new).await.unwrap()
}

async fn refused(world: &World, new: NewAgent) -> StoreError {
    world.store.put_agent(new).await.unwrap_err()
}

async fn task_of(world: &World, agent: &str) -> TaskId {
    let mut new = world.new_task();
    new.task.agent_id = Some(agent.into());
    world.submit_new(new).await
}

pub(crate) async fn keeps_every_version(world: &World) {
    let (first, stored) = put(world, new("a", 1, &[])).await;
    assert_eq!((stored, first.revision), (Stored::Created, 1));
    assert_eq!(first.version.spec, new("a", 1, &[]).spec);
    assert_eq!(first.updated_at, world.clock.now());
    world.clock.advance(10);
    assert_eq!(
        put(world, new("a", 1, &[])).await,
        (first.clone(), Stored::Unchanged)
    );
    let (second, stored) = put(world, new("a", 2, &[])).await;
    assert_eq!((stored, second.revision), (Stored::Changed, 2));
    assert_eq!(second.created_at, first.created_at);
    // Back to the first, which is a version once.
    let (back, stored) = put(world, new("a", 1, &[])).await;
    assert_eq!((stored, back.revision), (Stored::Changed, 3));
    assert_eq!(back.version, first.version);
    let versions = world.store.agent_versions(TENANT, name("a"), 10);
    let digests: Vec<_> = versions
        .await
        .unwrap()
        .into_iter()
        .map(|version| version.spec.digest)
        .collect();
    assert_eq!(digests, [digest("a", 2), digest("a", 1)]);
    let one = world.store.agent_version(TENANT, digest("a", 2)).await;
    assert_eq!(one.unwrap(), second.version);
    assert_eq!(
        world.store.agent(TENANT, name("a")).await.unwrap().version,
        first.version
    );
}

pub(crate) async fn lists_by_name(world: &World) {
    for text in ["b", "c", "a"] {
        put(world, new(text, 1, &[])).await;
    }
    let page = world.store.agents(TENANT, None, 2).await.unwrap();
    let names: Vec<_> = page
        .iter()
        .map(|agent| agent.version.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let rest = world.store.agents(TENANT, Some(name("b")), 2);
    let rest = rest.await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].version.name, name("c"));
}

pub(crate) async fn changes_what_is_as_expected(world: &World) {
    let expecting = |version, expected| NewAgent {
        expected,
        ..new("a", version, &[])
    };
    let version = |version| Expected::Version(digest("a", version));
    let error = refused(world, expecting(1, version(9))).await;
    assert_eq!(error, StoreError::AgentChanged(None));
    put(world, expecting(1, Expected::Absent)).await;
    for (wish, expected) in [(1, Expected::Absent), (2, version(9))] {
        let error = refused(world, expecting(wish, expected)).await;
        assert_eq!(error, StoreError::AgentChanged(Some(digest("a", 1))));
    }
    let changed = put(world, expecting(2, version(1))).await;
    assert_eq!(changed.1, Stored::Changed);
    // A lost acknowledgement is harmless.
    let again = put(world, expecting(2, version(1))).await;
    assert_eq!(again, (changed.0, Stored::Unchanged));
}

pub(crate) async fn refuses_circles_and_strangers(world: &World) {
    let error = refused(world, new("a", 1, &["b"])).await;
    assert_eq!(error, StoreError::NoAgent(name("b")));
    let error = refused(world, new("a", 1, &["a"])).await;
    assert_eq!(error, StoreError::AgentCycle(vec![name("a"), name("a")]));
    put(world, new("c", 1, &[])).await;
    put(world, new("b", 1, &["c"])).await;
    put(world, new("a", 1, &["b", "c"])).await;
    let error = refused(world, new("c", 2, &["a"])).await;
    assert_eq!(
        error.to_string(),
        "agents would start each other in a circle: c -> a -> b -> c"
    );
    let stands = world.store.agent(TENANT, name("c")).await.unwrap();
    assert_eq!(stands.version.spec.digest, digest("c", 1));
    // Once the way is gone, so is the circle.
    put(world, new("a", 2, &[])).await;
    put(world, new("c", 2, &["a"])).await;
}

pub(crate) async fn pins_tasks_to_a_version(world: &World) {
    put(world, new("a", 1, &[])).await;
    let old = task_of(world, "a").await;
    put(world, new("a", 2, &[])).await;
    let (late, stranger) = (task_of(world, "a").await, task_of(world, "none").await);
    let pinned = async |task| world.task(task).await.task.agent_digest;
    assert_eq!(pinned(old).await, Some(digest("a", 1)));
    assert_eq!(pinned(late).await, Some(digest("a", 2)));
    assert_eq!(pinned(stranger).await, None);
    assert_eq!(pinned(world.submit().await).await, None);

    // A claim carries it, and so does a task that goes on from another's log.
    let session = world.session().await;
    let claimed = world.claim(session, 10).await;
    assert_eq!(claimed[0].task.agent_digest, Some(digest("a", 1)));
    world.apply(old, TaskAction::Cancel).await.unwrap();
    let mut fork = world.new_task();
    fork.task.agent_id = Some("a".into());
    fork.fork = Some(fork_of(old, 1, 1));
    let fork = world.submit_new(fork).await;
    assert_eq!(pinned(fork).await, Some(digest("a", 1)));
}

pub(crate) async fn hides_agents_of_others(world: &World) {
    put(world, new("a", 1, &[])).await;
    let store = &world.store;
    let hidden = Err(StoreError::NotFound);
    assert_eq!(store.agent(OTHER, name("a")).await, hidden);
    assert_eq!(
        store
            .agent_version(OTHER, digest("a", 1))
            .await
            .unwrap_err(),
        StoreError::NotFound
    );
    assert_eq!(
        store.agent_versions(OTHER, name("a"), 9).await.unwrap_err(),
        StoreError::NotFound
    );
    assert!(store.agents(OTHER, None, 9).await.unwrap().is_empty());
    let theirs = NewAgent {
        tenant: OTHER,
        ..new("b", 1, &["a"])
    };
    assert_eq!(refused(world, theirs).await, StoreError::NoAgent(name("a")));
    let mut new = world.new_task();
    new.task.tenant = OTHER;
    new.task.agent_id = Some("a".into());
    let task = new.task.id;
    store.submit(new).await.unwrap();
    let record = store.task(OTHER, task).await.unwrap();
    assert_eq!(record.task.agent_digest, None);
}

/// Case: cli, `agent rm`.
pub(crate) async fn removes_an_agent_that_nothing_names(world: &World) {
    let store = &world.store;
    let remove = |agent: &str, expected| store.remove_agent(TENANT, name(agent), expected);
    assert_eq!(remove("a", Expected::Any).await, Err(StoreError::NotFound));
    put(world, new("a", 1, &[])).await;
    put(world, new("b", 1, &["a"])).await;
    let pinned = task_of(world, "a").await;
    let template = |agent: &str| {
        json(&format!(
            r#"{{"agent_id":"{agent}","input":{{"agent_id":"a","nul":"\\u0000"}}}}"#
        ))
    };
    let named = schedule("nightly", template("a"));
    store.put_schedule(named).await.unwrap();
    store
        .put_schedule(schedule("other", template("b")))
        .await
        .unwrap();
    let theirs = NewSchedule {
        tenant: OTHER,
        ..schedule("theirs", template("a"))
    };
    store.put_schedule(theirs).await.unwrap();
    let uses = |agents: &[&str], schedules: &[&str]| {
        Err(StoreError::AgentInUse(Uses {
            agents: agents.iter().map(|text| name(text)).collect(),
            schedules: schedules.iter().map(|text| text.parse().unwrap()).collect(),
        }))
    };
    assert_eq!(remove("a", Expected::Any).await, uses(&["b"], &["nightly"]));
    let drop = ScheduleChange::Remove {
        expected: ExpectedSchedule::Any,
    };
    let nightly = "nightly".parse().unwrap();
    store.change_schedule(TENANT, nightly, drop).await.unwrap();
    assert_eq!(remove("a", Expected::Any).await, uses(&["b"], &[]));
    put(world, new("b", 2, &[])).await;
    let version = |version| Expected::Version(digest("a", version));
    let current = Some(digest("a", 1));
    let changed = Err(StoreError::AgentChanged(current));
    assert_eq!(remove("a", version(9)).await, changed);
    assert_eq!(
        store.remove_agent(OTHER, name("a"), Expected::Any).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(remove("a", version(1)).await, Ok(()));
    assert_eq!(
        store.agent(TENANT, name("a")).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(store.agents(TENANT, None, 9).await.unwrap().len(), 1);

    // The task keeps its version, a new task gets none, and an agent of the name begins anew.
    assert_eq!(world.task(pinned).await.task.agent_digest, current);
    let kept = store.agent_version(TENANT, digest("a", 1)).await.unwrap();
    let late = task_of(world, "a").await;
    assert_eq!(world.task(late).await.task.agent_digest, None);
    let (again, stored) = put(world, new("a", 1, &[])).await;
    assert_eq!((stored, again.revision), (Stored::Created, 1));
    assert_eq!(again.version, kept);
}

fn schedule(name: &str, template: Json) -> NewSchedule {
    NewSchedule {
        tenant: TENANT,
        name: name.parse().unwrap(),
        spec: ScheduleSpec {
            cron: "0 3 * * *".into(),
            timezone: "UTC".into(),
            overlap: Overlap::Skip,
            catch_up: CatchUp::Latest,
            template,
        },
        paused: None,
        next_at: None,
        expected: ExpectedSchedule::Any,
    }
}
