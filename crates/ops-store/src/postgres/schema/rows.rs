//! Rows as values of the domain. Column lists stand beside the functions that read them.

use ops_core::{
    AgentDigest, AgentName, Approval, ApprovalStatus, Json, Lifecycle, Micros, NewApproval, Parent,
    SessionId, StoredEvent, Task, TaskId, TenantId, Wait,
    agent::{Agent, AgentSpec, AgentVersion},
    event::{EffectClass, NewEvent, StepKind, StepMark, StepStatus, TaskError, Usage},
    ports::{LeftOut, StoreError, TaskRecord},
    retry::RetryPolicy,
    schedule::{
        CatchUp, Overlap, RunOutcome, Schedule, ScheduleName, ScheduleRun, ScheduleSpec, Trigger,
    },
    task::{LifeRow, StateName, StateRow},
};
use serde::de::DeserializeOwned;
use tokio_postgres::{Row, types::FromSql};

/// SHA-256.
pub(crate) type Digest = [u8; 32];

type Read<T> = Result<T, StoreError>;

// What [`life`] reads, in its order, from `tasks`.
pub(crate) const LIFE: &str = "tasks.state, tasks.session_id, tasks.due_at, tasks.wait, \
    tasks.dead_letter, tasks.attempt, tasks.epoch, tasks.seq, tasks.lease_losses, tasks.run_started, \
    tasks.input_tokens, tasks.output_tokens, tasks.cost_micros, tasks.retry_max_attempts, \
    tasks.retry_initial_micros, tasks.retry_max_micros, tasks.retry_max_lease_losses, \
    tasks.started_at, tasks.updated_at, tasks.completed_at, tasks.flags, \
    tasks.children_input_tokens, tasks.children_output_tokens, tasks.children_cost_micros, \
    tasks.timeout_micros, tasks.start_by, tasks.error";
const LIFE_COLUMNS: usize = 27;

// What [`linked`] reads behind [`LIFE`].
pub(crate) const LINKS: &str = "tasks.tenant_id, tasks.task_id, tasks.queue, \
    tasks.concurrency_key, tasks.parent_id";
const LINK_COLUMNS: usize = 5;
// How many columns `LIFE` and `LINKS` are.
pub(crate) const LOADED: usize = LIFE_COLUMNS + LINK_COLUMNS;

// What [`record`] reads behind [`LIFE`] and [`LINKS`], from `tasks` joined with `task_requests AS asked`.
pub(crate) const REQUEST: &str = "tasks.priority, tasks.result, tasks.result_digest, \
    asked.task_type, asked.name, asked.agent_id, asked.agent_digest, asked.input, \
    asked.input_digest, asked.labels, asked.limits, asked.in_force, asked.retry_of, \
    asked.created_at, asked.run_at, asked.parent_step, asked.depth_left";

// What [`event`] reads, in its order, from `events`.
pub(crate) const EVENT: &str = "seq, at, kind, step, step_kind, step_status, effect, input_tokens, \
    output_tokens, cost_micros, blobs, body, body_digest, epoch";

// What [`approval`] reads, in its order.
pub(crate) const APPROVAL: &str = "approval_row, task_id, step, revision, status, tool, \
    tool_digest, agent_digest, input, input_digest, input_schema, reason, asked_at, expires_at, \
    decided_at, decided_by, note, details";

// What [`version`] reads, in its order, from `agent_versions AS version`.
pub(crate) const VERSION: &str = "version.tenant_id, version.name, version.digest, \
    version.definition, version.description, version.agents, version.created_at";

// What [`agent`] reads behind [`VERSION`], from `agents AS agent` joined with it.
pub(crate) const AGENT: &str = "agent.revision, agent.created_at, agent.updated_at";

// What [`schedule`] reads, in its order.
pub(crate) const SCHEDULE: &str = "tenant_id, name, cron, timezone, overlap, catch_up, template, \
    paused, revision, next_at, waiting, created_at, updated_at";

// What [`run`] reads, in its order, from `schedule_runs`.
pub(crate) const RUN: &str = "due, at, cause, outcome, task_id, message, run_row";

fn unreadable(row: &Row, column: usize, why: impl std::fmt::Display) -> StoreError {
    let name = row
        .columns()
        .get(column)
        .map_or("?", |column| column.name());
    StoreError::Unreadable(format!("the column {name} of a row: {why}"))
}

/// A value of a column.
pub(crate) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Read<T> {
    row.try_get(column)
        .map_err(|error| unreadable(row, column, error))
}

/// An unsigned number as it is stored.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number<T: TryFrom<i64>>(row: &Row, column: usize) -> Read<T> {
    T::try_from(get::<i64>(row, column)?)
        .map_err(|_| unreadable(row, column, "a number out of its range"))
}

