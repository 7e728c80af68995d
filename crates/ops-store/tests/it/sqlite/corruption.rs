//! security/S7: flipped bits. A store is filled, asked everything that it can be asked, and left as a stop or a kill
//! leaves it. Then, trial by trial, one bit of its database, its write-ahead log, a large value or a backup is
//! flipped, and it is asked again. An answer may be the one from before, or an error; another answer, or
//! a task that is not there any more, must be reported: by the answer itself, at the start, by `doctor`.
//!
//! `OPSPAWN_CORRUPTION_TRIALS` says how many trials (200 show what P22 promises), and
//! `OPSPAWN_CORRUPTION_SEED` which; both are printed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use ops_core::{
    Append, NewApproval, Next, RunCommand, TaskId, WaitRequest,
    agent::AgentSpec,
    event::StepStatus,
    ports::{
        ApprovalFilter, Blob, Clock as _, Expected, ExpectedSchedule, Listed, NewAgent,
        NewSchedule, Snapshot, StoreError, TaskFilter,
    },
    schedule::{CatchUp, Overlap, ScheduleSpec},
    task::StateName,
    time::SECOND,
};
use ops_store::sqlite::{DATABASE_FILE, Damage, backup, doctor, restore};

use super::open_in;
use crate::world::{AnyStore, TENANT, World, big_json, error, json, pair, step};

/// Trials of an ordinary run of the tests.
const TRIALS: u64 = 24;

/// A generator of numbers that a seed repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

fn blob(bytes: usize) -> Blob {
    use sha2::Digest as _;
    let text = big_json(bytes).as_str().as_bytes().to_vec();
    let digest = sha2::Sha256::digest(&text);
    Blob {
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes: text.into(),
    }
}

