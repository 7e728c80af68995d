//! `POST /tasks:batch`.

use std::fmt;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use ops_core::{Code, Json, ports::Submitted};
use ops_engine::{Accepted, FieldError};
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::{Value, json, value::RawValue};

use super::{Given, client_key, request};
use crate::{
    json::{Fields, Schemas, view},
    problem::{IDEMPOTENCY_KEY, Part, Problem, ProblemView},
    rest::{
        AppState,
        extract::Caller,
        schema,
        shape::{Body, Kind, Nested, body},
        shown,
        view::Task,
    },
};

/// Tasks of one group of the store, with room for other jobs.
const MAX_TASKS: usize = 500;

/// Accepts several tasks, each on its own account.
///
/// The status is 200 also where tasks are refused; `results` has an entry for each, in their order, and a
/// task that is refused fails no other. Accepted tasks are on disk before the answer. Give each a
/// `request_id` to be able to send the batch again.
#[utoipa::path(
    post, path = "/api/v1/tasks:batch", tag = "Tasks", operation_id = "submit_tasks",
    request_body = SubmitTasks,
    responses(
        (status = 200, body = Submissions, description = "What became of each."),
        schema::Invalid,
    ),
)]
pub(crate) async fn create(
    State(app): AppState,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    check_headers(&parts.headers)?;
    let body = app.bodies.json(&parts.headers, body).await?;
    let read = body.work(move |text| {
        let mut requests = Vec::new();
        let mut parsed = Vec::new();
        for task in tasks(text)? {
            parsed.push(read(task.as_str()).map(|(request, given)| {
                requests.push(request);
                given
            }));
        }
        Ok((requests, parsed))
    });
    let (requests, parsed) = read.await?;
    let submitted = app.settings.engine.submit_all(&caller, requests).await;
    let mut submitted = submitted.into_iter();
    let outcomes: Vec<Outcome> = parsed
        .into_iter()
        .map(|parsed| {
            let given = parsed?;
            let outcome = submitted.next();
            let outcome = outcome.expect("the engine answers for each task");
            match outcome {
                Ok(Accepted {
                    submitted,
                    warnings,
                }) => Ok((submitted, given.parts(warnings))),
                Err(error) => Err(given.refused(error)),
            }
        })
        .collect();
    storage(&outcomes)?;
    let about = 1_024 * outcomes.len();
    Ok(shown(StatusCode::OK, about, &Submissions::of(&outcomes)))
}

/// The outcome of one task: it was accepted, with warnings, or refused.
type Outcome = Result<(Submitted, Vec<Part>), Problem>;

/// A key stands for one task.
fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    if !headers.contains_key(IDEMPOTENCY_KEY) {
        return Ok(());
    }
    let message = "goes with one task; give each task of a batch its `request_id`";
    let field = FieldError::new(&[IDEMPOTENCY_KEY], "value_error", message);
    Err(Problem::parts(Code::InvalidBody, "header", vec![field]))
}

/// One task of the body.
fn read(text: &str) -> Result<(ops_engine::Submit, Given), Problem> {
    let mut request = request::parse(text)?;
    let given = Given::of(&request);
    let key = request.request_id.take();
    request.submit.key = key.map(|key| client_key(key, text));
    Ok((request.submit, given))
}

/// If the storage took none, that is the answer to the batch.
fn storage(outcomes: &[Outcome]) -> Result<(), Problem> {
    let broken =
        |outcome: &&Outcome| matches!(outcome, Err(problem) if problem.status().is_server_error());
    match outcomes.iter().find(broken) {
        Some(Err(problem)) if outcomes.iter().all(Result::is_err) => Err(problem.clone()),
        Some(_) | None => Ok(()),
    }
}

view! {
    /// Outcomes of the tasks of a batch.
    pub(crate) struct Submissions<'a> {
        /// An outcome for each task, in their order.
        results: Vec<Submission<'a>>,
        accepted: u32,
        refused: u32,
    }
}

view! {
    /// Outcome of one task of a batch.
    pub(crate) struct Submission<'a> {
        /// The status that the task alone would have got.
        status: u16,
        /// Whether its `request_id` had made it before.
        replayed: bool,
        task: Option<Task<'a>>,
        error: Option<ProblemView<'a>>,
    }
}

impl<'a> Submissions<'a> {
    fn of(outcomes: &'a [Outcome]) -> Self {
        let count = |outcomes: usize| u32::try_from(outcomes).unwrap_or(u32::MAX);
        let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        Self {
            results: outcomes.iter().map(Submission::of).collect(),
            accepted: count(accepted),
            refused: count(outcomes.len() - accepted),
        }
    }
}

impl<'a> Submission<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        match outcome {
            Ok((submitted, warnings)) => Self {
                status: StatusCode::CREATED.as_u16(),
                replayed: submitted.existing,
                task: Some(Task::accepted(&submitted.record, warnings.clone())),
                error: None,
            },
            Err(problem) => Self {
                status: problem.status().as_u16(),
                replayed: false,
                task: None,
                error: Some(problem.view(None)),
            },
        }
    }
}

/// The texts of the tasks.
fn tasks(text: &str) -> Result<Vec<Json>, Problem> {
    SubmitTasks::read(text, |body, _| body.tasks.unwrap_or_default())
}

body! {
    /// Tasks that are to be done.
    pub(in crate::rest) struct SubmitTasks {
        /// Each is taken or refused on its own account.
        tasks: Tasks; required "is missing",
    }
}

/// Submits, as text.
pub(in crate::rest) struct Tasks;

impl Kind for Tasks {
    type Value = Vec<Json>;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<Vec<Json>> {
        let read =
            serde_json::Deserializer::from_str(fields.raw(name)?).deserialize_seq(BoundedArray);
        let tasks = read.ok().filter(|tasks| !tasks.is_empty());
        if tasks.is_none() {
            let message = format!("must be an array of 1 to {MAX_TASKS} tasks");
            errors.push(fields.error(Some(name), "list_type", &message));
        }
        tasks
    }

    fn schema() -> Value {
        json!({
            "type": "array", "minItems": 1, "maxItems": MAX_TASKS,
            "items": Nested::<request::SubmitTask>::schema(),
        })
    }

    fn schemas(found: &mut Schemas) {
        Nested::<request::SubmitTask>::schemas(found);
    }
}

/// An array that is given up once it is too long.
struct BoundedArray;

impl<'de> Visitor<'de> for BoundedArray {
    type Value = Vec<Json>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of 1 to 500 tasks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(task) = seq.next_element::<&RawValue>()? {
            if found.len() == MAX_TASKS {
                return Err(serde::de::Error::custom("too many"));
            }
            found.push(Json::parse(task.get()).map_err(serde::de::Error::custom)?);
        }
        Ok(found)
    }
}
