//! What `PUT /agents/{name}` is sent.

use http::{HeaderMap, HeaderName, header};
use ops_core::{AgentDigest, Code, Json, agent::Agent, ports::Expected};
use ops_engine::FieldError;

use crate::{json::object, problem::Problem};

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
    let given = |name: &HeaderName| {
        let value = headers.get(name)?;
        Some(value.to_str().unwrap_or_default().trim().to_owned())
    };
    let wrong = |name: &HeaderName, message: &str| {
        let field = FieldError::new(&[name.as_str()], "value_error", message);
        Problem::parts(Code::InvalidBody, "header", vec![field])
    };
    match (given(&header::IF_MATCH), given(&header::IF_NONE_MATCH)) {
        (None, None) => Ok(Expected::Any),
        (None, Some(any)) if any == "*" => Ok(Expected::Absent),
        (Some(tag), None) => tag
            .strip_prefix('"')
            .and_then(|tag| tag.strip_suffix('"'))
            .and_then(|digest| digest.parse::<AgentDigest>().ok())
            .map(Expected::Version)
            .ok_or_else(|| {
                wrong(
                    &header::IF_MATCH,
                    "must be an `ETag` of the agent: its digest in quotes",
                )
            }),
        (_, Some(_)) => Err(wrong(
            &header::IF_NONE_MATCH,
            "must be `*`, and goes without `If-Match`",
        )),
    }
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
