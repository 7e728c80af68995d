//! One leased task, from its log to its next rest.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
};

use agentkit::{
    Agent, Goal,
    drive::{self, DriveEnvironment, DriveError, RecordError},
    event::Failure,
    run::{Run, RunConfig},
};
use futures_util::FutureExt as _;
use ops_core::{
    Code, Json, Micros, Next, WaitRequest,
    ports::{StoreError, TaskRecord},
    time::SECOND,
};
use tracing::Instrument as _;

use crate::{
    Worker,
    agents::{Agents, Job},
    children::AppendRequests,
    envelope,
    external::World,
    load,
    recorder::{self, TaskRecorder},
    session::{LeaseGuard, WorkerSession},
    snapshot::SnapshotPolicy,
    spending::Spending,
    throttle::{LOOK_BACK, Throttle},
    workspace::{self, Filled, Watch},
};

/// How long a task rests that another release or another configuration can go on with.
const LATER: i64 = 60 * SECOND;

/// Makes the agent of a task, here or on the pool of costly work.
struct Factory {
    agents: Arc<dyn Agents>,
    record: Arc<TaskRecord>,
    definition: Option<Arc<Json>>,
}

impl Factory {
    async fn call_agents<T: Send + 'static>(
        &self,
        call_agents: impl FnOnce(&dyn Agents, &Job<'_>) -> T + Send + 'static,
    ) -> T {
        let job = self.job();
        if !self.agents.is_costly(&job) {
            return call_agents(&*self.agents, &job);
        }
        let factory = Self {
            agents: Arc::clone(&self.agents),
            record: Arc::clone(&self.record),
            definition: self.definition.clone(),
        };
        bounded::pool::run(move |_| call_agents(&*factory.agents, &factory.job())).await
    }

    /// Waits for the parts that the agent needs, unless the run is interrupted meanwhile.
    async fn ready(
        &self,
        recorder: &TaskRecorder,
        config: Option<&RunConfig>,
    ) -> Result<Result<(), Failure>, Halt> {
        let job = self.job();
        tokio::select! {
            ready = self.agents.ready(&job, config) => Ok(ready),
            () = recorder.lease_guard.cancel.cancelled() => Err(Halt::Interrupted),
        }
    }

    fn job(&self) -> Job<'_> {
        Job {
            task: &self.record.task,
            started: started(&self.record),
            definition: self.definition.as_deref(),
        }
    }
}

/// When a leased task first started.
pub(crate) fn started(record: &TaskRecord) -> Micros {
    record.life.started_at.unwrap_or(record.life.updated_at)
}

/// How a leased task came to rest.
enum RunEnd {
    /// As the log says.
    Recorded,
    /// The lease goes back: the worker stops.
    Release,
    /// The task was cancelled; no part of the run goes on.
    Cancelled,
    /// Another worker has the task.
    Lost,
    /// The attempt ends with this.
    Failed(Failure),
}

/// A run goes on whose workspace was filled, and a run whose time was over before: the run ends itself
/// then.
fn go_on(filled: Filled) -> Result<(), Halt> {
    match filled {
        Filled::Whole | Filled::TimeOver => Ok(()),
        Filled::Interrupted => Err(Halt::Interrupted),
    }
}

/// Why a task is not driven.
enum Halt {
    /// The task's next state.
    Next(Next),
    /// The lease is over, the task is cancelled, or the worker waits no longer.
    Interrupted,
}

impl From<Next> for Halt {
    fn from(next: Next) -> Self {
        Self::Next(next)
    }
}

