//! Two stores that are given the same commands, with the same ids at the same times.

use std::{collections::BTreeMap, fmt::Debug};

use ops_core::{
    Actor, AgentDigest, AgentName, Append, Approval, ChildSpec, Json, Lifecycle, Micros,
    NewApproval, NewEvent, RunCommand, SessionId, TaskAction, TaskId, TenantId, WaitRequest,
    agent::AgentSpec,
    event::{EffectClass, Resolution, StepKind, StepMark, StepStatus, Usage},
    ports::{
        ApprovalAction, ApprovalDecision, ApprovalFilter, ClaimRequest, Expected, ExpectedSchedule,
        Fork, Idempotency, IdempotencyKey, Listed, NewAgent, NewSchedule, NewTask, Progress,
        Retention, ScheduleChange, Snapshot, StoreError, TaskFilter,
    },
    rules::fork::{self, Anew},
    schedule::{CatchUp, Fire, Occasion, Overlap, ScheduleSpec},
    task::{OnExhausted, Status, TaskLimits},
    time::SECOND,
};
use proptest::test_runner::TestCaseError;
use serde_json::json;

use super::commands::{Command, Knows, Next, Submit};
use crate::world::{OTHER, TENANT, World, big_json, error, json};

/// The most tasks of a tree: few, so that some are refused.
pub(crate) const TREE: u64 = 4;

type Done = Result<(), TestCaseError>;

/// How often each kind of event happened.
pub(crate) type Seen = BTreeMap<String, u32>;

/// The stores, and what the commands so far have made.
pub(crate) struct Pair {
    left: World,
    right: World,
    tasks: Vec<(TenantId, TaskId)>,
    sessions: [Option<SessionId>; 2],
    last: Option<(TenantId, TaskId, RunCommand)>,
    made: u64,
}

/// The same verb of both stores, whose answers must be equal.
macro_rules! both {
    ($pair:expr, $store:ident => $call:expr) => {{
        let left = {
            let $store = &$pair.left.store;
            $call.await
        };
        let right = {
            let $store = &$pair.right.store;
            $call.await
        };
        same(stringify!($call), &plain(left), &plain(right))?
    }};
}

/// What an answer says. The words of a database that cannot be used are its own.
fn plain<T>(answer: Result<T, StoreError>) -> Result<T, StoreError> {
    answer.map_err(|error| match error {
        StoreError::Unavailable(_) => StoreError::Unavailable(String::new()),
        other => other,
    })
}

fn same<T: Debug + PartialEq + Clone>(
    what: &str,
    left: &Result<T, StoreError>,
    right: &Result<T, StoreError>,
) -> Result<Result<T, StoreError>, TestCaseError> {
    if left == right {
        return Ok(left.clone());
    }
    let message = format!("{what}\n  store:  {left:?}\n  memory: {right:?}");
    Err(TestCaseError::fail(message))
}

fn pick<T: Copy>(of: &[T], number: u8) -> Option<T> {
    let index = usize::from(number).checked_rem(of.len())?;
    of.get(index).copied()
}

impl Pair {
    /// A store beside the one in memory.
    pub(crate) fn open(left: World) -> Self {
        Self {
            left,
            right: crate::memory::open_with(TREE),
            tasks: Vec::new(),
            sessions: [None; 2],
            last: None,
            made: 0,
        }
    }

    fn now(&self) -> Micros {
        use ops_core::ports::Clock as _;
        self.left.clock.now()
    }

