//! Backups of a database, and databases and folders that are made of them.

use std::path::Path;

use ops_store::{
    postgres::{ExportError, ImportError, RestoreError, Restored, Time, backup, restore},
    sqlite::{self, Backup, BackupError, Damage},
};

use super::{Database, Server, import::populate, open_in};
use crate::{
    alike,
    world::{TENANT, TestClock, World},
};

fn made(database: &Database, file: &Path) -> Result<Backup, ExportError> {
    backup(&database.url().parse().unwrap(), file, &|_| {})
}

fn restored(
    database: &Database,
    file: &Path,
    damage: Damage,
    clock: std::sync::Arc<TestClock>,
) -> Result<Restored, RestoreError> {
    let folder = tempfile::tempdir().unwrap();
    let address = database.url().parse().unwrap();
    let restored = restore(&address, file, folder.path(), damage, clock, &|_| {});
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "the unpacked backup is gone");
    restored
}

/// A store, and what makes another one of its backup: on a server, or in a folder.
fn moving(server: Server, to_folder: bool) -> (World, impl FnOnce(World) -> World) {
    let database = Database::create(server);
    let (world, _) = open_in(&database, |options| options.max_tree_tasks = alike::TREE);
    let moved = move |world: World| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("b.db");
        made(&database, &file).unwrap();
        let clock = world.clock.clone();
        let (other, keep): (World, Box<dyn std::any::Any + Send + Sync>) = match to_folder {
            true => {
                let data = dir.path().join("data");
                sqlite::restore(&file, &data, Damage::Refused).unwrap();
                let (other, _) = crate::sqlite::open_in(&data, |options| {
                    options.clock = clock.clone();
                    options.max_tree_tasks = alike::TREE;
                })
                .unwrap();
                (other, Box::new((dir, database)))
            }
            false => {
                let target = Database::create(server);
                restored(&target, &file, Damage::Refused, clock.clone()).unwrap();
                let (other, _) = open_in(&target, |options| {
                    options.time = Time::Given(clock.clone());
                    options.max_tree_tasks = alike::TREE;
                });
                (other, Box::new((dir, database, target)))
            }
        };
        World {
            clock,
            _keep: keep,
            ..other
        }
    };
    (world, moved)
}

/// A database with tasks of every kind, its backup, and the tasks.
async fn backed_up(database: &Database, file: &Path) -> (Backup, Vec<ops_core::TaskId>) {
    let (world, store) = open_in(database, |_| {});
    let before = populate(&world).await;
    let made = made(database, file).unwrap();
    store.close();
    (made, before.tasks)
}

async fn damage(server: Server) {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::create(server));
    let file = dir.path().join("b.db");
    let (made, tasks) = backed_up(&database, &file).await;
    assert_eq!(made.tasks, tasks.len() as u64);
    assert_eq!(made.verified, Some(true));
    let change = |sql: &str| {
        let conn = rusqlite::Connection::open(&file).unwrap();
        assert!(conn.execute(sql, ()).unwrap() > 0, "{sql}");
    };
    // An event of the first task and a part of the large result are not what was written.
    change("UPDATE events SET at = at + 1 WHERE task_row = 1 AND seq = 1");
    change(
        "UPDATE blobs SET bytes = zeroblob(8) WHERE digest = (SELECT result_digest FROM tasks \
         WHERE result_digest IS NOT NULL)",
    );
    let target = Database::create(server);
    let clock = TestClock::new();
    let refused = restored(&target, &file, Damage::Refused, clock.clone()).unwrap_err();
    assert!(
        matches!(&refused, RestoreError::File(BackupError::Damaged { .. })),
        "{refused}"
    );
    let taken = restored(&target, &file, Damage::Accepted, clock).unwrap();
    assert_eq!(taken.backup.verified, Some(false));
    assert_eq!(taken.imported.tasks, tasks.len() as u64 - 2);
    let said = taken.backup.problems.join("\n");
    let (world, store) = open_in(&target, |_| {});
    let mut lost = Vec::new();
    for task in &tasks {
        match world.store.task(TENANT, *task).await {
            Ok(_) => assert!(!world.events(*task).await.is_empty()),
            Err(_) => lost.push(*task),
        }
    }
    assert_eq!(lost.len(), 2, "{said}");
    assert_eq!(lost[0], tasks[0]);
    for task in &lost {
        assert!(said.contains(&task.to_string()), "{said}");
    }
    let counted: u64 = world.store.counts(TENANT).await.unwrap().values().sum();
    assert_eq!(counted, tasks.len() as u64 - 2);
    for table in ["events", "task_requests", "blob_refs", "task_terms"] {
        let orphans = target.query(&format!(
            "SELECT count(*) FROM opspawn.{table} AS part WHERE NOT EXISTS (SELECT 1 FROM opspawn.tasks \
             WHERE tasks.task_id = part.task_id)"
        ));
        assert_eq!(orphans[0].get::<_, i64>(0), 0, "{table}");
    }
    store.close();
}

async fn refusals(server: Server) {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::create(server));
    let file = dir.path().join("b.db");
    let empty = made(&database, &file).unwrap_err();
    assert!(matches!(empty, ExportError::NoTables { .. }), "{empty}");
    assert!(!file.exists());
    backed_up(&database, &file).await;
    let again = made(&database, &file).unwrap_err();
    assert!(
        matches!(&again, ExportError::File(BackupError::Exists { .. })),
        "{again}"
    );
    let clock = TestClock::new();
    let taken = restored(&database, &file, Damage::Refused, clock.clone()).unwrap_err();
    assert!(
        matches!(&taken, RestoreError::Copy(ImportError::NotEmpty { .. })),
        "{taken}"
    );
    let target = Database::create(server);
    // A byte that no page check sees.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(&[0; 4096]);
    std::fs::write(&file, bytes).unwrap();
    let altered = restored(&target, &file, Damage::Refused, clock.clone()).unwrap_err();
    assert!(
        matches!(&altered, RestoreError::File(BackupError::Altered { .. })),
        "{altered}"
    );
    let taken = restored(&target, &file, Damage::Accepted, clock).unwrap();
    assert_eq!(taken.imported.left_out, Vec::<String>::new());

    database.query("UPDATE opspawn.schema_versions SET version = version + 1 RETURNING 1");
    let newer = made(&database, &dir.path().join("c.db")).unwrap_err();
    assert!(newer.to_string().contains("newer release"), "{newer}");
    assert!(!dir.path().join("c.db").exists());
}

/// The tests on a server.
macro_rules! on {
    ($module:ident, $server:ident) => {
        mod $module {
            use super::*;

            #[test]
            #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
            fn a_backup_fills_another_database_and_work_goes_on() {
                alike::compare_moved(4, || moving(Server::$server, false));
            }

            #[test]
            #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
            fn a_backup_makes_a_folder_and_work_goes_on() {
                alike::compare_moved(4, || moving(Server::$server, true));
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
            async fn a_damaged_backup_is_refused_or_taken_as_far_as_it_can_be_read() {
                damage(Server::$server).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
            async fn nothing_is_overwritten_and_nothing_is_made_of_nothing() {
                refusals(Server::$server).await;
            }
        }
    };
}

on!(postgres_15, Postgres15);
on!(postgres_18, Postgres18);
on!(pgbouncer_15, PgBouncer15);
