//! `GET /tools`.

use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use ops_core::Json;

use super::{AppState, extract::Caller, shown};
use crate::{json::view, problem::Problem, query::Query};

view! {
    /// The tools that agents may have, and where they come from.
    pub(crate) struct Tools {
        /// In the order of their names.
        tools: Vec<Tool>,
        sources: Vec<Source>,
    }
}

view! {
    /// A tool.
    pub(crate) struct Tool as ListedTool {
        name: String,
        /// The source that it comes from.
        source: String,
        /// Description of the tool, as models are told.
        description: String,
        /// The meaning of a crash for a call: `pure` and `idempotent` run again, a `write` is in doubt.
        effect: String,
        /// How calls whose outcome was lost are settled without a person, place by place.
        settles: Vec<String>,
        /// SHA-256 of its definition.
        digest: String,
        /// The JSON Schema of its arguments.
        input_schema: Json = {"type": "object"},
    }
}

view! {
    /// Where tools come from.
    pub(crate) struct Source as ToolSource {
        name: String,
        /// How many tools it has; null if it has given no list yet.
        tools: Option<usize>,
        /// Why it gives no tools right now; null if it does.
        error as "trouble": Option<String>,
    }
}

/// The tools that agents may have.
///
/// Agents name them, and sources as `SOURCE/TOOL`, in `tools` of their definitions.
#[utoipa::path(
    get, path = "/api/v1/tools", tag = "Agents", operation_id = "list_tools",
    responses((status = 200, body = Tools, description = "Every tool and source.")),
)]
pub(crate) async fn list(
    State(app): AppState,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::none(uri.query())?;
    let listed = app.settings.engine.tools(caller.tenant);
    let tools = listed.tools.into_iter().map(|tool| Tool {
        name: tool.name,
        source: tool.source,
        description: tool.description,
        effect: tool.effect,
        settles: tool.settles,
        digest: tool.digest,
        input_schema: tool.input_schema,
    });
    let sources = listed.sources.into_iter().map(|source| Source {
        name: source.name,
        tools: source.tools,
        error: source.error,
    });
    let body = Tools {
        tools: tools.collect(),
        sources: sources.collect(),
    };
    Ok(shown(StatusCode::OK, 4_096, &body))
}
