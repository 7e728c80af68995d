//! The store on SQLite.

mod disk;
mod folder;
mod lifetime;
mod load;
mod shared_values;
mod suspects;
mod unreadable;

use std::{path::Path, sync::Arc};

use ops_store::{OpenError, Options, SqliteStore};

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

pub(crate) fn open() -> World {
    let dir = tempfile::tempdir().unwrap();
    let (world, _) = open_in(dir.path(), |_| {}).unwrap();
    World {
        _keep: Box::new(dir),
        ..world
    }
}

crate::conformance::conformance!(crate::sqlite::open);
