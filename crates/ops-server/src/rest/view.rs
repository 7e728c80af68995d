//! A task as clients see it: the fields of version 1, and the new ones after them; and the views that
//! several endpoints share.

use std::{borrow::Cow, collections::BTreeMap};

use ops_core::{
    AgentDigest, ApprovalStatus, Json, Lifecycle, Micros, State, TaskId, Wait,
    event::{self, EffectClass},
    ports::{self, TaskRecord},
    schedule::{CatchUp, Overlap, Trigger},
    task::{OnExhausted, StateName, Status, TaskLimits},
};
use ops_engine::{Engine, Initiator, StepState};
use units::money;

use crate::{
    json::{Optional, Raw, Shown, pick, view, words},
    problem::Part,
};

view! {
    /// A task and where it stands.
    pub(crate) struct Task<'a> {
        /// `task_` and a UUID.
        task_id: TaskId,
        task_type: &'a str,
        name: Option<&'a str>,
        /// The state of version 1.
        status: Status,
        /// As submitted, byte for byte.
        input_data: &'a Json,
        /// The same as `result`.
        output_data: Option<&'a Json> = {"type": ["object", "null"]},
        /// Of a completed task: `answer`, and the `files` that it wrote.
        result: Option<&'a Json> = {"type": ["object", "null"]},
        /// `answer` of the result as text: an answer in JSON as its text.
        output: Option<AnswerText<'a>>,
        /// The same as `error.message`.
        error_message: Option<&'a str>,
        agent_id: Option<&'a str>,
        /// The version of the agent that the task is pinned to.
        agent_digest: Option<AgentDigest>,
        /// Always null.
        workflow_id: Option<&'a str>,
        created_at: Micros,
        /// Its last event.
        updated_at: Micros,
        /// When it goes on by itself; else the `run_at` of its submit.
        scheduled_at: Option<Micros>,
        /// Its first start.
        started_at: Option<Micros>,
        /// Its end.
        completed_at: Option<Micros>,
        state: StateName,
        /// The condition that the task waits for.
        state_detail: Option<StateDetail<'a>>,
        /// Whether a pause was requested: no part of the task begins until a resume.
        paused: bool,
        /// The current attempt, from 1.
        attempt: u32,
        /// The queue that it waits in.
        queue: &'a str,
        /// Tasks with the same key run one after the other.
        concurrency_key: Option<&'a str>,
        priority: u8,
        labels: &'a BTreeMap<String, String>,
        limits: Limits,
        /// Those in force for its run; null before it has begun.
        limits_in_force: Option<Limits>,
        /// Why the task failed.
        error: Option<TaskError<'a>>,
        /// Failure of the last attempt that failed, also while a further attempt waits or runs; null once
        /// the task has completed.
        last_failure: Option<TaskError<'a>>,
        usage: Usage,
        /// Usage of its ended children, and of their children.
        children_usage: Usage,
        /// The task whose agent started it.
        parent: Option<TaskId>,
        /// The step of that task; only with `parent`.
        parent_step: Optional<u32>,
        /// The task that it does again.
        retry_of: Option<TaskId>,
        /// Whether all attempts of the task were used up, or its workers were lost too often.
        dead_letter: bool,
        /// Only in lists: values of more than 8 KiB that are `null` here.
        left_out: Optional<LeftOut>,
        /// What its client should know though it was accepted, like a provider that there is not; only in
        /// the answer to the request that makes the task.
        warnings: Optional<Vec<Part>>,
    }
}

view! {
    /// Bytes of the values that a list leaves out: `input_data`, and `result` with `output_data` and `output`.
    pub(crate) struct LeftOut {
        input_data: Optional<u64>,
        result: Optional<u64>,
    }
}

view! {
    /// The condition of a waiting task.
    pub(crate) struct StateDetail<'a> {
        /// `start`, `retry`, `timer`, `in_doubt`, ...
        on: &'static str,
        /// Time at which the task goes on by itself.
        until: Optional<Micros>,
        /// The steps that wait for somebody's word.
        steps: Optional<&'a [u32]>,
        /// The names of the signals that it waits for.
        signals: Optional<&'a [String]>,
        /// The children that it waits for.
        tasks: Optional<&'a [TaskId]>,
        /// The concurrency key that another task holds.
        key: Optional<&'a str>,
        /// The limit that is used up.
        limit: Optional<&'a str>,
        /// In words, with how to go on.
        message: Optional<Cow<'a, str>>,
        /// The failure of the previous attempt, for a task that waits for its next attempt.
        error: Optional<TaskError<'a>>,
    }
}

