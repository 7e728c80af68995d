//! The store on SQLite.

mod compact;
mod corruption;
mod crash_loop;
mod disk;
mod folder;
mod integrity;
mod lifetime;
mod load;
mod shared_values;
mod syncs;
mod tree;
mod unreadable;

use std::{path::Path, sync::Arc};

use ops_store::{Durability, OpenError, Options, SqliteStore};

use crate::world::{Seen, TestClock, World};

/// A store in a folder, with a clock and an observer of its own.
pub(crate) fn open_in(
    dir: &Path,
    set: impl FnOnce(&mut Options),
) -> Result<(World, Arc<SqliteStore>), OpenError> {
    let (clock, seen) = (TestClock::new(), Arc::new(Seen::default()));
    let mut options = Options::new(dir, clock.clone());
    options.observer = seen.clone();
    options.max_value_bytes = crate::conformance::log::CAP;
    set(&mut options);
    let store = Arc::new(SqliteStore::open(options)?);
    let world = World {
        store: store.clone(),
        clock,
        seen,
        _keep: Box::new(()),
    };
    Ok((world, store))
}

/// A database in which rows may be without checksums, as if releases that had none had written them; and
/// a connection to it.
pub(crate) fn without_sums(dir: &Path) -> rusqlite::Connection {
    drop(open_in(dir, |_| {}).unwrap());
    let conn = rusqlite::Connection::open(dir.join(ops_store::sqlite::DATABASE_FILE)).unwrap();
    conn.execute_batch("PRAGMA busy_timeout = 5000").unwrap();
    let marked = conn
        .execute("UPDATE unsummed SET until = 9223372036854775807", ())
        .unwrap();
    assert!(marked > 0);
    conn
}

pub(crate) fn open() -> World {
    fresh(|_| {})
}

/// A store that does not wait for the disk, with small trees of tasks.
pub(crate) fn open_undurable(max_tree_tasks: u64) -> World {
    fresh(|options| {
        options.durability = Durability::Off;
        options.max_tree_tasks = max_tree_tasks;
    })
}

fn fresh(set: impl FnOnce(&mut Options)) -> World {
    let dir = tempfile::tempdir().unwrap();
    let (world, _) = open_in(dir.path(), set).unwrap();
    World {
        _keep: Box::new(dir),
        ..world
    }
}

crate::conformance::conformance!(crate::sqlite::open);
