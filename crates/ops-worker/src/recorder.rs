//! The recorder of a leased task: appends go to the store under the lease's epoch.

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
    drive::{Batch, RecordError, Recorder, Stop, outcomes},
    event::{Failure, StepId, Wait},
    model::DeltaSink,
    run::{FOLD_VERSION, Limits, Run},
    tool::BlobReader,
};
use bytes::Bytes;
use ops_core::{
    Append, Code, Json, Lifecycle, Micros, Next, Rejection, RunCommand, TaskId, TenantId,
    WaitRequest,
    event::{NewEvent, TaskError, TaskEvent},
    ports::{Blob, Delta, Live, Random, RunStore, Snapshot, StoreError, TaskRecord},
    rules,
    task::TaskLimits,
};
use serde_json::{Map, Value};

use crate::{
    envelope::{self, Effects},
    family::{self, Asked},
    outside,
    session::Entitlement,
    snapshot::Pace,
};

/// How long an append rests before it is tried again while the store cannot be used.
const REST: Duration = Duration::from_secs(1);

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
    pub(crate) entitlement: Entitlement,
    pub(crate) effects: Mutex<Effects>,
    pub(crate) files: Mutex<BTreeSet<String>>,
    pub(crate) pace: Mutex<Pace>,
    /// Said with every result, for instance that no LLM was asked.
    pub(crate) notice: Mutex<Option<String>>,
    /// Events about its limits that others have logged while this run was at work, and that it has not
    /// heard of.
    pub(crate) limits: Mutex<Vec<TaskEvent>>,
    /// When the task first started, in UTC microseconds.
    pub(crate) started: AtomicI64,
    /// Limits that the engine does not know to hold for the run, to be said with the next append.
    pub(crate) in_force: Mutex<Option<TaskLimits>>,
}