view! {
    /// Why a task failed.
    pub(crate) struct TaskError<'a> {
        /// Stable; the page on errors lists the codes of tasks.
        code: &'a str,
        message: &'a str,
    }
}

view! {
    /// Usage of model calls.
    pub(crate) struct Usage {
        input_tokens: u64,
        output_tokens: u64,
        /// 0 where the price is not known.
        cost_usd: f64,
    }
}

view! {
    /// Limits as submitted or given later; null where the configured one applies.
    pub(crate) struct Limits {
        max_steps: Option<u32>,
        max_tokens: Option<u64>,
        /// Money in USD.
        max_cost_usd: Option<f64>,
        /// Seconds from the first start.
        timeout: Option<f64>,
        queue_timeout: Option<f64>,
        on_exhausted: Option<OnExhausted>,
    }
}

words! {
    /// Behaviour of a task's run where a limit is used up.
    OnExhausted as OnExhausted: OnExhausted::NAMES.iter().copied();
    /// Effect of repeating a call.
    EffectClass as Effect: EffectClass::ALL.iter().map(|effect| effect.as_str());
    /// The fate of a run that is due while an earlier run has not ended.
    Overlap as Overlap: Overlap::NAMES.iter().copied();
    /// The fate of runs that were due while no server ran.
    CatchUp as CatchUp: CatchUp::NAMES.iter().copied();
}

words! {
    /// Who asked for a tool call.
    Initiator as Initiator { Model = "model", Machine = "machine", }
    /// How a step stands.
    StepState as StepStatus {
        Queued = "queued",
        Started = "started",
        Waiting = "waiting",
        Completed = "completed",
        Failed = "failed",
        InDoubt = "in_doubt",
    }
    /// The state of version 1.
    Status as Status {
        Pending = "pending",
        Running = "running",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
    }
    /// Why there was a run.
    Trigger as Trigger { Due = "clock", Manual = "manual", }
}

words! {
    ApprovalStatus: ApprovalStatus::ALL.iter().map(|status| status.as_str());
    StateName: StateName::ALL.map(StateName::as_str);
}

impl<'a> Task<'a> {
    /// A task as a command has left it.
    pub(crate) fn of(record: &'a TaskRecord) -> Self {
        let TaskRecord {
            task,
            life,
            result,
            in_force,
            left_out,
        } = record;
        let error = life.error();
        Self {
            task_id: task.id,
            task_type: &task.task_type,
            name: task.name.as_deref(),
            status: life.status(),
            input_data: &task.input,
            output_data: result.as_ref(),
            result: result.as_ref(),
            output: result.as_ref().and_then(AnswerText::of),
            error_message: error.map(|error| error.message.as_str()),
            agent_id: task.agent_id.as_deref(),
            agent_digest: task.agent_digest,
            workflow_id: None,
            created_at: task.created_at,
            updated_at: life.updated_at,
            scheduled_at: life.state.due().or(task.run_at),
            started_at: life.started_at,
            completed_at: life.completed_at,
            state: life.state.name(),
            state_detail: StateDetail::of(life),
            paused: life.paused,
            attempt: life.attempt,
            queue: &task.queue,
            concurrency_key: task.concurrency_key.as_deref(),
            priority: task.priority,
            labels: &task.labels,
            limits: Limits::of(&task.limits),
            limits_in_force: in_force.as_ref().map(Limits::of),
            error: error.map(TaskError::of),
            last_failure: life.failure.as_ref().map(TaskError::of),
            usage: Usage::of(&life.usage),
            children_usage: Usage::of(&life.children_usage),
            parent: task.parent.map(|parent| parent.task),
            parent_step: Optional(task.parent.map(|parent| parent.step)),
            retry_of: task.retry_of,
            dead_letter: matches!(
                life.state,
                State::Failed {
                    dead_letter: true,
                    ..
                }
            ),
            left_out: Optional(LeftOut::of(*left_out)),
            warnings: Optional(None),
        }
    }

    /// A task that was accepted just now, with warnings for its client.
    pub(crate) fn accepted(record: &'a TaskRecord, warnings: Vec<Part>) -> Self {
        Self {
            warnings: Optional::list(warnings),
            ..Self::of(record)
        }
    }