    /// Ten bytes that no id had before.
    fn fresh(&mut self) -> [u8; 10] {
        self.made += 1;
        self.left.clock.tick();
        self.right.clock.tick();
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&self.made.to_be_bytes());
        bytes
    }

    fn task_id(&mut self) -> TaskId {
        let bytes = self.fresh();
        TaskId::new(self.now(), bytes)
    }

    async fn life(&self, (tenant, task): (TenantId, TaskId)) -> Option<Lifecycle> {
        self.right.store.life(tenant, task).await.ok()
    }

    /// Opens the sessions, so that a run need not begin with that.
    pub(crate) async fn begin(&mut self) -> Done {
        for session in [0, 1] {
            self.open_session(session).await?;
        }
        Ok(())
    }

    /// Ends all sessions, and puts the store that `moved` makes of the first one into its place.
    #[cfg(feature = "postgres")]
    pub(crate) async fn replace(&mut self, moved: impl FnOnce(World) -> World) -> Done {
        self.carry_out(Command::Pass(60)).await?;
        self.carry_out(Command::Expire).await?;
        self.sessions = [None; 2];
        let left = std::mem::replace(&mut self.left, crate::memory::open_with(TREE));
        self.left = moved(left);
        Ok(())
    }

    async fn open_session(&mut self, number: u8) -> Done {
        let bytes = self.fresh();
        let session = SessionId::new(self.now(), bytes);
        self.sessions[usize::from(number)] = Some(session);
        let _ = both!(self, store => store.open_session(session));
        Ok(())
    }

    pub(crate) async fn carry_out(&mut self, command: Command) -> Done {
        match command {
            Command::Submit(submit) => self.submit(submit).await,
            Command::Append {
                task,
                knows,
                steps,
                large,
                next,
            } => self.append(task, knows, (steps, large), next).await,
            Command::Rerun { task, step } => self.rerun(task, step).await,
            Command::Redrive(task) => self.redrive(task).await,
            Command::PutSchedule { .. }
            | Command::ChangeSchedule(_)
            | Command::Fire { .. }
            | Command::PutAgent { .. }
            | Command::RemoveAgent { .. } => self.carry_out_apart(command).await,
            Command::Again => {
                if let Some((tenant, task, command)) = self.last.clone() {
                    let _ = both!(self, store => store.record(tenant, task, command.clone(), Vec::new()));
                }
                Ok(())
            }
            Command::Release(task) => {
                let Some(key) = pick(&self.tasks, task) else {
                    return Ok(());
                };
                if let Some(life) = self.life(key).await {
                    let command = RunCommand::release(life.epoch);
                    let _ = both!(self, store => store.record(key.0, key.1, command.clone(), Vec::new()));
                }
                Ok(())
            }
            Command::Cancel(task) => {
                // As often one that a worker holds as any.
                let held = self.held().await;
                let among = if task.is_multiple_of(2) {
                    &held
                } else {
                    &self.tasks
                };
                let key = pick(among, task / 2);
                self.ask_of(key, TaskAction::Cancel).await
            }
            Command::Pause(task) => self.ask(task, TaskAction::Pause).await,
            Command::Resume(task) => self.ask(task, TaskAction::Resume).await,
            Command::Signal(task) => {
                let payload = json!({"said": task});
                let name = "answer".to_owned();
                self.ask(task, TaskAction::Signal { name, payload }).await
            }
            Command::Limit(task) => {
                let limits = TaskLimits {
                    max_steps: task.is_multiple_of(2).then_some(7),
                    max_tokens: task.is_multiple_of(3).then_some(1_000),
                    on_exhausted: Some(OnExhausted::Wait),
                    ..TaskLimits::default()
                };
                self.ask(task, TaskAction::Limit(limits)).await
            }
            Command::Resolve { task, retry } => {
                let resolution = match retry {
                    true => Resolution::Retry,
                    false => Resolution::Done { output: json!(1) },
                };
                let step = 1 + u32::from(task % 2);
                let by = Some("ann".to_owned());
                let action = TaskAction::Resolve {
                    step,
                    resolution,
                    by,
                };
                self.ask(task / 2, action).await
            }
            Command::DecideApproval { approval, action } => {
                self.decide_approval(approval, action).await
            }
            Command::Snapshot { task, seq, version } => {
                let Some(key) = pick(&self.tasks, task) else {
                    return Ok(());
                };
                let epoch = self.life(key).await.map_or(0, |life| life.epoch);
                let snapshot = Snapshot {
                    seq: seq.into(),
                    version: version.into(),
                    body: vec![seq, version],
                };
                let _ =
                    both!(self, store => store.put_snapshot(key.0, key.1, epoch, snapshot.clone()));
                Ok(())
            }
            Command::OpenSession(number) => self.open_session(number).await,
            Command::CloseSession(number) => {
                if let Some(session) = self.sessions[usize::from(number)] {
                    let _ = both!(self, store => store.close_session(session));
                }
                Ok(())
            }
            Command::Heartbeat(number) => {
                if let Some(session) = self.sessions[usize::from(number)] {
                    let _ = both!(self, store => store.heartbeat(session));
                }
                Ok(())
            }
            Command::Claim {
                session,
                max,
                queue,
                rated,
            } => {
                let Some(session) = self.sessions[usize::from(session)] else {
                    return Ok(());
                };
                let request = ClaimRequest {
                    session,
                    queue: queue_name(queue),
                    max,
                    rate: rated.then(|| "1/s".parse().unwrap()),
                    after: None,
                };
                let _ = both!(self, store => store.claim(request.clone()));
                Ok(())
            }
            Command::Pass(seconds) => {
                self.left.clock.advance(seconds);
                self.right.clock.advance(seconds);
                Ok(())
            }
            Command::Set(seconds) => {
                self.left.clock.set_by(seconds);
                self.right.clock.set_by(seconds);
                Ok(())
            }
            Command::Wake(limit) => {
                let _ = both!(self, store => store.wake_due(limit));
                Ok(())
            }
            Command::CorrectClocks => {
                let _ = both!(self, store => store.correct_clocks(100));
                Ok(())
            }
            Command::Expire => {
                let _ = both!(self, store => store.expire_sessions());
                Ok(())
            }
            Command::Delete { kept, limit } => self.delete(kept * SECOND, limit).await,
        }
    }

    fn new_task(&mut self, submit: &Submit) -> NewTask {
        let id = self.task_id();
        let now = self.now();
        let mut new = self.left.new_task();
        self.right.clock.tick();
        new.task.id = id;
        new.task.created_at = now;
        new.task.tenant = if submit.other_tenant { OTHER } else { TENANT };
        new.task.queue = queue_name(submit.queue);
        new.task.priority = submit.priority;
        new.task.name = Some(format!("task {}", self.made % 4));
        new.task.agent_id = submit.agent.map(agent_name);
        new.task.labels = [("priority".to_owned(), submit.priority.to_string())].into();
        new.task.concurrency_key = submit.key.map(|key| format!("key {key}"));
        new.task.limits.timeout_micros = submit.timeout.map(|timeout| timeout * SECOND);
        new.task.limits.queue_timeout_micros = submit.patience.map(|wait| wait * SECOND);
        new.task.run_at = submit.delay.map(|delay| now.plus(delay * SECOND));
        new.retry.max_attempts = submit.attempts;
        new.retry.max_lease_losses = 3;
        new.idempotency = submit.idempotency.map(|(key, digest)| Idempotency {
            key: IdempotencyKey::Client(format!("once {key}")),
            digest: [digest; 32],
        });
        new
    }

    fn plain_task(&mut self) -> NewTask {
        self.new_task(&Submit {
            queue: 0,
            priority: 1,
            key: None,
            idempotency: None,
            delay: None,
            attempts: 2,
            agent: None,
            timeout: None,
            patience: None,
            other_tenant: false,
        })
    }

    async fn submit(&mut self, submit: Submit) -> Done {
        let new = self.new_task(&submit);
        self.submit_new(new).await
    }

    async fn submit_new(&mut self, new: NewTask) -> Done {
        let key = (new.task.tenant, new.task.id);
        if both!(self, store => store.submit(new.clone())).is_ok_and(|done| !done.existing) {
            self.tasks.push(key);
        }
        Ok(())
    }

    async fn ask(&mut self, task: u8, action: TaskAction) -> Done {
        let key = pick(&self.tasks, task);
        self.ask_of(key, action).await
    }

    async fn ask_of(&mut self, key: Option<(TenantId, TaskId)>, action: TaskAction) -> Done {
        if let Some((tenant, task)) = key {
            let command = action.by(Actor::Local);
            let _ = both!(self, store => store.command(tenant, task, command.clone()));
        }
        Ok(())
    }

    /// The tasks that a worker holds.
    async fn held(&self) -> Vec<(TenantId, TaskId)> {
        let mut held = Vec::new();
        for key in &self.tasks {
            if let Some(life) = self.life(*key).await
                && life.state.session().is_some()
            {
                held.push(*key);
            }
        }
        held
    }

    /// An append to a task that is held, if one is.
    async fn append(
        &mut self,
        task: u8,
        knows: Knows,
        (steps, large): (u8, bool),
        next: Next,
    ) -> Done {
        let held = self.held().await;
        // Mostly one that is held; every eighth command is about any task.
        let among = if task % 8 == 7 { &self.tasks } else { &held };
        let Some(key) = pick(among, task / 8) else {
            return Ok(());
        };
        let Some(life) = self.life(key).await else {
            return Ok(());
        };
        let first = u32::try_from(life.seq).unwrap();
        let mut events: Vec<NewEvent> = (0..u32::from(steps))
            .flat_map(|step| pair_of_events(first + step, large))
            .collect();
        let until = |until: bool| until.then(|| life.updated_at.plus(9 * SECOND));
        let number = first + u32::from(steps);
        let mut append = Append::new(life.seq, Vec::new(), ops_core::Next::Continue);
        append.next = match next {
            Next::Continue => ops_core::Next::Continue,
            Next::Complete { large } => ops_core::Next::Complete {
                result: if large { big_json(9_000) } else { json("{}") },
            },
            Next::Fail { retryable } => ops_core::Next::Fail {
                error: error("bad"),
                retryable,
            },
            Next::Timer(seconds) => ops_core::Next::Wait(WaitRequest::Timer {
                until: life.updated_at.plus(seconds * SECOND),
            }),
            Next::Signal { until: ends } => ops_core::Next::Wait(WaitRequest::Signal {
                names: vec!["answer".into()],
                until: until(ends),
            }),
            Next::InDoubt => ops_core::Next::Wait(WaitRequest::InDoubt { steps: vec![1, 2] }),
            Next::Approval { until: ends } => {
                append.approvals = vec![approval(number, until(ends))];
                ops_core::Next::Wait(WaitRequest::Approval {
                    steps: vec![number],
                    until: until(ends),
                })
            }
            Next::Spawn | Next::AwaitChild => {
                let child = self.child(number);
                events.push(spawned(number, child.id));
                self.tasks.push((key.0, child.id));
                let tasks = vec![child.id];
                append.children = vec![child];
                match next {
                    Next::AwaitChild => {
                        ops_core::Next::Wait(WaitRequest::Child { tasks, until: None })
                    }
                    _ => ops_core::Next::Continue,
                }
            }
            Next::Budget => ops_core::Next::Wait(WaitRequest::Budget {
                limit: "max_tokens".into(),
                message: "used up".into(),
                until: None,
            }),
            Next::Cancelled => ops_core::Next::Cancelled,
        };
        append.events = events;
        let mut epoch = life.epoch;
        match knows {
            Knows::All => {}
            Knows::Less => append.expected_seq = life.seq.saturating_sub(1),
            Knows::OtherEpoch => epoch += 1,
        }
        let command = RunCommand::append(epoch, append);
        self.last = Some((key.0, key.1, command.clone()));
        let _ = both!(self, store => store.record(key.0, key.1, command.clone(), Vec::new()));
        Ok(())
    }

    fn child(&mut self, step: u32) -> ChildSpec {
        ChildSpec {
            id: self.task_id(),
            step,
            input: json(r#"{"prompt":"hello"}"#),
            agent: None,
            name: Some("child".into()),
            max_steps: None,
            max_tokens: Some(100),
            max_cost_micros: None,
            deadline: None,
            depth_left: 1,
        }
    }

    async fn decide_approval(&mut self, number: u8, action: u8) -> Done {
        let filter = ApprovalFilter {
            limit: 100,
            ..ApprovalFilter::default()
        };
        let found = both!(self, store => async {
            store.approvals(TENANT, filter.clone()).await.map(ranked)
        });
        let found = found.unwrap_or_default();
        let Some(index) = usize::from(number).checked_rem(found.len()) else {
            return Ok(());
        };
        let (_, open) = &found[index];
        let decision = ApprovalDecision {
            actor: Actor::Local,
            step: open.request.step,
            action: match action {
                0 | 1 => ApprovalAction::Approve,
                2 => ApprovalAction::Deny {
                    reason: "no".into(),
                },
                _ => ApprovalAction::Edit {
                    input: json!({"to": number}),
                    digest: "dd".repeat(32),
                },
            },
            revision: number.is_multiple_of(4).then_some(1),
            by: Some("ann".into()),
        };
        let task = open.task;
        let _ = both!(self, store => store.decide_approval(TENANT, task, decision.clone()));
        Ok(())
    }

    async fn forked(&mut self, (tenant, from): (TenantId, TaskId), fork: Fork) -> Done {
        let mut new = self.plain_task();
        new.task.tenant = tenant;
        new.task.retry_of = Some(from);
        if fork.redrives {
            new.idempotency = Some(Idempotency {
                key: IdempotencyKey::Redrive(from),
                digest: [0; 32],
            });
        }
        new.fork = Some(fork);
        self.submit_new(new).await
    }

    async fn rerun(&mut self, task: u8, step: u8) -> Done {
        let Some(key) = pick(&self.tasks, task) else {
            return Ok(());
        };
        let log = both!(self, store => store.events(key.0, key.1, 0, 1_000)).unwrap_or_default();
        let marks = log.iter().filter_map(|event| event.event.step);
        let steps: Vec<u32> = marks.map(|mark| mark.number).collect();
        let anew = Anew {
            step: pick(&steps, step).unwrap_or(1),
            ..Anew::default()
        };
        match fork::rerun(&log, key.1, anew) {
            Ok(fork) => self.forked(key, fork).await,
            Err(_) => Ok(()),
        }
    }

    async fn redrive(&mut self, task: u8) -> Done {
        let filter = TaskFilter {
            dead_letter: true,
            limit: 100,
            ..TaskFilter::default()
        };
        let dead = both!(self, store => store.tasks(TENANT, filter.clone())).unwrap_or_default();
        let dead: Vec<TaskId> = dead.into_iter().map(|record| record.task.id).collect();
        let Some(from) = pick(&dead, task) else {
            return Ok(());
        };
        let log = both!(self, store => store.events(TENANT, from, 0, 1_000)).unwrap_or_default();
        self.forked((TENANT, from), fork::redrive(&log, from)).await
    }

    async fn delete(&mut self, kept: i64, limit: u32) -> Done {
        let keep = Retention {
            completed: Some(kept),
            failed: Some(kept),
            cancelled: Some(2 * kept),
        };
        let _ = both!(self, store => store.expired(keep));
        let _ = both!(self, store => store.mark_deleted(keep, limit));
        // They are in no order.
        let sorted = |mut tombstones: Vec<(TenantId, TaskId)>| {
            tombstones.sort_unstable();
            tombstones
        };
        let tombstones = both!(self, store => async { store.tombstones(1_000).await.map(sorted) });
        let tombstones = tombstones.unwrap_or_default();
        while let Ok(Progress::More) = both!(self, store => store.purge(tombstones.clone())) {}
        // Stores differ in when they see that another task refers to a value, and so in the number of sweeps.
        let _ = both!(self, store => async {
            while store.sweep_blobs().await? == Progress::More {}
            Ok(())
        });
        Ok(())
    }

    /// Schedules and agents.
    async fn carry_out_apart(&mut self, command: Command) -> Done {
        let name: ops_core::schedule::ScheduleName = "nightly".parse().unwrap();
        let now = self.now();
        match command {
            Command::PutSchedule {
                overlap,
                delay,
                paused,
            } => {
                let new = NewSchedule {
                    tenant: TENANT,
                    name,
                    spec: ScheduleSpec {
                        cron: format!("{} * * * *", delay % 3),
                        timezone: "UTC".into(),
                        overlap: [
                            Overlap::Skip,
                            Overlap::QueueOne,
                            Overlap::Allow,
                            Overlap::CancelOther,
                        ][usize::from(overlap)],
                        catch_up: CatchUp::All,
                        template: json(&format!(r#"{{"agent_id":"agent-{overlap}"}}"#)),
                    },
                    paused: paused.then_some(true),
                    next_at: Some(now.plus(delay * SECOND)),
                    expected: ExpectedSchedule::Any,
                };
                let _ = both!(self, store => store.put_schedule(new.clone()));
            }
            Command::ChangeSchedule(change) => {
                let change = match change {
                    0 => ScheduleChange::Pause {
                        expected: ExpectedSchedule::Any,
                    },
                    1 | 2 => ScheduleChange::Resume {
                        expected: ExpectedSchedule::Any,
                        next_at: Some(now.plus(SECOND)),
                    },
                    _ => ScheduleChange::Remove {
                        expected: ExpectedSchedule::Any,
                    },
                };
                let _ = both!(self, store => store.change_schedule(TENANT, name.clone(), change));
            }
            Command::Fire {
                occasion,
                runs,
                broken,
            } => self.fire(name, occasion, runs, broken).await?,
            Command::PutAgent {
                name,
                starts,
                definition,
            } => {
                let new = NewAgent {
                    tenant: TENANT,
                    name: agent_name(name).parse().unwrap(),
                    spec: AgentSpec {
                        definition: Json::parse(&format!(r#"{{"n":{definition}}}"#)).unwrap(),
                        digest: agent_digest(name, definition),
                        description: String::new(),
                        agents: starts
                            .map(|of| agent_name(of).parse().unwrap())
                            .into_iter()
                            .collect(),
                    },
                    expected: Expected::Any,
                };
                let _ = both!(self, store => store.put_agent(new.clone()));
            }
            Command::RemoveAgent { name, definition } => {
                let expected = match definition {
                    Some(definition) => Expected::Version(agent_digest(name, definition)),
                    None => Expected::Any,
                };
                let name: AgentName = agent_name(name).parse().unwrap();
                let _ = both!(self, store => store.remove_agent(TENANT, name.clone(), expected));
            }
            _ => {}
        }
        Ok(())
    }

    async fn fire(
        &mut self,
        name: ops_core::schedule::ScheduleName,
        occasion: u8,
        runs: u8,
        broken: bool,
    ) -> Done {
        let found = both!(self, store => store.schedule(TENANT, name.clone()));
        let Ok(schedule) = found else { return Ok(()) };
        let now = self.now();
        let due = schedule.next_at.unwrap_or(now);
        let (occasion, dates) = match occasion {
            0 => (Occasion::Manual, vec![now]),
            1 => {
                let due = schedule.waiting.unwrap_or(now);
                (Occasion::Waited { due }, vec![due])
            }
            _ => {
                let dates: Vec<Micros> = (0..i64::from(runs))
                    .map(|run| due.plus(run * SECOND))
                    .collect();
                let next = due.plus(i64::from(runs) * SECOND);
                let occasion = Occasion::Due {
                    due,
                    next: Some(next),
                    missed: broken,
                };
                (occasion, dates)
            }
        };
        let mut fire = Fire {
            revision: schedule.revision,
            occasion,
            runs: Vec::new(),
        };
        for due in dates {
            let task = self.plain_task();
            self.tasks.push((TENANT, task.task.id));
            let task = match broken {
                true => Err("no worker knows the task type".to_owned()),
                false => Ok(task),
            };
            fire.runs.push((due, task));
        }
        let _ = both!(self, store => store.fire_schedule(TENANT, name.clone(), fire.clone()));
        Ok(())
    }

    /// Everything that both have. Gives how often each kind of event happened.
    pub(crate) async fn compare(&self) -> Result<Seen, TestCaseError> {
        let mut seen = Seen::new();
        for tenant in [TENANT, OTHER] {
            let filter = TaskFilter {
                limit: 1_000,
                ..TaskFilter::default()
            };
            let tasks = both!(self, store => store.tasks(tenant, filter.clone()));
            for record in tasks.unwrap_or_default() {
                let id = record.task.id;
                let log = both!(self, store => store.events(tenant, id, 0, 1_000));
                for event in log.unwrap_or_default() {
                    let event = event.event;
                    let is_blocked = event.kind == "task.waiting"
                        && String::from_utf8_lossy(&event.body).contains("concurrency");
                    let blocked = is_blocked.then(|| "blocked".to_owned());
                    for kind in blocked.into_iter().chain([event.kind]) {
                        *seen.entry(kind).or_default() += 1;
                    }
                }
                let _ = both!(self, store => store.life(tenant, id));
                let _ = both!(self, store => store.snapshot(tenant, id));
                let _ = both!(self, store => store.turn_start(tenant, id, record.life.seq));
                let children = TaskFilter {
                    parent: Some(id),
                    ..filter.clone()
                };
                let _ = both!(self, store => store.tasks(tenant, children.clone()));
            }
            for status in [Status::Pending, Status::Running, Status::Failed] {
                let of_status = TaskFilter {
                    status: Some(status),
                    ..filter.clone()
                };
                let _ = both!(self, store => store.tasks(tenant, of_status.clone()));
                let _ = both!(self, store => store.count(tenant, of_status.clone()));
            }
            for filter in [
                TaskFilter {
                    in_doubt: true,
                    ..filter.clone()
                },
                TaskFilter {
                    dead_letter: true,
                    ..filter.clone()
                },
                TaskFilter {
                    labels: [("priority".to_owned(), "1".to_owned())].into(),
                    text: Some("TASK 1".into()),
                    ..filter.clone()
                },
            ] {
                let _ = both!(self, store => store.tasks(tenant, filter.clone()));
                let _ = both!(self, store => store.count(tenant, filter.clone()));
            }
            let _ = both!(self, store => store.counts(tenant));
            let approvals = ApprovalFilter {
                limit: 1_000,
                ..ApprovalFilter::default()
            };
            let _ = both!(self, store => async {
                store.approvals(tenant, approvals.clone()).await.map(ranked)
            });
            let _ = both!(self, store => store.schedules(tenant, None, 100));
            let _ = both!(self, store => store.agents(tenant, None, 100));
        }
        let name: ops_core::schedule::ScheduleName = "nightly".parse().unwrap();
        let _ = both!(self, store => store.schedule_runs(TENANT, name.clone(), 1_000));
        let _ = both!(self, store => store.due_schedules(100));
        let _ = both!(self, store => store.ready_queues());
        for session in self.sessions.iter().flatten() {
            let _ = both!(self, store => store.heartbeat(*session));
        }
        Ok(seen)
    }
}

/// Approvals with their places in the list for numbers. Stores differ in whether an approval may get the
/// number of one that was deleted.
fn ranked(mut listed: Listed<(u64, Approval)>) -> Listed<(u64, Approval)> {
    for (place, (number, _)) in (0..).zip(&mut listed.found) {
        *number = place;
    }
    listed
}

fn queue_name(queue: u8) -> String {
    ["default", "other"][usize::from(queue)].to_owned()
}

fn agent_digest(agent: u8, definition: u8) -> AgentDigest {
    AgentDigest::from_bytes([agent * 16 + definition; 32])
}

fn agent_name(agent: u8) -> String {
    format!("agent-{agent}")
}

fn tool_event(number: u32, status: StepStatus, body: serde_json::Value) -> NewEvent {
    NewEvent {
        kind: format!("tool.{}", status.as_str()),
        step: Some(StepMark {
            number,
            kind: StepKind::Tool,
            status,
            effect: EffectClass::Pure,
        }),
        usage: Usage {
            input_tokens: 10,
            output_tokens: 2,
            cost_micros: 7,
        },
        blobs: Vec::new(),
        body: body.to_string().into(),
    }
}

/// A step that begins and ends.
fn pair_of_events(number: u32, large: bool) -> [NewEvent; 2] {
    let output = if large {
        big_json(9_000).to_value()
    } else {
        json!(1)
    };
    let body = |kind: &str| json!({"v": 1, "type": kind, "output": output});
    [
        tool_event(number, StepStatus::Started, body("tool.started")),
        tool_event(number, StepStatus::Completed, body("tool.completed")),
    ]
}

/// The outcome of a call that started a child.
fn spawned(number: u32, child: TaskId) -> NewEvent {
    let body = json!({"v": 1, "type": "tool.completed", "child": {"task": child.to_string()}});
    tool_event(number, StepStatus::Completed, body)
}

fn approval(step: u32, expires_at: Option<Micros>) -> NewApproval {
    NewApproval {
        step,
        tool: "send_mail".into(),
        tool_digest: "aa".repeat(32),
        agent_digest: "bb".repeat(32),
        input: json!({"to": "ann"}),
        input_digest: "cc".repeat(32),
        input_schema: json!({"type": "object"}),
        reason: "the policy asks".into(),
        expires_at,
        details: Default::default(),
    }
}
