//! What `PUT /agents/{name}` is sent.

use http::HeaderMap;
use ops_core::{AgentDigest, Json, agent::Agent, ports::Expected};

use crate::{
    problem::Problem,
    rest::{
        etag::{Precondition, precondition},
        shape::{Body, Object, body},
    },
};

body! {
    /// A definition that is to be stored.
    pub(in crate::rest) struct ApplyAgent {
        /// The definition, with the name of the path; docs/agents.md lists its keys.
        definition: Object; required "is missing",
    }
}

/// Reads a body that is JSON.
///
/// # Errors
/// 422 that names the mistakes.
pub(super) fn definition(text: &str) -> Result<Json, Problem> {
    let definition = ApplyAgent::read(text, |body, _| body.definition)?;
    Ok(definition.expect("a body without a mistake has one"))
}

/// The condition on the agent.
///
/// # Errors
/// 422 if no agent can be as a header says.
pub(super) fn expected(headers: &HeaderMap) -> Result<Expected, Problem> {
    let parse = |digest: &str| digest.parse::<AgentDigest>().ok();
    Ok(match precondition(headers, parse, "the agent's digest")? {
        Precondition::Any => Expected::Any,
        Precondition::Absent => Expected::Absent,
        Precondition::Tag(digest) => Expected::Version(digest),
    })
}

/// Whether an agent meets its condition, for a request that stores no agent.
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