pub(crate) fn small_number(row: &Row, column: usize) -> Read<u8> {
    number(row, column)
}

pub(crate) fn unsigned(row: &Row, column: usize) -> Read<u64> {
    number(row, column)
}

fn small(row: &Row, column: usize) -> Read<Option<u32>> {
    let found: Option<i64> = get(row, column)?;
    found
        .map(|found| {
            u32::try_from(found).map_err(|_| unreadable(row, column, "a number out of its range"))
        })
        .transpose()
}

pub(crate) fn micros(row: &Row, column: usize) -> Read<Option<Micros>> {
    Ok(get::<Option<i64>>(row, column)?.map(Micros))
}

fn array<const N: usize>(row: &Row, column: usize) -> Read<Option<[u8; N]>> {
    let found: Option<&[u8]> = get(row, column)?;
    found
        .map(|bytes| {
            <[u8; N]>::try_from(bytes)
                .map_err(|_| unreadable(row, column, "bytes of another length"))
        })
        .transpose()
}

fn must<T>(row: &Row, column: usize, found: Option<T>) -> Read<T> {
    found.ok_or_else(|| unreadable(row, column, "it is empty"))
}

pub(crate) fn tenant(row: &Row, column: usize) -> Read<TenantId> {
    Ok(TenantId(number(row, column)?))
}

pub(crate) fn task_id(row: &Row, column: usize) -> Read<TaskId> {
    let bytes = must(row, column, array(row, column)?)?;
    Ok(TaskId::from_bytes(bytes))
}

/// A task's key, from two columns.
pub(crate) fn key(row: &Row, at: usize) -> Read<(TenantId, TaskId)> {
    Ok((tenant(row, at)?, task_id(row, at + 1)?))
}

pub(crate) fn session_id(row: &Row, column: usize) -> Read<Option<SessionId>> {
    Ok(array(row, column)?.map(SessionId::from_bytes))
}

pub(crate) fn digest(row: &Row, column: usize) -> Read<Option<Digest>> {
    array(row, column)
}

// Text that a caller chose: bytes, as it may hold a U+0000.
pub(crate) fn text(row: &Row, column: usize) -> Read<Option<String>> {
    let found: Option<Vec<u8>> = get(row, column)?;
    found
        .map(|bytes| String::from_utf8(bytes).map_err(|_| unreadable(row, column, "no UTF-8")))
        .transpose()
}

pub(crate) fn must_text(row: &Row, column: usize) -> Read<String> {
    let found = text(row, column)?;
    must(row, column, found)
}

/// A value stored by its name.
fn named<T>(row: &Row, column: usize, parse: impl FnOnce(&str) -> Option<T>) -> Read<T> {
    let name: &str = get(row, column)?;
    parse(name).ok_or_else(|| {
        StoreError::Unavailable(format!(
            "a row: `{name}` is not known to this release; use the newer one that wrote it"
        ))
    })
}

fn json<T: DeserializeOwned>(row: &Row, column: usize) -> Read<Option<T>> {
    let found: Option<&str> = get(row, column)?;
    found
        .map(|text| serde_json::from_str(text).map_err(|error| unreadable(row, column, error)))
        .transpose()
}

pub(crate) fn document(row: &Row, column: usize) -> Read<Option<Json>> {
    let found: Option<&str> = get(row, column)?;
    found
        .map(|text| Json::parse(text).map_err(|error| unreadable(row, column, error)))
        .transpose()
}

fn usage(row: &Row, at: usize) -> Read<Usage> {
    Ok(Usage {
        input_tokens: unsigned(row, at)?,
        output_tokens: unsigned(row, at + 1)?,
        cost_micros: unsigned(row, at + 2)?,
    })
}

/// A lifecycle from [`LIFE`] at the first columns.
pub(crate) fn life(row: &Row, id: TaskId) -> Read<Lifecycle> {
    let state = StateRow {
        name: named(row, 0, StateName::from_name)?,
        session: session_id(row, 1)?,
        due: micros(row, 2)?,
        wait: json::<Wait>(row, 3)?,
        dead_letter: get::<i64>(row, 4)? != 0,
    };
    let decoded = Lifecycle::from_row(LifeRow {
        id,
        state,
        attempt: number(row, 5)?,
        epoch: unsigned(row, 6)?,
        seq: unsigned(row, 7)?,
        lease_losses: number(row, 8)?,
        run_started: get(row, 9)?,
        flags: number(row, 20)?,
        timeout: get(row, 24)?,
        start_by: micros(row, 25)?,
        usage: usage(row, 10)?,
        children_usage: usage(row, 21)?,
        retry: RetryPolicy {
            max_attempts: number(row, 13)?,
            initial_micros: get(row, 14)?,
            max_micros: get(row, 15)?,
            max_lease_losses: number(row, 16)?,
        },
        started_at: micros(row, 17)?,
        updated_at: Micros(get(row, 18)?),
        completed_at: micros(row, 19)?,
        failure: json::<TaskError>(row, 26)?,
    });
    decoded.map_err(|error| unreadable(row, 0, error))
}

