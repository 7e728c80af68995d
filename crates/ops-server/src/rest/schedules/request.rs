//! The body of `PUT /schedules/{name}`.

use http::HeaderMap;
use ops_core::{
    ports::ExpectedSchedule,
    schedule::{CatchUp, Overlap},
};
use ops_engine::{FieldError, ScheduleRequest, Submit};
use serde_json::json;

use crate::{
    problem::Problem,
    rest::{
        create::{self, request::SubmitTask},
        etag::{Precondition, precondition},
        shape::{self, Body, Choice, Flag, Nested, Seconds, Text, body},
    },
};

body! {
    /// A schedule that is to be stored.
    pub(in crate::rest) struct ApplySchedule {
        /// The same as in the path.
        name: Text,
        /// Minute, hour, day of the month, month, day of the week; six fields begin with the second.
        cron: Text = {"examples": ["30 2 * * 1-5"]}; required "is missing",
        /// An IANA name; `UTC` unless given.
        timezone: Text = {"examples": ["Europe/Berlin"]},
        /// Treatment of a run that is due while an earlier run has not ended.
        overlap: Choice<Overlap>,
        /// Treatment of runs that were due while no server ran.
        catch_up: Choice<CatchUp>,
        /// A run starts up to so much later than its date; a day at most. Seconds, or text like `10m`.
        jitter: Seconds = {"exclusiveMinimum": 0, "maximum": 86_400},
        /// Unchanged unless given; a new schedule runs.
        paused: Flag,
        /// The task to submit, without `run_at` and `request_id`. The task gets the label `schedule`.
        task: Nested<SubmitTask>; required "is missing",
    }
    with json!({"allOf": [
        {"properties": {"task": shape::none_given(&["run_at", "request_id"])}},
    ]});
}

/// Reads a body that is JSON. What `GET` shows beside the wish is no part of it.
///
/// # Errors
/// 422 that names every field that is wrong.
pub(super) fn parse(text: &str, name: String) -> Result<ScheduleRequest, Problem> {
    ApplySchedule::read(text, |body, errors| {
        if let Some(other) = body.name.filter(|other| *other != name) {
            let other: String = other.chars().take(80).collect();
            let message = format!("is `{other}`, but the path names `{name}`");
            errors.push(FieldError::new(&["name"], "value_error", message));
        }
        let begun = errors.len();
        let task = body
            .task
            .map(|task| create::request::template(task, errors));
        for error in &mut errors[begun..] {
            error.path.insert(0, "task".to_owned());
        }
        ScheduleRequest {
            cron: body.cron.unwrap_or_default(),
            timezone: body.timezone.unwrap_or_else(|| "UTC".to_owned()),
            overlap: body.overlap.unwrap_or_default(),
            catch_up: body.catch_up.unwrap_or_default(),
            paused: body.paused,
            expected: ExpectedSchedule::Any,
            task: Submit {
                jitter_micros: body.jitter,
                ..task.unwrap_or_default()
            },
            name,
        }
    })
}

/// The condition on the schedule.
///
/// # Errors
/// 422 if no schedule can be as a header says.
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
