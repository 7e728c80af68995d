//! Fixtures for the tests of several rules.

use std::collections::BTreeMap;

use super::{Cause, decide, submit::submit};
use crate::{
    actor::Actor,
    command::{Append, Next, RunCommand},
    event::{EffectClass, NewEvent, StepKind, StepMark, StepStatus, Usage},
    id::{SessionId, TaskId, TenantId},
    json::Json,
    ports::NewTask,
    retry::RetryPolicy,
    task::{Lifecycle, Task, TaskLimits},
    time::Micros,
};

pub(crate) fn id(n: u8) -> TaskId {
    TaskId::new(Micros(1), [n; 10])
}

pub(crate) fn session() -> SessionId {
    SessionId::new(Micros(1), [1; 10])
}

pub(crate) fn new_task(n: u8) -> NewTask {
    NewTask {
        task: Task {
            id: id(n),
            tenant: TenantId::DEFAULT,
            task_type: "agent_run".into(),
            name: None,
            agent_id: None,
            agent_digest: None,
            input: Json::null(),
            labels: BTreeMap::new(),
            limits: TaskLimits::default(),
            priority: 5,
            queue: "default".into(),
            concurrency_key: None,
            retry_of: None,
            parent: None,
            created_at: Micros(1),
            run_at: None,
        },
        actor: Actor::Local,
        retry: RetryPolicy::default(),
        idempotency: None,
        fork: None,
    }
}

/// A ready task.
pub(crate) fn ready(n: u8) -> Lifecycle {
    submit(&new_task(n), 0, Micros(1)).life
}

/// A task after one cause, which must apply.
pub(crate) fn after(life: &Lifecycle, cause: Cause) -> Lifecycle {
    decide(life, cause, Micros(9)).unwrap().after
}

/// A task in the hands of a worker.
pub(crate) fn running(n: u8) -> Lifecycle {
    let session = session();
    after(&ready(n), Cause::Claim { session })
}

/// An append of no events.
pub(crate) fn next(life: &Lifecycle, next: Next) -> Cause {
    let append = Append::new(life.seq, Vec::new(), next);
    Cause::Run(RunCommand::append(life.epoch, append))
}

pub(crate) fn event(number: u32, body: &'static str) -> NewEvent {
    NewEvent {
        kind: "tool.completed".into(),
        step: Some(StepMark {
            number,
            kind: StepKind::Tool,
            status: StepStatus::Completed,
            effect: EffectClass::Pure,
        }),
        usage: Usage::default(),
        blobs: Vec::new(),
        body: body.as_bytes().into(),
    }
}