/// Some of everything that a store keeps.
async fn fill(world: &World) {
    for version in 1..=2 {
        let spec = AgentSpec {
            definition: json(&format!(
                r#"{{"name":"writer","instructions":"number {version}"}}"#
            )),
            digest: ops_core::AgentDigest::from_bytes([version; 32]),
            description: format!("writes, number {version}"),
            agents: Vec::new(),
        };
        let new = NewAgent {
            tenant: TENANT,
            name: "writer".parse().unwrap(),
            spec,
            expected: Expected::Any,
        };
        world.store.put_agent(new).await.unwrap();
    }
    for name in ["nightly", "weekly"] {
        let new = NewSchedule {
            tenant: TENANT,
            name: name.parse().unwrap(),
            spec: ScheduleSpec {
                cron: "0 2 * * *".into(),
                timezone: "Europe/Berlin".into(),
                overlap: Overlap::Skip,
                catch_up: CatchUp::All,
                template: json(r#"{"task_type":"agent_run","input_data":{"prompt":"sum up"}}"#),
            },
            paused: None,
            next_at: Some(world.clock.now().plus(3_600 * SECOND)),
            expected: ExpectedSchedule::Any,
        };
        world.store.put_schedule(new).await.unwrap();
    }
    for n in 0..30_u32 {
        let mut new = world.new_task();
        new.task.name = Some(format!("report {n}"));
        new.task.agent_id = (n % 3 == 0).then(|| "writer".into());
        new.task.labels = [("team".to_owned(), format!("t{}", n % 4))].into();
        new.task.input = match n % 5 {
            0 => big_json(9_000 + n as usize),
            _ => json(&format!(
                r#"{{"prompt":"order {n}, amount {}"}}"#,
                n * 1_117
            )),
        };
        if n % 6 == 5 {
            new.task.queue = "later".into();
            world.submit_new(new).await;
            continue;
        }
        let (_, life) = world.running_new(new).await;
        let life = world.append(&life, pair(1), Next::Continue).await.unwrap();
        end(world, life, n).await;
    }
}

/// How a run goes on, by its number.
async fn end(world: &World, life: ops_core::Lifecycle, n: u32) {
    let mut large = step(2, StepStatus::Completed);
    large.body = format!(
        r#"{{"v":1,"type":"x","large":{}}}"#,
        big_json(12_000).as_str()
    )
    .into();
    let attached = blob(300_000 + n as usize);
    large.blobs = vec![attached.digest.clone()];
    let asked = NewApproval {
        step: 2,
        tool: "send_mail".into(),
        tool_digest: "aa".repeat(32),
        agent_digest: "bb".repeat(32),
        input: serde_json::json!({"to": "ann", "amount": n}),
        input_digest: "cc".repeat(32),
        input_schema: serde_json::json!({"type": "object"}),
        reason: "the policy asks".into(),
        expires_at: None,
        details: Default::default(),
    };
    let result = json(&format!(r#"{{"answer":"total {}"}}"#, n * 7));
    let (events, next) = match n % 6 {
        0 => (
            vec![large],
            Next::Complete {
                result: big_json(20_000),
            },
        ),
        1 => (pair(2), Next::Complete { result }),
        2 => {
            let wait = Next::Wait(WaitRequest::Approval {
                steps: vec![2],
                until: None,
            });
            let append = Append {
                approvals: vec![asked],
                ..Append::new(life.seq, Vec::new(), wait)
            };
            let command = RunCommand::append(life.epoch, append);
            world.apply(life.id, command).await.unwrap();
            return;
        }
        3 => {
            let error = error("run_failed");
            (
                pair(2),
                Next::Fail {
                    error,
                    retryable: false,
                },
            )
        }
        _ => {
            let snapshot = Snapshot {
                seq: life.seq,
                version: 1,
                body: big_json(3_000).as_str().into(),
            };
            let put = world
                .store
                .put_snapshot(TENANT, life.id, life.epoch, snapshot);
            put.await.unwrap();
            (pair(2), Next::Continue)
        }
    };
    let append = RunCommand::append(life.epoch, Append::new(life.seq, events, next));
    let blobs = match n % 6 {
        0 => vec![attached],
        _ => Vec::new(),
    };
    world
        .apply_with(TENANT, life.id, append, blobs)
        .await
        .unwrap();
}

/// What was asked, and what the answer was.
type Answers = BTreeMap<String, Result<String, StoreError>>;

fn shown<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> Result<String, StoreError> {
    answer.map(|answer| format!("{answer:?}"))
}

/// Asks everything about these tasks.
async fn ask(store: &Arc<dyn AnyStore>, tasks: &[TaskId], digests: &[String]) -> Answers {
    let mut answers = Answers::new();
    for task in tasks {
        let mut note = |what: &str, answer| answers.insert(format!("{task} {what}"), answer);
        note("task", shown(store.task(TENANT, *task).await));
        note("life", shown(store.life(TENANT, *task).await));
        note("snapshot", shown(store.snapshot(TENANT, *task).await));
        note("approval", shown(store.approval(TENANT, *task, 2).await));
        for after in [0, 2] {
            let events = store.events(TENANT, *task, after, 1_000).await;
            note(&format!("events after {after}"), shown(events));
        }
    }
    for digest in digests {
        for (offset, len) in [(0, u64::MAX), (5, 100), (262_000, 5_000)] {
            let slice = store.blob(TENANT, digest, offset, len).await;
            answers.insert(format!("{digest} {offset}"), shown(slice));
        }
    }
    let filter = |filter: TaskFilter| TaskFilter {
        limit: 1_000,
        ..filter
    };
    let all = TaskFilter::default;
    let mut filters = vec![
        ("all", filter(all())),
        (
            "team",
            filter(TaskFilter {
                labels: [("team".into(), "t1".into())].into(),
                ..all()
            }),
        ),
        (
            "agent",
            filter(TaskFilter {
                agent: Some("writer".into()),
                ..all()
            }),
        ),
        (
            "text",
            filter(TaskFilter {
                text: Some("report 1".into()),
                ..all()
            }),
        ),
        ("page", TaskFilter { limit: 5, ..all() }),
    ];
    filters.extend(StateName::ALL.iter().map(|state| {
        (
            state.as_str(),
            filter(TaskFilter {
                states: vec![*state],
                ..all()
            }),
        )
    }));
    for (name, filter) in filters {
        let tasks = store.tasks(TENANT, filter.clone()).await;
        answers.insert(format!("list {name}"), listed(tasks));
        let count = store.count(TENANT, filter).await;
        answers.insert(format!("count {name}"), shown(count));
    }
    answers.insert("counts".into(), shown(store.counts(TENANT).await));
    let filter = ApprovalFilter {
        limit: 100,
        ..Default::default()
    };
    let mut note = |what: &str, answer| answers.insert(what.to_owned(), answer);
    note("approvals", listed(store.approvals(TENANT, filter).await));
    note("agents", listed(store.agents(TENANT, None, 100).await));
    let writer = || "writer".parse().unwrap();
    note("agent", shown(store.agent(TENANT, writer()).await));
    note(
        "versions",
        shown(store.agent_versions(TENANT, writer(), 10).await),
    );
    note(
        "schedules",
        listed(store.schedules(TENANT, None, 100).await),
    );
    let nightly = || "nightly".parse().unwrap();
    note("schedule", shown(store.schedule(TENANT, nightly()).await));
    answers
}

/// A list that names what is damaged says so: it is an error here.
fn listed<T: std::fmt::Debug>(listed: Result<Listed<T>, StoreError>) -> Result<String, StoreError> {
    let listed = listed?;
    match listed.damaged.as_slice() {
        [] => Ok(format!("{:?}", listed.found)),
        damaged => Err(StoreError::Unreadable(format!("{damaged:?} are damaged"))),
    }
}

/// A store as it was left, and what it said before.
struct Original {
    /// After a clean stop: a database alone.
    stopped: PathBuf,
    /// After a kill: a database and its log.
    killed: PathBuf,
    backup: PathBuf,
    tasks: Vec<TaskId>,
    digests: Vec<String>,
    answers: Answers,
}

async fn original(dir: &Path) -> Original {
    let data = dir.join("data");
    let (world, store) = open_in(&data, |_| {}).unwrap();
    fill(&world).await;
    let all = TaskFilter {
        limit: 1_000,
        ..Default::default()
    };
    let tasks = world.store.tasks(TENANT, all).await.unwrap();
    let tasks: Vec<TaskId> = tasks.into_iter().map(|record| record.task.id).collect();
    let mut digests = Vec::new();
    for task in &tasks {
        let events = world.events(*task).await;
        digests.extend(events.into_iter().flat_map(|event| event.event.blobs));
    }
    // The next start takes the leases back: it is done before, so that answers stay as they are.
    store.close();
    drop((world, store));
    let (world, store) = open_in(&data, |_| {}).unwrap();
    // Some commits that are in the log alone.
    for n in 0..4 {
        let mut new = world.new_task();
        new.task.input = json(&format!(r#"{{"prompt":"late {n}"}}"#));
        world.submit_new(new).await;
    }
    let answers = ask(&world.store, &tasks, &digests).await;
    let copy = |name: &str, files: &[&str]| {
        let to = dir.join(name);
        fs::create_dir(&to).unwrap();
        for file in files {
            fs::copy(data.join(file), to.join(file)).unwrap();
        }
        to
    };
    let wal = format!("{DATABASE_FILE}-wal");
    let killed = copy("killed", &[DATABASE_FILE, &wal]);
    let file = dir.join("backup.db");
    backup(&data, &file).unwrap();
    store.close();
    let stopped = copy("stopped", &[DATABASE_FILE]);
    Original {
        stopped,
        killed,
        backup: file,
        tasks,
        digests,
        answers,
    }
}

/// Where a bit is flipped.
#[derive(Debug, Clone, Copy)]
enum Target {
    Database,
    KilledDatabase,
    Log,
    Blob,
    Backup,
    BackupAlone,
}

const TARGETS: [Target; 8] = [
    Target::Database,
    Target::Log,
    Target::Database,
    Target::Blob,
    Target::Database,
    Target::KilledDatabase,
    Target::Backup,
    Target::BackupAlone,
];

/// Flips a bit of a byte of a file that is not nothing: what is written is rarely zeros, what is free is.
fn flip(file: &Path, dice: &mut Dice, within: Option<&[u8]>) -> (u64, u8) {
    let bytes = fs::read(file).unwrap();
    let start = within.map(|within| {
        let found = bytes
            .windows(within.len())
            .position(|window| window == within);
        found.expect("a value is in the database") as u64
    });
    let bit = u8::try_from(dice.roll(8)).unwrap();
    let at = loop {
        let at = match start {
            Some(start) => start + dice.roll(within.unwrap().len() as u64),
            None => dice.roll(bytes.len() as u64),
        };
        if bytes[usize::try_from(at).unwrap()] != 0 {
            break at;
        }
    };
    let flipped = bytes[usize::try_from(at).unwrap()] ^ 1 << bit;
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&[flipped], at).unwrap();
    (at, bit)
}

/// What became of a trial.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing: the byte is not read.
    Unread,
    /// Every answer that is not the one from before is an error.
    Refused,
    /// An answer is wrong, and the start or its log said that the data is damaged.
    Warned(String),
    /// An answer is wrong, and `doctor` alone says that the data is damaged.
    ByDoctor(String),
    /// An answer is wrong, and nothing says so.
    Silent(String),
}

async fn look(dir: &Path, original: &Original) -> Outcome {
    let found = doctor::inspect(dir);
    let sick = match &found {
        Ok(Some(report)) => {
            !report.problems.is_empty() || report.wal.is_some_and(|wal| wal.lost_commits > 0)
        }
        Ok(None) | Err(_) => true,
    };
    let Ok((world, store)) = open_in(dir, |_| {}) else {
        return Outcome::Refused;
    };
    let answers = ask(&world.store, &original.tasks, &original.digests).await;
    let warned = !world.store.health().warnings.is_empty();
    store.close();
    let (mut told, mut wrong) = (false, None);
    for (question, before) in &original.answers {
        match (&answers[question], before) {
            (now, before) if now == before => {}
            (Err(StoreError::Unreadable(_) | StoreError::Unavailable(_)), _) => told = true,
            (now, before) => {
                let cut = |answer: &Result<String, StoreError>| {
                    let text = format!("{answer:?}");
                    text.chars().take(300).collect::<String>()
                };
                wrong.get_or_insert(format!("{question}: {} -> {}", cut(before), cut(now)));
            }
        }
    }
    match (wrong, warned, sick) {
        (None, ..) if told || sick || warned => Outcome::Refused,
        (None, ..) => Outcome::Unread,
        (Some(wrong), true, _) => Outcome::Warned(wrong),
        (Some(wrong), false, true) => Outcome::ByDoctor(wrong),
        (Some(wrong), false, false) => Outcome::Silent(wrong),
    }
}

async fn trial(
    dir: &Path,
    original: &Original,
    target: Target,
    dice: &mut Dice,
) -> (Outcome, String) {
    let data = dir.join("trial");
    let copy = |from: &Path| {
        fs::create_dir(&data).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), data.join(entry.file_name())).unwrap();
        }
    };
    let database = data.join(DATABASE_FILE);
    let (at, bit) = match target {
        Target::Database => {
            copy(&original.stopped);
            flip(&database, dice, None)
        }
        Target::KilledDatabase => {
            copy(&original.killed);
            flip(&database, dice, None)
        }
        Target::Log => {
            copy(&original.killed);
            flip(&data.join(format!("{DATABASE_FILE}-wal")), dice, None)
        }
        Target::Blob => {
            copy(&original.stopped);
            // The values do not compress well, but they are compressed: their pages are found by a chunk.
            let chunk = chunk_of(&database, dice);
            flip(&database, dice, Some(&chunk))
        }
        Target::Backup | Target::BackupAlone => {
            let file = dir.join("trial.db");
            fs::copy(&original.backup, &file).unwrap();
            let beside = |file: &Path| PathBuf::from(format!("{}.sha256", file.display()));
            if let Target::Backup = target {
                fs::copy(beside(&original.backup), beside(&file)).unwrap();
            }
            let target = flip(&file, dice, None);
            let restored = restore(&file, &data, Damage::Refused);
            fs::remove_file(&file).unwrap();
            drop(fs::remove_file(beside(&file)));
            if restored.is_err() {
                drop(fs::remove_dir_all(&data));
                return (
                    Outcome::Refused,
                    format!("byte {} bit {}", target.0, target.1),
                );
            }
            target
        }
    };
    let outcome = look(&data, original).await;
    fs::remove_dir_all(&data).unwrap();
    (outcome, format!("byte {at} bit {bit}"))
}

