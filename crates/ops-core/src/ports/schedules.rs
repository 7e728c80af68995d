//! The store's verbs for schedules.

use super::{Fut, Listed, StoreError};
use crate::{
    id::TenantId,
    schedule::{Fire, Schedule, ScheduleName, ScheduleRun, ScheduleSpec},
    time::Micros,
};

/// A schedule that is to be stored, in place of one of the same name if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSchedule {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: ScheduleName,
    /// What is wanted.
    pub spec: ScheduleSpec,
    /// Whether it is stopped; none leaves that as it is.
    pub paused: Option<bool>,
    /// When it is due next, unless it is stopped.
    pub next_at: Option<Micros>,
    /// What the stored one must be.
    pub expected: ExpectedSchedule,
}

/// What a schedule must be for a change to take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpectedSchedule {
    /// Anything.
    #[default]
    Any,
    /// Not there.
    Absent,
    /// At this revision.
    Revision(u64),
}

impl ExpectedSchedule {
    /// Whether the schedule is as it must be; `revision` is none if it is not there.
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

/// What somebody wants of a schedule that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleChange {
    /// No runs until it is resumed; one that waits is passed over.
    Pause {
        /// What it must be.
        expected: ExpectedSchedule,
    },
    /// Runs again, next at this time. What was due meanwhile is no missed run.
    Resume {
        /// When it is due next.
        next_at: Option<Micros>,
        /// What it must be.
        expected: ExpectedSchedule,
    },
    /// Takes it away, with what is known of its runs. Its tasks stay.
    Remove {
        /// What it must be.
        expected: ExpectedSchedule,
    },
}

/// Schedules that ask for something, of every tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DueSchedules {
    /// Those that are due.
    pub due: Vec<Schedule>,
    /// Those with a run that waited and may start.
    pub released: Vec<Schedule>,
    /// Whether there are others with a run that waits.
    pub waiting: bool,
    /// When the next one is due.
    pub next: Option<Micros>,
}

/// The verbs of a store for schedules. Each is one atomic step.
pub trait ScheduleStore: Send + Sync {
    /// Stores a schedule; says whether it is new.
    fn put_schedule(&self, new: NewSchedule) -> Fut<'_, Result<(Schedule, bool), StoreError>>;
    /// One schedule.
    fn schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
    ) -> Fut<'_, Result<Schedule, StoreError>>;
    /// Schedules in the order of their names, after this one, at most `limit`; fewer where they have
    /// more than [`LIST_BYTES`](super::LIST_BYTES) together. None means that there are no more.
    fn schedules(
        &self,
        tenant: TenantId,
        after: Option<ScheduleName>,
        limit: u32,
    ) -> Fut<'_, Result<Listed<Schedule>, StoreError>>;
    /// Schedules of every tenant in the order of tenants and names, after this one, at most `limit`;
    /// fewer where they are large. None means that there are no more. One that cannot be read is
    /// reported and passed over.
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
    /// The schedules that are due by now, at most `limit`, and when the next one is.
    fn due_schedules(&self, limit: u32) -> Fut<'_, Result<DueSchedules, StoreError>>;
    /// Sees to the runs of a schedule: submits their tasks and moves the schedule on, in one
    /// transaction. Gives what became of the runs; none if they had been seen to before, or if the
    /// schedule has changed since the fire was made.
    fn fire_schedule(
        &self,
        tenant: TenantId,
        name: ScheduleName,
        fire: Fire,
    ) -> Fut<'_, Result<Vec<ScheduleRun>, StoreError>>;
}
