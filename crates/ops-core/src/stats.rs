//! Counters of a store, for metrics and benchmarks.

use crate::{
    event::{NewEvent, StepKind, StepStatus},
    usage::Usage,
};

/// The upper bounds of the classes of [`Times`], in seconds; one more class is above them all.
pub const BOUNDS: [f64; 15] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0,
    600.0,
];

/// Durations, by classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// How many fell into each class.
    pub counts: [u64; BOUNDS.len() + 1],
    /// All of them together, in microseconds.
    pub sum_micros: u64,
}

impl Times {
    /// Adds a duration in microseconds.
    pub fn add(&mut self, micros: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a class, not a sum")]
        let seconds = micros as f64 / 1e6;
        let class = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[class] += 1;
        self.sum_micros += micros;
    }

    fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum_micros += other.sum_micros;
    }
}

/// How calls ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// With an outcome.
    pub completed: u64,
    /// With an error.
    pub failed: u64,
}

/// Work that was committed for tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Tasks that were accepted.
    pub submits: u64,
    /// Model calls that ended.
    pub model_calls: Calls,
    /// Tool calls that ended.
    pub tool_calls: Calls,
    /// Usage that events report.
    pub usage: Usage,
    /// From ready to claimed.
    pub queue_wait: Times,
    /// Writes that were refused because the lease of their writer was over.
    pub stale_writes: u64,
    /// Waits of tasks for their turn with a provider that takes so many calls a minute.
    pub provider_waits: u64,
}

impl Work {
    /// Takes note of an event.
    pub fn event(&mut self, event: &NewEvent) {
        self.usage += event.usage;
        let Some(step) = event.step else { return };
        let calls = match step.kind {
            StepKind::Model => &mut self.model_calls,
            StepKind::Tool => &mut self.tool_calls,
        };
        match step.status {
            StepStatus::Completed => calls.completed += 1,
            StepStatus::Failed => calls.failed += 1,
            StepStatus::Queued
            | StepStatus::Waiting
            | StepStatus::Started
            | StepStatus::Resolved => {}
        }
    }

    /// Adds the work of another group.
    pub fn merge(&mut self, other: &Self) {
        self.submits += other.submits;
        for (calls, others) in [
            (&mut self.model_calls, other.model_calls),
            (&mut self.tool_calls, other.tool_calls),
        ] {
            calls.completed += others.completed;
            calls.failed += others.failed;
        }
        self.usage += other.usage;
        self.queue_wait.merge(&other.queue_wait);
        self.stale_writes += other.stale_writes;
        self.provider_waits += other.provider_waits;
    }
}

/// Counters of a store since the store was opened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// Work that was committed for tasks.
    pub work: Work,
    /// Further counters of the dialect.
    pub metrics: Vec<Metric>,
}

/// A counter of one dialect of the store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// The name, for instance `opspawn_store_fsyncs`.
    pub name: &'static str,
    /// Meaning of the counter, in a few words.
    pub help: &'static str,
    /// How much.
    pub value: Value,
}

/// The value of a [`Metric`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A number that only grows.
    Counter(u64),
    /// A number of now.
    Gauge(u64),
    /// Durations.
    Times(Times),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_the_first_class_that_holds_them() {
        let mut times = Times::default();
        for micros in [0, 100, 101, 1_000_000, 700_000_000] {
            times.add(micros);
        }
        let mut expected = [0; BOUNDS.len() + 1];
        (expected[0], expected[1], expected[11], expected[15]) = (2, 1, 1, 1);
        assert_eq!(times.counts, expected);
        let mut twice = times;
        twice.merge(&times);
        assert_eq!(twice.counts[0], 4);
        assert_eq!(twice.sum_micros, 2 * times.sum_micros);
    }
}
