//! A SQLite data folder that moves into PostgreSQL.

use std::path::Path;

use ops_core::{
    Next, TaskAction, TaskId,
    ports::{Idempotency, IdempotencyKey, Snapshot, Submitted},
};
use ops_store::{
    postgres::{ImportError, Imported, import},
    sqlite::DATABASE_FILE,
};

use super::{Database, Server, open_in};
use crate::world::{TENANT, TestClock, World, big_json, json, pair};

/// What a folder holds before it moves.
pub(super) struct Before {
    pub(super) tasks: Vec<TaskId>,
    keyed: TaskId,
}

fn keyed(world: &World) -> ops_core::ports::NewTask {
    let mut new = world.new_task();
    new.idempotency = Some(Idempotency {
        key: IdempotencyKey::Client("once".into()),
        digest: [7; 32],
    });
    new
}

/// Tasks that wait, run, ended with a small and a large result, and with labels, parents and odd names.
async fn fill(dir: &Path) -> Before {
    let (world, store) = crate::sqlite::open_in(dir, |_| {}).unwrap();
    let before = populate(&world).await;
    store.close();
    before
}

/// The same in an open store.
pub(super) async fn populate(world: &World) -> Before {
    let keyed = world.submit_new(keyed(world)).await;
    let mut odd = world.new_task();
    odd.task.name = Some("A \0 Name Ü".into());
    odd.task.labels = [("team".to_owned(), "blue\0".to_owned())].into();
    odd.task.input = big_json(300_000);
    let mut tasks = vec![keyed, world.submit_new(odd).await];
    for result in [json(r#"{"a":"\u0000"}"#), big_json(600_000)] {
        let (_, life) = world.claim_another(world.new_task()).await;
        let life = world.append(&life, pair(1), Next::Continue).await.unwrap();
        let snapshot = Snapshot {
            seq: life.seq,
            version: 1,
            body: b"a fold".to_vec(),
        };
        let store = &world.store;
        let put = store.put_snapshot(TENANT, life.id, life.epoch, snapshot);
        put.await.unwrap();
        let next = Next::Complete { result };
        world.append(&life, pair(2), next).await.unwrap();
        tasks.push(life.id);
    }
    let (_, running) = world.claim_another(world.new_task()).await;
    tasks.push(running.id);
    let paused = world.submit().await;
    world.apply(paused, TaskAction::Pause).await.unwrap();
    let cancelled = world.submit().await;
    world.apply(cancelled, TaskAction::Cancel).await.unwrap();
    tasks.extend([paused, cancelled]);
    Before { tasks, keyed }
}

fn moved(database: &Database, dir: &Path) -> Result<Imported, ImportError> {
    import(
        &database.url().parse().unwrap(),
        dir,
        TestClock::new(),
        &|_| {},
    )
}

fn count(database: &Database, table: &str) -> i64 {
    let rows = database.query(&format!("SELECT count(*) FROM opspawn.{table}"));
    rows[0].get(0)
}

async fn moves(server: Server) {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::create(server));
    let before = fill(dir.path()).await;
    let imported = moved(&database, dir.path()).unwrap();
    assert_eq!(imported.tasks, before.tasks.len() as u64);
    assert_eq!(imported.values, 2, "an input and a result");
    assert_eq!(
        count(&database, "events"),
        i64::try_from(imported.events).unwrap()
    );
    assert_eq!(imported.digest.len(), 64);

    let (source, from) = crate::sqlite::open_in(dir.path(), |_| {}).unwrap();
    let (world, store) = open_in(&database, |_| {});
    for task in &before.tasks {
        assert_eq!(world.task(*task).await, source.task(*task).await);
        assert_eq!(world.events(*task).await, source.events(*task).await);
    }
    let here = world.store.counts(TENANT).await.unwrap();
    let there = source.store.counts(TENANT).await.unwrap();
    assert_eq!(here, there);
    drop((source, from));

    // The same request finds the same task, and work goes on.
    let again: Submitted = world.store.submit(keyed(&world)).await.unwrap();
    assert_eq!(again.record.task.id, before.keyed);
    let session = world.session().await;
    let claimed = world.claim(session, 10).await;
    assert!(claimed.len() >= 2, "{claimed:?}");
    for record in claimed {
        let next = Next::Complete { result: json("1") };
        world.append(&record.life, pair(9), next).await.unwrap();
    }
    drop((world, store));

    let refused = moved(&database, dir.path()).unwrap_err();
    assert!(matches!(refused, ImportError::NotEmpty { .. }), "{refused}");
    assert!(
        refused.to_string().contains("DROP SCHEMA opspawn"),
        "{refused}"
    );
}

mod postgres_15 {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_folder_moves_with_everything_in_it() {
        moves(Server::Postgres15).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn nothing_is_copied_of_a_folder_that_is_damaged_missing_or_in_use() {
        let (dir, database) = (
            tempfile::tempdir().unwrap(),
            Database::create(Server::Postgres15),
        );
        let missing = moved(&database, dir.path()).unwrap_err();
        assert!(matches!(missing, ImportError::NoSource { .. }), "{missing}");
        fill(dir.path()).await;
        let file = dir.path().join(DATABASE_FILE);
        let change = |sql: &str| {
            let conn = rusqlite::Connection::open(&file).unwrap();
            assert!(conn.execute(sql, ()).unwrap() > 0, "{sql}");
        };
        // A flipped byte in a log: its checksum does not fit any more.
        change("UPDATE events SET at = at + 1 WHERE event_row = 1");
        let damaged = moved(&database, dir.path()).unwrap_err();
        assert!(
            matches!(
                damaged,
                ImportError::Unreadable { .. } | ImportError::Differs { .. }
            ),
            "{damaged}"
        );
        assert_eq!(count(&database, "tasks"), 0);
        change("UPDATE events SET at = at - 1 WHERE event_row = 1");
        let (world, store) = crate::sqlite::open_in(dir.path(), |_| {}).unwrap();
        let used = moved(&database, dir.path()).unwrap_err();
        assert!(matches!(used, ImportError::Source(_)), "{used}");
        drop((world, store));
        moved(&database, dir.path()).unwrap();
    }
}

mod postgres_18 {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn a_folder_moves_with_everything_in_it() {
        moves(Server::Postgres18).await;
    }
}
