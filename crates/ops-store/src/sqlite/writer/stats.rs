//! The writer's counters.

use std::{sync::Mutex, time::Duration};

use ops_core::stats::Stats;

use crate::sqlite::writer::inbox::lock;

/// The live counters. The writer alone adds to them, a few times for each group.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Stats>);

impl Meter {
    pub(crate) fn read(&self) -> Stats {
        *lock(&self.0)
    }

    pub(crate) fn note(&self, note: impl FnOnce(&mut Stats)) {
        note(&mut lock(&self.0));
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
