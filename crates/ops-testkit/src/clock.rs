//! Times for logs, comparable between processes of one machine.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Microseconds of `CLOCK_MONOTONIC`: one count for all processes since the machine started.
pub fn monotonic_us() -> i64 {
    micros(clock_gettime(ClockId::Monotonic))
}

/// Microseconds since 1970 in UTC, as the machine's clock has it.
pub fn wall_us() -> i64 {
    micros(clock_gettime(ClockId::Realtime))
}

fn micros(time: Timespec) -> i64 {
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}