impl TaskRecorder {
    /// Appends under the lease. A failing store is tried again as long as the lease may hold: what
    /// was done must not be forgotten, and repeating an append is harmless.
    pub(crate) async fn append_events(
        &self,
        events: Vec<NewEvent>,
        blobs: Vec<Blob>,
        asked: Asked,
        next: Next,
    ) -> Result<Lifecycle, StoreError> {
        loop {
            let append = Append {
                expected_seq: self.seq.load(Ordering::SeqCst),
                children: asked.children.clone(),
                approvals: asked.approvals.clone(),
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
                    self.entitlement.pause(life.paused);
                    *self.in_force() = None;
                    return Ok(life);
                }
                // The lease holds, so what others have written came from outside: a cancel, of which
                // the next answer tells, a pause, a signal, the end of a child. Those are read by
                // whoever holds the task next, but for limits.
                Err(StoreError::Rejected(Rejection::WrongSeq { given, current }))
                    if current > given =>
                {
                    self.pace().stop();
                    self.listen(given, current).await;
                    self.seq.store(current, Ordering::SeqCst);
                }
                Err(error @ (StoreError::Full(_) | StoreError::Unavailable(_)))
                    if !self.entitlement.is_aborted()
                        && self.entitlement.check() != Err(RecordError::LeaseLost) =>
                {
                    tracing::error!(task = %self.task, %error, "cannot record; trying again");
                    tokio::time::sleep(REST).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Notes the limits among the events that others have written after the first of these two. What
    /// cannot be read now, whoever holds the task next reads.
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
    pub(crate) fn tell_limits(&self, limits: &Limits) {
        let started = self.started.load(Ordering::SeqCst);
        let mut in_force = outside::in_force(limits, started);
        in_force.queue_timeout_micros = self.record.task.limits.queue_timeout_micros;
        if self.record.in_force != Some(in_force) {
            // The task has started: how long it might have waited is over.
            *self.in_force() = Some(in_force);
        }
    }

    fn in_force(&self) -> MutexGuard<'_, Option<TaskLimits>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the lease back, whatever became of the run. Its session goes on, so it would be held
    /// for ever if nobody did; if somebody else has the task, the store refuses.
    pub(crate) async fn give_back(&self) {
        loop {
            let command = RunCommand::release(self.epoch);
            match self
                .store
                .record(self.tenant, self.task, command, Vec::new())
                .await
            {
                Err(error @ (StoreError::Full(_) | StoreError::Unavailable(_)))
                    if !self.entitlement.is_aborted() =>
                {
                    tracing::error!(task = %self.task, %error, "cannot give the lease back; trying again");
                    tokio::time::sleep(REST).await;
                }
                released => {
                    tracing::debug!(task = %self.task, released = released.is_ok(), "gave the lease back");
                    return;
                }
            }
        }
    }

    /// Confirms a cancel, with the outcomes that are known. No child begins any more, so a call that
    /// asks for one has none: its child would be in the log, and nowhere else.
    pub(crate) async fn confirm_cancel(
        &self,
        events: &[Event],
        blobs: Vec<Blob>,
    ) -> Result<(), RecordError> {
        let mut events = outcomes(events);
        events.retain(|event| !begins_child(event));
        let events = self.envelopes(&events);
        let asked = Asked::default();
        match self
            .append_events(events, blobs, asked, Next::Cancelled)
            .await
        {
            Ok(_) => Ok(()),
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

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a snapshot of a run that goes on, if one is due.
    async fn snapshot(&self, run: &Run, seq: u64) {
        if !self.pace().is_due() {
            return;
        }
        let Ok(body) = serde_json::to_vec(run) else {
            return;
        };
        // Also of one that is not kept: it is not tried again with each step.
        *self.pace() = Pace::after(body.len());
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

    fn next(&self, stop: Option<&Stop>) -> Next {
        match stop {
            None => Next::Continue,
            Some(Stop::Completed(answer)) => Next::Complete {
                result: self.result(answer),
            },
            Some(Stop::Failed(failure)) => fail(failure),
            Some(Stop::Waiting(Wait::Timer { until_micros })) => Next::Wait(WaitRequest::Timer {
                until: Micros(*until_micros),
            }),
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

/// Whether a child begins with the record of this.
fn begins_child(event: &Event) -> bool {
    matches!(event, Event::ToolCompleted(completed) if completed.child.is_some())
}

fn refused(error: &StoreError) -> RecordError {
    match error {
        StoreError::Rejected(Rejection::Cancelling) => RecordError::Cancelled,
        StoreError::NotFound
        | StoreError::SessionOver
        | StoreError::Rejected(
            Rejection::Terminal(_)
            | Rejection::WrongState(_)
            | Rejection::StaleEpoch { .. }
            | Rejection::WrongSeq { .. }
            | Rejection::NotInDoubt(_)
            | Rejection::NotDue,
        ) => RecordError::LeaseLost,
        StoreError::Rejected(Rejection::Child { .. } | Rejection::Tree { .. })
        | StoreError::IdempotencyMismatch
        | StoreError::Full(_)
        | StoreError::TooLarge { .. }
        | StoreError::NoApproval(_)
        | StoreError::Decided(_)
        | StoreError::WrongRevision { .. }
        | StoreError::AgentChanged(_)
        | StoreError::ScheduleChanged(_)
        | StoreError::NoAgent(_)
        | StoreError::AgentCycle(_)
        | StoreError::Unreadable(_)
        | StoreError::Unavailable(_) => RecordError::Unavailable(error.to_string()),
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
            events.iter().for_each(|event| self.pace().note(event));
            let next = self.next(batch.stop);
            let whole = self.seq.load(Ordering::SeqCst) + events.len() as u64;
            let asked = family::asked(&batch.commands, &self.record.task);
            match self.append_events(events, blobs.clone(), asked, next).await {
                Ok(life) => {
                    if life.seq != whole {
                        // What else the log has by now is not in the run.
                        self.pace().stop();
                    } else if let Some(run) = batch.run {
                        self.snapshot(run, whole).await;
                    }
                    Ok(())
                }
                Err(StoreError::Rejected(Rejection::Cancelling)) => {
                    self.confirm_cancel(batch.events, blobs).await?;
                    Err(RecordError::Ended)
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
                    match self
                        .append_events(Vec::new(), Vec::new(), Asked::default(), fail(&failure))
                        .await
                    {
                        Ok(_) => Err(RecordError::Ended),
                        Err(error) => Err(refused(&error)),
                    }
                }
                Err(error) => Err(refused(&error)),
            }
        })
    }

    fn check(&self) -> Result<(), RecordError> {
        self.entitlement.check()
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
                    limits = outside::over(&limits, given, started);
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
        Some(limits)
    }

    fn new_child(&self) -> Result<String, Failure> {
        let id = TaskId::new(self.entitlement.clock.now(), self.random.id_bytes());
        Ok(id.to_string())
    }
}

impl BlobReader for TaskRecorder {
    fn read<'a>(
        &'a self,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> BoxFuture<'a, Result<Bytes, Failure>> {
        Box::pin(async move {
            match self.store.value(self.tenant, digest, offset, len).await {
                Ok(bytes) => Ok(bytes.into()),
                Err(error) => Err(Failure::passing("result_not_found", error.to_string())),
            }
        })
    }
}

impl agentkit::drive::Deltas for TaskRecorder {
    fn sink(&self, step: StepId, attempt: u32) -> Box<dyn DeltaSink> {
        Box::new(LiveSink {
            live: Arc::clone(&self.live),
            tenant: self.tenant,
            task: self.task,
            step: step.0,
            attempt,
            offset: AtomicU64::new(0),
        })
    }
}

struct LiveSink {
    live: Arc<dyn Live>,
    tenant: TenantId,
    task: TaskId,
    step: u32,
    attempt: u32,
    offset: AtomicU64,
}

impl DeltaSink for LiveSink {
    fn text(&self, delta: &str) {
        let offset = self.offset.fetch_add(delta.len() as u64, Ordering::SeqCst);
        let Self { step, attempt, .. } = *self;
        let delta = Delta {
            step,
            attempt,
            offset,
            text: delta.into(),
        };
        self.live.delta(self.tenant, self.task, delta);
    }
}
