//! `POST /tasks`, and `POST /tasks:batch` beside it.

pub(super) mod batch;
mod digest;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
pub(super) mod request;
mod shorthand;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::HeaderMap;
use ops_core::Code;
use ops_engine::{ClientKey, FieldError};

use super::{AppState, extract::Caller, schema, tasks, view::Task};
use crate::problem::{IDEMPOTENCY_KEY, Part, Problem, translate};

/// Accepts a task; it is on disk before the answer.
///
/// The same key and body give the same task, with `Idempotency-Replayed: true`. `prompt`, `goal`,
/// `agent_config` and `inject_mcp_proxy` stand for the same fields of `input_data`.
#[utoipa::path(
    post, path = "/api/v1/tasks", tag = "Tasks", operation_id = "submit_task",
    params(schema::IdempotencyKey),
    request_body = request::SubmitTask,
    responses(
        (status = 201, body = Task, description = "The task.", headers(
            ("Idempotency-Replayed" = String, description = "`true` if the key had made it before."),
        )),
        schema::Invalid,
    ),
)]
pub(crate) async fn create(
    State(app): AppState,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = app.bodies.json(&parts.headers, body).await?;
    let read = body.work(move |text| {
        let mut request = request::parse(text)?;
        let given = Given::of(&request);
        let key = key(&parts.headers, request.request_id.take())?;
        request.submit.key = key.map(|key| client_key(key, text));
        Ok((request.submit, given))
    });
    let (request, given) = read.await?;
    let accepted = app.settings.engine.submit(&caller, request).await;
    let accepted = accepted.map_err(|error| given.refused(error))?;
    Ok(tasks::made_as(accepted, &given))
}

/// A key of a request, with the key that an older release may have stored.
fn client_key(key: String, text: &str) -> ClientKey {
    ClientKey {
        key,
        former: Some(digest::of_request(text)),
    }
}

/// Where a submit gave what the engine knows at one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    /// The idempotency key stood in the body.
    key_in_body: bool,
    /// Fields of the input that stood beside `input_data`.
    lifted: Vec<&'static str>,
}

impl Given {
    fn of(request: &request::SubmitRequest) -> Self {
        Self {
            key_in_body: request.request_id.is_some(),
            lifted: request.lifted.clone(),
        }
    }

    /// A refusal of the engine.
    fn refused(&self, error: ops_engine::Error) -> Problem {
        if error.fields.is_empty() {
            return error.into();
        }
        let mut fields = error.fields;
        fields.iter_mut().for_each(|field| self.relocate(field));
        Problem::parts(error.code, "body", fields)
    }

    /// Warnings as the client is told them.
    pub(super) fn parts(&self, warnings: Vec<FieldError>) -> Vec<Part> {
        let parts = warnings.into_iter().map(|mut field| {
            self.relocate(&mut field);
            Part::of("body", field)
        });
        parts.collect()
    }

    /// Names the place where the client gave it.
    fn relocate(&self, field: &mut FieldError) {
        translate(field);
        if self.key_in_body && field.path == [IDEMPOTENCY_KEY] {
            field.path = vec!["request_id".to_owned()];
        }
        if let [input, name, ..] = field.path.as_slice()
            && input == "input_data"
            && self.lifted.iter().any(|lifted| lifted == name)
        {
            field.path.remove(0);
        }
    }
}

/// The key of the header or of the body; both only if they are the same.
pub(super) fn key(
    headers: &HeaderMap,
    request_id: Option<String>,
) -> Result<Option<String>, Problem> {
    let wrong = |message: &str| {
        let field = FieldError::new(&[IDEMPOTENCY_KEY], "value_error", message);
        Problem::parts(Code::InvalidBody, "header", vec![field])
    };
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(header) = given.next() else {
        return Ok(request_id);
    };
    if given.next().is_some() {
        return Err(wrong("is given twice"));
    }
    let header = header
        .to_str()
        .map_err(|_| wrong("must be visible ASCII"))?;
    match request_id {
        Some(other) if other != header => Err(wrong("and `request_id` differ; give one of them")),
        Some(_) | None => Ok(Some(header.to_owned())),
    }
}
