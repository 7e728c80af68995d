//! The recorder of a leased task: appends go to the store under the lease's epoch.

mod outlets;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use agentkit::{
    BoxFuture, Event,
    drive::{Batch, CallBudget, Command, RecordError, Recorder, Stop, outcomes},
    event::{Failure, Wait},
    run::{FOLD_VERSION, Limits, Run},
};
use ops_core::{
    Append, Code, Json, Lifecycle, Micros, Next, Rejection, RunCommand, TaskId, TenantId,
    WaitRequest,
    event::{NewEvent, TaskError, TaskEvent},
    ports::{Blob, Live, Random, RunStore, Snapshot, StoreError, TaskRecord},
    rules,
    task::TaskLimits,
};
use serde_json::{Map, Value};

use crate::{
    children::{self, AppendRequests},
    claims,
    envelope::{self, Effects},
    external,
    refused::refused,
    session::LeaseGuard,
    snapshot::SnapshotPolicy,
    spending::Spending,
    throttle::Throttle,
};

/// How long an append rests before it is tried again while the store cannot be used.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Records one leased run.
pub(crate) struct TaskRecorder {
    pub(crate) store: Arc<dyn RunStore>,
    pub(crate) live: Arc<dyn Live>,
    pub(crate) random: Arc<dyn Random>,
    /// The task as it was leased.
    pub(crate) record: Arc<TaskRecord>,
    pub(crate) tenant: TenantId,
    pub(crate) task: TaskId,
    pub(crate) epoch: u64,
    pub(crate) seq: AtomicU64,
    pub(crate) lease_guard: LeaseGuard,
    pub(crate) effects: Mutex<Effects>,
    pub(crate) files: Mutex<BTreeSet<String>>,
    pub(crate) snapshots: Mutex<SnapshotPolicy>,
    /// Said with every result, for instance that no LLM was asked.
    pub(crate) notice: Mutex<Option<String>>,
    /// Events about its limits that others have logged while this run was at work, and that it has not
    /// heard of.
    pub(crate) limits: Mutex<Vec<TaskEvent>>,
    /// When the task first started, in UTC microseconds.
    pub(crate) started: AtomicI64,
    /// The budgets of the task.
    pub(crate) spending: Spending,
    /// The limits of the providers that the task calls.
    pub(crate) throttle: Throttle,
    /// Limits that the engine does not know to hold for the run, to be said with the next append.
    pub(crate) in_force: Mutex<Option<TaskLimits>>,
}

