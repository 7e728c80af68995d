//! Whatever happens in whatever order, retention never deletes a value that a task refers to, and
//! leaves none behind that no task does.

use std::{collections::BTreeSet, sync::LazyLock};

use ops_core::{
    Next, TaskAction, TaskId,
    event::StepStatus,
    ports::{Blob, Progress, Retention},
};
use proptest::prelude::*;
use rusqlite::Connection;

use super::{open_in, without_sums};
use crate::world::{TENANT, World, append, big_json, step};

/// What may happen; numbers choose among the tasks and values that there are.
#[derive(Debug, Clone)]
enum Deed {
    /// A task with this value as its input runs, refers to two others, and ends with a fourth.
    Run([usize; 4]),
    /// The events of a task are copied to another one, as a fork of its log does.
    Copy(usize, usize),
    /// Tasks that have ended are taken away, so many.
    MarkDeleted(u32),
    /// A piece of what was taken away is purged.
    Purge,
    /// A piece of the values is swept.
    Sweep,
    /// The store is closed between two pieces, and opened again.
    Reopen,
}

fn deed() -> impl Strategy<Value = Deed> {
    let value = || 0..VALUES;
    prop_oneof![
        4 => [value(), value(), value(), value()].prop_map(Deed::Run),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Deed::Copy(from, to)),
        2 => (1..3_u32).prop_map(Deed::MarkDeleted),
        2 => Just(Deed::Purge),
        2 => Just(Deed::Sweep),
        1 => Just(Deed::Reopen),
    ]
}

const VALUES: usize = 5;

/// The last has more chunks than one sweep takes.
static BLOBS: LazyLock<Vec<Blob>> = LazyLock::new(|| {
    use sha2::Digest as _;
    let sizes = [9_000, 10_000, 11_000, 300_000, 3 << 20];
    let blob = |size| {
        let bytes = big_json(size).as_str().as_bytes().to_vec();
        let digest = sha2::Sha256::digest(&bytes);
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Blob {
            digest,
            bytes: bytes.into(),
        }
    };
    sizes.map(blob).into()
});

fn value(index: usize) -> &'static str {
    std::str::from_utf8(&BLOBS[index].bytes).unwrap()
}

