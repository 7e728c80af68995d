//! The shapes of answers and parameters, for `/openapi.json`: those that are written as text, field by
//! field, and so have no type of their own. `tests/it/operations` holds every answer, and every list of
//! known parameters, against them. The bodies of requests are declared where they are read.
#![expect(dead_code, reason = "they are described, never made")]

mod control;
mod limits;
mod steps;

use std::collections::BTreeMap;

use ops_core::{Code, task::StateName};
use serde::Serialize;
use serde_json::Value;
use utoipa::{
    IntoParams, IntoResponses, ToSchema,
    openapi::{Array, ArrayBuilder, Object, ObjectBuilder, Type},
};

pub(crate) use self::{
    control::{
        Approval, ApprovalList, ApprovalQuery, DeadLetters, IdempotencyKey, ReconciliationList,
        Redriven, Steered, StepPath,
    },
    limits::Limits,
    steps::{Prompt, StepList, StepStatus},
};

/// Why a request was refused (RFC 9457).
#[derive(ToSchema)]
pub(crate) struct Problem {
    /// `urn:opspawn:error:` and the code.
    r#type: String,
    /// Meaning of the code.
    title: String,
    /// The HTTP status.
    status: u16,
    /// Stable; the page on errors lists them.
    #[schema(schema_with = code)]
    code: String,
    /// The problem and its cause.
    detail: String,
    /// The remedy.
    fix: String,
    /// The same as the header `x-request-id`. Errors of a batch's tasks have none of their own.
    request_id: Option<String>,
    /// Each invalid part, if the request itself is invalid.
    errors: Option<Vec<Part>>,
}

/// An offending part of a request.
#[derive(ToSchema)]
pub(crate) struct Part {
    /// `body`, `query` or `header`, and the keys from there.
    loc: Vec<String>,
    /// The mistake.
    msg: String,
    /// A stable kind, like `missing` or `unknown_field`.
    r#type: String,
}

/// The task of the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TaskPath {
    /// `task_` and a UUID.
    #[param(example = "task_01a2060b-404b-705a-b965-2ff9f46dad85")]
    task_id: String,
}

/// A page of a task's log.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogPage {
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// In place of `cursor`: only what has a larger `seq`.
    after: Option<u64>,
}

/// There is no such task: `task_not_found`.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub(crate) struct NoTask(Problem);

/// The state of the task does not allow it; `code` says which it is.
#[derive(IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
pub(crate) struct Conflict(Problem);

/// The body or the query string is not valid; `errors` names each offending part.
#[derive(IntoResponses)]
#[response(status = 422, content_type = "application/problem+json")]
pub(crate) struct Invalid(Problem);

/// `mcp_server_not_found`: there is no such MCP server.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub(crate) struct NoServer(Problem);

/// `mcp_definition_changed`: the server lists another definition by now, or none.
#[derive(IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
pub(crate) struct DefinitionChanged(Problem);

/// `reload_refused`: the configuration has a mistake, and nothing was changed.
#[derive(IntoResponses)]
#[response(status = 422, content_type = "application/problem+json")]
pub(crate) struct ReloadRefused(Problem);

/// Outcomes of the tasks of a batch.
#[derive(ToSchema)]
pub(crate) struct Submissions {
    /// An outcome for each task, in their order.
    results: Vec<Submission>,
    accepted: u32,
    refused: u32,
}

/// Outcome of one task of a batch.
#[derive(ToSchema)]
pub(crate) struct Submission {
    /// The status that the task alone would have got.
    status: u16,
    /// Whether its `request_id` had made it before.
    replayed: bool,
    #[schema(required)]
    task: Option<Task>,
    #[schema(required)]
    error: Option<Problem>,
}

