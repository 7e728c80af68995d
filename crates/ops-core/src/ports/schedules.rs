//! The store's verbs for schedules.

use super::{Fut, Listed, StoreError};
use crate::{
    id::TenantId,
    schedule::{Fire, Schedule, ScheduleName, ScheduleRun, ScheduleSpec},
    time::Micros,
};

/// A schedule to store; a stored schedule of the same name is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSchedule {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: ScheduleName,
    /// The new spec.
    pub spec: ScheduleSpec,
    /// Whether the schedule is paused; `None` keeps the present state.
    pub paused: Option<bool>,
    /// The next due date, unless the schedule is paused.
    pub next_at: Option<Micros>,
    /// Precondition on the stored schedule.
    pub expected: ExpectedSchedule,
}

/// Precondition of a change to a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpectedSchedule {
    /// No precondition.
    #[default]
    Any,
    /// Not there.
    Absent,
    /// At this revision.
    Revision(u64),
}

impl ExpectedSchedule {
    /// Checks the precondition; `revision` is `None` if the schedule does not exist.
    ///
    /// # Errors
    /// [`StoreError::ScheduleChanged`].
    pub fn check(self, revision: Option<u64>) -> Result<(), StoreError> {
        let fits = match self {
            Self::Any => true,
            Self::Absent => revision.is_none(),
            Self::Revision(expected) => revision == Some(expected),
        };
        fits.then_some(())
            .ok_or(StoreError::ScheduleChanged(revision))
    }
}

/// A command for a stored schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleChange {
    /// No runs until a resume; a waiting run is skipped.
    Pause {
        /// Precondition on the stored schedule.
        expected: ExpectedSchedule,
    },
    /// Runs again, next at this time. Dates of the pause are no missed runs.
    Resume {
        /// The next due date.
        next_at: Option<Micros>,
        /// Precondition on the stored schedule.
        expected: ExpectedSchedule,
    },
    /// Deletes the schedule and the history of its runs. Its tasks stay.
    Remove {
        /// Precondition on the stored schedule.
        expected: ExpectedSchedule,
    },
}

/// Schedules with work to do, of every tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DueSchedules {
    /// Schedules that are due.
    pub due: Vec<Schedule>,
    /// Schedules whose waiting run may start.
    pub released: Vec<Schedule>,
    /// Whether there are others with a run that waits.
    pub waiting: bool,
    /// The next due date of the other schedules.
    pub next: Option<Micros>,
}

/// The verbs of a store for schedules. Each is one atomic step.
pub trait ScheduleStore: Send + Sync {
    /// Stores a schedule; tells whether the schedule is new.
    fn put_schedule(&self, new: NewSchedule) -> Fut<'_, Result<(Schedule, bool), StoreError>>;
    /// One schedule.
    fn schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
    ) -> Fut<'_, Result<Schedule, StoreError>>;
    /// Schedules in the order of their names, after the schedule of this name, at most `limit`; fewer where
    /// they have more than [`LIST_BYTES`](super::LIST_BYTES) together. `None`: the list is complete.
    fn schedules(
        &self,
        tenant: TenantId,
        after: Option<ScheduleName>,
        limit: u32,
    ) -> Fut<'_, Result<Listed<Schedule>, StoreError>>;
    /// Schedules of every tenant in the order of tenants and names, after this schedule, at most `limit`;
    /// fewer where they are large. `None`: the list is complete. An unreadable schedule is reported and
    /// passed over.
    fn all_schedules(
        &self,
        after: Option<(TenantId, ScheduleName)>,
        limit: u32,
    ) -> Fut<'_, Result<Vec<Schedule>, StoreError>>;
    /// Changes a schedule, and gives it as it is then, or as it was if it is removed.
    fn change_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        change: ScheduleChange,
    ) -> Fut<'_, Result<Schedule, StoreError>>;
    /// The last runs of a schedule, newest first, at most `limit`. The last hundred are kept.
    fn schedule_runs(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        limit: u32,
    ) -> Fut<'_, Result<Vec<ScheduleRun>, StoreError>>;
    /// The schedules that are due by now, at most `limit`, and the next due date of the others.
    fn due_schedules(&self, limit: u32) -> Fut<'_, Result<DueSchedules, StoreError>>;
    /// Commits the runs of a fire: submits their tasks and moves the schedule on, in one transaction. Gives
    /// the outcome of each run; `None` if an earlier fire committed these runs, or if the schedule has
    /// changed since the fire was made.
    fn fire_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        fire: Fire,
    ) -> Fut<'_, Result<Vec<ScheduleRun>, StoreError>>;
}
