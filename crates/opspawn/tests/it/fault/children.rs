//! A parent with fifty children is cancelled while they are busy.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ops_testkit::{Answer, DataDir, Http, Ledger, Opspawn, StandIn, clock, wait_until};
use serde_json::{Value, json};

use super::{
    history,
    world::{text, until_state},
};
use crate::provider::{CHAT, completion};

const CHILDREN: usize = 50;
/// Fewer than there are children, so that some have not begun.
const AT_ONCE: usize = 32;
const SOON: Duration = Duration::from_secs(60);
/// How long after the acknowledgement a call may still begin, in microseconds.
const GRACE: i64 = 2_000_000;
/// How long after it a process may still be there, in microseconds.
const REAPED: i64 = 5_000_000;
/// A kill may come after the last confirmation; then it is tried again.
const TRIES: usize = 5;

/// What a provider says to the parent and to its children. These never end: a third of them waits
/// for the model, the others go on from tool to tool.
fn answer(body: &str) -> Answer {
    let usage = (body.len() / 4, 10);
    if body.contains("the whole") {
        let begun = ids_in(body);
        let goal = |part| json!({"goal": format!("part {part}.")});
        let calls: Vec<(String, &str, Value)> = if begun.is_empty() {
            let parts = 0..CHILDREN;
            let spawn = |part| (format!("spawn_{part}"), "spawn_agent", goal(part));
            parts.map(spawn).collect()
        } else {
            vec![("wait".to_owned(), "await_agents", json!({"tasks": begun}))]
        };
        let calls: Vec<_> = calls
            .iter()
            .map(|(id, name, arguments)| (&**id, *name, arguments.clone()))
            .collect();
        return Answer::Whole(completion("", &calls, usage, true));
    }
    let part = part_of(body);
    let tool = match part % 6 {
        0 | 3 => return Answer::Silence,
        1 => "ledger_pure",
        2 | 4 => "ledger_idempotent",
        _ => "ledger_write",
    };
    let turn = body.matches("\"role\":\"assistant\"").count();
    let (id, key) = (format!("call_{turn}"), format!("{part}/{turn}"));
    let calls = [(&*id, tool, json!({"key": key}))];
    Answer::Late(
        Duration::from_millis(150),
        completion("", &calls, usage, true),
    )
}

fn ids_in(body: &str) -> BTreeSet<&str> {
    let places = body.match_indices("task_");
    let ids = places.filter_map(|(at, _)| body.get(at..at + "task_".len() + 36));
    ids.filter(|id| id.matches('-').count() == 4).collect()
}

fn part_of(body: &str) -> usize {
    let (_, rest) = body.split_once("part ").expect("it is one of a child");
    let (number, _) = rest.split_once('.').expect("the number ends");
    number.parse().unwrap()
}

/// A family at work, with its witnesses.
struct ParentTask {
    data: DataDir,
    ledger: Ledger,
    stand_in: StandIn,
}

/// What a cancel found and left.
struct Cancelled {
    /// When it was acknowledged, in microseconds since 1970.
    acknowledged: i64,
    /// When each task was confirmed to be cancelled.
    confirmed: Vec<i64>,
}

impl ParentTask {
    async fn new() -> Self {
        let data = DataDir::new().unwrap();
        std::fs::create_dir(data.join("product")).unwrap();
        let ledger = Ledger::start(data.join("ledger.log"), &["--latency-ms", "400"]);
        Self {
            ledger: ledger.await.unwrap(),
            stand_in: StandIn::start(|asked| answer(&asked.body)).await.unwrap(),
            data,
        }
    }

    async fn server(&self) -> Opspawn {
        let launch = ops_testkit::Launch::dev(self.data.join("product"))
            .env("OPSPAWN_TEST_LEDGER", self.ledger.http().base())
            .env("OPSPAWN_CONCURRENCY", AT_ONCE.to_string());
        let launch = CHAT.launch(launch, self.stand_in.url(), true);
        launch.start().await.unwrap()
    }