/// Some bytes of a large value as they are stored.
fn chunk_of(database: &Path, dice: &mut Dice) -> Vec<u8> {
    let conn = rusqlite::Connection::open(database).unwrap();
    let count = conn.query_row("SELECT count(*) FROM blobs", (), |row| row.get::<_, i64>(0));
    let nth = dice.roll(u64::try_from(count.unwrap()).unwrap());
    let nth = i64::try_from(nth).unwrap();
    conn.query_row(
        "SELECT substr(bytes, 1, 400) FROM blobs LIMIT 1 OFFSET ?",
        [nth],
        |row| row.get(0),
    )
    .unwrap()
}

fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap(),
        Err(_) => otherwise,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s7_no_flipped_bit_makes_a_wrong_answer_without_a_word() {
    let trials = setting("OPSPAWN_CORRUPTION_TRIALS", TRIALS);
    let seed = setting("OPSPAWN_CORRUPTION_SEED", 11);
    let dir = tempfile::tempdir().unwrap();
    let original = original(dir.path()).await;
    // Nothing is wrong with what was not touched, and what it is asked is answered.
    for whole in [&original.stopped, &original.killed] {
        let copy = dir.path().join("whole");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(whole).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        assert_eq!(look(&copy, &original).await, Outcome::Unread);
        fs::remove_dir_all(&copy).unwrap();
    }
    let answered = original.answers.values().filter(|answer| answer.is_ok());
    assert!(answered.count() > 150);

    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut silent = Vec::new();
    for number in 0..trials {
        let mut dice = Dice(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let target = TARGETS[usize::try_from(number).unwrap() % TARGETS.len()];
        let (outcome, at) = trial(dir.path(), &original, target, &mut dice).await;
        let (name, what) = match outcome {
            Outcome::Unread => ("unread", String::new()),
            Outcome::Refused => (
                "told by the answer, the start or the restore",
                String::new(),
            ),
            Outcome::Warned(what) => ("wrong, and the start warned", what),
            Outcome::ByDoctor(what) => ("wrong, and doctor says so", what),
            Outcome::Silent(what) => ("silent", what),
        };
        *counts.entry(name).or_default() += 1;
        println!("seed {seed} trial {number} {target:?} {at}: {name} {what}");
        if name == "silent" {
            silent.push(format!("trial {number} {target:?} {at}: {what}"));
        }
    }
    println!("{trials} trials with seed {seed}: {counts:?}");
    assert_eq!(silent, Vec::<String>::new(), "seed {seed}");
    let unread = counts.get("unread").copied().unwrap_or(0);
    assert!(
        unread * 4 <= trials,
        "only {} of {trials} flips were read",
        trials - unread
    );
}
