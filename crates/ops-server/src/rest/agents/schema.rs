//! The parameters and refusals of agents, for `/openapi.json`.
#![expect(dead_code, reason = "they are described, never made")]

use utoipa::{IntoParams, IntoResponses};

use crate::{problem::Refusal, query::params};

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

params! {
    /// How many versions to list.
    pub(crate) struct VersionQuery {
        limit: u32 = {"minimum": 1, "maximum": 1000, "default": 100},
    }
}

/// There is no such agent (`agent_not_found`), or no such version of it (`agent_version_not_found`).
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub(crate) struct NoAgent(Refusal);

/// The agent is not as `If-Match` or `If-None-Match` says: `agent_changed`.
#[derive(IntoResponses)]
#[response(status = 412, content_type = "application/problem+json")]
pub(crate) struct Changed(Refusal);

/// Agents or schedules name the agent: `agent_in_use`.
#[derive(IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
pub(crate) struct InUse(Refusal);
