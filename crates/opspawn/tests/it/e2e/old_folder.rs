//! A folder that an earlier release left behind, with tasks in every state, when it was killed.
//!
//! `tests/fixtures/folder-1` was filled by `make_folder.py` beside it. Its bytes stay as they are: another
//! release to be read is another folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use http::Method;
use ops_testkit::{Http, Opspawn, wait_until};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{tasks, test_dir::TestDir};

/// What the earlier release said of its tasks, by the names that `make_folder.py` gave them.
#[derive(Deserialize)]
struct Folder {
    ids: BTreeMap<String, String>,
    seen: BTreeMap<String, Seen>,
    /// State and wait of every task by its id, as they lie on disk.
    rows: Rows,
}

type Rows = BTreeMap<String, (String, Option<String>)>;

/// A task that had ended.
#[derive(Deserialize)]
struct Seen {
    task: Value,
    steps: Value,
    events: Value,
}

impl Folder {
    fn unpack(test_dir: &TestDir) -> Self {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/folder-1");
        let packed = |name: &str| {
            let file = fs::File::open(format!("{source}/{name}.zst")).unwrap();
            zstd::decode_all(file).unwrap()
        };
        fs::create_dir(test_dir.data()).unwrap();
        for name in ["opspawn.db", "opspawn.db-wal"] {
            fs::write(test_dir.data().join(name), packed(name)).unwrap();
        }
        fs::copy(
            format!("{source}/policy.toml"),
            test_dir.data().join("policy.toml"),
        )
        .unwrap();
        serde_json::from_slice(&packed("folder.json")).unwrap()
    }

    fn id(&self, name: &str) -> &str {
        &self.ids[name]
    }
}

async fn server(test_dir: &TestDir) -> Opspawn {
    let dev = test_dir.dev().env("OPSPAWN_PROVIDER", "scripted");
    dev.env("OPSPAWN_ON_EXHAUSTED", "wait")
        .start()
        .await
        .unwrap()
}

async fn get(http: &Http, path: &str) -> Value {
    http.get(path).await.unwrap().ok().unwrap().json().unwrap()
}

async fn post(http: &Http, path: &str, body: &Value) -> Value {
    let reply = http.post(path, body).await.unwrap();
    reply.ok().unwrap().json().unwrap()
}

/// Fails unless `now` has all of `before`; it may have more fields.
fn has_all(now: &Value, before: &Value, path: &str) {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => {
            for (key, value) in before {
                let of_now = now.get(key);
                let of_now = of_now.unwrap_or_else(|| panic!("{path}/{key} is gone: {value}"));
                has_all(of_now, value, &format!("{path}/{key}"));
            }
        }
        (Value::Array(now), Value::Array(before)) => {
            assert_eq!(now.len(), before.len(), "{path}");
            for (index, (now, before)) in now.iter().zip(before).enumerate() {
                has_all(now, before, &format!("{path}/{index}"));
            }
        }
        // A limit that no field named is told now as the one that was in force.
        (_, Value::Null) if path.contains("/limits/") => {}
        _ => assert_eq!(now, before, "{path}"),
    }
}

/// What had ended reads as it did.
async fn the_ended_read_as_before(http: &Http, folder: &Folder) {
    for (name, seen) in &folder.seen {
        let path = format!("/api/v1/tasks/{}", folder.id(name));
        has_all(&get(http, &path).await, &seen.task, name);
        let steps = get(http, &format!("{path}/steps")).await;
        has_all(&steps, &seen.steps, &format!("{name}/steps"));
        let events = get(http, &format!("{path}/events")).await;
        has_all(&events, &seen.events, &format!("{name}/events"));
    }
}

/// Every state is in the folder: what the test is about.
fn every_state_is_there(states: &Rows) {
    let all = [
        ("pending", None),
        ("running", None),
        ("cancelling", None),
        ("cancelled", None),
        ("completed", None),
        ("failed", None),
        ("scheduled", None),
        ("paused", None),
        ("waiting", Some("timer")),
        ("waiting", Some("approval")),
        ("waiting", Some("signal")),
        ("waiting", Some("child")),
        ("waiting", Some("budget")),
        ("waiting", Some("in_doubt")),
        ("waiting", Some("concurrency")),
    ];
    for (state, on) in all {
        let wanted = (state.to_owned(), on.map(str::to_owned));
        assert!(states.values().any(|found| *found == wanted), "{wanted:?}");
    }
}

/// The tasks of a schedule's runs, newest first.
async fn started_by(http: &Http, schedule: &str) -> Vec<String> {
    let runs = get(
        http,
        &format!("/api/v1/schedules/{schedule}/runs?limit=100"),
    )
    .await;
    let runs = runs["runs"].as_array().unwrap().iter();
    let started = runs.filter(|run| run["outcome"] == "started");
    started.map(tasks::id).collect()
}

