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
    drive::{self, DriveError, RecordError, Session as DriveSession},
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
    envelope,
    family::Asked,
    load,
    outside::World,
    recorder::{self, TaskRecorder},
    session::{Entitlement, Session},
    snapshot::Pace,
    workspace::{self, Filled, Watch},
};

/// How long a task rests that another release or another configuration can go on with.
const LATER: i64 = 60 * SECOND;

/// What makes the agent of a task, here or on the pool of costly work.
struct Factory {
    agents: Arc<dyn Agents>,
    record: Arc<TaskRecord>,
    definition: Option<Arc<Json>>,
}

impl Factory {
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Agents, &Job<'_>) -> T + Send + 'static,
    ) -> T {
        let job = self.job();
        if !self.agents.is_costly(&job) {
            return ask(&*self.agents, &job);
        }
        let factory = Self {
            agents: Arc::clone(&self.agents),
            record: Arc::clone(&self.record),
            definition: self.definition.clone(),
        };
        bounded::pool::run(move |_| ask(&*factory.agents, &factory.job())).await
    }

    /// Waits for what the agent needs, unless the run is interrupted meanwhile.
    async fn ready(
        &self,
        recorder: &TaskRecorder,
        config: Option<&RunConfig>,
    ) -> Result<Result<(), Failure>, Halt> {
        let job = self.job();
        tokio::select! {
            ready = self.agents.ready(&job, config) => Ok(ready),
            () = recorder.entitlement.cancel.cancelled() => Err(Halt::Interrupted),
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
fn started(record: &TaskRecord) -> Micros {
    record.life.started_at.unwrap_or(record.life.updated_at)
}

/// How a leased task came to rest.
enum Rest {
    /// As the log says.
    Recorded,
    /// The lease goes back: the worker stops.
    Release,
    /// Somebody cancelled it; nothing of it runs any more.
    Cancelled,
    /// Somebody else has it.
    Lost,
    /// The attempt ends with this.
    Failed(Failure),
}

/// A run whose workspace was filled goes on, as does one whose time was over before: it says so itself.
fn go_on(filled: Filled) -> Result<(), Halt> {
    match filled {
        Filled::Whole | Filled::TimeOver => Ok(()),
        Filled::Interrupted => Err(Halt::Interrupted),
    }
}

/// Why a task is not driven.
enum Halt {
    /// It comes to rest like this.
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
    pub(crate) async fn run_task(self: Arc<Self>, session: Arc<Session>, record: TaskRecord) {
        let (tenant, task) = (record.task.tenant, record.task.id);
        let epoch = record.life.epoch;
        if units::mutant!("ops-worker.the_input_is_logged") {
            tracing::info!(%task, input = record.task.input.as_str(), "a task starts");
        }
        let entitlement = session.enter(task, epoch, Arc::clone(&self.clock));
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
            entitlement,
            effects: Mutex::default(),
            files: Mutex::default(),
            pace: Mutex::default(),
            notice: Mutex::default(),
            limits: Mutex::default(),
            started: AtomicI64::new(started(&record).0),
            in_force: Mutex::default(),
        });
        // A panic must not leave a lease behind that its session keeps alive.
        let driven = AssertUnwindSafe(self.drive_task(&record, &recorder))
            .catch_unwind()
            .await;
        let rest = driven.unwrap_or_else(|_| {
            let message = "the worker panicked while it ran this task, which is a defect of it or \
                           of a model client; its log has the details";
            Rest::Failed(Failure::passing(Code::WorkerPanicked.as_str(), message))
        });
        let ended = match rest {
            Rest::Recorded => Ok(()),
            Rest::Lost | Rest::Release => Err(()),
            Rest::Failed(failure) => recorder
                .append_events(
                    Vec::new(),
                    Vec::new(),
                    Asked::default(),
                    recorder::fail(&failure),
                )
                .await
                .map(|_| ())
                .map_err(|_| ()),
            Rest::Cancelled => recorder
                .append_events(Vec::new(), Vec::new(), Asked::default(), Next::Cancelled)
                .await
                .map(|_| ())
                .map_err(|_| ()),
        };
        if ended.is_err() {
            recorder.give_back().await;
        }
        session.leave(task, epoch);
    }

    async fn drive_task(&self, record: &Arc<TaskRecord>, recorder: &Arc<TaskRecorder>) -> Rest {
        let read = self.clock.now();
        let (agent, goal, mut run) = match self.prepare(record, recorder).await {
            Ok(prepared) => prepared,
            Err(Halt::Interrupted) => return rest_when_interrupted(&recorder.entitlement),
            Err(Halt::Next(next)) => {
                return match recorder
                    .append_events(Vec::new(), Vec::new(), Asked::default(), next)
                    .await
                {
                    Ok(_) => Rest::Recorded,
                    Err(_) if recorder.entitlement.is_cancelled() => Rest::Cancelled,
                    Err(_) => Rest::Lost,
                };
            }
        };
        let session = DriveSession {
            recorder: Arc::clone(recorder) as _,
            clock: Arc::new(DriveClock(Arc::clone(&self.clock))),
            random: Arc::new(DriveRandom(Arc::clone(&self.random))),
            workspace: self.workspace(record.task.id),
            blobs: Arc::clone(recorder) as _,
            deltas: agent.model().is_llm().then(|| Arc::clone(recorder) as _),
            cancel: recorder.entitlement.cancel.clone(),
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
            Ok(_) => Rest::Recorded,
            Err(error) => rest_after(&error, &recorder.entitlement, record),
        }
    }

    /// The agent, its goal and its run; or what becomes of a task for which they cannot be had.
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
        let (run, pace) = if record.life.seq <= 2 {
            <(Run, Pace)>::default()
        } else {
            let limits = factory.ask(|agents, job| agents.limits(job)).await;
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
                    error if error.is_of_newer_release() => self.rest(LATER),
                    error if error.is_of_the_store() => self.rest(patience(record.life.epoch)),
                    error => broken(
                        Code::LogDamaged.as_str(),
                        format!("the task's log cannot be read: {error}"),
                    ),
                }
            })?
        };
        *recorder.pace.lock().unwrap_or_else(PoisonError::into_inner) = pace;
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
                recorder.tell_limits(&config.limits);
                let pinned = config.clone();
                let resumed = match factory.ready(recorder, Some(config)).await? {
                    Ok(()) => {
                        let resumed = factory.ask(move |agents, job| agents.resume(job, &pinned));
                        resumed.await
                    }
                    Err(error) => Err(error),
                };
                let (agent, mut files) = resumed.map_err(|error| {
                    match error.retryable {
                        // Nothing is wrong with the run: it goes on once the configuration is back.
                        true => {
                            tracing::error!(task = %task.id, %error, "the run cannot go on yet");
                            self.rest(LATER)
                        }
                        false => recorder::fail(&error),
                    }
                })?;
                files.retain(|path, _| !run.files().contains_key(path));
                let watch = Watch {
                    entitlement: &recorder.entitlement,
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
                    Ok(()) => factory.ask(|agents, job| agents.start(job)).await,
                    Err(error) => Err(error),
                };
                let prepared = prepared.map_err(|error| recorder::fail(&error))?;
                recorder.tell_limits(&prepared.agent.config().limits);
                let limits = factory.ask(|agents, job| agents.limits(job)).await;
                let watch = Watch {
                    entitlement: &recorder.entitlement,
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
                    _ => self.rest(LATER),
                })
            }
        }
    }

    /// Tells the recorder what it needs to know of the run so far.
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

    fn rest(&self, micros: i64) -> Next {
        Next::Wait(WaitRequest::Timer {
            until: Micros(self.clock.now().0.saturating_add(micros)),
        })
    }
}

