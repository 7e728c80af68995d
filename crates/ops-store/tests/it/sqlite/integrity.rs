//! security/S7: what is read is what was written. A value that was changed behind the store's back is an error for
//! whoever reads it, and for nobody else; `doctor` finds it as well.

use std::{fs, os::unix::fs::FileExt as _, path::Path, time::Duration};

use ops_core::{
    Next, TaskId,
    event::StepStatus,
    ports::{
        Blob, Clock as _, Idempotency, IdempotencyKey, NewAgent, NewSchedule, Snapshot, StoreError,
        TaskFilter,
    },
};
use ops_store::sqlite::{BackupError, DATABASE_FILE, Damage, backup, doctor, restore};
use rusqlite::Connection;

use super::{open_in, without_sums};
use crate::world::{TENANT, World, big_json, json, pair, step};

/// Another program that writes to the database.
fn database(dir: &Path) -> Connection {
    let conn = Connection::open(dir.join(DATABASE_FILE)).unwrap();
    conn.execute_batch("PRAGMA busy_timeout = 5000").unwrap();
    conn
}

fn change(conn: &Connection, sql: &str) {
    assert_eq!(conn.execute(sql, ()).unwrap(), 1, "{sql}");
}

fn problems(dir: &Path) -> Vec<String> {
    doctor::inspect(dir).unwrap().unwrap().problems
}

/// A task that ended with this result.
async fn completed(world: &World, result: &str) -> TaskId {
    let (_, life) = world.running().await;
    let next = Next::Complete {
        result: json(result),
    };
    world.append(&life, pair(1), next).await.unwrap();
    life.id
}

fn is_damaged<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> bool {
    match answer {
        Err(StoreError::Unreadable(why)) => {
            assert!(!why.is_empty());
            true
        }
        Err(other) => panic!("{other}"),
        Ok(_) => false,
    }
}