/// A task and where it stands.
#[derive(ToSchema)]
pub(crate) struct Task {
    /// `task_` and a UUID.
    task_id: String,
    task_type: String,
    #[schema(required)]
    name: Option<String>,
    /// The state of version 1.
    status: Status,
    /// As submitted, byte for byte.
    input_data: Value,
    /// The same as `result`.
    #[schema(required, value_type = Option<Object>)]
    output_data: Option<Value>,
    /// Of a completed task: `answer`, and the `files` that it wrote.
    #[schema(required, value_type = Option<Object>)]
    result: Option<Value>,
    /// `answer` of the result as text: an answer in JSON as its text.
    #[schema(required)]
    output: Option<String>,
    /// The same as `error.message`.
    #[schema(required)]
    error_message: Option<String>,
    #[schema(required)]
    agent_id: Option<String>,
    /// The version of the agent that the task is pinned to.
    #[schema(required)]
    agent_digest: Option<String>,
    /// Always null.
    #[schema(required)]
    workflow_id: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    /// Its last event.
    #[schema(format = DateTime)]
    updated_at: String,
    /// When it goes on by itself; else the `run_at` of its submit.
    #[schema(required, format = DateTime)]
    scheduled_at: Option<String>,
    /// Its first start.
    #[schema(required, format = DateTime)]
    started_at: Option<String>,
    /// Its end.
    #[schema(required, format = DateTime)]
    completed_at: Option<String>,
    #[schema(schema_with = state)]
    state: String,
    /// The condition that the task waits for.
    #[schema(required)]
    state_detail: Option<StateDetail>,
    /// Whether a pause was requested: no part of the task begins until a resume.
    paused: bool,
    /// The current attempt, from 1.
    attempt: u32,
    /// The queue that it waits in.
    queue: String,
    /// Tasks with the same key run one after the other.
    #[schema(required)]
    concurrency_key: Option<String>,
    priority: u8,
    labels: BTreeMap<String, String>,
    limits: Limits,
    /// Those in force for its run; null before it has begun.
    #[schema(required)]
    limits_in_force: Option<Limits>,
    /// Why the task failed.
    #[schema(required)]
    error: Option<TaskError>,
    /// Failure of the last attempt that failed, also while a further attempt waits or runs; null once the task
    /// has completed.
    #[schema(required)]
    last_failure: Option<TaskError>,
    usage: Usage,
    /// Usage of its ended children, and of their children.
    children_usage: Usage,
    /// The task whose agent started it.
    #[schema(required)]
    parent: Option<String>,
    /// The step of that task; only with `parent`.
    parent_step: Option<u32>,
    /// The task that it does again.
    #[schema(required)]
    retry_of: Option<String>,
    /// Whether all attempts of the task were used up, or its workers were lost too often.
    dead_letter: bool,
    /// Only in lists: values of more than 8 KiB that are `null` here.
    left_out: Option<LeftOut>,
    /// What its client should know though it was accepted, like a provider that there is not; only in
    /// the answer to the request that makes the task.
    warnings: Option<Vec<Part>>,
}

/// Bytes of the values that a list leaves out: `input_data`, and `result` with `output_data` and `output`.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeftOut {
    input_data: Option<u64>,
    result: Option<u64>,
}

/// The state of version 1.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Pending,
    Running,
    Completed,
    Failed,
    Cancelled,
}

/// The condition of a waiting task.
#[derive(ToSchema)]
pub(crate) struct StateDetail {
    /// `start`, `retry`, `timer`, `in_doubt`, ...
    on: String,
    /// Time at which the task goes on by itself.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// The steps that wait for somebody's word.
    steps: Option<Vec<u32>>,
    /// The names of the signals that it waits for.
    signals: Option<Vec<String>>,
    /// The children that it waits for.
    tasks: Option<Vec<String>>,
    /// The concurrency key that another task holds.
    key: Option<String>,
    /// The limit that is used up.
    limit: Option<String>,
    /// In words, with how to go on.
    message: Option<String>,
    /// The failure of the previous attempt, for a task that waits for its next attempt.
    error: Option<TaskError>,
}

/// Why a task failed.
#[derive(ToSchema)]
pub(crate) struct TaskError {
    /// Stable; the page on errors lists the codes of tasks.
    code: String,
    message: String,
}

/// Usage of model calls.
#[derive(ToSchema)]
pub(crate) struct Usage {
    input_tokens: u64,
    output_tokens: u64,
    /// 0 where the price is not known.
    cost_usd: f64,
}

/// Tasks, newest first.
#[derive(ToSchema)]
pub(crate) struct TaskList {
    tasks: Vec<Task>,
    /// The number of tasks that the filter fits, over all pages.
    total: u64,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
    /// Ids or names of entries that are damaged and left out; not there if there are none.
    damaged: Option<Vec<String>>,
}

/// Effect of repeating a call.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    Pure,
    Idempotent,
    Keyed,
    Write,
}

/// A page of a task's log.
#[derive(ToSchema)]
pub(crate) struct EventList {
    events: Vec<Event>,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// An event of a task. An event never changes.
#[derive(ToSchema)]
pub(crate) struct Event {
    /// From 1, without a gap.
    seq: u64,
    /// Like `task.submitted` or `tool.completed`.
    r#type: String,
    #[schema(format = DateTime)]
    at: String,
    /// `type`, `v` and what belongs to the type. Times in it are microseconds since 1970.
    #[schema(value_type = Object)]
    data: Value,
}

/// The names of states.
pub(crate) fn state() -> Object {
    words(StateName::ALL.map(StateName::as_str))
}

/// A list of states.
pub(crate) fn states() -> Array {
    ArrayBuilder::new().items(state()).build()
}

fn code() -> Object {
    words(Code::ALL.iter().map(|code| code.as_str()))
}

fn words(words: impl IntoIterator<Item = &'static str>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
        .build()
}