/// The schedule was due on 2026-12-01 at 02:00 UTC, and nobody was there.
async fn the_missed_run_is_made_up_for(http: &Http) {
    let due = async || (!started_by(http, "nightly").await.is_empty()).then_some(());
    wait_until("the run of the night", Duration::from_secs(30), due)
        .await
        .unwrap();
    let started = started_by(http, "nightly").await;
    assert_eq!(tasks::answer(http, &started[0]).await, "night");
    let nightly = get(http, "/api/v1/schedules/nightly").await;
    assert_eq!(nightly["cron"], "0 3 * * *");
    assert!(nightly["next_run_at"].is_string(), "{nightly:#}");
}

#[tokio::test]
async fn a_folder_with_tasks_in_every_state_is_finished_and_read_again() {
    let test_dir = TestDir::new();
    let folder = Folder::unpack(&test_dir);
    let before = &folder.rows;
    every_state_is_there(before);
    let mut opspawn = server(&test_dir).await;
    let http = opspawn.http();
    let path = |name: &str, verb: &str| format!("/api/v1/tasks/{}/{verb}", folder.id(name));

    the_ended_read_as_before(http, &folder).await;
    the_missed_run_is_made_up_for(http).await;
    let scheduled = tasks::get(http, folder.id("scheduled")).await;
    assert_eq!(scheduled["scheduled_at"], "2036-01-01T00:00:00.000Z");

    // The same submit finds its task: the digest of a request means what it meant.
    let again = &folder.seen["completed"].task;
    let body = json!({
        "task_type": "agent_run", "name": "completed", "labels": {"made": "completed"},
        "input_data": again["input_data"],
    });
    let mut request = http
        .request(Method::POST, "/api/v1/tasks", Some(&body))
        .unwrap();
    let key = "key-completed".parse().unwrap();
    request.headers_mut().insert("idempotency-key", key);
    let reply = http.send(request).await.unwrap().ok().unwrap();
    assert_eq!(tasks::id(&reply.json().unwrap()), folder.id("completed"));

    // Whoever waits for somebody is told.
    let approval = ["approval", "approve", folder.id("approval"), "2"];
    test_dir.cli(&approval).run().await.ends(0);
    let red = json!({"name": "human.call_2", "payload": "red"});
    post(http, &path("signal", "signals"), &red).await;
    let limits = json!({"max_steps": 20});
    post(http, &path("budget", "limits"), &limits).await;
    post(http, &path("paused", "resume"), &json!({})).await;
    let step = format!("/api/v1/reconciliations/{}/2", folder.id("in_doubt"));
    let done = json!({"resolution": "done", "output": {"status": 200}});
    post(http, &step, &done).await;

    for (name, answer) in [
        ("approval", "written"),
        ("signal", "You said red."),
        ("budget", "enough"),
        ("in_doubt", "decided"),
        ("paused", "391"),
        ("timer", "awake"),
        ("child", "of the child: late"),
        ("holder", "late"),
        ("concurrency", "after it"),
        ("running", "late"),
        ("retry", "at last"),
        ("pending", "in the end"),
    ] {
        assert_eq!(tasks::answer(http, folder.id(name)).await, answer, "{name}");
    }
    // A cancel that was on disk holds; the server died before it heard of the others.
    for (name, id) in folder
        .ids
        .range("cancelling_".to_owned().."cancelling`".to_owned())
    {
        let task = tasks::ended(http, id).await;
        match before[id].0.as_str() {
            "cancelling" | "cancelled" => assert_eq!(task["state"], "cancelled", "{name}"),
            _ => assert_eq!(task["result"]["answer"], "late", "{name}"),
        }
    }
    assert_eq!(
        tasks::get(http, folder.id("scheduled")).await["state"],
        "scheduled"
    );

    // What an earlier release recorded is taken over by a rerun of this one.
    let rerun = post(http, &path("completed", "rerun"), &json!({"from_step": 4})).await;
    let rerun = tasks::id(&rerun);
    assert_eq!(tasks::answer(http, &rerun).await, "391");

    opspawn.stop(Duration::from_secs(20)).await.unwrap();
    test_dir.cli(&["doctor"]).run().await.ends(0);

    // And all of it is still there for the next process.
    let opspawn = server(&test_dir).await;
    let http = opspawn.http();
    the_ended_read_as_before(http, &folder).await;
    let nightly = started_by(http, "nightly").await;
    let mut left: BTreeSet<String> = BTreeSet::new();
    let mut next = Some(String::from("/api/v1/tasks?limit=50"));
    while let Some(path) = next {
        let page = get(http, &path).await;
        left.extend(page["tasks"].as_array().unwrap().iter().map(tasks::id));
        next = (page["next_cursor"].as_str())
            .map(|cursor| format!("/api/v1/tasks?limit=50&cursor={cursor}"));
    }
    let ids = before.keys().chain([&rerun]).chain(&nightly);
    assert_eq!(
        left,
        ids.cloned().collect(),
        "no task is lost, one was rerun"
    );
}