    /// A task for a reader, who sees that no worker serves its queue.
    pub(crate) fn seen(engine: &Engine, record: &'a TaskRecord) -> Self {
        let mut task = Self::of(record);
        if task.state == StateName::Pending && !engine.serves(task.queue) {
            task.state_detail = Some(StateDetail::unserved(task.queue));
        }
        task
    }
}

impl LeftOut {
    fn of(sizes: ports::LeftOut) -> Option<Self> {
        (sizes != ports::LeftOut::default()).then_some(Self {
            input_data: Optional(sizes.input),
            result: Optional(sizes.result),
        })
    }
}

/// The answer as text: `answer` of the result, and as JSON text if it is no string.
pub(crate) struct AnswerText<'a>(&'a str);

impl<'a> AnswerText<'a> {
    /// None where the result has no answer.
    fn of(result: &'a Json) -> Option<Self> {
        pick(result.as_str(), &["answer"]).raw("answer").map(Self)
    }
}

impl Shown for AnswerText<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self.0.starts_with('"') {
            // The text of a string is a string already.
            true => Raw(self.0).write(out),
            false => self.0.write(out),
        }
    }

    fn schema() -> serde_json::Value {
        str::schema()
    }
}

impl<'a> StateDetail<'a> {
    fn on(on: &'static str) -> Self {
        Self {
            on,
            until: Optional(None),
            steps: Optional(None),
            signals: Optional(None),
            tasks: Optional(None),
            key: Optional(None),
            limit: Optional(None),
            message: Optional(None),
            error: Optional(None),
        }
    }

    /// Why no worker takes a task that is ready.
    fn unserved(queue: &str) -> Self {
        let message = format!(
            "no worker serves the queue `{queue}`: start a worker that does (`opspawn worker`; queues other than \
             `default` are named in its `[queues.{queue}]`), or cancel the task and submit it to another queue"
        );
        Self {
            message: Optional(Some(message.into())),
            ..Self::on("queue")
        }
    }

    /// What the task waits for: `on` says what, `until` when the clock ends it, and `steps`, `signals`,
    /// `tasks`, `key` or `limit` what exactly; `error`, why the attempt before a retry failed.
    fn of(life: &'a Lifecycle) -> Option<Self> {
        let wait = match &life.state {
            State::Scheduled { until, .. } => {
                let on = if life.attempt > 1 { "retry" } else { "start" };
                return Some(Self {
                    until: Optional(Some(*until)),
                    error: Optional(life.failure.as_ref().map(TaskError::of)),
                    ..Self::on(on)
                });
            }
            State::Waiting(wait) => wait,
            State::Pending { .. }
            | State::Paused { .. }
            | State::Running { .. }
            | State::Cancelling { .. }
            | State::Completed { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => return None,
        };
        let mut detail = Self {
            until: Optional(wait.until()),
            ..Self::on(wait.name())
        };
        match wait {
            Wait::InDoubt { steps, .. } | Wait::Approval { steps, .. } => {
                detail.steps = Optional(Some(steps.as_slice()));
            }
            Wait::Signal { names, .. } => detail.signals = Optional(Some(names.as_slice())),
            Wait::Child { tasks, .. } => detail.tasks = Optional(Some(tasks.as_slice())),
            Wait::Budget { limit, message, .. } => {
                detail.limit = Optional(Some(limit.as_str()));
                detail.message = Optional(Some(message.as_str().into()));
            }
            Wait::Concurrency { key, .. } => detail.key = Optional(Some(key.as_str())),
            Wait::Timer { error, .. } => {
                detail.error = Optional(error.as_ref().map(TaskError::of));
            }
        }
        Some(detail)
    }
}

impl<'a> TaskError<'a> {
    /// A failure of the engine.
    pub(crate) fn of(error: &'a event::TaskError) -> Self {
        Self {
            code: &error.code,
            message: &error.message,
        }
    }
}

impl Usage {
    /// Tokens, and money in USD.
    pub(crate) fn of(usage: &event::Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost_usd: money::usd(usage.cost_micros),
        }
    }
}

impl Limits {
    /// Limits as they were asked for, or given later.
    pub(crate) fn of(limits: &TaskLimits) -> Self {
        Self {
            max_steps: limits.max_steps,
            max_tokens: limits.max_tokens,
            max_cost_usd: limits.max_cost_micros.map(money::usd),
            timeout: limits.timeout_micros.map(seconds),
            queue_timeout: limits.queue_timeout_micros.map(seconds),
            on_exhausted: limits.on_exhausted,
        }
    }
}

/// Microseconds as seconds.
pub(crate) fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