    /// Submits the parent, and waits until its children are in the middle of their work.
    async fn at_work(&self, http: &Http) -> Vec<String> {
        let body = json!({"task_type": "agent_run", "input_data": {"goal": "the whole"}});
        let reply = http.post("/api/v1/tasks", &body).await.unwrap();
        let parent = text(&reply.ok().unwrap().json().unwrap(), "task_id");
        let waiting = until_state(http, &parent, "waiting", SOON).await.unwrap();
        assert_eq!(waiting["state_detail"]["on"], "child", "{waiting:#}");

        let list = format!("/api/v1/tasks?parent={parent}&limit=100");
        let states = || async {
            let list: Value = http.get(&list).await.ok()?.ok().ok()?.json().ok()?;
            let mut states: BTreeMap<String, usize> = BTreeMap::new();
            for task in list["tasks"].as_array()? {
                *states.entry(text(task, "state")).or_default() += 1;
            }
            let busy = BTreeMap::from([
                ("pending".to_owned(), CHILDREN - AT_ONCE),
                ("running".to_owned(), AT_ONCE),
            ]);
            let done = self.ledger.effects().ok()?;
            // Each of the two thirds that call tools has called the second one.
            let second = done.iter().filter(|effect| effect.key.ends_with("/1"));
            (states == busy && second.count() >= AT_ONCE / 2).then_some(list)
        };
        let list = wait_until("the children are busy", SOON, states).await;
        let list = list.unwrap();
        let children = list["tasks"].as_array().unwrap().iter();
        let mut ids = vec![parent];
        ids.extend(children.map(|child| text(child, "task_id")));
        assert_eq!(ids.len(), 1 + CHILDREN);
        ids
    }

    /// Waits until all are cancelled, and checks their logs and what reached the witnesses.
    async fn check(&self, http: &Http, ids: &[String], acknowledged: i64) -> Cancelled {
        let mut confirmed = Vec::new();
        for id in ids {
            until_state(http, id, "cancelled", SOON).await.unwrap();
            let history = history::read(http, id).await.unwrap();
            assert_eq!(history.end(), Some("task.cancelled"));
            confirmed.push(history.first("task.cancelled").unwrap());
            let events = history.events.iter();
            let asked = events
                .skip_while(|event| event.kind != "task.cancel_requested")
                .map(|event| (&event.kind, &event.data));
            for (kind, data) in asked {
                let begins = matches!(&**kind, "model.started" | "tool.started" | "task.leased")
                    || data["verdict"] == "start";
                assert!(!begins, "{kind} after the cancel: {data}");
            }
        }
        let left = u64::try_from(acknowledged + REAPED - clock::wall_us()).unwrap_or(0);
        tokio::time::sleep(Duration::from_micros(left)).await;
        let asked = self.stand_in.asked();
        let effects = self.ledger.effects().unwrap();
        for asked in &asked {
            assert_eq!(asked.repeat, 0, "asked again: {asked:?}");
            assert!(asked.wall_us < acknowledged + GRACE, "{asked:?}");
        }
        for effect in &effects {
            assert_eq!(effect.n, 1, "done again: {effect:?}");
            assert!(effect.wall_us < acknowledged + GRACE, "{effect:?}");
        }
        Cancelled {
            acknowledged,
            confirmed,
        }
    }
}

async fn cancel(http: &Http, parent: &str) -> i64 {
    let path = format!("/api/v1/tasks/{parent}/cancel");
    let reply = http.post(&path, &json!({})).await.unwrap().ok().unwrap();
    let task: Value = reply.json().unwrap();
    assert_eq!(task["state"], "cancelled", "{task:#}");
    clock::wall_us()
}

/// The processes that were begun with this folder as their home, whoever began them.
#[cfg(target_os = "linux")]
fn processes_of(children: &ParentTask) -> Vec<u32> {
    let home = format!("HOME={}\0", children.data.join("product").display());
    let is_of_it = |id: &u32| {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        format!("\0{environment}").contains(&format!("\0{home}"))
    };
    processes().filter(is_of_it).collect()
}

/// The children of a process, dead ones that it did not wait for included.
#[cfg(target_os = "linux")]
fn children_of(parent: u32) -> Vec<u32> {
    let is_child = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // `id (name) state parent ..`; the name may hold anything.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    processes().filter(is_child).collect()
}

