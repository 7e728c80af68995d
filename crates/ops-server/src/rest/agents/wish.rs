//! What `PUT /agents/{name}` is sent.

use http::HeaderMap;
use ops_core::{AgentDigest, Code, Json, agent::Agent, ports::Expected};

use crate::{
    json::object,
    problem::Problem,
    rest::etag::{Precondition, precondition},
};

/// Reads a body that is JSON.
///
/// # Errors
/// 422 that names what is wrong.
pub(super) fn definition(text: &str) -> Result<Json, Problem> {
    let mut errors = Vec::new();
    let body = object(text, &["definition"], &[], &mut errors);
    let whole = errors.iter().all(|error| error.kind != "dict_type");
    let raw = body.raw("definition");
    if whole && raw.is_none() {
        errors.push(body.error(Some("definition"), "missing", "is missing"));
    }
    match raw.map(Json::parse) {
        Some(Ok(definition)) if errors.is_empty() => Ok(definition),
        _ => Err(Problem::parts(Code::InvalidBody, "body", errors)),
    }
}

/// What the agent must be.
///
/// # Errors
/// 422 if a header says what no agent can be.
pub(super) fn expected(headers: &HeaderMap) -> Result<Expected, Problem> {
    let parse = |digest: &str| digest.parse::<AgentDigest>().ok();
    Ok(match precondition(headers, parse, "the agent's digest")? {
        Precondition::Any => Expected::Any,
        Precondition::Absent => Expected::Absent,
        Precondition::Tag(digest) => Expected::Version(digest),
    })
}

/// Whether an agent is as it must be, for what stores nothing.
///
/// # Errors
/// `agent_changed`.
pub(super) fn check(expected: Expected, current: Option<&Agent>) -> Result<(), Problem> {
    let current = current.map(|agent| agent.version.spec.digest);
    let fits = match expected {
        Expected::Any => true,
        Expected::Absent => current.is_none(),
        Expected::Version(digest) => current == Some(digest),
    };
    if fits {
        return Ok(());
    }
    let error = ops_core::ports::StoreError::AgentChanged(current);
    Err(ops_engine::Error::from(error).into())
}