// A task as `tasks` has it: what a transition and its follow-ups need.
#[derive(Debug, Clone)]
pub(crate) struct Linked {
    pub(crate) life: Lifecycle,
    pub(crate) queue: std::sync::Arc<str>,
    pub(crate) concurrency_key: Option<String>,
    pub(crate) parent: Option<TaskId>,
}

/// A task from [`LIFE`] and [`LINKS`].
pub(crate) fn linked(row: &Row) -> Read<Linked> {
    let at = LIFE_COLUMNS;
    Ok(Linked {
        life: life(row, task_id(row, at + 1)?)?,
        queue: must_text(row, at + 2)?.into(),
        concurrency_key: text(row, at + 3)?,
        parent: array(row, at + 4)?.map(TaskId::from_bytes),
    })
}

/// The key of a task from [`LIFE`] and [`LINKS`].
pub(crate) fn linked_key(row: &Row) -> Read<(TenantId, TaskId)> {
    key(row, LIFE_COLUMNS)
}

/// A record whose large values are still in the blob table.
#[derive(Debug)]
pub(crate) struct Sparse {
    pub(crate) record: TaskRecord,
    pub(crate) input: Option<Digest>,
    pub(crate) result: Option<Digest>,
}

/// A record from [`LIFE`], [`LINKS`] and [`REQUEST`].
pub(crate) fn record(row: &Row) -> Read<Sparse> {
    let Linked {
        life,
        queue,
        concurrency_key,
        parent,
    } = linked(row)?;
    let at = LIFE_COLUMNS + LINK_COLUMNS;
    let parent = match parent {
        Some(task) => Some(Parent {
            task,
            step: must(row, at + 15, small(row, at + 15)?)?,
            depth_left: must(row, at + 16, small(row, at + 16)?)?,
        }),
        None => None,
    };
    let task = Task {
        id: life.id,
        tenant: tenant(row, LIFE_COLUMNS)?,
        queue: queue.as_ref().to_owned(),
        priority: number(row, at)?,
        task_type: must_text(row, at + 3)?,
        name: text(row, at + 4)?,
        agent_id: text(row, at + 5)?,
        agent_digest: digest(row, at + 6)?.map(AgentDigest::from_bytes),
        input: document(row, at + 7)?.unwrap_or_else(Json::null),
        labels: json(row, at + 9)?.unwrap_or_default(),
        limits: json(row, at + 10)?.unwrap_or_default(),
        concurrency_key,
        retry_of: array(row, at + 12)?.map(TaskId::from_bytes),
        parent,
        created_at: Micros(get(row, at + 13)?),
        run_at: micros(row, at + 14)?,
    };
    Ok(Sparse {
        record: TaskRecord {
            task,
            life,
            result: document(row, at + 1)?,
            in_force: json(row, at + 11)?,
            left_out: LeftOut::default(),
        },
        input: digest(row, at + 8)?,
        result: digest(row, at + 2)?,
    })
}

/// An event with its epoch, and the digest of its body if that is in the blob table.
pub(crate) fn event(row: &Row) -> Read<(u64, StoredEvent, Option<Digest>)> {
    let step = match small(row, 3)? {
        Some(number) => Some(StepMark {
            number,
            kind: named(row, 4, StepKind::from_name)?,
            status: named(row, 5, StepStatus::from_name)?,
            effect: named(row, 6, EffectClass::from_name)?,
        }),
        None => None,
    };
    let blobs: Option<&str> = get(row, 10)?;
    let blobs = blobs.map(|text| text.split(',').map(str::to_owned).collect());
    let event = NewEvent {
        kind: get(row, 2)?,
        step,
        usage: usage(row, 7)?,
        blobs: blobs.unwrap_or_default(),
        body: get::<Option<Vec<u8>>>(row, 11)?.unwrap_or_default().into(),
    };
    let stored = StoredEvent {
        seq: unsigned(row, 0)?,
        at: Micros(get(row, 1)?),
        event,
    };
    Ok((unsigned(row, 13)?, stored, digest(row, 12)?))
}

