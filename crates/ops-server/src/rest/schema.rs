//! The parameters and refusals of operations, for `/openapi.json`, and the shape of prompts, which the
//! engine's side writes. Answers are declared where they are written, and the bodies of requests where they
//! are read. `tests/it/operations` holds every list of known parameters against these.
#![expect(dead_code, reason = "they are described, never made")]

mod prompt;

use utoipa::{IntoParams, IntoResponses};

pub(crate) use self::prompt::Prompt;
use crate::{problem::Refusal, query::params};

/// The task of the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TaskPath {
    /// `task_` and a UUID.
    #[param(example = "task_01a2060b-404b-705a-b965-2ff9f46dad85")]
    task_id: String,
}

/// The key of a request that may be sent again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKey {
    /// Makes a repeated request find the same task: 1 to 255 bytes of visible ASCII.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

params! {
    /// Which approvals to list.
    pub(crate) struct ApprovalQuery {
        /// `pending`, `approved`, `denied`, `expired`, `void` or `all`. Default: `pending`
        status: String,
        /// Task to filter by.
        task_id: String,
        limit: u32 = {"minimum": 1, "maximum": 500, "default": 100},
        /// `next_cursor` of the page before.
        cursor: String,
    }
}

params! {
    /// A page of a list.
    pub(crate) struct PageQuery {
        limit: u32 = {"minimum": 1, "maximum": 1000, "default": 100},
        /// `next_cursor` of the page before.
        cursor: String,
    }
}

params! {
    /// A change that may be tried.
    pub(crate) struct DryRun {
        /// Store nothing; say what would be stored.
        dry_run: bool,
    }
}

/// The version that is known.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Known {
    /// The `ETag` that is known.
    #[param(rename = "If-None-Match")]
    tag: Option<String>,
}

/// The version that is changed.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Matching {
    /// The `ETag` that it must have; otherwise the request is refused.
    #[param(rename = "If-Match")]
    tag: Option<String>,
}

/// That there is no version to be changed.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Absent {
    /// `*`: there must be none of this name.
    #[param(rename = "If-None-Match")]
    tag: Option<String>,
}

/// The task and the step of the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct StepPath {
    /// `task_` and a UUID.
    #[param(example = "task_01a2060b-404b-705a-b965-2ff9f46dad85")]
    task_id: String,
    /// The number of the step.
    step: u32,
}

params! {
    /// A page of a task's log.
    pub(crate) struct LogPage {
        limit: u32 = {"minimum": 1, "maximum": 1000, "default": 100},
        /// `next_cursor` of the page before.
        cursor: String,
        /// In place of `cursor`: only what has a larger `seq`.
        after: u64,
    }
}

params! {
    /// A page of a task's events, or where their stream begins.
    pub(crate) struct EventPage {
        limit: u32 = {"minimum": 1, "maximum": 1000, "default": 100},
        /// `next_cursor` of the page before.
        cursor: String,
        /// In place of `cursor`: only what has a larger `seq`.
        after: u64,
        /// The same as `after`, and wins over it.
        last_event_id: u64,
    }
}

/// There is no such task: `task_not_found`.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub(crate) struct NoTask(Refusal);

/// The state of the task does not allow it; `code` says which it is.
#[derive(IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
pub(crate) struct Conflict(Refusal);

/// The body or the query string is not valid; `errors` names each offending part.
#[derive(IntoResponses)]
#[response(status = 422, content_type = "application/problem+json")]
pub(crate) struct Invalid(Refusal);

/// `mcp_server_not_found`: there is no such MCP server.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub(crate) struct NoServer(Refusal);

/// `mcp_definition_changed`: the server lists another definition by now, or none.
#[derive(IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
pub(crate) struct DefinitionChanged(Refusal);

/// `reload_refused`: the configuration has a mistake, and nothing was changed.
#[derive(IntoResponses)]
#[response(status = 422, content_type = "application/problem+json")]
pub(crate) struct ReloadRefused(Refusal);