impl Worker {
    /// Drives a leased task until it rests.
    pub(crate) async fn run_task(self: Arc<Self>, session: Arc<WorkerSession>, record: TaskRecord) {
        let (tenant, task) = (record.task.tenant, record.task.id);
        let epoch = record.life.epoch;
        if units::mutant!("ops-worker.the_input_is_logged") {
            tracing::info!(%task, input = record.task.input.as_str(), "a task starts");
        }
        let lease_guard = session.enter(task, epoch, Arc::clone(&self.clock));
        let record = Arc::new(record);
        let recorder = Arc::new(TaskRecorder {
            store: Arc::clone(&self.store),
            live: Arc::clone(&self.live),
            random: Arc::clone(&self.random),
            record: Arc::clone(&record),
            tenant,
            task,
            epoch,
            seq: AtomicU64::new(record.life.seq),
            lease_guard,
            effects: Mutex::default(),
            files: Mutex::default(),
            snapshots: Mutex::default(),
            notice: Mutex::default(),
            limits: Mutex::default(),
            started: AtomicI64::new(started(&record).0),
            spending: Spending::of(&self.settings.budgets, &record.task),
            throttle: Throttle::new(&self.settings.providers),
            in_force: Mutex::default(),
        });
        // A panic must not leave a lease behind that its session keeps alive.
        let driven = AssertUnwindSafe(self.drive_task(&record, &recorder))
            .catch_unwind()
            .await;
        let retry_later = driven.unwrap_or_else(|_| {
            let message = "the worker panicked while it ran this task, which is a defect of it or \
                           of a model client; its log has the details";
            RunEnd::Failed(Failure::passing(Code::WorkerPanicked.as_str(), message))
        });
        let ended = match retry_later {
            RunEnd::Recorded => Ok(()),
            RunEnd::Lost | RunEnd::Release => Err(()),
            RunEnd::Failed(failure) => recorder
                .append_events(
                    Vec::new(),
                    Vec::new(),
                    AppendRequests::default(),
                    recorder::fail(&failure),
                )
                .await
                .map(|_| ())
                .map_err(|_| ()),
            RunEnd::Cancelled => recorder
                .append_events(
                    Vec::new(),
                    Vec::new(),
                    AppendRequests::default(),
                    Next::Cancelled,
                )
                .await
                .map(|_| ())
                .map_err(|_| ()),
        };
        if ended.is_err() {
            recorder.give_back().await;
        }
        session.leave(task, epoch);
    }

    async fn drive_task(&self, record: &Arc<TaskRecord>, recorder: &Arc<TaskRecorder>) -> RunEnd {
        let read = self.clock.now();
        let (agent, goal, mut run) = match self.prepare(record, recorder).await {
            Ok(prepared) => prepared,
            Err(Halt::Interrupted) => return end_when_interrupted(&recorder.lease_guard),
            Err(Halt::Next(next)) => {
                return match recorder
                    .append_events(Vec::new(), Vec::new(), AppendRequests::default(), next)
                    .await
                {
                    Ok(_) => RunEnd::Recorded,
                    Err(_) if recorder.lease_guard.is_cancelled() => RunEnd::Cancelled,
                    Err(_) => RunEnd::Lost,
                };
            }
        };
        let workspace = self.workspace(record.task.id);
        let session = DriveEnvironment {
            recorder: Arc::clone(recorder) as _,
            clock: Arc::new(ClockAdapter(Arc::clone(&self.clock))),
            random: Arc::new(RandomAdapter(Arc::clone(&self.random))),
            tree: self.tree(record, &workspace),
            workspace,
            blobs: Arc::clone(recorder) as _,
            deltas: agent.model().is_llm().then(|| Arc::clone(recorder) as _),
            cancel: recorder.lease_guard.cancel.clone(),
            read_micros: Some(read.0),
        };
        let span = tracing::info_span!(
            target: agentkit::telemetry::TARGET,
            "task",
            opspawn.task.id = %record.task.id,
            opspawn.task.type = %record.task.task_type,
            opspawn.task.attempt = i64::from(record.life.attempt),
            opspawn.task.lease = i64::try_from(record.life.epoch).unwrap_or(i64::MAX),
        );
        let driven = drive::drive(&agent, goal, &mut run, &session);
        match driven.instrument(span).await {
            Ok(_) => RunEnd::Recorded,
            Err(error) => end_after(&error, &recorder.lease_guard, record),
        }
    }

