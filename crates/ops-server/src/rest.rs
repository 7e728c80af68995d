//! REST: the routes. One file for each group of endpoints; a handler extracts, calls one command
//! of the engine, and writes a view.

mod agents;
mod approvals;
mod body;
mod budgets;
mod bulk;
mod control;
mod create;
mod cursor;
mod dead_letters;
mod document;
mod etag;
mod events;
mod export;
mod extract;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod local;
mod mcp;
mod reconciliations;
mod reload;
mod retention;
mod routes;
mod schedules;
mod schema;
mod server;
mod shape;
mod sse;
mod steps;
mod tasks;
mod tools;
mod view;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use ops_core::{
    Code,
    ports::{McpServers, NoMcpServers, NoReload, Reload},
};
use ops_engine::Engine;
use tokio_util::sync::CancellationToken;
use utoipa_axum::routes;

use self::{document::Document, routes::Routes};
pub use self::{
    events::event_view,
    local::{Local, LocalBody, LocalFollower},
};
use crate::{
    Hosts, Part, ServerInfo,
    json::{self, Shown},
    metrics::Metrics,
    problem::Problem,
};

/// Parts that the routes work with.
#[derive(Clone)]
pub struct RestSettings {
    /// The engine whose commands the routes call.
    pub engine: Arc<Engine>,
    /// The MCP servers.
    pub mcp: Arc<dyn McpServers>,
    /// Reads the configuration anew.
    pub reload: Arc<dyn Reload>,
    /// The server's description of itself.
    pub info: ServerInfo,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// How long a request body may rest between two of its pieces.
    pub body_timeout: Duration,
    /// The longest silence of an event stream.
    pub keep_alive: Duration,
    /// Ends the event streams; the token that [`crate::serve()`] is given.
    pub stop: CancellationToken,
    /// Parts of the process that `/ready` and `/metrics` tell about.
    pub parts: Vec<Arc<dyn Part>>,
}

impl RestSettings {
    /// A surface with the default limits: bodies of 10 MiB, 30 s between two pieces of one, 15 s
    /// of silence.
    #[must_use]
    pub fn new(engine: Arc<Engine>, info: ServerInfo, stop: CancellationToken) -> Self {
        Self {
            engine,
            mcp: Arc::new(NoMcpServers),
            reload: Arc::new(NoReload),
            info,
            max_body_bytes: 10 << 20,
            body_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            stop,
            parts: Vec::new(),
        }
    }
}

/// The state of the routes.
struct App {
    settings: RestSettings,
    bodies: body::Reader,
    health: Bytes,
    document: Document,
    metrics: Metrics,
}

type AppState = State<Arc<App>>;

/// Every REST route, each with and without a trailing slash. [`crate::serve()`] brings them to a
/// port; it alone adds request ids and turns panics into answers.
pub fn router(settings: RestSettings) -> Router {
    let version = settings.info.version.clone();
    assemble(routes(&version), settings).0
}

/// The routes for a port, and the same for another surface of this process. `/metrics` of the routes shows what both
/// count; `hosts` and `listen` are those of the other surface.
pub fn surfaces(
    settings: RestSettings,
    hosts: Hosts,
    listen: Option<SocketAddr>,
) -> (Router, Local) {
    let version = settings.info.version.clone();
    let (router, app, bare) = assemble(routes(&version), settings);
    (router, Local::new(app, bare, hosts, listen))
}

/// The routes that say how a process is, for one that serves nothing else.
pub fn health_router(settings: RestSettings) -> Router {
    let version = settings.info.version.clone();
    assemble(health_routes(Routes::new(&version)), settings).0
}

/// The routes with and without the count of HTTP answers, and their state.
fn assemble(routes: Routes, settings: RestSettings) -> (Router, Arc<App>, Router) {
    let (routes, document) = routes.finish();
    let app = Arc::new(App {
        health: settings.info.health().into(),
        document: Document::new(&document),
        bodies: body::Reader::new(settings.max_body_bytes, settings.body_timeout),
        metrics: Metrics::new(),
        settings,
    });
    let routes = routes
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method);
    let counted = middleware::from_fn_with_state(Arc::clone(&app), count);
    let router = routes.clone().layer(counted).with_state(Arc::clone(&app));
    let bare = routes.with_state(Arc::clone(&app));
    (router, app, bare)
}

/// Counts answers.
async fn count(State(app): AppState, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>();
    let route = path.map(|path| path.as_str().trim_end_matches('/').into());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics.answered(&method, route, status);
    response
}

/// The route table. The handlers of one path stand together.
fn routes(version: &str) -> Routes {
    health_routes(Routes::new(version))
        .add(routes!(tasks::list, create::create))
        .add(routes!(create::batch::create))
        .add(routes!(bulk::cancel))
        .add(routes!(bulk::pause))
        .add(routes!(bulk::resume))
        .add(routes!(tasks::get))
        .add(routes!(tasks::cancel))
        .add(routes!(tasks::retry))
        .add(routes!(control::pause))
        .add(routes!(control::resume))
        .add(routes!(control::limit))
        .add(routes!(control::signal))
        .add(routes!(control::rerun))
        .add(routes!(steps::list))
        .add(routes!(steps::prompt))
        .add(routes!(events::list))
        .add(routes!(export::export))
        .add(routes!(reconciliations::list))
        .add(routes!(reconciliations::resolve))
        .add(routes!(approvals::list))
        .add(routes!(approvals::get))
        .add(routes!(approvals::approve))
        .add(routes!(approvals::deny))
        .add(routes!(approvals::edit))
        .add(routes!(dead_letters::list))
        .add(routes!(dead_letters::redrive))
        .add(routes!(dead_letters::redrive_all))
        .add(routes!(agents::list))
        .add(routes!(agents::get, agents::apply, agents::remove))
        .add(routes!(agents::versions))
        .add(routes!(agents::version))
        .add(routes!(tools::list))
        .add(routes!(mcp::list))
        .add(routes!(mcp::get))
        .add(routes!(mcp::approve))
        .add(routes!(schedules::list))
        .add(routes!(schedules::get, schedules::apply, schedules::remove))
        .add(routes!(schedules::pause))
        .add(routes!(schedules::resume))
        .add(routes!(schedules::run))
        .add(routes!(schedules::runs))
        .add(routes!(budgets::list))
        .add(routes!(retention::show))
        .add(routes!(retention::run))
        .add(routes!(reload::reload))
        .add(routes!(document::openapi))
        .add(routes!(document::docs))
        .add(routes!(document::style))
}

/// The routes that say how the process is.
fn health_routes(routes: Routes) -> Routes {
    routes
        .add(routes!(server::health))
        .add(routes!(server::health_v1))
        .add(routes!(server::ready))
        .add(routes!(server::info))
        .add(routes!(server::metrics))
}

async fn nothing_here(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    let more = match path.as_str() {
        "/" => ": the API is at `/api/v1`, and `/docs` describes it",
        _ => "",
    };
    Problem::new(
        Code::RouteNotFound,
        format!("there is nothing at `{path}`{more}"),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    let method: String = method.as_str().chars().take(32).collect();
    let message =
        format!("`{path}` does not take {method}; the `Allow` header names what it takes");
    Problem::new(Code::MethodNotAllowed, message)
}

/// A view as a response, which has about so many bytes.
fn shown(status: StatusCode, about: usize, view: &impl Shown) -> Response {
    answer(status, json::text(about, view))
}

/// A JSON response.
fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Body::from(body.into()).into_response();
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
