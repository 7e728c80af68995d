//! Time, randomness and readers: the world beside the store.

use std::sync::Arc;

use super::{FoundBy, Fut};
use crate::{
    id::{TaskId, TenantId},
    task::StateName,
    time::Micros,
};

/// Time, as a parameter.
pub trait Clock: Send + Sync {
    /// UTC now.
    fn now(&self) -> Micros;
    /// Microseconds on a clock that never steps and that goes on while the machine is suspended.
    fn boot_micros(&self) -> i64;
}

/// Randomness, as a parameter.
pub trait Random: Send + Sync {
    /// Ten random bytes for an id.
    fn id_bytes(&self) -> [u8; 10];
}

/// Notice to followers: a task's log has grown. Followers then read the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// The tenant.
    pub tenant: TenantId,
    /// The task.
    pub task: TaskId,
    /// The number of its last event.
    pub seq: u64,
    /// Its state.
    pub state: StateName,
}

/// Wakes readers, and carries the words of an answer while it is made.
pub trait Live: Send + Sync {
    /// Tells the followers of a task that its log has grown.
    fn hint(&self, hint: Hint);
    /// Passes on a piece of an answer; the piece may be lost.
    fn delta(&self, tenant: TenantId, task: TaskId, delta: Delta);
    /// Follows a task.
    fn follow(&self, tenant: TenantId, task: TaskId) -> Box<dyn Follow>;
    /// Listens to the hints of every task of a tenant, from now on.
    fn hints(&self, tenant: TenantId) -> Box<dyn Hints>;
}

/// A piece of an answer that is being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The step.
    pub step: u32,
    /// The attempt of the step: a higher one starts the answer anew.
    pub attempt: u32,
    /// Where the text begins, in bytes of the whole answer.
    pub offset: u64,
    /// The text.
    pub text: Arc<str>,
}

/// Update for a follower of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogUpdate {
    /// The log has grown, or may have.
    Log,
    /// A piece of an answer.
    Delta(Delta),
}

/// One follower of one task.
pub trait Follow: Send {
    /// The next thing heard. A follower that falls behind hears `Log` and has lost deltas.
    fn next(&mut self) -> Fut<'_, LogUpdate>;
}

/// Update for a reader of a tenant's hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintUpdate {
    /// A task was submitted, or its log has grown.
    Hint(Hint),
    /// The reader was too slow: so many hints before the next hint are lost, and the reader queries again.
    Missed(u64),
}

/// One reader of a tenant's hints. Pending hints are bounded. Of several hints of one task with the same
/// state in a row, the reader may get only the last.
pub trait Hints: Send {
    /// The next update. Dropping the future loses no update.
    fn next(&mut self) -> Fut<'_, HintUpdate>;
}

/// Gets notice of each commit, right after the commit.
pub trait Observer: Send + Sync {
    /// One call for each group of commits.
    fn committed(&self, notices: &[Notice]);
    /// A queue may have work that another process has made ready.
    fn ready(&self, _queue: &str, _by: FoundBy) {}
    /// Whether the observer itself wakes a worker of another process when it is told of a commit that makes work of the
    /// queue ready.
    fn rings(&self, _queue: &str) -> bool {
        false
    }
    /// Another process has added to the log of a task.
    fn changed(&self, _hint: Hint) {}
    /// A task has missed its date, as the process that knew the date is gone.
    fn overdue(&self) {}
}

/// Changes of one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// For the followers.
    pub hint: Hint,
    /// A queue that has work now.
    pub ready: Option<Arc<str>>,
    /// When the clock moves the task on, if it does.
    pub due: Option<Micros>,
}