    /// The agent, its goal and its run; or the end of a task that has no such agent.
    async fn prepare(
        &self,
        record: &Arc<TaskRecord>,
        recorder: &TaskRecorder,
    ) -> Result<(Agent, Goal, Run), Halt> {
        let task = &record.task;
        let broken = |code: &str, message: String| recorder::fail(&Failure::last(code, message));
        let definition = self.definition(record).await?;
        let factory = Factory {
            agents: Arc::clone(&self.agents),
            record: Arc::clone(record),
            definition: definition.map(Arc::new),
        };
        // Submitted and leased: the log says no more, and there is no run yet.
        let (run, snapshots) = if record.life.seq <= 2 {
            <(Run, SnapshotPolicy)>::default()
        } else {
            let limits = factory.call_agents(|agents, job| agents.limits(job)).await;
            let world = World {
                store: &*self.store,
                tenant: task.tenant,
                limits: &limits,
                started: started(record).0,
            };
            let loaded = load::load(&world, task.id, record.life.seq).await;
            loaded.map_err(|error| {
                tracing::error!(task = %task.id, %error, "the run's log cannot be folded");
                match error {
                    error if error.is_of_newer_release() => self.retry_later(LATER),
                    error if error.is_of_the_store() => {
                        self.retry_later(retry_delay(record.life.epoch))
                    }
                    error => broken(
                        Code::LogDamaged.as_str(),
                        format!("the task's log cannot be read: {error}"),
                    ),
                }
            })?
        };
        if recorder.throttle.is_on() && record.life.seq > 2 {
            let after = record.life.seq.saturating_sub(LOOK_BACK.into());
            let last = self.store.log(task.tenant, task.id, after, LOOK_BACK).await;
            // Without its turn a task goes to the end of the line.
            recorder.throttle.read(&last.unwrap_or_default());
        }
        *recorder
            .snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = snapshots;
        let workspace = self.workspace(task.id);
        let files_failed = |error: workspace::WorkspaceError| {
            recorder::fail(&Failure {
                code: "workspace_failed".to_owned(),
                message: error.to_string(),
                retryable: !matches!(error, workspace::WorkspaceError::Path(_)),
            })
        };
        let (agent, goal) = match run.config() {
            Some(config) => {
                recorder.report_limits(&config.limits);
                let pinned = config.clone();
                let resumed = match factory.ready(recorder, Some(config)).await? {
                    Ok(()) => {
                        let resumed =
                            factory.call_agents(move |agents, job| agents.resume(job, &pinned));
                        resumed.await
                    }
                    Err(error) => Err(error),
                };
                let (agent, mut files) = resumed.map_err(|error| {
                    match error.retryable {
                        // Nothing is wrong with the run: it goes on once the configuration is back.
                        true => {
                            tracing::error!(task = %task.id, %error, "the run cannot go on yet");
                            self.retry_later(LATER)
                        }
                        false => recorder::fail(&error),
                    }
                })?;
                files.retain(|path, _| !run.files().contains_key(path));
                let watch = Watch {
                    lease_guard: &recorder.lease_guard,
                    deadline: config.limits.deadline_micros,
                };
                let seeded = workspace::seed(&workspace, files, &watch).await;
                go_on(seeded.map_err(files_failed)?)?;
                let (store, tenant) = (&*self.store, task.tenant);
                let filled =
                    workspace::materialise(store, tenant, &workspace, run.files(), &watch).await;
                go_on(filled.map_err(files_failed)?)?;
                (agent, Goal::default())
            }
            None => {
                let prepared = match factory.ready(recorder, None).await? {
                    Ok(()) => factory.call_agents(|agents, job| agents.start(job)).await,
                    Err(error) => Err(error),
                };
                let prepared = prepared.map_err(|error| recorder::fail(&error))?;
                recorder.report_limits(&prepared.agent.config().limits);
                let limits = factory.call_agents(|agents, job| agents.limits(job)).await;
                let watch = Watch {
                    lease_guard: &recorder.lease_guard,
                    deadline: limits.deadline_micros,
                };
                let seeded = workspace::seed(&workspace, prepared.files, &watch).await;
                go_on(seeded.map_err(files_failed)?)?;
                (prepared.agent, prepared.goal)
            }
        };
        self.brief(recorder, &agent, &run);
        Ok((agent, goal, run))
    }

