//! The machine's clock and randomness: the adapters of the ports.

use ops_core::{
    Micros,
    ports::{Clock, Random},
};

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        Micros(agentkit::drive::RunClock::now_micros(
            &agentkit::drive::SystemClock,
        ))
    }

    #[cfg(target_os = "linux")]
    fn boot_micros(&self) -> i64 {
        // CLOCK_BOOTTIME goes on while the machine is suspended (clock_gettime(2)).
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        time.tv_sec
            .saturating_mul(1_000_000)
            .saturating_add(time.tv_nsec / 1_000)
    }

    #[cfg(not(target_os = "linux"))]
    fn boot_micros(&self) -> i64 {
        // The monotonic clock of macOS goes on while the machine sleeps.
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        time.tv_sec
            .saturating_mul(1_000_000)
            .saturating_add(time.tv_nsec / 1_000)
    }
}

/// Raises the soft limit on open files to the hard one: each connection and each follower is a file,
/// and 1,024 of them, a common default, are few.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit on open files could not be raised");
        }
    }
}

/// Files that are kept for anything but connections: the database, logs, tools, models.
const OTHER_FILES: u64 = 256;
/// Connections at the most, however many files there may be.
const MAX_CONNECTIONS: u64 = 16_384;

/// How many connections the limit on open files has room for. The rest are told so, which a process
/// that has no file left for them cannot.
pub(crate) fn connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    room(limit.current)
}

/// None stands for no limit.
fn room(files: Option<u64>) -> usize {
    let files = files.unwrap_or(u64::MAX);
    let left = files.saturating_sub(OTHER_FILES).max(files / 4);
    usize::try_from(left.clamp(1, MAX_CONNECTIONS)).unwrap_or(usize::MAX)
}

/// The thread's random generator, seeded by the system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    fn id_bytes(&self) -> [u8; 10] {
        rand::random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_few_leave_some_for_the_rest() {
        assert_eq!(room(None), 16_384);
        assert_eq!(room(Some(1_000_000)), 16_384);
        assert_eq!(room(Some(1_024)), 768);
        assert_eq!(room(Some(128)), 32);
        assert_eq!(room(Some(0)), 1);
    }
}
