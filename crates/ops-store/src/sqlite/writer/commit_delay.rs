//! When the writer waits for company before it commits: only when commits are slow.

use std::time::Duration;

/// Commits faster than this are not worth waiting for.
const SLOW: Duration = Duration::from_micros(800);
/// The longest wait.
const MAX_DELAY: Duration = Duration::from_micros(600);

/// Follows how long commits take.
#[derive(Debug, Default)]
pub(crate) struct CommitDelay {
    average_nanos: u64,
}

impl CommitDelay {
    /// Takes note of a commit: a moving average in which each one weighs an eighth.
    pub(crate) fn committed(&mut self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / 8);
        self.average_nanos = match self.average_nanos {
            0 => took,
            average => average - average / 8 + took / 8,
        };
    }

    /// How long to wait at the most for jobs that will probably come; 15 % of a commit. `None` for no wait.
    pub(crate) fn window(&self) -> Option<Duration> {
        let average = Duration::from_nanos(self.average_nanos);
        (average > SLOW).then(|| (average * 15 / 100).min(MAX_DELAY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(commits: &[u64]) -> Option<Duration> {
        let mut commit_delay = CommitDelay::default();
        for micros in commits {
            commit_delay.committed(Duration::from_micros(*micros));
        }
        commit_delay.window()
    }

    #[test]
    fn fast_commits_never_wait() {
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[120, 130, 800, 90]), None);
    }

    #[test]
    fn slow_commits_wait_a_seventh_of_their_time_and_never_long() {
        assert_eq!(
            after(&[2_000, 2_000, 2_000]),
            Some(Duration::from_micros(300))
        );
        assert_eq!(after(&[1_000]), Some(Duration::from_micros(150)));
        assert_eq!(after(&[50_000]), Some(MAX_DELAY));
    }

    #[test]
    fn one_outlier_among_fast_commits_is_forgotten() {
        assert!(after(&[100, 8_000]).is_some());
        let mut commits = vec![100, 8_000];
        commits.extend([100; 20]);
        assert_eq!(after(&commits), None);
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        assert_eq!(
            after(&[u64::MAX / 1_000, u64::MAX / 1_000]),
            Some(MAX_DELAY)
        );
    }
}