    /// The definition that a task is pinned to, if it names an agent.
    async fn definition(&self, record: &TaskRecord) -> Result<Option<Json>, Next> {
        let task = &record.task;
        let Some(digest) = task.agent_digest else {
            return match &task.agent_id {
                // What began under a release without agents goes on as it began.
                Some(name) if !record.life.run_started => {
                    let name: String = name.chars().take(80).collect();
                    Err(recorder::fail(&Failure::last(
                        Code::UnknownAgent.as_str(),
                        format!("there was no agent `{name}` when the task was submitted"),
                    )))
                }
                Some(_) | None => Ok(None),
            };
        };
        match self.store.definition(task.tenant, digest).await {
            Ok(definition) => Ok(Some(definition)),
            Err(error) => {
                tracing::error!(task = %task.id, %digest, %error, "the agent's definition cannot be read");
                Err(match error {
                    StoreError::Unreadable(_) => recorder::fail(&Failure::last(
                        Code::StorageDamaged.as_str(),
                        format!("the definition of the task's agent cannot be read: {error}"),
                    )),
                    _ => self.retry_later(LATER),
                })
            }
        }
    }

    /// Tells the recorder about the run so far.
    fn brief(&self, recorder: &TaskRecorder, agent: &Agent, run: &Run) {
        let calls = run.calls().iter().chain(run.machine_calls());
        let effects = calls.map(|state| (state.call.step.0, envelope::class(state.call.effect)));
        recorder
            .effects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(effects);
        let written = run.files().iter().filter(|(_, digest)| digest.is_some());
        let paths = written.map(|(path, _)| path.clone());
        recorder
            .files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(paths);
        if !agent.model().is_llm() {
            let by = match agent.config().planner.as_str() {
                "placeholder" => "the placeholder planner",
                _ => agent.model().name(),
            };
            let notice = format!("answered by {by}, which is not an LLM");
            *recorder
                .notice
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(notice);
        }
    }

    fn retry_later(&self, micros: i64) -> Next {
        Next::Wait(WaitRequest::Timer {
            until: Micros(self.clock.now().0.saturating_add(micros)),
        })
    }
}

/// How long a task rests whose log the store did not give: longer each time, since a store that is
/// gone for a while fails every task once in each of them.
fn retry_delay(epoch: u64) -> i64 {
    let doublings = epoch.saturating_sub(1).min(6);
    (SECOND << doublings).min(LATER)
}

fn end_when_interrupted(lease_guard: &LeaseGuard) -> RunEnd {
    if lease_guard.is_cancelled() {
        return RunEnd::Cancelled;
    }
    match lease_guard.check() {
        Err(RecordError::LeaseLost) => RunEnd::Lost,
        _ => RunEnd::Release,
    }
}

fn end_after(error: &DriveError, lease_guard: &LeaseGuard, record: &TaskRecord) -> RunEnd {
    match error {
        // The recorder has confirmed a cancel that the store told it of; one that the heartbeat
        // told of is confirmed now.
        DriveError::Record(RecordError::Ended) => RunEnd::Recorded,
        DriveError::Record(RecordError::Cancelled | RecordError::Stopping) => {
            end_when_interrupted(lease_guard)
        }
        DriveError::Record(RecordError::LeaseLost) => {
            tracing::warn!(task = %record.task.id, epoch = record.life.epoch, "the lease is over");
            RunEnd::Lost
        }
        DriveError::Record(RecordError::Unavailable(_)) => {
            tracing::error!(task = %record.task.id, %error, "the run stopped");
            RunEnd::Release
        }
        DriveError::Fold(_) => {
            let message = format!("the task's log is not lawful: {error}");
            RunEnd::Failed(Failure::last(Code::LogDamaged.as_str(), message))
        }
        // Defects of the agents' maker: the run is as its log says, and another release may go on.
        DriveError::NoModel { .. } | DriveError::OtherGoal => {
            tracing::error!(task = %record.task.id, %error, "the run cannot go on");
            RunEnd::Failed(Failure::passing("invalid_agent", error.to_string()))
        }
    }
}

struct ClockAdapter(Arc<dyn ops_core::ports::Clock>);

impl drive::RunClock for ClockAdapter {
    fn now_micros(&self) -> i64 {
        self.0.now().0
    }
}

struct RandomAdapter(Arc<dyn ops_core::ports::Random>);

impl drive::Random for RandomAdapter {
    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..10].copy_from_slice(&self.0.id_bytes());
        bytes[10..].copy_from_slice(&self.0.id_bytes()[..6]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_rests_longer_each_time_but_not_for_ever() {
        let seconds = |epoch| retry_delay(epoch) / SECOND;
        let first: Vec<_> = (0..=8).map(seconds).collect();
        assert_eq!(first, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(seconds(u64::MAX), 60);
    }
}