#[tokio::test]
async fn s7_a_changed_column_is_an_error_for_its_task_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    let good = completed(&world, r#"{"answer":1}"#).await;
    let bad = completed(&world, r#"{"answer":2}"#).await;
    let conn = database(dir.path());
    let row = "task_row = (SELECT max(task_row) FROM tasks)";
    let changes = [
        // Each would be an answer that nobody could tell from the right one.
        (
            format!("UPDATE tasks SET result = replace(result, '2', '3') WHERE {row}"),
            "task",
        ),
        (
            format!("UPDATE tasks SET attempt = attempt + 1 WHERE {row}"),
            "task",
        ),
        (
            format!("UPDATE tasks SET input_tokens = 1 WHERE {row}"),
            "life",
        ),
        (
            format!("UPDATE tasks SET state = 'cancelled', result = NULL WHERE {row}"),
            "task",
        ),
        (
            format!("UPDATE task_requests SET input = replace(input, 'h', 'H') WHERE {row}"),
            "task",
        ),
        (
            format!("UPDATE task_requests SET name = 'other' WHERE {row}"),
            "task",
        ),
        (
            format!("UPDATE events SET body = replace(body, '1', '2') WHERE {row} AND seq = 3"),
            "events",
        ),
        (
            format!("UPDATE events SET at = at + 1 WHERE {row} AND seq = 3"),
            "events",
        ),
        (
            format!("UPDATE events SET step_status = 'failed' WHERE {row} AND seq = 4"),
            "events",
        ),
        (
            format!("UPDATE events SET sum = NULL WHERE {row} AND seq = 4"),
            "events",
        ),
        (
            format!("DELETE FROM events WHERE {row} AND seq = 3"),
            "events",
        ),
        (
            format!("DELETE FROM events WHERE {row} AND seq = 5"),
            "events",
        ),
    ];
    assert_eq!(problems(dir.path()), Vec::<String>::new());
    let copy = dir.path().join("copy.db");
    conn.execute("VACUUM INTO ?", [copy.to_str().unwrap()])
        .unwrap();
    for (sql, read) in &changes {
        change(&conn, sql);
        let damaged = match *read {
            "task" => is_damaged(store_task(&world, bad).await),
            "life" => is_damaged(world.store.life(TENANT, bad).await),
            _ => is_damaged(world.store.events(TENANT, bad, 0, 100).await),
        };
        assert!(damaged, "{sql}");
        assert_eq!(
            store_task(&world, good)
                .await
                .unwrap()
                .result
                .unwrap()
                .as_str(),
            r#"{"answer":1}"#
        );
        assert_eq!(world.events(good).await.len(), 5, "{sql}");
        assert!(!problems(dir.path()).is_empty(), "doctor: {sql}");
        put_back(&conn, &copy);
    }
    assert_eq!(problems(dir.path()), Vec::<String>::new());
    store.close();
}

async fn store_task(world: &World, id: TaskId) -> Result<ops_core::ports::TaskRecord, StoreError> {
    world.store.task(TENANT, id).await
}

/// Takes the rows of tasks from a copy of the database.
fn put_back(conn: &Connection, copy: &Path) {
    conn.execute("ATTACH ? AS copy", [copy.to_str().unwrap()])
        .unwrap();
    for table in ["tasks", "task_requests", "events"] {
        conn.execute_batch(&format!(
            "BEGIN; DELETE FROM {table}; INSERT INTO {table} SELECT * FROM copy.{table}; COMMIT"
        ))
        .unwrap();
    }
    conn.execute_batch("DETACH copy").unwrap();
}

#[tokio::test]
async fn s7_a_changed_blob_is_not_what_its_digest_says() {
    use sha2::Digest as _;

    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    let text = big_json(600_000);
    let digest = sha2::Sha256::digest(text.as_str());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let (_, life) = world.running().await;
    let mut event = step(1, StepStatus::Completed);
    event.blobs = vec![digest.clone()];
    event.body = big_json(20_000).as_str().to_owned().into();
    let blob = Blob {
        digest: digest.clone(),
        bytes: text.as_str().to_owned().into(),
    };
    let command = crate::world::append(&life, vec![event], Next::Continue);
    world
        .apply_with(TENANT, life.id, command, vec![blob])
        .await
        .unwrap();
    let slice = async |offset, len| world.store.blob(TENANT, &digest, offset, len).await;
    assert_eq!(slice(0, u64::MAX).await.unwrap(), text.as_str().as_bytes());
    assert_eq!(
        slice(599_000, 5_000).await.unwrap(),
        &text.as_str().as_bytes()[599_000..]
    );
    assert_eq!(slice(700_000, 10).await.unwrap(), b"");

    let conn = database(dir.path());
    let of = format!("digest = x'{digest}'");
    // A chunk that still unpacks, to other bytes.
    let other = zstd(&text.as_str().as_bytes()[1..262_145]);
    let changed = conn.execute(
        &format!("UPDATE blobs SET bytes = ?, codec = 1 WHERE {of} AND chunk = 1"),
        [&other],
    );
    assert_eq!(changed.unwrap(), 1);
    assert!(is_damaged(slice(262_144, 10).await));
    assert!(is_damaged(slice(0, u64::MAX).await));
    // What lies in another chunk is as it was.
    assert_eq!(
        slice(10, 10).await.unwrap(),
        &text.as_str().as_bytes()[10..20]
    );
    let found = problems(dir.path());
    assert!(
        found
            .iter()
            .any(|line| line.contains("large values") && line.contains(&digest)),
        "{found:?}"
    );
    // Whoever stores the same value again mends it.
    let (_, other) = world.running().await;
    let mut event = step(1, StepStatus::Completed);
    event.blobs = vec![digest.clone()];
    let blob = Blob {
        digest: digest.clone(),
        bytes: text.as_str().to_owned().into(),
    };
    let command = crate::world::append(&other, vec![event], Next::Continue);
    world
        .apply_with(TENANT, other.id, command, vec![blob])
        .await
        .unwrap();
    assert_eq!(slice(0, u64::MAX).await.unwrap(), text.as_str().as_bytes());

    change(
        &conn,
        &format!("DELETE FROM blobs WHERE {of} AND chunk = 2"),
    );
    assert!(is_damaged(slice(0, u64::MAX).await));
    assert!(is_damaged(slice(590_000, 10).await), "the end is missing");
    // An event body of that size is in the same table.
    change(
        &conn,
        "UPDATE blobs SET sum = NULL WHERE digest = (SELECT body_digest FROM events WHERE body_digest IS NOT NULL)",
    );
    assert!(is_damaged(
        world.store.events(TENANT, life.id, 0, 100).await
    ));
    store.close();
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::bulk::compress(bytes, 1).unwrap()
}

#[tokio::test]
async fn s7_definitions_schedules_and_snapshots_have_sums() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    let new = NewAgent {
        tenant: TENANT,
        name: "writer".parse().unwrap(),
        spec: ops_core::agent::AgentSpec {
            definition: json(r#"{"name":"writer","instructions":"be kind"}"#),
            digest: ops_core::AgentDigest::from_bytes([7; 32]),
            description: "writes".into(),
            agents: Vec::new(),
        },
        expected: ops_core::ports::Expected::Any,
    };
    world.store.put_agent(new).await.unwrap();
    let new = NewSchedule {
        tenant: TENANT,
        name: "nightly".parse().unwrap(),
        spec: ops_core::schedule::ScheduleSpec {
            cron: "0 2 * * *".into(),
            timezone: "Europe/Berlin".into(),
            overlap: ops_core::schedule::Overlap::Skip,
            catch_up: ops_core::schedule::CatchUp::All,
            template: json(r#"{"task_type":"agent_run"}"#),
        },
        paused: None,
        next_at: Some(world.clock.now()),
        expected: ops_core::ports::ExpectedSchedule::Any,
    };
    world.store.put_schedule(new).await.unwrap();
    let (_, life) = world.running().await;
    let snapshot = Snapshot {
        seq: 2,
        version: 1,
        body: b"a fold".to_vec(),
    };
    let put = || {
        world
            .store
            .put_snapshot(TENANT, life.id, life.epoch, snapshot.clone())
    };
    put().await.unwrap();

    let conn = database(dir.path());
    let agent = || async { world.store.agent(TENANT, "writer".parse().unwrap()).await };
    let schedule = || async {
        world
            .store
            .schedule(TENANT, "nightly".parse().unwrap())
            .await
    };
    let stored = || async { world.store.snapshot(TENANT, life.id).await };
    assert!(agent().await.is_ok() && schedule().await.is_ok() && stored().await.is_ok());
    change(
        &conn,
        "UPDATE agent_versions SET definition = replace(definition, 'kind', 'rude')",
    );
    assert!(is_damaged(agent().await));
    let definition = world
        .store
        .definition(TENANT, ops_core::AgentDigest::from_bytes([7; 32]));
    assert!(is_damaged(definition.await), "no run begins with it");
    let mut new = world.new_task();
    new.task.agent_id = Some("writer".into());
    assert!(
        is_damaged(world.store.submit(new).await),
        "no task is pinned to it"
    );
    change(&conn, "UPDATE schedules SET next_at = next_at + 1000000");
    assert!(is_damaged(schedule().await));
    change(&conn, "UPDATE snapshots SET seq = 1");
    assert!(is_damaged(stored().await));
    assert_eq!(problems(dir.path()).len(), 3, "{:?}", problems(dir.path()));
    // The next snapshot takes the place of the damaged one, whatever its number.
    put().await.unwrap();
    assert_eq!(stored().await.unwrap(), Some(snapshot.clone()));
    store.close();
}

// security/S8: one row that cannot be read is no reason to show none of the others.
#[tokio::test]
async fn s8_a_list_goes_on_past_what_cannot_be_read_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    let mut ids = Vec::new();
    for n in 0..8 {
        let mut new = world.new_task();
        new.task.name = Some(format!("task {n}"));
        ids.push(world.submit_new(new).await);
    }
    for name in ["a", "b", "c"] {
        let spec = ops_core::agent::AgentSpec {
            definition: json(&format!(r#"{{"name":"{name}"}}"#)),
            digest: ops_core::AgentDigest::from_bytes([name.as_bytes()[0]; 32]),
            description: String::new(),
            agents: Vec::new(),
        };
        let expected = ops_core::ports::Expected::Any;
        let new = NewAgent {
            tenant: TENANT,
            name: name.parse().unwrap(),
            spec,
            expected,
        };
        world.store.put_agent(new).await.unwrap();
    }
    let conn = database(dir.path());
    let of = |id: TaskId| {
        format!(
            "(SELECT task_row FROM tasks WHERE task_id = x'{}')",
            hex(id)
        )
    };
    // A byte that is no text, and a row that is gone.
    change(
        &conn,
        &format!(
            "UPDATE task_requests SET name = CAST(x'ff74' AS TEXT) WHERE task_row = {}",
            of(ids[6])
        ),
    );
    change(
        &conn,
        &format!("DELETE FROM task_requests WHERE task_row = {}", of(ids[3])),
    );
    let list = async |limit, before| {
        let filter = TaskFilter {
            limit,
            before,
            ..Default::default()
        };
        let listed = world.store.tasks(TENANT, filter).await.unwrap();
        let found: Vec<TaskId> = listed.found.iter().map(|record| record.task.id).collect();
        (found, listed.damaged)
    };
    let good = [7, 5, 4, 2, 1, 0].map(|n| ids[n]);
    let damaged = [6, 3].map(|n| ids[n].to_string());
    assert_eq!(list(100, None).await, (good.to_vec(), damaged.to_vec()));
    // Pages are as long as they were asked for.
    assert_eq!(
        list(2, None).await,
        (good[..2].to_vec(), damaged[..1].to_vec())
    );
    assert_eq!(list(2, Some(good[1])).await.0, good[2..4]);
    assert_eq!(
        world
            .store
            .count(TENANT, TaskFilter::default())
            .await
            .unwrap(),
        8
    );

    change(
        &conn,
        "UPDATE agent_versions SET definition = '{}' WHERE name = 'b'",
    );
    let agents = world.store.agents(TENANT, None, 2).await.unwrap();
    let names: Vec<_> = agents
        .iter()
        .map(|agent| agent.version.name.to_string())
        .collect();
    assert_eq!(
        (names, agents.damaged),
        (vec!["a".into(), "c".into()], vec!["b".into()])
    );
    let found = problems(dir.path()).join("; ");
    for what in [
        "`task_requests`",
        "tasks without their request",
        "`agent_versions`",
    ] {
        assert!(found.contains(what), "{what}: {found}");
    }
    store.close();
}

fn hex(id: TaskId) -> String {
    id.as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test]
async fn s7_a_damaged_idempotency_key_makes_no_second_task() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    let keyed = || {
        let mut new = world.new_task();
        new.idempotency = Some(Idempotency {
            key: IdempotencyKey::Client("k".into()),
            digest: [7; 32],
        });
        new
    };
    let first = world.store.submit(keyed()).await.unwrap();
    assert!(world.store.submit(keyed()).await.unwrap().existing);
    let conn = database(dir.path());
    let key = |set: &str| change(&conn, &format!("UPDATE idempotency SET {set}"));
    // Another request would be found, or none.
    for set in ["digest = zeroblob(32)", "task_id = zeroblob(16)"] {
        key(set);
        assert!(is_damaged(world.store.submit(keyed()).await), "{set}");
    }
    assert!(
        problems(dir.path())
            .iter()
            .any(|line| line.contains("`idempotency`"))
    );
    assert_eq!(
        world
            .store
            .count(TENANT, TaskFilter::default())
            .await
            .unwrap(),
        1
    );
    // One that an older release stored is believed.
    let id = hex(first.record.task.id);
    key(&format!(
        "sum = NULL, task_id = x'{id}', digest = x'{}'",
        "07".repeat(32)
    ));
    assert!(world.store.submit(keyed()).await.unwrap().existing);
    store.close();
}

#[tokio::test]
async fn s7_a_damaged_counter_is_counted_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    for _ in 0..5 {
        world.submit().await;
    }
    let conn = database(dir.path());
    change(
        &conn,
        "UPDATE counters SET n = n + 8 WHERE state = 'pending'",
    );
    let counted = async || world.store.counts(TENANT).await.unwrap();
    assert_eq!(counted().await.into_values().collect::<Vec<_>>(), [5]);
    assert_eq!(
        world
            .store
            .count(TENANT, TaskFilter::default())
            .await
            .unwrap(),
        5
    );
    // What is added to it does not make it right.
    world.submit().await;
    assert_eq!(counted().await.into_values().sum::<u64>(), 6);
    let found = problems(dir.path());
    assert!(
        found.iter().any(|line| line.contains("counters")),
        "{found:?}"
    );
    store.close();
}

#[tokio::test]
async fn s7_rows_of_an_older_release_are_read_and_doctor_says_how_many() {
    let dir = tempfile::tempdir().unwrap();
    let conn = without_sums(dir.path());
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    let id = completed(&world, r#"{"answer":1}"#).await;
    for table in ["tasks", "task_requests", "events"] {
        assert!(
            conn.execute(&format!("UPDATE {table} SET sum = NULL"), ())
                .unwrap()
                > 0
        );
    }
    assert_eq!(
        world.task(id).await.result.unwrap().as_str(),
        r#"{"answer":1}"#
    );
    assert_eq!(world.events(id).await.len(), 5);
    let report = doctor::inspect(dir.path()).unwrap().unwrap();
    assert_eq!((report.unsummed, report.problems), (7, Vec::new()));
    // A row that is written anew has one from then on.
    let (_, life) = world.running().await;
    assert_eq!(
        conn.execute("UPDATE tasks SET sum = NULL WHERE state = 'running'", ()),
        Ok(1)
    );
    world.append(&life, pair(1), Next::Continue).await.unwrap();
    change(
        &conn,
        "UPDATE tasks SET priority = 9 WHERE state = 'running'",
    );
    assert!(is_damaged(store_task(&world, life.id).await));
    store.close();
}

#[tokio::test]
async fn s7_a_flipped_bit_in_the_log_is_told_and_its_copy_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (world, store) = open_in(&data, |_| {}).unwrap();
    for _ in 0..60 {
        world.submit().await;
    }
    // As a kill leaves it.
    let killed = dir.path().join("killed");
    fs::create_dir(&killed).unwrap();
    let wal = format!("{DATABASE_FILE}-wal");
    for file in [DATABASE_FILE, wal.as_str()] {
        fs::copy(data.join(file), killed.join(file)).unwrap();
    }
    store.close();
    drop((world, store));
    let length = fs::metadata(killed.join(&wal)).unwrap().len();
    let report = doctor::inspect(&killed).unwrap().unwrap().wal.unwrap();
    assert_eq!((report.valid_bytes, report.lost_bytes), (length, 0));

    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(killed.join(&wal))
        .unwrap();
    let mut byte = [0];
    let at = length / 2;
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    let report = doctor::inspect(&killed).unwrap().unwrap().wal.unwrap();
    assert!(
        report.lost_commits > 10 && report.lost_bytes > length / 3,
        "{report:?}"
    );
    assert_eq!(report.valid_bytes + report.lost_bytes, length);

    let (world, store) = open_in(&killed, |_| {}).unwrap();
    let left: u64 = world
        .store
        .counts(TENANT)
        .await
        .unwrap()
        .into_values()
        .sum();
    assert!(left > 0 && left < 60, "{left}");
    let warnings = world.store.health().warnings;
    assert!(
        warnings[0].contains("commits of it are lost"),
        "{warnings:?}"
    );
    world.submit().await;
    store.close();
    drop((world, store));
    // It is said until somebody has seen to it.
    let kept = doctor::inspect(&killed).unwrap().unwrap().kept_logs;
    assert_eq!(fs::metadata(&kept[0]).unwrap().len(), length);
    let (world, store) = open_in(&killed, |_| {}).unwrap();
    assert_eq!(world.store.health().warnings.len(), 1);
    fs::remove_file(&kept[0]).unwrap();
    assert_eq!(world.store.health().warnings, Vec::<String>::new());
    store.close();
}

#[tokio::test]
async fn s7_an_idle_store_empties_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    let id = world.submit().await;
    let wal = dir.path().join(format!("{DATABASE_FILE}-wal"));
    assert!(fs::metadata(&wal).unwrap().len() > 0);
    let emptied = || fs::metadata(&wal).is_ok_and(|wal| wal.len() == 0);
    for _ in 0..300 {
        if emptied() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(emptied(), "after fifteen seconds");
    let (later, known) = (world.submit().await, world.task(id).await.task.id);
    assert_eq!(known, id);
    assert_eq!(world.task(later).await.task.id, later);
    store.close();
}

#[tokio::test]
async fn s7_a_backup_that_is_not_as_it_was_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (world, store) = open_in(&data, |_| {}).unwrap();
    let id = completed(&world, r#"{"answer":"forty-two"}"#).await;
    let other = completed(&world, r#"{"answer":"seven"}"#).await;
    let file = dir.path().join("b.db");
    let made = backup(&data, &file).unwrap();
    store.close();
    drop((world, store));
    let beside = dir.path().join("b.db.sha256");
    let line = fs::read_to_string(&beside).unwrap();
    assert_eq!(
        line,
        format!("{}  b.db\n", made.sha256),
        "as sha256sum writes it"
    );
    let mut into = 0;
    let mut restored = |damage| {
        into += 1;
        let to = dir.path().join(format!("restored-{into}"));
        restore(&file, &to, damage).map(|made| (to, made))
    };
    let (_, good) = restored(Damage::Refused).unwrap();
    assert_eq!((good.verified, good.problems.len()), (Some(true), 0));

    // A bit of the result, and one of a page that nothing reads.
    let whole = fs::read(&file).unwrap();
    let place = whole
        .windows(9)
        .position(|bytes| bytes == b"forty-two")
        .unwrap();
    for at in [place, whole.len() - 4_096 + 200] {
        let mut bits = whole.clone();
        bits[at] ^= 1;
        fs::write(&file, &bits).unwrap();
        fs::write(&beside, &line).unwrap();
        let error = restored(Damage::Refused).unwrap_err();
        assert!(
            matches!(
                error,
                BackupError::Altered { .. } | BackupError::Damaged { .. }
            ),
            "{error}"
        );
    }
    let mut bits = whole.clone();
    bits[place] ^= 1;
    fs::write(&file, &bits).unwrap();
    // Without the file beside it, the checksums of its rows tell.
    fs::remove_file(&beside).unwrap();
    let error = restored(Damage::Refused).unwrap_err();
    assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("--accept-damage"), "{error}");
    let (to, made) = restored(Damage::Accepted).unwrap();
    assert_eq!((made.verified, made.problems.is_empty()), (None, false));
    let (world, store) = open_in(&to, |_| {}).unwrap();
    assert!(is_damaged(store_task(&world, id).await));
    assert!(
        is_damaged(world.store.events(TENANT, id, 0, 100).await),
        "its row names its log"
    );
    assert_eq!(world.events(other).await.len(), 5, "the rest can be read");
    store.close();
}