#[cfg(target_os = "linux")]
fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Of all that was begun for the family, the server alone is still there.
#[cfg(target_os = "linux")]
fn check_processes(children: &ParentTask, server: &mut Opspawn) {
    let id = server.process().id();
    assert!(children_of(std::process::id()).contains(&id), "it is ours");
    assert_eq!(children_of(id), [0_u32; 0]);
    assert_eq!(processes_of(children), [id]);
}

#[cfg(not(target_os = "linux"))]
fn check_processes(_: &ParentTask, _: &mut Opspawn) {}

#[tokio::test]
async fn a_cancel_ends_fifty_children_at_work() {
    let children = ParentTask::new().await;
    let mut server = children.server().await;
    let ids = children.at_work(server.http()).await;
    let acknowledged = cancel(server.http(), &ids[0]).await;
    let cancelled = children.check(server.http(), &ids, acknowledged).await;
    let took = cancelled.confirmed.iter().max().unwrap() - cancelled.acknowledged;
    println!(
        "the last was cancelled {} ms after it was asked for",
        took / 1_000
    );
    check_processes(&children, &mut server);
}

#[tokio::test]
async fn a_cancel_of_fifty_children_outlives_the_process() {
    for _ in 0..TRIES {
        let children = ParentTask::new().await;
        let mut server = children.server().await;
        let ids = children.at_work(server.http()).await;
        let acknowledged = cancel(server.http(), &ids[0]).await;
        server.sigkill().unwrap();
        let died = clock::wall_us();

        let mut server = children.server().await;
        let cancelled = children.check(server.http(), &ids, acknowledged).await;
        check_processes(&children, &mut server);
        // Event times are cut to milliseconds.
        let late = cancelled.confirmed.iter().filter(|at| **at + 1_000 > died);
        let late = late.count();
        println!("{late} of {} were confirmed after the kill", ids.len());
        if late > 0 {
            return;
        }
    }
    panic!("every cancel was confirmed before its kill, {TRIES} times");
}

/// What follows an acknowledged cancel.
#[derive(Clone, Copy, PartialEq)]
enum NextAct {
    Nothing,
    Kill,
}

/// A cancel that comes while the parent is still at it: how many children had begun.
async fn cancelled_between_children(then: NextAct) -> usize {
    let parent_task = ParentTask::new().await;
    let mut server = parent_task.server().await;
    let http = server.http();
    let body = json!({"task_type": "agent_run", "input_data": {"goal": "the whole"}});
    let reply = http.post("/api/v1/tasks", &body).await.unwrap();
    let parent = text(&reply.ok().unwrap().json().unwrap(), "task_id");
    let list = format!("/api/v1/tasks?parent={parent}&limit=100");
    let children = async |http: &Http| {
        let list: Value = http.get(&list).await.ok()?.ok().ok()?.json().ok()?;
        let tasks = list["tasks"].as_array()?.clone();
        (!tasks.is_empty()).then_some(tasks)
    };
    wait_until("the first child", SOON, || children(http))
        .await
        .unwrap();
    let path = format!("/api/v1/tasks/{parent}/cancel");
    http.post(&path, &json!({})).await.unwrap().ok().unwrap();
    if then == NextAct::Kill {
        server.sigkill().unwrap();
        server = parent_task.server().await;
    }

    let http = server.http();
    until_state(http, &parent, "cancelled", SOON).await.unwrap();
    let mut begun = BTreeSet::new();
    for child in children(http).await.unwrap() {
        let id = text(&child, "task_id");
        until_state(http, &id, "cancelled", SOON).await.unwrap();
        begun.insert(id);
    }
    let history = history::read(http, &parent).await.unwrap();
    let told = history.events.iter();
    let told: BTreeSet<String> = told
        .filter(|event| event.kind == "tool.completed")
        .map(|event| text(&event.data["output"], "task"))
        .collect();
    assert_eq!(
        told, begun,
        "the log tells of other children than there are"
    );
    begun.len()
}

#[tokio::test]
async fn a_cancel_between_two_children_leaves_none_that_never_began() {
    for then in [NextAct::Nothing, NextAct::Kill] {
        let mut begun = CHILDREN;
        for _ in 0..TRIES {
            begun = begun.min(cancelled_between_children(then).await);
        }
        println!("{begun} of {CHILDREN} had begun");
        assert!(begun < CHILDREN, "no cancel came in between");
    }
}
