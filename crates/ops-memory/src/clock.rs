//! A clock that a test moves.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use ops_core::{Micros, ports::Clock};

/// Time that passes only when a test says so.
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicI64,
    boot: AtomicI64,
}

impl ManualClock {
    /// A clock that shows this time.
    #[must_use]
    pub fn new(now: Micros) -> Self {
        Self {
            wall: AtomicI64::new(now.0),
            boot: AtomicI64::new(now.0),
        }
    }

    /// Lets so many microseconds pass.
    pub fn pass(&self, micros: i64) {
        self.wall.fetch_add(micros, SeqCst);
        self.boot.fetch_add(micros, SeqCst);
    }

    /// Sets the clock by so many microseconds, forward or back, while no time passes.
    pub fn step(&self, micros: i64) {
        self.wall.fetch_add(micros, SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Micros {
        Micros(self.wall.load(SeqCst))
    }

    fn boot_micros(&self) -> i64 {
        self.boot.load(SeqCst)
    }
}
