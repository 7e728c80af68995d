//! MCP servers: `GET /mcp/servers`, `GET /mcp/servers/{name}` and `POST /mcp/servers/{name}/approve`.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, Uri};
use ops_core::{
    Code,
    mcp::{McpApproval, McpDefinition, McpKey, McpPin, McpPinState},
    ports::{McpServerView, StoreError},
};
use ops_engine::FieldError;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    AppState, answer,
    extract::{Caller, NamePath},
    schema::{DefinitionChanged, Invalid, NoServer},
    shape::{Body, Text, body},
};
use crate::{json, problem::Problem, query::Query, time};

/// The configured MCP servers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Servers {
    /// In the order of their names.
    servers: Vec<Outline>,
}

/// An MCP server.
#[derive(Serialize, ToSchema)]
#[schema(as = McpServer)]
pub(crate) struct Outline {
    name: String,
    /// The source of its tools: agents name them as `SOURCE/TOOL`.
    source: String,
    /// `stdio` or `http`; empty if its entry cannot be read.
    transport: String,
    /// Its program, or its URL.
    place: String,
    /// `starting`, `ready`, `away`, `unauthorized`, `stopped` or `refused`.
    status: String,
    /// Why the server is not ready.
    reason: Option<String>,
    /// Name and version, as the server gives them.
    info: Option<String>,
    /// The protocol that was agreed on.
    protocol: Option<String>,
    /// How many definitions agents are given; null before it was listed once.
    approved: Option<usize>,
    /// How many are held until a person approves them: they are new, or have changed.
    held: Option<usize>,
    /// Listed definitions that cannot be used.
    unusable: Vec<Unusable>,
    /// Other oddities.
    notes: Vec<String>,
    calls: Calls,
    /// In the order of their kinds and names; of one server only.
    #[serde(skip_serializing_if = "Option::is_none")]
    definitions: Option<Vec<Definition>>,
}

/// A definition that cannot be used.
#[derive(Serialize, ToSchema)]
#[schema(as = McpUnusable)]
struct Unusable {
    name: String,
    reason: String,
}

/// Calls since the start.
#[derive(Serialize, ToSchema)]
#[schema(as = McpCalls)]
struct Calls {
    total: u64,
    failed: u64,
    /// Those whose answer was lost, so that what they did is not known.
    unknown: u64,
}

/// A tool, a prompt or the instructions of an MCP server.
#[derive(Serialize, ToSchema)]
#[schema(as = McpDefinition)]
struct Definition {
    /// `tool`, `prompt` or `instructions`.
    kind: String,
    /// As the server names it; empty for instructions.
    name: String,
    /// `approved`: agents are given it; `new` and `changed`: it is held; `gone`: the server lists it no more.
    state: &'static str,
    /// What was approved, which is what models are sent.
    approved: Option<Version>,
    /// The definition that the server lists now.
    listed: Option<Version>,
    /// When the server's list last changed it.
    changed_at: String,
    /// Time of the approval.
    approved_at: Option<String>,
    /// Who approved it; null for what the server listed first.
    approved_by: Option<String>,
}

/// A definition as a server gave it.
#[derive(Serialize, ToSchema)]
#[schema(as = McpVersion)]
struct Version {
    /// SHA-256 of its canonical form.
    digest: String,
    #[schema(value_type = Value)]
    definition: Box<RawValue>,
}

body! {
    /// Leave to give a definition to agents.
    pub(super) struct ApproveDefinition {
        /// `tool`, `prompt` or `instructions`; `tool` unless it is said.
        kind: Text = {"enum": ["tool", "prompt", "instructions"]},
        /// As the server names it; empty for instructions.
        name: Text = {"maxLength": 256}; required "is missing: name the definition",
        /// The digest of what was looked at; another one refuses. Without it, whatever is listed.
        digest: Text = {"minLength": 64, "maxLength": 64},
    }
}

/// The configured MCP servers.
#[utoipa::path(
    get, path = "/api/v1/mcp/servers", tag = "Agents", operation_id = "list_mcp_servers",
    responses((status = 200, body = Servers, description = "Every server.")),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::parse(uri.query(), &[], &[]).check()?;
    let servers = app
        .settings
        .mcp
        .servers(caller.tenant)
        .await
        .map_err(stored)?;
    let body = Servers {
        servers: servers.iter().map(outline).collect(),
    };
    Ok(answer(StatusCode::OK, json::to_vec(&body)))
}

/// One MCP server with its definitions.
#[utoipa::path(
    get, path = "/api/v1/mcp/servers/{name}", tag = "Agents", operation_id = "get_mcp_server",
    params(("name" = String, Path, description = "The server's name in the file of servers.")),
    responses(
        (status = 200, body = Outline, description = "The server."),
        NoServer,
    ),
)]
pub(crate) async fn get(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::parse(uri.query(), &[], &[]).check()?;
    let servers = app
        .settings
        .mcp
        .servers(caller.tenant)
        .await
        .map_err(stored)?;
    let known: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    let found = servers.iter().find(|server| server.name == name);
    let server = found.ok_or_else(|| missing(&name, &known))?;
    Ok(answer(StatusCode::OK, json::to_vec(&details(server))))
}

