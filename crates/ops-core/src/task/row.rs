//! A lifecycle as columns, as every dialect of the store writes and reads them.

use super::{Lifecycle, Relations, State, StateName, Wait};
use crate::{
    event::TaskError,
    id::{SessionId, TaskId},
    retry::RetryPolicy,
    time::Micros,
    usage::Usage,
};

/// A state as columns. Which of them are set depends on the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// The state's name.
    pub name: StateName,
    /// The session that holds the task.
    pub session: Option<SessionId>,
    /// When the clock moves the task on.
    pub due: Option<Micros>,
    /// Condition that a waiting task waits for.
    pub wait: Option<Wait>,
    /// Whether a failed task was given up after all its attempts.
    pub dead_letter: bool,
}

/// A lifecycle as columns.
#[derive(Debug, Clone, PartialEq)]
pub struct LifeRow {
    /// The task.
    pub id: TaskId,
    /// The columns of the state.
    pub state: StateRow,
    /// The current attempt, from 1.
    pub attempt: u32,
    /// How retryable failures are answered.
    pub retry: RetryPolicy,
    /// The epoch of the last lease.
    pub epoch: u64,
    /// The number of the last event.
    pub seq: u64,
    /// Lost leases since the last recorded outcome.
    pub lease_losses: u32,
    /// Whether the run has events of its own.
    pub run_started: bool,
    /// Paused, heard, the links and the policy on limits, as [`Lifecycle::flags`] packs them.
    pub flags: u8,
    /// Longest duration in microseconds, from the task's first start.
    pub timeout: Option<i64>,
    /// Latest first start.
    pub start_by: Option<Micros>,
    /// Usage of the task's model calls.
    pub usage: Usage,
    /// Usage of the task's ended children.
    pub children_usage: Usage,
    /// The first lease.
    pub started_at: Option<Micros>,
    /// The last event.
    pub updated_at: Micros,
    /// The terminal event.
    pub completed_at: Option<Micros>,
    /// Failure of the last attempt that failed.
    pub failure: Option<TaskError>,
}

/// A row that is no lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {state} task has no {column}")]
pub struct RowError {
    state: StateName,
    column: &'static str,
}

impl State {
    /// The columns of the state.
    #[must_use]
    pub fn row(&self) -> StateRow {
        StateRow {
            name: self.name(),
            session: self.session(),
            due: self.due(),
            wait: match self {
                Self::Waiting(wait) => Some(wait.clone()),
                _ => None,
            },
            dead_letter: matches!(self, Self::Failed { dead_letter: true }),
        }
    }

    /// The state of columns.
    ///
    /// # Errors
    /// A [`RowError`] names a column that the state needs and the row does not have.
    pub fn from_row(row: StateRow) -> Result<Self, RowError> {
        let state = row.name;
        let missing = |column| RowError { state, column };
        let session = row.session.ok_or_else(|| missing("session"));
        Ok(match state {
            StateName::Pending => Self::Pending,
            StateName::Scheduled => Self::Scheduled {
                until: row.due.ok_or_else(|| missing("date"))?,
            },
            StateName::Paused => Self::Paused,
            StateName::Running => Self::Running { session: session? },
            StateName::Cancelling => Self::Cancelling { session: session? },
            StateName::Waiting => Self::Waiting(row.wait.ok_or_else(|| missing("wait"))?),
            StateName::Completed => Self::Completed,
            StateName::Failed => Self::Failed {
                dead_letter: row.dead_letter,
            },
            StateName::Cancelled => Self::Cancelled,
        })
    }
}

/// The flag of a paused task in [`Lifecycle::flags`]: a store may filter by the flag.
pub const PAUSED: u8 = 1;
const EXTERNAL_PENDING: u8 = 2;
const PARENT: u8 = 4;
const CHILDREN: u8 = 8;
const APPROVALS: u8 = 16;
const KEY: u8 = 32;
const WAITS_FOR_LIMITS: u8 = 64;

impl Lifecycle {
    /// The task's flags beside its state, as one number.
    #[must_use]
    pub fn flags(&self) -> u8 {
        let Relations {
            parent,
            children,
            approvals,
            key,
        } = self.relations;
        [
            (self.paused, PAUSED),
            (self.external_pending, EXTERNAL_PENDING),
            (parent, PARENT),
            (children, CHILDREN),
            (approvals, APPROVALS),
            (key, KEY),
            (self.waits_for_limits, WAITS_FOR_LIMITS),
        ]
        .into_iter()
        .filter(|(holds, _)| *holds)
        .fold(0, |flags, (_, flag)| flags | flag)
    }

    /// The lifecycle of columns.
    ///
    /// # Errors
    /// A [`RowError`] names a column that the state needs and the row does not have.
    pub fn from_row(row: LifeRow) -> Result<Self, RowError> {
        let is = |flag| row.flags & flag != 0;
        Ok(Self {
            id: row.id,
            state: State::from_row(row.state)?,
            attempt: row.attempt,
            retry: row.retry,
            epoch: row.epoch,
            seq: row.seq,
            lease_losses: row.lease_losses,
            run_started: row.run_started,
            paused: is(PAUSED),
            timeout: row.timeout,
            start_by: row.start_by,
            waits_for_limits: is(WAITS_FOR_LIMITS),
            external_pending: is(EXTERNAL_PENDING),
            relations: Relations {
                parent: is(PARENT),
                children: is(CHILDREN),
                approvals: is(APPROVALS),
                key: is(KEY),
            },
            usage: row.usage,
            children_usage: row.children_usage,
            started_at: row.started_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
            failure: row.failure,
        })
    }
}
