//! The stub over streamable HTTP.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::any,
};
use futures_util::StreamExt as _;
use ops_testkit::serve::{Until, serve};
use serde_json::{Value, json};

use super::{
    answer::{Answer, Server},
    plan::{Discover, Plan},
};

struct Shared {
    server: Server,
    sessions: Mutex<HashSet<String>>,
}

pub(crate) fn run(plan: Plan) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let shared = Arc::new(Shared {
            server: Server::new(plan),
            sessions: Mutex::default(),
        });
        let router = Router::new()
            .route("/mcp", any(handle))
            .route("/forget", any(forget))
            .with_state(shared);
        serve(0, router, Until::StdinCloses).await
    })
}

/// Forgets every session, as a server does that is started anew.
async fn forget(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared
        .sessions
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
    StatusCode::NO_CONTENT
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    headers: HeaderMap,
    body: String,
) -> Response {
    let plan = &shared.server.plan;
    if let Some(place) = &plan.redirect {
        return (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, place.clone())],
        )
            .into_response();
    }
    let sent = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if plan.authorization.is_some() && sent != plan.authorization.as_deref() {
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Bearer")],
            "who are you?",
        )
            .into_response();
    }
    match method {
        Method::GET => {
            return (
                StatusCode::from_u16(plan.get).unwrap_or_default(),
                "<html>no</html>",
            )
                .into_response();
        }
        Method::POST => {}
        _ => return StatusCode::OK.into_response(),
    }
    let Ok(mut message) = serde_json::from_str::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let parent = headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok());
    if let (Some(parent), Some(meta)) = (parent, message.pointer_mut("/params/_meta")) {
        meta["stub/traceparent-header"] = parent.into();
    }
    let key = headers
        .get("x-api-key")
        .and_then(|value| value.to_str().ok());
    if let (Some(key), Some(meta)) = (key, message.pointer_mut("/params/_meta")) {
        meta["stub/api-key"] = key.into();
    }
    let is_modern = headers
        .get("mcp-protocol-version")
        .is_some_and(|version| version == "2026-07-28");
    if message["method"] == "server/discover" && plan.discover_status != 200 {
        let status = StatusCode::from_u16(plan.discover_status).unwrap_or_default();
        let error = json!({"jsonrpc": "2.0", "id": "server-error", "error": {"code": -32600, "message": "Bad Request"}});
        return (
            status,
            [(header::CONTENT_TYPE, "application/json")],
            error.to_string(),
        )
            .into_response();
    }
    if message["method"] == "server/discover" && plan.discover == Discover::Hang {
        tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    }
    let session = headers
        .get("mcp-session-id")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let wants_session = plan.sessions && !is_modern && message["method"] != "initialize";
    if wants_session
        && !shared
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(session)
    {
        let error = json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32000, "message": "Session not found"}});
        return match plan.lost.as_str() {
            "400" => (StatusCode::BAD_REQUEST, "no session of that id").into_response(),
            "event" => events(vec![error]),
            _ => StatusCode::NOT_FOUND.into_response(),
        };
    }
    if message.get("method").is_none() {
        shared.server.answered(&message);
        return StatusCode::ACCEPTED.into_response();
    }
    if message.get("id").is_none() {
        shared.server.notified(&message);
        return StatusCode::ACCEPTED.into_response();
    }
    let mut response = answer(&shared, message.clone()).await;
    let tool = message["params"]["name"].as_str().unwrap_or_default();
    if let Some(gateway) = &plan.gateway
        && tool.starts_with("write")
    {
        let status = StatusCode::from_u16(gateway.status).unwrap_or_default();
        let body = gateway.body.replace("$ID", &message["id"].to_string());
        let kind = match body.starts_with('{') {
            true => "application/json",
            false => "text/html",
        };
        response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if let Some(wait) = gateway
            .retry_after
            .as_deref()
            .and_then(|it| it.parse().ok())
        {
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
    }
    if message["method"] == "initialize" && plan.sessions {
        let mut sessions = shared
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let id = format!(
            "session-{}",
            sessions.len() + 1 + usize::from(!sessions.is_empty())
        );
        if let Ok(value) = id.parse() {
            response.headers_mut().insert("mcp-session-id", value);
        }
        sessions.insert(id);
    }
    response
}

/// Answers as a stream, so that what the stub says meanwhile goes ahead; as JSON if the plan says so.
async fn answer(shared: &Arc<Shared>, message: Value) -> Response {
    let id = message["id"].clone();
    let (say, said) = tokio::sync::mpsc::unbounded_channel::<Option<Value>>();
    let shared = Arc::clone(shared);
    let stream = shared.server.plan.stream;
    let work = tokio::task::spawn_blocking(move || {
        let answer = shared.server.answer(&message, &|message| {
            let _ = say.send(Some(message.clone()));
        });
        let mut beginning = "{\"jsonrpc\":".to_owned();
        let answer = match answer {
            Answer::Cut(result, luck) => {
                let bytes = super::beginning(&id, &result, luck);
                beginning = String::from_utf8_lossy(&bytes).into_owned();
                None
            }
            Answer::Result(result) => Some(json!({"jsonrpc": "2.0", "id": id, "result": result})),
            Answer::Error(code, text) => {
                Some(json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}}))
            }
            Answer::Large(bytes) => {
                Some(json!({"jsonrpc": "2.0", "id": id, "result": {"x": "x".repeat(bytes)}}))
            }
            Answer::Die => std::process::abort(),
            Answer::Raw(_) | Answer::Endless | Answer::Nothing | Answer::CloseStdout => None,
        };
        // None breaks the answer off.
        let _ = say.send(answer.clone());
        answer.ok_or(beginning)
    });
    if stream {
        let said = tokio_stream(said);
        let events = said.map(|message| match message {
            Some(message) => Ok(format!("event: message\ndata: {message}\n\n")),
            None => Err(std::io::Error::other("broken off")),
        });
        return (
            [(header::CONTENT_TYPE, "text/event-stream")],
            Body::from_stream(events),
        )
            .into_response();
    }
    match work.await.unwrap_or_else(|_| Err(String::new())) {
        Ok(answer) => (
            [(header::CONTENT_TYPE, "application/json")],
            answer.to_string(),
        )
            .into_response(),
        Err(beginning) => {
            let broken = futures_util::stream::iter([
                Ok(beginning),
                Err(std::io::Error::other("broken off")),
            ]);
            (
                [(header::CONTENT_TYPE, "application/json")],
                Body::from_stream(broken),
            )
                .into_response()
        }
    }
}

fn tokio_stream<T>(
    mut receiver: tokio::sync::mpsc::UnboundedReceiver<T>,
) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
}

fn events(messages: Vec<Value>) -> Response {
    let text: String = messages
        .iter()
        .map(|message| format!("data: {message}\n\n"))
        .collect();
    ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response()
}
