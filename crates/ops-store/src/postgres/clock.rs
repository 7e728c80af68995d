//! The time of the database, between two of its answers.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use ops_core::{Micros, ports::Clock, time::SECOND};

/// The database has not answered yet.
const UNKNOWN: i64 = i64::MIN;

/// The clock of a process that shares a database with others.
///
/// Dates that a process records (the end of a wait, a deadline) are judged by the time of the database, and perhaps
/// computed on another machine. A worker whose own clock is an hour ahead recorded a wait of two seconds that ended in
/// an hour, and broke off tasks whose deadline had an hour to go. So the time is the last one that the
/// database told, and what has passed since then on a clock that never steps.
pub struct DatabaseClock {
    local: Arc<dyn Clock>,
    /// The database's time minus the local clock that never steps, in microseconds.
    ahead: AtomicI64,
}

impl DatabaseClock {
    /// A clock that tells the local time until the database has told its own.
    #[must_use]
    pub fn new(local: Arc<dyn Clock>) -> Self {
        Self {
            local,
            ahead: AtomicI64::new(UNKNOWN),
        }
    }

    /// Takes note of the time that the database told just now.
    ///
    /// An answer that was long on its way makes the time too early, never too late, so of two answers the later time
    /// is the better one. A time that is more than a second earlier is another time: the database's clock was set.
    pub(crate) fn told(&self, now: Micros) {
        let ahead = now.0.saturating_sub(self.local.boot_micros());
        let known = self.ahead.load(Relaxed);
        if known == UNKNOWN || ahead > known || ahead < known.saturating_sub(SECOND) {
            self.ahead.store(ahead, Relaxed);
        }
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> Micros {
        match self.ahead.load(Relaxed) {
            UNKNOWN => self.local.now(),
            _ if units::mutant!("ops-store.machines_time") => self.local.now(),
            ahead => Micros(self.local.boot_micros().saturating_add(ahead)),
        }
    }

    fn boot_micros(&self) -> i64 {
        self.local.boot_micros()
    }
}

impl std::fmt::Debug for DatabaseClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseClock")
            .field("ahead", &self.ahead)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose wall clock is an hour ahead.
    #[derive(Default)]
    struct Machine(AtomicI64);

    impl Clock for Machine {
        fn now(&self) -> Micros {
            Micros(self.boot_micros() + 3_600 * SECOND)
        }

        fn boot_micros(&self) -> i64 {
            self.0.load(Relaxed)
        }
    }

    #[test]
    fn the_time_is_that_of_the_database_and_what_has_passed_since() {
        let machine = Arc::new(Machine::default());
        let clock = DatabaseClock::new(Arc::clone(&machine) as _);
        assert_eq!(clock.now(), Micros(3_600 * SECOND));
        clock.told(Micros(50 * SECOND));
        machine.0.store(2 * SECOND, Relaxed);
        assert_eq!(clock.now(), Micros(52 * SECOND));
        // An answer that took a while, and one that did not.
        clock.told(Micros(52 * SECOND - 300_000));
        assert_eq!(clock.now(), Micros(52 * SECOND));
        clock.told(Micros(52 * SECOND + 10));
        assert_eq!(clock.now(), Micros(52 * SECOND + 10));
        // The database's clock was set back, and forward.
        clock.told(Micros(10 * SECOND));
        assert_eq!(clock.now(), Micros(10 * SECOND));
        clock.told(Micros(99 * SECOND));
        assert_eq!(clock.now(), Micros(99 * SECOND));
        assert_eq!(clock.boot_micros(), 2 * SECOND);
    }
}
