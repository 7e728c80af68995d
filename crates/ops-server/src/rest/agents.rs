//! Agents: `GET /agents`, `GET|PUT|DELETE /agents/{name}`, `GET /agents/{name}/versions`,
//! `GET /agents/{name}/versions/{digest}`. The meaning of a definition is not known here.

pub(super) mod request;
mod schema;
mod view;

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use ops_core::{AgentDigest, AgentName, Json, ports::Stored};

use self::view::{
    Agent, AgentList, AgentOutline, AgentVersion, AgentVersionOutline, Applied, VersionList,
};
use super::{
    AppState, cursor, etag,
    extract::{Caller, NamePath, VersionPath},
    schema::{Absent, DryRun, Invalid, Known, Matching, PageQuery},
    shown,
};
use crate::{json::Optional, problem::Problem, query::Query};

/// Agents in the order of their names, without their definitions.
#[utoipa::path(
    get, path = "/api/v1/agents", tag = "Agents", operation_id = "list_agents",
    params(PageQuery),
    responses(
        (status = 200, body = AgentList, description = "A page."),
        Invalid,
    ),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), PageQuery::KNOWN, &[]);
    let limit = query.limit(1_000, 100);
    let pages = cursor::List::new("agents", caller.tenant, "");
    let after: Option<AgentName> = pages.name(&mut query);
    query.check()?;
    let engine = &app.settings.engine;
    let mut found = engine.agents(caller.tenant, after, limit + 1).await?;
    let more = found.len() > limit as usize;
    found.found.truncate(limit as usize);
    let next = found.last().filter(|_| more);
    let next = next.map(|last| pages.after_name(&last.version.name));
    let list = AgentList {
        agents: found.iter().map(AgentOutline::of).collect(),
        next_cursor: next,
        damaged: Optional(Some(&*found.damaged).filter(|damaged| !damaged.is_empty())),
    };
    Ok(shown(StatusCode::OK, 4_096, &list))
}

/// One agent at its current version.
#[utoipa::path(
    get, path = "/api/v1/agents/{name}", tag = "Agents", operation_id = "get_agent",
    params(schema::Name, Known),
    responses(
        (status = 200, body = Agent, description = "The agent.",
            headers(("ETag" = String, description = "Its version: the digest in quotes."))),
        (status = 304, description = "It is as `If-None-Match` says."),
        schema::NoAgent,
    ),
)]
pub(crate) async fn get(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let agent = app.settings.engine.agent(caller.tenant, &name).await?;
    let tag = tag(agent.version.spec.digest);
    let mut response = match etag::is_known(&headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => {
            let about = size(&agent.version.spec.definition);
            shown(StatusCode::OK, about, &Agent::of(&agent))
        }
    };
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// Makes a definition the agent's current version.
///
/// Present tasks keep the version that they are pinned to. A definition that is current already changes
/// nothing.
#[utoipa::path(
    put, path = "/api/v1/agents/{name}", tag = "Agents", operation_id = "apply_agent",
    params(schema::Name, DryRun, Matching, Absent),
    request_body = request::ApplyAgent,
    responses(
        (status = 200, body = Applied, description = "The agent, which was there.",
            headers(("ETag" = String, description = "Its version: the digest in quotes."))),
        (status = 201, body = Applied, description = "The agent, which is new.",
            headers(("ETag" = String, description = "Its version: the digest in quotes."))),
        schema::Changed, Invalid,
    ),
)]
pub(crate) async fn apply(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let mut query = Query::parse(parts.uri.query(), DryRun::KNOWN, &[]);
    let dry_run = query.flag("dry_run");
    query.check()?;
    let expected = request::expected(&parts.headers)?;
    let body = app.bodies.json(&parts.headers, body).await?;
    let definition = request::definition(body.text())?;
    let engine = &app.settings.engine;
    let about = size(&definition);
    if dry_run {
        let seen = engine.preview_agent(caller.tenant, &name, &definition);
        let seen = seen.await?;
        request::check(expected, seen.current.as_ref())?;
        let warnings = engine.agent_warnings(&definition);
        let agent = Agent::previewed(&seen, engine.clock().now());
        let view = agent.applied(seen.stored, warnings);
        return Ok(tagged(shown(StatusCode::OK, about, &view), view.digest));
    }
    let applied = engine.apply_agent(caller.tenant, &name, &definition, expected);
    let (agent, stored) = applied.await?;
    let warnings = engine.agent_warnings(&definition);
    let view = Agent::of(&agent).applied(stored, warnings);
    let status = match stored {
        Stored::Created => StatusCode::CREATED,
        Stored::Changed | Stored::Unchanged => StatusCode::OK,
    };
    Ok(tagged(shown(status, about, &view), view.digest))
}

/// Takes an agent away.
///
/// Its tasks keep the versions that they are pinned to, and go on; new tasks of the agent are refused. An agent
/// that agents or schedules name is not taken away.
#[utoipa::path(
    delete, path = "/api/v1/agents/{name}", tag = "Agents", operation_id = "remove_agent",
    params(schema::Name, Matching),
    responses(
        (status = 204, description = "It is gone."),
        schema::NoAgent, schema::InUse, schema::Changed,
    ),
)]
pub(crate) async fn remove(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let expected = request::expected(&headers)?;
    let engine = &app.settings.engine;
    engine.remove_agent(caller.tenant, &name, expected).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The versions of an agent, the version that was applied first last.
#[utoipa::path(
    get, path = "/api/v1/agents/{name}/versions", tag = "Agents",
    operation_id = "list_agent_versions",
    params(schema::Name, schema::VersionQuery),
    responses(
        (status = 200, body = VersionList, description = "Without their definitions."),
        schema::NoAgent, Invalid,
    ),
)]
pub(crate) async fn versions(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::parse(uri.query(), schema::VersionQuery::KNOWN, &[]);
    let limit = query.limit(1_000, 100);
    query.check()?;
    let engine = &app.settings.engine;
    let agent = engine.agent(caller.tenant, &name).await?;
    let versions = engine.agent_versions(caller.tenant, &name, limit).await?;
    let current = agent.version.spec.digest;
    let versions = versions.iter();
    let list = VersionList {
        versions: versions
            .map(|version| AgentVersionOutline::of(version, current))
            .collect(),
    };
    Ok(shown(StatusCode::OK, 4_096, &list))
}

/// One version of an agent.
#[utoipa::path(
    get, path = "/api/v1/agents/{name}/versions/{digest}", tag = "Agents",
    operation_id = "get_agent_version",
    params(schema::Version),
    responses(
        (status = 200, body = AgentVersion, description = "The version, which never changes."),
        schema::NoAgent,
    ),
)]
pub(crate) async fn version(
    State(app): AppState,
    caller: Caller,
    VersionPath { name, digest }: VersionPath,
) -> Result<Response, Problem> {
    let engine = &app.settings.engine;
    let found = engine.agent_version(caller.tenant, &name, digest).await?;
    let about = size(&found.spec.definition);
    Ok(shown(StatusCode::OK, about, &AgentVersion::of(&found)))
}

fn tag(digest: AgentDigest) -> HeaderValue {
    HeaderValue::try_from(format!("\"{digest}\"")).expect("digits are a header value")
}

fn tagged(mut response: Response, digest: AgentDigest) -> Response {
    response.headers_mut().insert(header::ETAG, tag(digest));
    response
}

/// About how large an agent is as text.
fn size(definition: &Json) -> usize {
    1_024 + definition.as_str().len()
}