async fn run(world: &World, [input, one, two, result]: [usize; 4]) -> TaskId {
    let mut new = world.new_task();
    new.task.input = ops_core::Json::parse(value(input)).unwrap();
    let (_, life) = world.running_new(new).await;
    let blobs = vec![BLOBS[one].clone(), BLOBS[two].clone()];
    let mut event = step(1, StepStatus::Completed);
    event.blobs = blobs.iter().map(|blob| blob.digest.clone()).collect();
    event.body = format!(r#"{{"v":1,"type":"x","large":{}}}"#, value(one)).into();
    let result = ops_core::Json::parse(value(result)).unwrap();
    let command = append(&life, vec![event], Next::Complete { result });
    world
        .apply_with(TENANT, life.id, command, blobs)
        .await
        .unwrap();
    life.id
}

/// Copies the events of a task to the end of another's log, with their references, below the store.
fn copy(conn: &Connection, from: TaskId, to: TaskId) {
    let conn = conn.unchecked_transaction().unwrap();
    conn.execute(
        "INSERT INTO events (tenant_id, task_row, seq, epoch, at, kind, step, step_kind, \
         step_status, effect, input_tokens, output_tokens, cost_micros, blobs, body, body_digest) \
         SELECT e.tenant_id, (SELECT task_row FROM tasks WHERE task_id = ?2), \
         (SELECT seq FROM tasks WHERE task_id = ?2) + row_number() OVER (ORDER BY e.seq), \
         epoch, at, kind, step, step_kind, step_status, effect, e.input_tokens, e.output_tokens, \
         e.cost_micros, blobs, body, body_digest FROM events AS e \
         WHERE task_row = (SELECT task_row FROM tasks WHERE task_id = ?1)",
        (from.as_bytes(), to.as_bytes()),
    )
    .unwrap();
    conn.execute(
        "UPDATE tasks SET sum = NULL, seq = (SELECT max(seq) FROM events AS e \
           WHERE e.task_row = tasks.task_row) WHERE task_id = ?",
        [to.as_bytes()],
    )
    .unwrap();
    conn.execute(
        "INSERT OR IGNORE INTO blob_refs SELECT tenant_id, digest, \
         (SELECT task_row FROM tasks WHERE task_id = ?2) FROM blob_refs \
         WHERE task_row = (SELECT task_row FROM tasks WHERE task_id = ?1)",
        (from.as_bytes(), to.as_bytes()),
    )
    .unwrap();
    conn.commit().unwrap();
}

/// Every value that a task refers to is whole.
async fn nothing_is_missing(world: &World, tasks: &BTreeSet<TaskId>) {
    for task in tasks {
        world.task(*task).await;
        for event in world.events(*task).await {
            for digest in &event.event.blobs {
                let bytes = world.store.blob(TENANT, digest, 0, u64::MAX).await.unwrap();
                let whole = BLOBS.iter().find(|blob| blob.digest == *digest).unwrap();
                assert!(
                    bytes == whole.bytes,
                    "{digest} is not whole: {} bytes",
                    bytes.len()
                );
            }
        }
    }
}

async fn play(deeds: Vec<Deed>) {
    let dir = tempfile::tempdir().unwrap();
    let keep = Retention {
        completed: Some(0),
        failed: Some(0),
        cancelled: Some(0),
    };
    let open = || {
        let (world, store) = open_in(dir.path(), |options| {
            options.durability = ops_store::Durability::Off;
        })
        .unwrap();
        let conn = Connection::open(dir.path().join(ops_store::sqlite::DATABASE_FILE)).unwrap();
        conn.execute_batch("PRAGMA busy_timeout = 5000").unwrap();
        (world, store, conn)
    };
    // Events are copied by a statement of the test's own.
    drop(without_sums(dir.path()));
    let (mut world, mut store, mut conn) = open();
    let mut tasks = BTreeSet::new();
    let known = |world: &World| {
        let store = world.store.clone();
        async move {
            let filter = ops_core::ports::TaskFilter {
                limit: 1_000,
                ..Default::default()
            };
            let all = store.tasks(TENANT, filter).await.unwrap();
            all.into_iter()
                .map(|record| record.task.id)
                .collect::<BTreeSet<_>>()
        }
    };
    let mut opened = 0;
    for deed in deeds {
        match deed {
            Deed::Run(values) => {
                run(&world, values).await;
            }
            Deed::Copy(from, to) if !tasks.is_empty() => {
                let pick = |index: usize| *tasks.iter().nth(index % tasks.len()).unwrap();
                copy(&conn, pick(from), pick(to));
            }
            Deed::Copy(..) => {}
            Deed::MarkDeleted(count) => {
                world.clock.advance(1);
                world.store.mark_deleted(keep, count).await.unwrap();
            }
            Deed::Purge => {
                let tombstones = world.store.tombstones(2).await.unwrap();
                world.store.purge(tombstones).await.unwrap();
            }
            Deed::Sweep => {
                world.store.sweep_blobs().await.unwrap();
            }
            Deed::Reopen => {
                store.close();
                (world, store, conn) = open();
                opened += 1;
                world.clock.advance(1_000 * opened);
            }
        }
        tasks = known(&world).await;
        if matches!(deed, Deed::Sweep | Deed::Reopen) {
            nothing_is_missing(&world, &tasks).await;
        }
    }
    nothing_is_missing(&world, &tasks).await;
    // To the end: what nobody refers to is gone.
    let last = world.submit().await;
    world.clock.advance(1);
    while !world
        .store
        .mark_deleted(keep, 10)
        .await
        .unwrap()
        .tasks
        .is_empty()
    {}
    while let tombstones = world.store.tombstones(10).await.unwrap()
        && !tombstones.is_empty()
    {
        world.store.purge(tombstones).await.unwrap();
    }
    while world.store.sweep_blobs().await.unwrap() == Progress::More {}
    world.apply(last, TaskAction::Cancel).await.unwrap();
    for table in ["blobs", "blob_refs", "doomed", "loose_blobs"] {
        let rows = conn.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| {
            row.get(0)
        });
        assert_eq!(rows, Ok(0_i64), "{table}");
    }
    let logs = conn.query_row("SELECT count(DISTINCT task_row) FROM events", (), |row| {
        row.get(0)
    });
    assert_eq!(logs, Ok(1_i64));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn no_value_that_is_wanted_is_deleted(deeds in prop::collection::vec(deed(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(play(deeds));
    }
}
