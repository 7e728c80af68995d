//! The registry of error codes: the one list behind REST, gRPC, CLI and the reference page.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($variant:ident = $text:literal, $title:literal, $fix:literal;)*) => {
        /// A stable error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(
                #[doc = $title]
                #[serde(rename = $text)]
                $variant,
            )*
        }

        impl Code {
            /// Every code, in the order of the reference page.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code as clients see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// What it means, in a few words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// How to mend it.
            #[must_use]
            pub fn fix(self) -> &'static str {
                match self { $(Self::$variant => $fix),* }
            }
        }
    };
}

codes! {
    InvalidBody = "invalid_body", "The request body is not valid",
        "Send a JSON object with the documented fields; `errors` names each offending one.";
    InvalidQuery = "invalid_query", "The query string is not valid",
        "Correct the named parameter.";
    BodyTooLarge = "body_too_large", "The request body is too large",
        "Send less, or raise `max_body_bytes`.";
    UnsupportedMediaType = "unsupported_media_type", "The request body is not JSON",
        "Send `Content-Type: application/json`.";
    UnknownTaskType = "unknown_task_type", "No worker knows this task type",
        "Use one of the task types that the message names.";
    TaskNotFound = "task_not_found", "There is no such task",
        "List the tasks with `opspawn task ls`.";
    StepNotFound = "step_not_found", "The task has no such step",
        "List the steps with `opspawn task logs ID`.";
    PromptUnavailable = "prompt_unavailable", "The prompt of the step cannot be made again here",
        "Configure the models and tools of the task's agent, or read the steps with `opspawn task logs ID`.";
    MalformedRequest = "malformed_request", "The request is not valid HTTP/1.1",
        "Send HTTP/1.1, without TLS unless a proxy ends it, and the whole body.";
    RequestTimeout = "request_timeout", "The request came too slowly",
        "Send the whole request without long pauses.";
    UriTooLong = "uri_too_long", "The request target is too long",
        "Send a shorter query string.";
    HeaderTooLarge = "header_too_large", "The request header is too large",
        "Send 64 KiB and 100 header lines at most.";
    AgentNotFound = "agent_not_found", "There is no such agent",
        "List the agents with `opspawn agent ls`.";
    UnknownAgent = "unknown_agent", "No agent has this name",
        "Use a name that `opspawn agent ls` lists, or apply the agent first.";
    ProviderNotConfigured = "provider_not_configured", "No model is configured that the task could use",
        "Set the key of a provider, or `OPENAI_BASE_URL`, and start the server again; or choose the model `scripted`.";
    AgentChanged = "agent_changed", "The agent is not at the version that the request names",
        "Look at its current version, and apply to that.";
    AgentCycle = "agent_cycle", "Agents would start each other in a circle",
        "Take one of the named agents out of another's `agents`.";
    AgentInUse = "agent_in_use", "Agents or schedules name this agent",
        "Take the agent out of the agents and schedules that the message names, then remove the agent.";
    ScheduleNotFound = "schedule_not_found", "There is no such schedule",
        "List the schedules with `opspawn schedule ls`.";
    ScheduleChanged = "schedule_changed", "The schedule is not at the revision that the request names",
        "Look at its current revision, and apply to that.";
    RetentionUnset = "retention_unset", "Nothing is ever deleted",
        "Set `retention.completed`, `retention.failed` or `retention.cancelled`, or say an age with the request.";
    RouteNotFound = "route_not_found", "There is nothing at this path",
        "The paths are in docs/rest.md.";
    MethodNotAllowed = "method_not_allowed", "This path does not take this method",
        "Use a method that the `Allow` header names.";
    ForbiddenHost = "forbidden_host", "The Host or Origin header names another site",
        "Call the server by its loopback address; a page of another site may not call it.";
    ForbiddenTool = "forbidden_tool", "A tool of an agent calls the server",
        "Agents steer no tasks and approve no calls over REST: give the agent `spawn_agent`, or let a person or a program call.";
    TaskFinal = "task_final", "The task has already ended",
        "Submit a new task, or use `opspawn task retry`.";
    TaskNotFinal = "task_not_final", "The task has not ended yet",
        "Wait for it, or cancel it first.";
    TaskCancelling = "task_cancelling", "The task is being cancelled",
        "Wait until it is cancelled, or submit a new task.";
    CannotRerun = "cannot_rerun", "The task cannot be done again from there",
        "Choose one of the steps that `opspawn task logs` lists, as the message says.";
    NotDeadLetter = "not_dead_letter", "The task is not a dead letter",
        "See the dead letters with `opspawn dead-letter ls`; use `opspawn task retry` for others.";
    UnknownQueue = "unknown_queue", "No worker serves this queue",
        "Use a queue that the message names.";
    ApprovalNotFound = "approval_not_found", "This step has not asked for approval",
        "See the open ones with `opspawn approval ls`.";
    ApprovalDecided = "approval_decided", "This approval is not open any more",
        "See how it stands with `opspawn approval ls --all`.";
    ApprovalChanged = "approval_changed", "The approval was edited since you looked at it",
        "Look at the new arguments, and decide about that revision.";
    NotInDoubt = "not_in_doubt", "This step is not in doubt",
        "See the open ones with `opspawn reconcile ls`.";
    QuestionNotOpen = "question_not_open", "No question waits for this answer",
        "Use a name that `state_detail.signals` of the task lists; an answered question takes no other.";
    McpServerNotFound = "mcp_server_not_found", "There is no such MCP server",
        "List the servers with `opspawn mcp ls`; they are in `mcp_servers.yaml` of the data folder.";
    McpDefinitionChanged = "mcp_definition_changed", "The MCP server lists another definition by now, or none",
        "Look at it with `opspawn mcp diff`, and approve what it shows.";
    ReloadRefused = "reload_refused", "The configuration has a mistake, and nothing was changed",
        "Correct what the message names, and reload again.";
    AgentVersionNotFound = "agent_version_not_found", "The agent never had this version",
        "See its versions with `opspawn agent get NAME`.";
    IdempotencyMismatch = "idempotency_mismatch", "This idempotency key belongs to another request",
        "Use a new key for a new request.";
    IdempotencyInFlight = "idempotency_in_flight", "A request with this idempotency key is being served",
        "Send it again after the time in `Retry-After`.";
    Overloaded = "overloaded", "The server has too much to do",
        "Send it again after the time in `Retry-After`.";
    StorageFull = "storage_full", "The disk is full",
        "Free space in the data folder's file system; nothing that was acknowledged is lost.";
    StorageDamaged = "storage_damaged", "What is stored cannot be read",
        "Run `opspawn doctor`; if it reports damage, stop the server and restore a backup.";
    StorageUnavailable = "storage_unavailable", "The database cannot be used",
        "See the server's log, and run `opspawn doctor`.";
    ShuttingDown = "shutting_down", "The server is stopping",
        "Send it again after the restart.";
    Internal = "internal", "The server has a defect",
        "Report it with the request id.";
    WorkerLost = "worker_lost", "The task's workers died again and again",
        "It probably kills its worker: look at its last step, then use `opspawn task retry`.";
    WorkerPanicked = "worker_panicked", "The worker panicked while it ran the task",
        "It is tried again; the worker's log has the details.";
    InputUnreadable = "input_unreadable", "The task's input cannot be read from the database",
        "See with `opspawn doctor` whether the database is damaged, and submit the task anew.";
    LogDamaged = "log_damaged", "The task's log cannot be read",
        "See with `opspawn doctor` whether the database is damaged, and submit the task anew.";
    ValueTooLarge = "value_too_large", "An answer or a result is larger than the database takes",
        "Have the tool return less, or write it to a file.";
    TooManyTasks = "too_many_tasks", "A task, its children and theirs are as many tasks as they may be",
        "Do the work in fewer tasks, or raise `limits.tree_tasks`.";
    RunFailed = "run_failed", "The agent run failed",
        "See the message and the steps of the task.";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_snake_case() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert!(
                code.as_str()
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == '_')
            );
            assert!(!code.title().is_empty() && code.fix().ends_with('.'));
        }
    }
}
