//! The worker's session: its right to act, and requests to stop.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use agentkit::drive::RecordError;
use ops_core::{SessionId, TaskId, TenantId, ports::Clock};
use tokio_util::sync::CancellationToken;

/// A session and the runs that it holds.
pub(crate) struct WorkerSession {
    pub(crate) id: SessionId,
    /// Until when the leases hold, in boot microseconds.
    valid_until: AtomicI64,
    stopping: AtomicBool,
    runs: Mutex<HashMap<(TaskId, u64), RunHandle>>,
}

/// How the session reaches a run.
#[derive(Clone, Default)]
struct RunHandle {
    cancel: CancellationToken,
    cancelled: std::sync::Arc<AtomicBool>,
    paused: std::sync::Arc<AtomicBool>,
}

/// The session as a run sees it.
pub(crate) struct LeaseGuard {
    pub(crate) session: std::sync::Arc<WorkerSession>,
    pub(crate) clock: std::sync::Arc<dyn Clock>,
    pub(crate) cancel: CancellationToken,
    cancelled: std::sync::Arc<AtomicBool>,
    paused: std::sync::Arc<AtomicBool>,
}

impl WorkerSession {
    pub(crate) fn new(id: SessionId) -> Self {
        Self {
            id,
            valid_until: AtomicI64::new(i64::MIN),
            stopping: AtomicBool::new(false),
            runs: Mutex::default(),
        }
    }

    /// A heartbeat was answered: the leases hold until then.
    pub(crate) fn extend(&self, until_boot_micros: i64) {
        self.valid_until.store(until_boot_micros, Ordering::SeqCst);
    }

    /// Whether the leases hold, as far as the heartbeats tell.
    pub(crate) fn holds(&self, now_boot_micros: i64) -> bool {
        now_boot_micros < self.valid_until.load(Ordering::SeqCst)
    }

    /// The leases are gone: every call in flight is dropped.
    pub(crate) fn lose(&self) {
        self.valid_until.store(i64::MIN, Ordering::SeqCst);
        if units::mutant!("ops-worker.a_lost_session_keeps_its_calls") {
            return;
        }
        for run in self.runs().values() {
            run.cancel.cancel();
        }
    }

    /// The worker stops: runs end at their next boundary.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// The worker's patience is over: every call in flight is dropped.
    pub(crate) fn abort(&self) {
        for run in self.runs().values() {
            run.cancel.cancel();
        }
    }

    /// A task was cancelled: its calls in flight are dropped.
    pub(crate) fn cancel(&self, task: TaskId) {
        for run in self
            .runs()
            .iter()
            .filter(|((id, _), _)| *id == task)
            .map(|(_, run)| run)
        {
            run.cancelled.store(true, Ordering::SeqCst);
            run.cancel.cancel();
        }
    }

    /// These tasks, and no others, are to stand still at their next boundary.
    pub(crate) fn pause(&self, tasks: &[(TenantId, TaskId)]) {
        for ((id, _), run) in self.runs().iter() {
            let paused = tasks.iter().any(|(_, task)| task == id);
            run.paused.store(paused, Ordering::SeqCst);
        }
    }

    pub(crate) fn enter(
        self: &std::sync::Arc<Self>,
        task: TaskId,
        epoch: u64,
        clock: std::sync::Arc<dyn Clock>,
    ) -> LeaseGuard {
        let handle = RunHandle::default();
        self.runs().insert((task, epoch), handle.clone());
        let RunHandle {
            cancel,
            cancelled,
            paused,
        } = handle;
        LeaseGuard {
            session: std::sync::Arc::clone(self),
            clock,
            cancel,
            cancelled,
            paused,
        }
    }

    pub(crate) fn leave(&self, task: TaskId, epoch: u64) {
        self.runs().remove(&(task, epoch));
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<(TaskId, u64), RunHandle>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseGuard {
    /// Whether an effect may begin now.
    pub(crate) fn check(&self) -> Result<(), RecordError> {
        if !self.session.holds(self.clock.boot_micros()) {
            return Err(RecordError::LeaseLost);
        }
        if self.cancelled.load(Ordering::SeqCst) {
            return Err(RecordError::Cancelled);
        }
        let stopping = self.session.stopping.load(Ordering::SeqCst);
        if stopping || self.paused.load(Ordering::SeqCst) {
            return Err(RecordError::Stopping);
        }
        Ok(())
    }

    /// The store said whether the task is to stand still.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }

    /// Whether the worker waits no longer: the recorder retries nothing.
    pub(crate) fn is_aborted(&self) -> bool {
        self.session.stopping.load(Ordering::SeqCst) && self.cancel.is_cancelled()
    }

    /// Whether the task was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}
