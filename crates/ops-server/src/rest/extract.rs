//! Extractors of handlers.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use ops_core::{AgentDigest, Code, TaskId, TenantId};

use crate::problem::Problem;

/// Who asks. A handler without it has no tenant to pass on, and so cannot reach a task.
pub(crate) struct Caller(ops_core::Caller);

impl std::ops::Deref for Caller {
    type Target = ops_core::Caller;

    fn deref(&self) -> &ops_core::Caller {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(ops_core::Caller::local(TenantId::DEFAULT)))
    }
}

/// The task of the path. A text that is no id is a task that does not exist.
pub(crate) struct TaskPath(pub(crate) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| no_task("(not UTF-8)"))?;
        id.parse().map(Self).map_err(|_| no_task(&id))
    }
}

/// The task and the step of the path.
pub(crate) struct StepPath {
    /// The task.
    pub(crate) task: TaskId,
    /// The step's number.
    pub(crate) step: u32,
}

impl<S: Send + Sync> FromRequestParts<S> for StepPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        step_path(parts, state, Code::NotInDoubt).await
    }
}

/// The task and the step of the path of an approval.
pub(crate) struct ApprovalPath(pub(crate) StepPath);

impl<S: Send + Sync> FromRequestParts<S> for ApprovalPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = step_path(parts, state, Code::ApprovalNotFound).await;
        path.map(Self)
    }
}

/// The task and the step of the path of a prompt.
pub(crate) struct PromptPath(pub(crate) StepPath);

impl<S: Send + Sync> FromRequestParts<S> for PromptPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = step_path(parts, state, Code::StepNotFound).await;
        path.map(Self)
    }
}

/// `wrong` is what a step is that is none.
async fn step_path<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    wrong: Code,
) -> Result<StepPath, Problem> {
    let Path((id, step)) = Path::<(String, String)>::from_request_parts(parts, state)
        .await
        .map_err(|_| no_task("(not UTF-8)"))?;
    let task = id.parse().map_err(|_| no_task(&id))?;
    let step = step.parse().map_err(|_| {
        let step: String = step.chars().take(80).collect();
        let message = format!("`{step}` is not the number of a step of task `{task}`");
        Problem::new(wrong, message)
    })?;
    Ok(StepPath { task, step })
}

/// The name of the path. A text that is no name is a name without an owner.
pub(crate) struct NamePath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(name.map_or_else(
            |_| "(not UTF-8)".to_owned(),
            |Path(name)| name,
        )))
    }
}

/// The agent and the version of the path. A text that is no digest is the digest of no version.
pub(crate) struct VersionPath {
    /// The agent.
    pub(crate) name: String,
    /// The version.
    pub(crate) digest: AgentDigest,
}

impl<S: Send + Sync> FromRequestParts<S> for VersionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let (name, digest) = path.map_or_else(|_| Default::default(), |Path(path)| path);
        match digest.parse() {
            Ok(digest) => Ok(Self { name, digest }),
            Err(_) => {
                let digest: String = digest.chars().take(80).collect();
                let message = format!("`{digest}` is not a digest: 64 hexadecimal digits");
                Err(Problem::new(Code::AgentVersionNotFound, message))
            }
        }
    }
}

/// There is no such task.
pub(crate) fn no_task(id: &str) -> Problem {
    let id: String = id.chars().take(80).collect();
    Problem::new(Code::TaskNotFound, format!("there is no task `{id}`"))
}

/// A refusal of the engine, which names the task if the task is missing.
pub(crate) fn refused(task: TaskId) -> impl Fn(ops_engine::Error) -> Problem {
    move |error| {
        if error.code == Code::TaskNotFound {
            no_task(&task.to_string())
        } else {
            error.into()
        }
    }
}
