//! The body of `PUT /schedules/{name}`.

use http::HeaderMap;
use ops_core::{
    Code,
    ports::ExpectedSchedule,
    schedule::{CatchUp, Overlap},
};
use ops_engine::{FieldError, ScheduleWish, Submit};

use crate::{
    json::{Fields, object},
    problem::Problem,
    rest::{
        create::wish,
        etag::{Precondition, precondition},
    },
};

const FIELDS: &[&str] = &[
    "name", "cron", "timezone", "overlap", "catch_up", "paused", "task",
];

/// Reads a body that is JSON. What `GET` shows beside the wish is no part of it.
///
/// # Errors
/// 422 that names every field that is wrong.
pub(super) fn parse(text: &str, name: String) -> Result<ScheduleWish, Problem> {
    let mut errors = Vec::new();
    let body = object(text, FIELDS, &[], &mut errors);
    let whole = errors.iter().all(|error| error.kind != "dict_type");
    for required in ["cron", "task"] {
        if whole && body.raw(required).is_none() {
            errors.push(body.error(Some(required), "missing", "is missing"));
        }
    }
    if let Some(other) = body
        .string("name", &mut errors)
        .filter(|other| *other != name)
    {
        let other: String = other.chars().take(80).collect();
        let message = format!("is `{other}`, but the path names `{name}`");
        errors.push(body.error(Some("name"), "value_error", &message));
    }
    let wish = ScheduleWish {
        cron: body.string("cron", &mut errors).unwrap_or_default(),
        timezone: body
            .string("timezone", &mut errors)
            .unwrap_or_else(|| "UTC".to_owned()),
        overlap: body
            .choice("overlap", Overlap::NAMES, &mut errors)
            .and_then(Overlap::from_name)
            .unwrap_or_default(),
        catch_up: body
            .choice("catch_up", CatchUp::NAMES, &mut errors)
            .and_then(CatchUp::from_name)
            .unwrap_or_default(),
        paused: body.get(
            "paused",
            ("bool_type", "must be `true` or `false`"),
            &mut errors,
        ),
        expected: ExpectedSchedule::Any,
        task: task(&body, &mut errors),
        name,
    };
    if errors.is_empty() {
        Ok(wish)
    } else {
        Err(Problem::parts(Code::InvalidBody, "body", errors))
    }
}

/// What the schedule must be.
///
/// # Errors
/// 422 if a header says what no schedule can be.
pub(super) fn expected(headers: &HeaderMap) -> Result<ExpectedSchedule, Problem> {
    let parse = |revision: &str| revision.parse::<u64>().ok();
    Ok(
        match precondition(headers, parse, "the schedule's revision")? {
            Precondition::Any => ExpectedSchedule::Any,
            Precondition::Absent => ExpectedSchedule::Absent,
            Precondition::Tag(revision) => ExpectedSchedule::Revision(revision),
        },
    )
}

fn task(body: &Fields<'_>, errors: &mut Vec<FieldError>) -> Submit {
    let Some(text) = body.raw("task") else {
        return Submit::default();
    };
    let mut wrong = Vec::new();
    let task = wish::template(text, &mut wrong);
    for mut error in wrong {
        error.path.insert(0, "task".to_owned());
        errors.push(error);
    }
    task
}