/// How long a task rests whose log the store did not give: longer each time, since a store that is
/// gone for a while fails every task once in each of them.
fn patience(epoch: u64) -> i64 {
    let doublings = epoch.saturating_sub(1).min(6);
    (SECOND << doublings).min(LATER)
}

fn rest_when_interrupted(entitlement: &Entitlement) -> Rest {
    if entitlement.is_cancelled() {
        return Rest::Cancelled;
    }
    match entitlement.check() {
        Err(RecordError::LeaseLost) => Rest::Lost,
        _ => Rest::Release,
    }
}

fn rest_after(error: &DriveError, entitlement: &Entitlement, record: &TaskRecord) -> Rest {
    match error {
        // The recorder has confirmed a cancel that the store told it of; one that the heartbeat
        // told of is confirmed now.
        DriveError::Record(RecordError::Ended) => Rest::Recorded,
        DriveError::Record(RecordError::Cancelled | RecordError::Stopping) => {
            rest_when_interrupted(entitlement)
        }
        DriveError::Record(RecordError::LeaseLost) => {
            tracing::warn!(task = %record.task.id, epoch = record.life.epoch, "the lease is over");
            Rest::Lost
        }
        DriveError::Record(RecordError::Unavailable(_)) => {
            tracing::error!(task = %record.task.id, %error, "the run stopped");
            Rest::Release
        }
        DriveError::Fold(_) => {
            let message = format!("the task's log is not lawful: {error}");
            Rest::Failed(Failure::last(Code::LogDamaged.as_str(), message))
        }
        // Defects of the agents' maker: the run is as its log says, and another release may go on.
        DriveError::NoModel { .. } | DriveError::OtherGoal => {
            tracing::error!(task = %record.task.id, %error, "the run cannot go on");
            Rest::Failed(Failure::passing("invalid_agent", error.to_string()))
        }
    }
}

struct DriveClock(Arc<dyn ops_core::ports::Clock>);

impl drive::Clock for DriveClock {
    fn now_micros(&self) -> i64 {
        self.0.now().0
    }
}

struct DriveRandom(Arc<dyn ops_core::ports::Random>);

impl drive::Random for DriveRandom {
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
        let seconds = |epoch| patience(epoch) / SECOND;
        let first: Vec<_> = (0..=8).map(seconds).collect();
        assert_eq!(first, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(seconds(u64::MAX), 60);
    }
}
