//! Correction of a run's waits after a clock that was ahead.

use super::{CallState, Limits, Progress, Run, phase::Phase};
use crate::event::CallWait;

impl Run {
    /// The clock of the machine was ahead until now: the clock showed `from_micros` at the last event, and
    /// the right time was `to_micros` (UTC microseconds). Dates by the wrong clock come as much sooner, but
    /// for dates that were requested as dates.
    pub fn clock_corrected(&mut self, from_micros: i64, to_micros: i64) {
        let late = from_micros.saturating_sub(to_micros);
        let correct = |at: &mut i64| {
            if *at > from_micros {
                *at = at.saturating_sub(late);
            }
        };
        let pinned = self.config.as_mut().map(|config| &mut config.limits);
        let limits: [Option<&mut Limits>; 2] = [pinned, self.early_limits.as_mut()];
        for limits in limits.into_iter().flatten() {
            limits.deadline_micros.as_mut().map(correct);
        }
        if let Phase::Retrying(failed) = &mut self.phase {
            failed.retry_at_micros.as_mut().map(correct);
        }
        for CallState { progress, .. } in self.phase.calls_mut() {
            match progress {
                Progress::AwaitingApproval {
                    until_micros,
                    escalates_micros,
                } => {
                    until_micros.as_mut().map(correct);
                    escalates_micros.as_mut().map(correct);
                }
                Progress::Doubted { settles_micros, .. } => correct(settles_micros),
                Progress::Waiting { wait } => match wait {
                    CallWait::Time {
                        until_micros,
                        length_micros: Some(_),
                    } => correct(until_micros),
                    CallWait::Time {
                        length_micros: None,
                        ..
                    } => {}
                    CallWait::Signal { until_micros, .. }
                    | CallWait::Children { until_micros, .. } => {
                        until_micros.as_mut().map(correct);
                    }
                },
                Progress::Queued
                | Progress::Reset
                | Progress::Approved
                | Progress::Started { .. }
                | Progress::Settled { .. } => {}
            }
        }
    }
}
