//! MCP servers: `GET /mcp/servers`, `GET /mcp/servers/{name}` and `POST /mcp/servers/{name}/approve`.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, Uri};
use ops_core::{
    Code, Json, Micros,
    mcp::{McpApproval, McpDefinition, McpKey, McpPin, McpPinState},
    ports::{McpServerView, StoreError},
};
use ops_engine::FieldError;

use super::{
    AppState,
    extract::{Caller, NamePath},
    schema::{DefinitionChanged, Invalid, NoServer},
    shape::{Body, Text, body},
    shown,
};
use crate::{
    json::{Optional, view},
    problem::Problem,
    query::Query,
};

view! {
    /// The configured MCP servers.
    pub(crate) struct Servers<'a> {
        /// In the order of their names.
        servers: Vec<Outline<'a>>,
    }
}

view! {
    /// An MCP server.
    pub(crate) struct Outline<'a> as McpServer {
        name: &'a str,
        /// The source of its tools: agents name them as `SOURCE/TOOL`.
        source: &'a str,
        /// `stdio` or `http`; empty if its entry cannot be read.
        transport: &'a str,
        /// Its program, or its URL.
        place: &'a str,
        /// `starting`, `ready`, `away`, `unauthorized`, `stopped` or `refused`.
        status: &'a str,
        /// Why the server is not ready.
        reason: Option<&'a str>,
        /// Name and version, as the server gives them.
        info: Option<&'a str>,
        /// The protocol that was agreed on.
        protocol: Option<&'a str>,
        /// How many definitions agents are given; null before it was listed once.
        approved: Option<usize>,
        /// How many are held until a person approves them: they are new, or have changed.
        held: Option<usize>,
        /// Listed definitions that cannot be used.
        unusable: Vec<Unusable<'a>>,
        /// Other oddities.
        notes: &'a [String],
        calls: Calls,
        /// In the order of their kinds and names; of one server only.
        definitions: Optional<Vec<Definition<'a>>>,
    }
}

view! {
    /// A definition that cannot be used.
    pub(crate) struct Unusable<'a> as McpUnusable {
        name: &'a str,
        reason: &'a str,
    }
}

view! {
    /// Calls since the start.
    pub(crate) struct Calls as McpCalls {
        total: u64,
        failed: u64,
        /// Those whose answer was lost, so that what they did is not known.
        unknown: u64,
    }
}

view! {
    /// A tool, a prompt or the instructions of an MCP server.
    pub(crate) struct Definition<'a> as McpDefinition {
        /// `tool`, `prompt` or `instructions`.
        kind: &'a str,
        /// As the server names it; empty for instructions.
        name: &'a str,
        /// `approved`: agents are given it; `new` and `changed`: it is held; `gone`: the server lists it no more.
        state: &'static str,
        /// What was approved, which is what models are sent.
        approved: Option<Version<'a>>,
        /// The definition that the server lists now.
        listed: Option<Version<'a>>,
        /// When the server's list last changed it.
        changed_at: Micros,
        /// Time of the approval.
        approved_at: Option<Micros>,
        /// Who approved it; null for what the server listed first.
        approved_by: Option<String>,
    }
}

view! {
    /// A definition as a server gave it.
    pub(crate) struct Version<'a> as McpVersion {
        /// SHA-256 of its canonical form.
        digest: &'a str,
        definition: &'a Json,
    }
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
    Query::none(uri.query())?;
    let servers = app
        .settings
        .mcp
        .servers(caller.tenant)
        .await
        .map_err(stored)?;
    let body = Servers {
        servers: servers.iter().map(outline).collect(),
    };
    Ok(shown(StatusCode::OK, 1_024, &body))
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
    Query::none(uri.query())?;
    let servers = app
        .settings
        .mcp
        .servers(caller.tenant)
        .await
        .map_err(stored)?;
    let known: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    let found = servers.iter().find(|server| server.name == name);
    let server = found.ok_or_else(|| missing(&name, &known))?;
    Ok(shown(StatusCode::OK, 4_096, &details(server)))
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
        Ok(Some(server)) => Ok(shown(StatusCode::OK, 4_096, &details(&server))),
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

fn outline(server: &McpServerView) -> Outline<'_> {
    let count = |wanted: fn(McpPinState) -> bool| {
        let pins = server.pins.as_ref()?;
        Some(pins.pins.iter().filter(|pin| wanted(pin.state())).count())
    };
    let [total, failed, unknown] = server.calls;
    let unusable = server.unusable.iter();
    Outline {
        name: &server.name,
        source: &server.source,
        transport: &server.transport,
        place: &server.place,
        status: &server.status,
        reason: server.reason.as_deref(),
        info: server.info.as_deref(),
        protocol: server.protocol.as_deref(),
        approved: count(|state| state == McpPinState::Approved),
        held: count(McpPinState::is_held),
        unusable: unusable
            .map(|(name, reason)| Unusable { name, reason })
            .collect(),
        notes: &server.notes,
        calls: Calls {
            total,
            failed,
            unknown,
        },
        definitions: Optional(None),
    }
}

fn details(server: &McpServerView) -> Outline<'_> {
    let pins = server.pins.iter().flat_map(|pins| &pins.pins);
    Outline {
        definitions: Optional(Some(pins.map(definition).collect())),
        ..outline(server)
    }
}

fn definition(pin: &McpPin) -> Definition<'_> {
    Definition {
        kind: &pin.key.kind,
        name: &pin.key.name,
        state: pin.state().as_str(),
        approved: pin.approved.as_ref().map(Version::of),
        listed: pin.current().map(Version::of),
        changed_at: pin.changed_at,
        approved_at: pin.approved_at,
        approved_by: pin.approved_by.as_ref().map(ToString::to_string),
    }
}

impl<'a> Version<'a> {
    fn of(definition: &'a McpDefinition) -> Self {
        Self {
            digest: &definition.digest,
            definition: &definition.raw,
        }
    }
}