/// Gives a definition that is held to agents: to runs that have not begun.
#[utoipa::path(
    post, path = "/api/v1/mcp/servers/{name}/approve", tag = "Agents", operation_id = "approve_mcp_definition",
    params(("name" = String, Path, description = "The server's name in the file of servers.")),
    request_body = ApproveDefinition,
    responses(
        (status = 200, body = Outline, description = "The server."),
        NoServer,
        DefinitionChanged,
        Invalid,
    ),
)]
pub(crate) async fn approve(
    State(app): AppState,
    caller: Caller,
    NamePath(name): NamePath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.bodies.json(&parts.headers, body).await?;
    let approval = ApproveDefinition::read(body.text(), approval)?;
    let approved = app
        .settings
        .mcp
        .approve(caller.clone(), &name, vec![approval])
        .await;
    match approved {
        Ok(Some(server)) => Ok(answer(StatusCode::OK, json::to_vec(&details(&server)))),
        Ok(None) | Err(StoreError::NotFound) => Err(missing(&name, &[])),
        Err(error) => Err(stored(error)),
    }
}

/// The approved definitions. Names and digests that cannot be ones are refused here, as the schema says.
fn approval(body: ApproveDefinition, errors: &mut Vec<FieldError>) -> McpApproval {
    let kind = body.kind.unwrap_or_else(|| "tool".to_owned());
    if !KINDS.contains(&kind.as_str()) {
        let message = units::nearest::unknown("kind", &kind, KINDS);
        errors.push(FieldError::new(&["kind"], "enum", message));
    }
    let name = body.name.unwrap_or_default();
    if name.chars().count() > 256 {
        let message = "has more than 256 characters".to_owned();
        errors.push(FieldError::new(&["name"], "too_long", message));
    }
    let is_digest = |digest: &String| digest.chars().count() == 64;
    if !body.digest.as_ref().is_none_or(is_digest) {
        let message = "must be SHA-256 in hex: 64 digits".to_owned();
        errors.push(FieldError::new(&["digest"], "value_error", message));
    }
    McpApproval {
        key: McpKey { kind, name },
        digest: body.digest,
    }
}

/// Kinds of definitions.
const KINDS: [&str; 3] = ["tool", "prompt", "instructions"];

/// The most servers that warnings name.
const MAX_NAMED: usize = 10;

/// Warnings about the servers.
pub(super) fn warnings(servers: &[McpServerView]) -> Vec<String> {
    let mut warnings = Vec::new();
    for server in servers {
        let name = &server.name;
        if let Some(why) = server.reason.as_ref().filter(|_| server.status != "ready") {
            // The reason may begin with the server itself.
            let own = format!("the MCP server `{name}`");
            warnings.push(match why.strip_prefix(&own) {
                Some(rest) if server.status == "away" => format!("{own}{rest}"),
                Some(_) | None => format!("{own} is {}: {why}", server.status),
            });
        }
        let pins = server.pins.iter().flat_map(|pins| &pins.pins);
        let held = pins.filter(|pin| pin.state().is_held()).count();
        if held > 0 {
            let (definitions, are, them) = match held {
                1 => ("definition", "is", "it"),
                _ => ("definitions", "are", "them"),
            };
            warnings.push(format!(
                "{held} {definitions} of the MCP server `{name}` {are} held until a person approves {them}: `opspawn \
                 mcp diff {name}`"
            ));
        }
    }
    let more = warnings.len().saturating_sub(MAX_NAMED);
    warnings.truncate(MAX_NAMED);
    if more > 0 {
        warnings.push(format!(
            "{more} more warnings about MCP servers: `opspawn mcp ls`"
        ));
    }
    warnings
}

fn stored(error: StoreError) -> Problem {
    ops_engine::Error::from(error).into()
}

fn missing(name: &str, known: &[&str]) -> Problem {
    let name: String = name.chars().take(80).collect();
    let hint = match known {
        [] => String::new(),
        known => format!("; {}", units::nearest::hint(&name, known.iter().copied())),
    };
    Problem::new(
        Code::McpServerNotFound,
        format!("there is no MCP server `{name}`{hint}"),
    )
}

fn outline(server: &McpServerView) -> Outline {
    let count = |wanted: fn(McpPinState) -> bool| {
        let pins = server.pins.as_ref()?;
        Some(pins.pins.iter().filter(|pin| wanted(pin.state())).count())
    };
    let [total, failed, unknown] = server.calls;
    Outline {
        name: server.name.clone(),
        source: server.source.clone(),
        transport: server.transport.clone(),
        place: server.place.clone(),
        status: server.status.clone(),
        reason: server.reason.clone(),
        info: server.info.clone(),
        protocol: server.protocol.clone(),
        approved: count(|state| state == McpPinState::Approved),
        held: count(McpPinState::is_held),
        unusable: server
            .unusable
            .iter()
            .map(|(name, reason)| Unusable {
                name: name.clone(),
                reason: reason.clone(),
            })
            .collect(),
        notes: server.notes.clone(),
        calls: Calls {
            total,
            failed,
            unknown,
        },
        definitions: None,
    }
}

fn details(server: &McpServerView) -> Outline {
    let pins = server.pins.iter().flat_map(|pins| &pins.pins);
    Outline {
        definitions: Some(pins.map(definition).collect()),
        ..outline(server)
    }
}

fn definition(pin: &McpPin) -> Definition {
    let version = |definition: &McpDefinition| Version {
        digest: definition.digest.clone(),
        definition: RawValue::from_string(definition.raw.as_str().to_owned())
            .expect("a definition is JSON"),
    };
    Definition {
        kind: pin.key.kind.clone(),
        name: pin.key.name.clone(),
        state: pin.state().as_str(),
        approved: pin.approved.as_ref().map(version),
        listed: pin.current().map(version),
        changed_at: time::text(pin.changed_at),
        approved_at: pin.approved_at.map(time::text),
        approved_by: pin.approved_by.as_ref().map(ToString::to_string),
    }
}
