//! When a run that is being recorded gets a snapshot.
//!
//! A snapshot is as large as the run, which may grow with its log. So the next one is due when the
//! log has grown by as much as the last one had: what all of them cost together is in proportion to
//! the log, and a resume folds no more than that much of it.
//!
//! What others log while a run is recorded, such as a signal, is not in the run before it is loaded
//! again: from then on it is not the fold of its log, and there are no further snapshots of it.

use ops_core::event::NewEvent;

/// A log that has fewer events after its last snapshot than this is folded as fast as a snapshot is read.
const EVENTS: u64 = 256;

/// How far a log has grown since its last snapshot.
#[derive(Debug, Default)]
pub(crate) struct SnapshotPolicy {
    /// The bytes of the last snapshot.
    size: usize,
    events: u64,
    bytes: usize,
    stopped: bool,
}

impl SnapshotPolicy {
    /// A log whose last snapshot has so many bytes.
    pub(crate) fn after(size: usize) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// Stops taking snapshots: the run lacks a part of its log.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Takes note of an event after the last snapshot.
    pub(crate) fn note(&mut self, event: &NewEvent) {
        self.events += 1;
        self.bytes += event.body.len();
    }

    /// Whether a snapshot is worth its cost.
    pub(crate) fn is_due(&self) -> bool {
        !self.stopped && self.events >= EVENTS && self.bytes >= self.size
    }
}

#[cfg(test)]
mod tests {
    use ops_core::event::Usage;

    use super::*;

    fn event() -> NewEvent {
        NewEvent {
            kind: "t".into(),
            step: None,
            usage: Usage::default(),
            blobs: Vec::new(),
            body: vec![b'x'; 100].into(),
        }
    }

    #[test]
    fn a_run_that_lacks_something_of_its_log_has_no_further_one() {
        let mut snapshots = SnapshotPolicy::default();
        (0..300).for_each(|_| snapshots.note(&event()));
        assert!(snapshots.is_due());
        snapshots.stop();
        assert!(!snapshots.is_due());
    }

    /// The sizes of the snapshots of a log of so many events of 100 bytes, where a run has `share`
    /// bytes for each event; and the most events that a resume folds.
    fn sizes(events: u64, share: usize, most: usize) -> (Vec<usize>, u64) {
        let event = event();
        let (mut snapshots, mut sizes, mut folded) = (SnapshotPolicy::default(), Vec::new(), 0);
        for number in 1..=events {
            snapshots.note(&event);
            folded = folded.max(snapshots.events);
            if snapshots.is_due() {
                let size = (usize::try_from(number).unwrap() * share).min(most);
                sizes.push(size);
                snapshots = SnapshotPolicy::after(size);
            }
        }
        (sizes, folded)
    }

    #[test]
    fn a_short_log_has_none() {
        assert_eq!(sizes(255, 100, usize::MAX), (Vec::new(), 255));
    }

    #[test]
    fn all_snapshots_together_are_in_proportion_to_the_log() {
        for events in [2_000, 20_000, 200_000] {
            let (sizes, folded) = sizes(events, 100, usize::MAX);
            let log = usize::try_from(events).unwrap() * 100;
            assert!(sizes.iter().sum::<usize>() <= 2 * log, "{sizes:?}");
            assert!(folded <= events / 2 + EVENTS, "{folded}");
        }
    }

    #[test]
    fn a_run_that_stays_small_is_folded_from_nearby() {
        let (sizes, folded) = sizes(20_000, 100, 50_000);
        assert_eq!(folded, 500);
        assert!(sizes.len() <= 20_000 / 500 + 1, "{}", sizes.len());
    }
}
