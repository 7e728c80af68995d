//! The store in memory: the same suite, and no rule of its own.

use std::sync::Arc;

use ops_memory::{MemoryStore, Options};

use crate::world::{Seen, TestClock, World};

pub(crate) fn open() -> World {
    fresh(|_| {})
}

/// A store with small trees of tasks.
pub(crate) fn open_with(max_tree_tasks: u64) -> World {
    fresh(|options| options.max_tree_tasks = max_tree_tasks)
}

fn fresh(set: impl FnOnce(&mut Options)) -> World {
    let (clock, seen) = (TestClock::new(), Arc::new(Seen::default()));
    let mut options = Options::new(clock.clone());
    options.observer = seen.clone();
    options.max_value_bytes = crate::conformance::log::CAP;
    set(&mut options);
    World {
        store: Arc::new(MemoryStore::new(options)),
        clock,
        seen,
        _keep: Box::new(()),
    }
}

crate::conformance::conformance!(crate::memory::open);
