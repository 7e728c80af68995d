//! The shapes of agents, for `/openapi.json`.
#![expect(dead_code, reason = "they are described, never made")]

use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::rest::schema::Problem;

/// The agent of the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Name {
    /// 1 to 64 of `a-z`, `0-9`, `-`, `_`, `.`, a letter or digit first.
    #[param(example = "researcher")]
    name: String,
}

/// The version of the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Version {
    /// The agent.
    #[param(example = "researcher")]
    name: String,
    /// SHA-256 of the definition's canonical form, in hex.
    digest: String,
}

/// There is no such agent (`agent_not_found`), or no such version of it (`agent_version_not_found`).
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub(crate) struct NoAgent(#[to_schema] Problem);

/// The agent is not as `If-Match` or `If-None-Match` says: `agent_changed`.
#[derive(IntoResponses)]
#[response(status = 412, content_type = "application/problem+json")]
pub(crate) struct Changed(#[to_schema] Problem);

/// Agents or schedules name the agent: `agent_in_use`.
#[derive(IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
pub(crate) struct InUse(#[to_schema] Problem);

/// An agent at its current version.
#[derive(ToSchema)]
pub(crate) struct Agent {
    name: String,
    /// SHA-256 of the definition's canonical form (RFC 8785), in hex.
    digest: String,
    /// Purpose of the agent.
    description: String,
    /// The agents that it may start.
    agents: Vec<String>,
    /// Counts its changes.
    revision: u64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// The definition in its canonical form.
    #[schema(value_type = Object)]
    definition: Value,
}

/// An agent that was applied.
#[derive(ToSchema)]
#[schema(as = AppliedAgent)]
pub(crate) struct Applied {
    name: String,
    digest: String,
    description: String,
    agents: Vec<String>,
    revision: u64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    #[schema(value_type = Object)]
    definition: Value,
    change: Change,
    /// Warnings for the author, for instance that a provider has no key here.
    warnings: Option<Vec<String>>,
}

/// Outcome of the apply.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentChange)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    Created,
    Changed,
    Unchanged,
}

/// An agent in a list.
#[derive(ToSchema)]
pub(crate) struct AgentOutline {
    name: String,
    /// Its current version.
    digest: String,
    description: String,
    /// The agents that it may start.
    agents: Vec<String>,
    revision: u64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// Agents in the order of their names.
#[derive(ToSchema)]
pub(crate) struct AgentList {
    agents: Vec<AgentOutline>,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
    /// Ids or names of entries that are damaged and left out; not there if there are none.
    damaged: Option<Vec<String>>,
}

/// One version of an agent.
#[derive(ToSchema)]
pub(crate) struct AgentVersion {
    name: String,
    digest: String,
    description: String,
    agents: Vec<String>,
    /// Time of the first apply.
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(value_type = Object)]
    definition: Value,
}

/// A version in a list.
#[derive(ToSchema)]
pub(crate) struct AgentVersionOutline {
    name: String,
    digest: String,
    description: String,
    agents: Vec<String>,
    /// Whether new tasks get this version.
    current: bool,
    #[schema(format = DateTime)]
    created_at: String,
}

/// The versions of an agent.
#[derive(ToSchema)]
#[schema(as = AgentVersionList)]
pub(crate) struct VersionList {
    versions: Vec<AgentVersionOutline>,
}
