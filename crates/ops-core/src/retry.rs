//! Retry arithmetic: when the next attempt of a failed task may start.

use serde::{Deserialize, Serialize};

use crate::{
    id::TaskId,
    time::{Micros, SECOND},
};

/// How often and how fast a task is tried again after a retryable failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included; at least 1.
    pub max_attempts: u32,
    /// The delay before the second attempt, in microseconds; the delay doubles with each further attempt.
    pub initial_micros: i64,
    /// The longest delay, in microseconds.
    pub max_micros: i64,
    /// Lost leases in a row without a recorded outcome after which the task is dead-lettered: the task
    /// probably kills its workers.
    pub max_lease_losses: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_micros: SECOND,
            max_micros: 300 * SECOND,
            max_lease_losses: 5,
        }
    }
}

impl RetryPolicy {
    /// The start of the attempt after `failed_attempt` (1 for the first), with a jitter of up to a
    /// quarter of the delay that is drawn from the task's id, so that the decision stays pure.
    #[must_use]
    pub fn next_start(&self, task: TaskId, failed_attempt: u32, now: Micros) -> Micros {
        let doublings = failed_attempt.saturating_sub(1).min(40);
        let delay = self
            .initial_micros
            .max(0)
            .saturating_mul(1_i64 << doublings)
            .min(self.max_micros.max(0));
        let seed = task.as_bytes()[12..]
            .iter()
            .fold(i64::from(failed_attempt), |hash, byte| {
                (hash * 31 + i64::from(*byte)) % 1_009
            });
        now.plus(delay).plus(delay / 4 / 1_009 * seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_jitter_at_most_a_quarter() {
        let policy = RetryPolicy {
            initial_micros: 1_000_000,
            max_micros: 8_000_000,
            ..Default::default()
        };
        let task = TaskId::new(Micros(1), [7; 10]);
        for (attempt, delay) in [
            (1, 1_000_000),
            (2, 2_000_000),
            (3, 4_000_000),
            (4, 8_000_000),
            (90, 8_000_000),
        ] {
            let start = policy.next_start(task, attempt, Micros(0)).0;
            assert!(
                (delay..=delay + delay / 4).contains(&start),
                "attempt {attempt}: {start}"
            );
        }
    }

    #[test]
    fn odd_policies_do_not_overflow() {
        let policy = RetryPolicy {
            initial_micros: i64::MAX,
            max_micros: i64::MAX,
            ..Default::default()
        };
        let task = TaskId::new(Micros(1), [7; 10]);
        assert_eq!(
            policy.next_start(task, u32::MAX, Micros(i64::MAX)),
            Micros(i64::MAX)
        );
        let policy = RetryPolicy {
            initial_micros: -5,
            max_micros: -9,
            ..Default::default()
        };
        assert_eq!(policy.next_start(task, 1, Micros(3)), Micros(3));
    }
}