/// An approval with its number.
pub(crate) fn approval(row: &Row) -> Read<(i64, Approval)> {
    let request = NewApproval {
        step: number(row, 2)?,
        tool: must_text(row, 5)?,
        tool_digest: must_text(row, 6)?,
        agent_digest: must_text(row, 7)?,
        input: must(row, 8, json(row, 8)?)?,
        input_digest: must_text(row, 9)?,
        input_schema: must(row, 10, json(row, 10)?)?,
        reason: must_text(row, 11)?,
        expires_at: micros(row, 13)?,
        details: json(row, 17)?.unwrap_or_default(),
    };
    let approval = Approval {
        task: task_id(row, 1)?,
        request,
        revision: number(row, 3)?,
        status: named(row, 4, ApprovalStatus::from_name)?,
        asked_at: Micros(get(row, 12)?),
        decided_at: micros(row, 14)?,
        decided_by: text(row, 15)?,
        note: text(row, 16)?,
    };
    Ok((get(row, 0)?, approval))
}

/// A version of an agent.
pub(crate) fn version(row: &Row) -> Read<AgentVersion> {
    let agents: Vec<String> = json(row, 5)?.unwrap_or_default();
    let agents = agents.iter().map(|name| name.parse::<AgentName>());
    Ok(AgentVersion {
        tenant: tenant(row, 0)?,
        name: must_text(row, 1)?
            .parse()
            .map_err(|error| unreadable(row, 1, error))?,
        spec: AgentSpec {
            digest: AgentDigest::from_bytes(must(row, 2, digest(row, 2)?)?),
            definition: must(row, 3, document(row, 3)?)?,
            description: must_text(row, 4)?,
            agents: agents
                .collect::<Result<_, _>>()
                .map_err(|error| unreadable(row, 5, error))?,
        },
        created_at: Micros(get(row, 6)?),
    })
}

/// An agent with its current version.
pub(crate) fn agent(row: &Row) -> Read<Agent> {
    Ok(Agent {
        version: version(row)?,
        revision: unsigned(row, 7)?,
        created_at: Micros(get(row, 8)?),
        updated_at: Micros(get(row, 9)?),
    })
}

/// A schedule.
pub(crate) fn schedule(row: &Row) -> Read<Schedule> {
    Ok(Schedule {
        tenant: tenant(row, 0)?,
        name: schedule_name(row, 1)?,
        spec: ScheduleSpec {
            cron: must_text(row, 2)?,
            timezone: must_text(row, 3)?,
            overlap: named(row, 4, Overlap::from_name)?,
            catch_up: named(row, 5, CatchUp::from_name)?,
            template: must(row, 6, document(row, 6)?)?,
        },
        paused: get(row, 7)?,
        revision: unsigned(row, 8)?,
        next_at: micros(row, 9)?,
        waiting: micros(row, 10)?,
        created_at: Micros(get(row, 11)?),
        updated_at: Micros(get(row, 12)?),
    })
}

fn schedule_name(row: &Row, column: usize) -> Read<ScheduleName> {
    must_text(row, column)?
        .parse()
        .map_err(|error| unreadable(row, column, error))
}

// How a run's outcome is stored: its name, and what belongs to it.
pub(crate) fn outcome(outcome: &RunOutcome) -> (&'static str, Option<TaskId>, Option<&str>) {
    match outcome {
        RunOutcome::Started(task) => ("started", Some(*task), None),
        RunOutcome::Waiting => ("waiting", None, None),
        RunOutcome::Skipped => ("skipped", None, None),
        RunOutcome::Missed => ("missed", None, None),
        RunOutcome::Refused(message) => ("refused", None, Some(message)),
    }
}

/// A run of a schedule, with its row.
pub(crate) fn run(row: &Row) -> Read<(i64, ScheduleRun)> {
    let trigger = |name: &str| match name {
        "clock" => Some(Trigger::Due),
        "manual" => Some(Trigger::Manual),
        _ => None,
    };
    let task = || must(row, 4, array(row, 4)?).map(TaskId::from_bytes);
    let outcome = match get::<&str>(row, 3)? {
        "started" => RunOutcome::Started(task()?),
        "waiting" => RunOutcome::Waiting,
        "skipped" => RunOutcome::Skipped,
        "missed" => RunOutcome::Missed,
        "refused" => RunOutcome::Refused(must_text(row, 5)?),
        other => return Err(unreadable(row, 3, format!("`{other}` is not known"))),
    };
    let run = ScheduleRun {
        due: Micros(get(row, 0)?),
        at: Micros(get(row, 1)?),
        trigger: named(row, 2, trigger)?,
        outcome,
    };
    Ok((get(row, 6)?, run))
}
