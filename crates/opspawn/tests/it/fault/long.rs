//! A run of more than 600 events that is killed after a snapshot ends like one that never was.

use std::{path::Path, sync::Arc, time::Duration};

use ops_core::{
    Micros, TaskId, TenantId,
    ports::{Clock, RunStore as _, Snapshot},
};
use ops_store::{Options, SqliteStore};
use ops_testkit::{CrashPlan, DataDir, Http, Launch};
use serde_json::{Value, json};

use super::world::until_state;

/// Turns of a run; each is four events.
const TURNS: u64 = 170;
/// The call whose outcome is lost.
const KILLED: u32 = 120;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Multiplies turn after turn, and answers with the last product.
fn body() -> Value {
    let script = format!(
        "name = \"long\"\nrepeat_from = 1\n[[turn]]\n[[turn.case]]\nwhen = 'turn > {TURNS}'\n\
         answer = 'the last is {{{{ result(-1) }}}}'\n[[turn.case]]\n\
         calls = [{{ tool = 'calculator', arguments = {{ expression = '{{{{ turn }}}} * 7' }} }}]\n"
    );
    json!({"task_type": "agent_run", "input_data": {
        "prompt": "multiply", "agent_config": {"provider": "scripted", "script": script},
    }})
}

async fn submit(http: &Http) -> String {
    let reply = http.post("/api/v1/tasks", &body()).await.unwrap();
    let accepted: Value = reply.ok().unwrap().json().unwrap();
    accepted["task_id"].as_str().unwrap().to_owned()
}

/// What came of each step, and how often steps were begun.
async fn steps(http: &Http, id: &str) -> (Vec<Value>, u64) {
    let path = format!("/api/v1/tasks/{id}/steps?limit=1000");
    let page: Value = http.get(&path).await.unwrap().ok().unwrap().json().unwrap();
    let mut steps = page["steps"].as_array().unwrap().clone();
    let mut attempts = 0;
    for step in &mut steps {
        let step = step.as_object_mut().unwrap();
        attempts += step["attempt"].as_u64().unwrap();
        for key in ["seq", "attempt", "started_at", "ended_at"] {
            step.remove(key);
        }
    }
    (steps, attempts)
}

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Micros {
        Micros(1_800_000_000_000_000)
    }

    fn boot_micros(&self) -> i64 {
        1
    }
}

/// The snapshot in a copy of a data folder.
async fn snapshot(folder: &Path, copy: &Path, id: &str) -> Option<Snapshot> {
    std::fs::create_dir(copy).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let store = SqliteStore::open(Options::new(copy, Arc::new(Stopped))).unwrap();
    let task: TaskId = id.parse().unwrap();
    store.snapshot(TenantId::DEFAULT, task).await.unwrap()
}

/// tests/X2
#[tokio::test]
async fn a_long_run_killed_after_a_snapshot_ends_like_one_that_never_was() {
    let data = DataDir::new().unwrap();
    let folder = data.join("product");
    std::fs::create_dir(&folder).unwrap();
    let launch = Launch::dev(&folder)
        .binary(env!("CARGO_BIN_EXE_opspawn"))
        .env("OPSPAWN_MAX_STEPS", "1000");
    let plan = CrashPlan::new("run.after_effect", KILLED, data.join("crashes.log"));
    let mut server = launch.clone().crash(&plan).start().await.unwrap();
    let killed = submit(server.http()).await;
    server.wait_exit(TIMEOUT).await.unwrap();
    plan.must_have_fired().unwrap();

    let kept = snapshot(&folder, &data.join("copy"), &killed).await;
    let kept = kept.expect("a run of so many events has a snapshot");
    assert!(
        kept.seq > 200 && kept.seq < u64::from(KILLED) * 4,
        "{}",
        kept.seq
    );

    let mut server = launch.start().await.unwrap();
    let ended = until_state(server.http(), &killed, "completed", TIMEOUT)
        .await
        .unwrap();
    let whole = submit(server.http()).await;
    let other = until_state(server.http(), &whole, "completed", TIMEOUT)
        .await
        .unwrap();
    assert_eq!(ended["result"], other["result"]);
    let answer = ended["result"]["answer"].as_str().unwrap();
    assert!(answer.contains(&(TURNS * 7).to_string()), "{answer}");
    let (killed_steps, killed_attempts) = steps(server.http(), &killed).await;
    let (whole_steps, whole_attempts) = steps(server.http(), &whole).await;
    assert!(
        killed_steps.len() as u64 > 2 * TURNS,
        "{}",
        killed_steps.len()
    );
    assert_eq!(killed_steps, whole_steps);
    assert_eq!(
        killed_attempts,
        whole_attempts + 1,
        "one call was repeated, and no more"
    );
    let path = format!("/api/v1/tasks/{killed}/events?after=600&limit=10");
    let page: Value = server
        .http()
        .get(&path)
        .await
        .unwrap()
        .ok()
        .unwrap()
        .json()
        .unwrap();
    assert!(
        !page["events"].as_array().unwrap().is_empty(),
        "more than 600 events"
    );
    assert!(server.stop(TIMEOUT).await.unwrap().success());
}