impl TaskRecorder {
    /// Appends under the lease. The recorder retries a failing store as long as the lease may hold: a
    /// call's outcome must not be forgotten, and repeating an append is harmless.
    pub(crate) async fn append_events(
        &self,
        events: Vec<NewEvent>,
        blobs: Vec<Blob>,
        requests: AppendRequests,
        next: Next,
    ) -> Result<Lifecycle, StoreError> {
        loop {
            let append = Append {
                expected_seq: self.seq.load(Ordering::SeqCst),
                children: requests.children.clone(),
                approvals: requests.approvals.clone(),
                budget: requests.budget.clone(),
                provider: requests.provider.clone(),
                events: events.clone(),
                limits: self.in_force().map(Box::new),
                next: next.clone(),
            };
            let command = RunCommand::append(self.epoch, append);
            match self
                .store
                .record(self.tenant, self.task, command, blobs.clone())
                .await
            {
                Ok(life) => {
                    self.seq.store(life.seq, Ordering::SeqCst);
                    self.lease_guard.pause(life.paused);
                    *self.in_force() = None;
                    return Ok(life);
                }
                // The lease holds, so what others have written came from outside: a cancel, of which
                // the next answer tells, a pause, a signal, the end of a child. Those are read by
                // whoever holds the task next, but for limits.
                Err(StoreError::Rejected(Rejection::WrongSeq { given, current }))
                    if current > given =>
                {
                    self.snapshots().stop();
                    self.listen(given, current).await;
                    self.seq.store(current, Ordering::SeqCst);
                }
                Err(error @ (StoreError::Full(_) | StoreError::Unavailable(_)))
                    if !self.lease_guard.is_aborted()
                        && self.lease_guard.check() != Err(RecordError::LeaseLost) =>
                {
                    tracing::error!(task = %self.task, %error, "cannot record; trying again");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Notes the limits among the events that others have written after the first of these two. Events that
    /// cannot be read now, the next holder of the task reads.
    async fn listen(&self, after: u64, last: u64) {
        let count = u32::try_from(last - after).unwrap_or(u32::MAX);
        let events = self.store.log(self.tenant, self.task, after, count);
        let Ok(events) = events.await else { return };
        let engine = events
            .iter()
            .filter(|stored| TaskEvent::is_engine(&stored.event.kind))
            .filter_map(|stored| TaskEvent::decode(&stored.event.body).ok());
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        for event in engine {
            if let TaskEvent::Limited { limits: given } = &event {
                let mut in_force = self.in_force();
                *in_force = in_force.map(|below| rules::limits::lay_over(*given, below));
            }
            if let TaskEvent::Limited { .. } | TaskEvent::ClockCorrected { .. } = event {
                limits.push(event);
            }
        }
    }

    /// Has the engine told which limits hold for the run, unless it knows them.
    pub(crate) fn report_limits(&self, limits: &Limits) {
        let started = self.started.load(Ordering::SeqCst);
        self.spending.limit(limits);
        self.throttle.limit(limits);
        let mut in_force = external::in_force(limits, started);
        in_force.queue_timeout_micros = self.record.task.limits.queue_timeout_micros;
        if self.record.in_force != Some(in_force) {
            // The task has started: how long it might have waited is over.
            *self.in_force() = Some(in_force);
        }
    }

    fn in_force(&self) -> MutexGuard<'_, Option<TaskLimits>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the lease back, however the run ended. The worker's session goes on, so the lease would
    /// otherwise be held for ever; if another worker has the task, the store refuses.
    pub(crate) async fn give_back(&self) {
        loop {
            let command = RunCommand::release(self.epoch);
            match self
                .store
                .record(self.tenant, self.task, command, Vec::new())
                .await
            {
                Err(error @ (StoreError::Full(_) | StoreError::Unavailable(_)))
                    if !self.lease_guard.is_aborted() =>
                {
                    tracing::error!(task = %self.task, %error, "cannot give the lease back; trying again");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                released => {
                    tracing::debug!(task = %self.task, released = released.is_ok(), "gave the lease back");
                    return;
                }
            }
        }
    }

    /// Confirms a cancel, with the known outcomes. No child begins any more, so a call that requests a
    /// child gets none: its child would be in the log without a task.
    pub(crate) async fn confirm_cancel(
        &self,
        events: &[Event],
        blobs: Vec<Blob>,
    ) -> Result<(), RecordError> {
        let mut events = outcomes(events);
        // No child begins with the record of these.
        events.retain(|event| !matches!(event, Event::ToolCompleted(done) if done.child.is_some()));
        let requests = AppendRequests {
            budget: self.spending.last_entries(&events),
            provider: self.throttle.entries(&events),
            ..AppendRequests::default()
        };
        let events = self.envelopes(&events);
        match self
            .append_events(events, blobs, requests, Next::Cancelled)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => Err(refused(&error)),
        }
    }

    /// Records the outcomes of an append without its intent, which a budget has no room for or the provider does not take;
    /// the task waits or fails.
    async fn rest(
        &self,
        (events, commands): (&[Event], &[Command]),
        blobs: Vec<Blob>,
        refusal: &Rejection,
    ) -> Result<(), RecordError> {
        let known = outcomes(events);
        let mut requests = children::requests(commands, &self.record.task);
        requests.budget = self.spending.entries(&known);
        requests.provider = self.throttle.entries(&known);
        let next = match refusal {
            Rejection::ProviderLimit { .. } => {
                let (next, waits) = self.throttle.next(events, refusal);
                requests.provider.extend(waits);
                next
            }
            refusal => {
                let now = self.lease_guard.clock.now();
                let (next, waits) = self.spending.next(events, refusal, self.epoch, now);
                requests.budget.extend(waits);
                next
            }
        };
        let known = self.envelopes(&known);
        match self
            .append_events(known, blobs.clone(), requests, next)
            .await
        {
            Ok(_) => Err(RecordError::Ended),
            Err(StoreError::Rejected(Rejection::Cancelling)) => {
                self.confirm_cancel(events, blobs).await?;
                Err(RecordError::Ended)
            }
            Err(error) => Err(refused(&error)),
        }
    }

    fn envelopes(&self, events: &[Event]) -> Vec<NewEvent> {
        let mut effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        events
            .iter()
            .map(|event| {
                if let Event::ToolCompleted(completed) = event {
                    for file in &completed.files {
                        match file.digest {
                            Some(_) => files.insert(file.path.clone()),
                            None => files.remove(&file.path),
                        };
                    }
                }
                envelope::envelope(event, &mut effects)
            })
            .collect()
    }

    fn snapshots(&self) -> MutexGuard<'_, SnapshotPolicy> {
        self.snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a snapshot of a run that goes on, if a snapshot is due.
    async fn snapshot(&self, run: &Run, seq: u64) {
        if !self.snapshots().is_due() {
            return;
        }
        let Ok(body) = serde_json::to_vec(run) else {
            return;
        };
        // Also of one that is not kept: it is not tried again with each step.
        *self.snapshots() = SnapshotPolicy::after(body.len());
        let snapshot = Snapshot {
            seq,
            version: FOLD_VERSION,
            body,
        };
        let kept = self
            .store
            .put_snapshot(self.tenant, self.task, self.epoch, snapshot);
        if let Err(error) = kept.await {
            tracing::warn!(task = %self.task, %error, "no snapshot was kept; a resume folds more of the log");
        }
    }

    fn next(&self, stop: Option<&Stop>, run: Option<&Run>) -> Next {
        match stop {
            None => Next::Continue,
            Some(Stop::Completed(answer)) => Next::Complete {
                result: self.result(answer),
            },
            Some(Stop::Failed(failure)) => fail(failure),
            Some(Stop::Waiting(Wait::Timer { until_micros })) => {
                Next::Wait(envelope::timer(Micros(*until_micros), run))
            }
            Some(Stop::Waiting(Wait::InDoubt { steps })) => {
                let steps = steps.iter().map(|step| step.0).collect();
                Next::Wait(WaitRequest::InDoubt { steps })
            }
            Some(Stop::Waiting(Wait::Approval {
                steps,
                until_micros,
            })) => Next::Wait(WaitRequest::Approval {
                steps: steps.iter().map(|step| step.0).collect(),
                until: until_micros.map(Micros),
            }),
            Some(Stop::Waiting(Wait::Signal {
                names,
                until_micros,
            })) => Next::Wait(WaitRequest::Signal {
                names: names.clone(),
                until: until_micros.map(Micros),
            }),
            Some(Stop::Waiting(Wait::Budget {
                limit,
                message,
                until_micros,
            })) => Next::Wait(WaitRequest::Budget {
                limit: limit.clone(),
                message: message.clone(),
                until: until_micros.map(Micros),
            }),
            Some(Stop::Waiting(Wait::Children {
                tasks,
                until_micros,
            })) => Next::Wait(WaitRequest::Child {
                // The ids are those that this worker gave the children.
                tasks: tasks.iter().filter_map(|task| task.parse().ok()).collect(),
                until: until_micros.map(Micros),
            }),
        }
    }

    /// The result object: the answer, the files that were written, and the notice.
    fn result(&self, answer: &Value) -> Json {
        let mut result = Map::new();
        result.insert("answer".to_owned(), answer.clone());
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if !files.is_empty() {
            result.insert("files".to_owned(), files.iter().cloned().collect());
        }
        let notice = self.notice.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notice) = &*notice {
            result.insert("notice".to_owned(), Value::from(notice.as_str()));
        }
        Json::from(&Value::Object(result))
    }
}

/// How a failure ends the attempt.
pub(crate) fn fail(failure: &Failure) -> Next {
    Next::Fail {
        error: TaskError {
            code: failure.code.clone(),
            message: failure.message.clone(),
        },
        retryable: failure.retryable,
    }
}

impl Recorder for TaskRecorder {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        Box::pin(async move {
            let blobs: Vec<Blob> = batch
                .blobs
                .into_iter()
                .map(|(digest, bytes)| Blob { digest, bytes })
                .collect();
            let events = self.envelopes(batch.events);
            events.iter().for_each(|event| self.snapshots().note(event));
            let next = self.next(batch.stop, batch.run);
            let whole = self.seq.load(Ordering::SeqCst) + events.len() as u64;
            let mut requests = children::requests(&batch.commands, &self.record.task);
            requests.budget = self.spending.entries(batch.events);
            requests.provider = self.throttle.entries(batch.events);
            match self
                .append_events(events, blobs.clone(), requests, next)
                .await
            {
                Ok(life) => {
                    self.spending.recorded(batch.events, life.updated_at);
                    claims::note(batch.events);
                    self.throttle.recorded(batch.events);
                    if life.seq != whole {
                        // What else the log has by now is not in the run.
                        self.snapshots().stop();
                    } else if let Some(run) = batch.run {
                        self.snapshot(run, whole).await;
                    }
                    Ok(())
                }
                Err(StoreError::Rejected(Rejection::Cancelling)) => {
                    self.confirm_cancel(batch.events, blobs).await?;
                    Err(RecordError::Ended)
                }
                Err(StoreError::Rejected(
                    refusal @ (Rejection::Budget { .. } | Rejection::ProviderLimit { .. }),
                )) => {
                    self.rest((batch.events, &batch.commands), blobs, &refusal)
                        .await
                }
                // It would be as large, or as wrong, the next time.
                Err(
                    error @ (StoreError::TooLarge { .. }
                    | StoreError::Rejected(Rejection::Child { .. } | Rejection::Tree { .. })),
                ) => {
                    let code = match error {
                        StoreError::TooLarge { .. } => Code::ValueTooLarge,
                        StoreError::Rejected(Rejection::Tree { .. }) => Code::TooManyTasks,
                        _ => Code::RunFailed,
                    };
                    let failure = Failure::last(code.as_str(), error.to_string());
                    let none = AppendRequests::default();
                    let failed = self.append_events(Vec::new(), Vec::new(), none, fail(&failure));
                    match failed.await {
                        Ok(_) => Err(RecordError::Ended),
                        Err(error) => Err(refused(&error)),
                    }
                }
                Err(error) => Err(refused(&error)),
            }
        })
    }

    fn check(&self) -> Result<(), RecordError> {
        self.lease_guard.check()
    }

    fn budget(&self) -> Option<CallBudget> {
        self.spending.asks()
    }

    fn limits(&self, now: &Limits) -> Option<Limits> {
        let mut given = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if given.is_empty() {
            return None;
        }
        let mut limits = now.clone();
        for event in given.drain(..) {
            match event {
                TaskEvent::Limited { limits: given } => {
                    let started = self.started.load(Ordering::SeqCst);
                    limits = external::over(&limits, given, started);
                }
                TaskEvent::ClockCorrected { from, to } => {
                    let right = |at| rules::clock::corrected(Micros(at), from, to).0;
                    limits.deadline_micros = limits.deadline_micros.map(right);
                    let started = self.started.load(Ordering::SeqCst);
                    if started > to.0 {
                        let late = from.0.saturating_sub(to.0);
                        self.started
                            .store(started.saturating_sub(late), Ordering::SeqCst);
                    }
                }
                _ => {}
            }
        }
        self.spending.limit(&limits);
        self.throttle.limit(&limits);
        Some(limits)
    }

    fn new_child(&self) -> Result<String, Failure> {
        let id = TaskId::new(self.lease_guard.clock.now(), self.random.id_bytes());
        Ok(id.to_string())
    }
}
