//! Outcomes of the runs of schedules since the start, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ops_core::{
    schedule::{RunOutcome, ScheduleRun},
    stats::{Metric, Value},
};

/// Runs by their outcome.
#[derive(Debug, Default)]
pub(crate) struct RunCounts {
    started: AtomicU64,
    waiting: AtomicU64,
    skipped: AtomicU64,
    missed: AtomicU64,
    refused: AtomicU64,
}

impl RunCounts {
    /// Takes note of runs.
    pub(crate) fn note(&self, runs: &[ScheduleRun]) {
        for run in runs {
            let count = match run.outcome {
                RunOutcome::Started(_) => &self.started,
                RunOutcome::Waiting => &self.waiting,
                RunOutcome::Skipped => &self.skipped,
                RunOutcome::Missed => &self.missed,
                RunOutcome::Refused(_) => &self.refused,
            };
            count.fetch_add(1, Relaxed);
        }
    }

    /// The counters as they are shown.
    pub(crate) fn metrics(&self) -> [Metric; 5] {
        let metric = |name, help, count: &AtomicU64| Metric {
            name,
            help,
            value: Value::Counter(count.load(Relaxed)),
        };
        [
            metric(
                "opspawn_schedule_runs_started",
                "Tasks that schedules started",
                &self.started,
            ),
            metric(
                "opspawn_schedule_runs_waiting",
                "Runs of schedules that had to wait for an earlier one",
                &self.waiting,
            ),
            metric(
                "opspawn_schedule_runs_skipped",
                "Runs of schedules passed over because an earlier one had not ended",
                &self.skipped,
            ),
            metric(
                "opspawn_schedule_runs_missed",
                "Times that schedules had runs while no server ran, which are not made up for",
                &self.missed,
            ),
            metric(
                "opspawn_schedule_runs_refused",
                "Runs of schedules whose task was not valid",
                &self.refused,
            ),
        ]
    }
}
