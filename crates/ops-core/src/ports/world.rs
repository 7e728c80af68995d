//! Time, randomness, queues and readers: the world beside the store.

use std::sync::Arc;

use super::Fut;
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
    /// Ten random bytes: what an id needs.
    fn id_bytes(&self) -> [u8; 10];
}

/// Wakes workers. A wake-up carries no task: the worker claims by the store's policy.
pub trait Queue: Send + Sync {
    /// Wakes a worker that listens to the queue. It may be lost; the sweeper rings again.
    fn wake(&self, queue: &str);
    /// Waits until the queue may have work.
    fn wait<'a>(&'a self, queue: &'a str) -> Fut<'a, ()>;
}

/// What followers are told: that a task's log has grown. Readers then read the log.
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
    /// Passes on a piece of an answer; it may be lost.
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

/// What a follower hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The log has grown, or may have.
    Log,
    /// A piece of an answer.
    Delta(Delta),
}

/// One follower of one task.
pub trait Follow: Send {
    /// The next thing heard. A follower that falls behind hears `Log` and has lost deltas.
    fn next(&mut self) -> Fut<'_, Heard>;
}

/// What a reader of a tenant's hints hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeardHint {
    /// A task was submitted, or its log has grown.
    Hint(Hint),
    /// The reader was too slow: so many hints before the next one are lost, and it queries again.
    Missed(u64),
}

/// One reader of a tenant's hints. What it has not taken yet is bounded. Of the hints of one task that
/// tell of the same state in a row, the reader may hear only the last.
pub trait Hints: Send {
    /// The next thing heard. Nothing is lost if the future is dropped.
    fn next(&mut self) -> Fut<'_, HeardHint>;
}

/// Is told what was committed, right after the commit.
pub trait Observer: Send + Sync {
    /// One call for each group of commits.
    fn committed(&self, notices: &[Notice]);
}

/// What one commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// For the followers.
    pub hint: Hint,
    /// The queue that has work now, if one has.
    pub ready: Option<Arc<str>>,
    /// When the clock moves the task on, if it does.
    pub due: Option<Micros>,
}
