//! Which tasks to list.

use std::collections::BTreeMap;

use ops_core::{
    Micros, TaskId, TenantId,
    ports::TaskFilter,
    task::{StateName, Status},
};
use ops_engine::DryRun;

use crate::{
    problem::Problem,
    query::{Query, params},
    rest::{cursor, schema},
    time,
};

/// Without `limit`, and at the most.
const MAX_LIMIT: u32 = 1_000;
const MAX_TEXT: usize = 256;
const MAX_LABELS: usize = 64;

const STATUSES: [(&str, Status); 5] = [
    ("pending", Status::Pending),
    ("running", Status::Running),
    ("completed", Status::Completed),
    ("failed", Status::Failed),
    ("cancelled", Status::Cancelled),
];

params! {
    /// Which tasks to list.
    pub(in crate::rest) struct Parameters {
        /// Only tasks with this status.
        status: Status,
        /// Only tasks in these states. A value may also hold several states with commas between.
        state: Vec<StateName>,
        /// Only tasks of this agent.
        agent: String,
        /// Only tasks with this label, as `key=value`; of several, with all of them.
        label: Vec<String>,
        /// Only tasks whose name has this text within it (ASCII case aside), or whose id begins with it.
        q: String,
        /// Only tasks submitted at this time or later.
        created_after: Micros,
        /// Only tasks submitted before this time.
        created_before: Micros,
        /// Only the children of this task.
        parent: String,
        /// `small` leaves out inputs and results of more than 8 KiB; `all` shows them.
        values: String = {"enum": ["small", "all"]},
        limit: u32 = {"minimum": 1, "maximum": 1000, "default": 1000},
        /// `next_cursor` of the page before; the filter must be the same.
        cursor: String,
    }
}

params! {
    /// The tasks of a command for many tasks.
    pub(in crate::rest) struct ManyParameters {
        /// Only tasks with this status.
        status: Status,
        /// Only tasks in these states. A value may also hold several states with commas between.
        state: Vec<StateName>,
        /// Only tasks of this agent.
        agent: String,
        /// Only tasks with this label, as `key=value`; of several, with all of them.
        label: Vec<String>,
        /// Only tasks whose name has this text within it (ASCII case aside), or whose id begins with it.
        q: String,
        /// Only tasks submitted at this time or later.
        created_after: Micros,
        /// Only tasks submitted before this time.
        created_before: Micros,
        /// Only the children of this task.
        parent: String,
        /// Tasks at the most.
        limit: u32 = {"minimum": 1, "maximum": 1000, "default": 100},
        /// Only name them.
        dry_run: bool,
        /// `next_cursor` of the page before; the filter must be the same.
        cursor: String,
    }
}

/// Parameters that may be given more than once.
const LISTS: &[&str] = &["state", "label"];

/// A wish for a list.
#[derive(Debug)]
pub(in crate::rest) struct ListRequest {
    /// Which tasks.
    pub(in crate::rest) filter: TaskFilter,
    /// How many of them at most.
    pub(in crate::rest) limit: u32,
    /// The list that its cursors belong to.
    pub(in crate::rest) list: cursor::List,
}

impl ListRequest {
    /// Reads the query string.
    ///
    /// # Errors
    /// 422 that names every parameter that is wrong, and filters that no task fits.
    pub(super) fn parse(tenant: TenantId, query: Option<&str>) -> Result<Self, Problem> {
        let mut query = Query::parse(query, Parameters::KNOWN, LISTS);
        let limit = query.limit(MAX_LIMIT, MAX_LIMIT);
        let mut filter = filter(&mut query);
        let list = cursor::List::new("tasks", tenant, &format!("{filter:?}"));
        filter.before = list.task(&mut query);
        filter.without_large = match query.get("values") {
            None | Some("small") => true,
            Some("all") => false,
            Some(_) => {
                query.fail("values", "enum", "must be `small` or `all`");
                true
            }
        };
        query.check()?;
        Ok(Self {
            filter,
            limit,
            list,
        })
    }

    /// Reads the query string of what is done to many tasks, and whether they are only to be named.
    ///
    /// # Errors
    /// 422 that names every parameter that is wrong, and a filter that would fit every task: nobody is to
    /// stop them all by a forgotten parameter.
    pub(in crate::rest) fn many(
        tenant: TenantId,
        query: Option<&str>,
    ) -> Result<(Self, DryRun), Problem> {
        let mut query = Query::parse(query, ManyParameters::KNOWN, LISTS);
        let limit = query.limit(MAX_LIMIT, 100);
        let dry_run = match query.flag("dry_run") {
            true => DryRun::Yes,
            false => DryRun::No,
        };
        let mut filter = filter(&mut query);
        if filter == TaskFilter::default() {
            let message = "is missing, and so is every other filter; to mean all tasks, name their \
                           states, such as `pending,scheduled,waiting,running,paused`";
            query.fail("state", "missing", message);
        }
        let ends = |state: &StateName| state.is_terminal();
        if !filter.states.is_empty() && filter.states.iter().all(ends) {
            query.fail("state", "value_error", "names only tasks that have ended");
        }
        let list = cursor::List::new("many tasks", tenant, &format!("{filter:?}"));
        filter.before = list.task(&mut query);
        query.check()?;
        let list_request = Self {
            filter,
            limit,
            list,
        };
        Ok((list_request, dry_run))
    }

    /// Reads the query string of the list of dead letters.
    ///
    /// # Errors
    /// 422 that names every parameter that is wrong.
    pub(in crate::rest) fn dead_letters(
        tenant: TenantId,
        query: Option<&str>,
    ) -> Result<Self, Problem> {
        let mut query = Query::parse(query, schema::PageQuery::KNOWN, &[]);
        let limit = query.limit(MAX_LIMIT, 100);
        let list = cursor::List::new("dead letters", tenant, "");
        let filter = TaskFilter {
            dead_letter: true,
            before: list.task(&mut query),
            without_large: true,
            ..TaskFilter::default()
        };
        query.check()?;
        Ok(Self {
            filter,
            limit,
            list,
        })
    }
}

/// The filter of a query string, without a place to begin.
fn filter(query: &mut Query) -> TaskFilter {
    let filter = TaskFilter {
        states: states(query),
        status: status(query),
        agent: text(query, "agent"),
        labels: labels(query),
        text: text(query, "q"),
        created_after: time(query, "created_after"),
        created_before: time(query, "created_before"),
        parent: parent(query),
        ..TaskFilter::default()
    };
    contradictions(&filter, query);
    filter
}

/// Says which parts of a filter exclude each other.
fn contradictions(filter: &TaskFilter, query: &mut Query) {
    if let (Some(after), Some(before)) = (filter.created_after, filter.created_before)
        && after >= before
    {
        let message = "must be later than `created_after`: no task fits both";
        query.fail("created_before", "value_error", message);
    }
    if let Some(status) = filter.status
        && !filter.states.is_empty()
        && !filter.states.iter().any(|state| goes_with(*state, status))
    {
        let message = "and `status` exclude each other: no task has both";
        query.fail("state", "value_error", message);
    }
}

/// Whether a task in a state can have a version-1 status.
fn goes_with(state: StateName, status: Status) -> bool {
    match state {
        StateName::Pending | StateName::Scheduled | StateName::Paused | StateName::Waiting => {
            matches!(status, Status::Pending | Status::Running)
        }
        StateName::Running | StateName::Cancelling => status == Status::Running,
        StateName::Completed => status == Status::Completed,
        StateName::Failed => status == Status::Failed,
        StateName::Cancelled => status == Status::Cancelled,
    }
}

fn text(query: &mut Query, name: &'static str) -> Option<String> {
    let text = query.get(name)?.to_owned();
    if text.len() > MAX_TEXT {
        query.fail(name, "value_error", "must have 256 bytes at most");
    }
    Some(text)
}

fn time(query: &mut Query, name: &'static str) -> Option<Micros> {
    let time = time::parse(query.get(name)?);
    time.map_err(|message| query.fail(name, "datetime_type", message))
        .ok()
}

fn parent(query: &mut Query) -> Option<TaskId> {
    let parent = query.get("parent")?.parse::<TaskId>();
    parent
        .map_err(|error| query.fail("parent", "value_error", error.to_string()))
        .ok()
}

fn labels(query: &mut Query) -> BTreeMap<String, String> {
    let given: Vec<String> = query.all("label").map(str::to_owned).collect();
    let mut labels = BTreeMap::new();
    if given.len() > MAX_LABELS {
        query.fail("label", "value_error", "is given more than 64 times");
        return labels;
    }
    for label in given {
        match label.split_once('=').filter(|(key, _)| !key.is_empty()) {
            Some((key, value)) => {
                let other = labels.insert(key.to_owned(), value.to_owned());
                if other.is_some_and(|other| other != value) {
                    let message = "asks for two values of one label: no task has both";
                    query.fail("label", "value_error", message);
                }
            }
            None => query.fail("label", "value_error", "must be `key=value`"),
        }
    }
    labels
}

fn status(query: &mut Query) -> Option<Status> {
    let name = query.get("status")?.to_ascii_lowercase();
    let status = STATUSES.iter().find(|(known, _)| *known == name);
    if status.is_none() {
        let known = STATUSES.map(|(known, _)| known);
        let message = units::nearest::unknown("status", &name, known);
        query.fail("status", "enum", format!("is wrong: {message}"));
    }
    status.map(|(_, status)| *status)
}

fn states(query: &mut Query) -> Vec<StateName> {
    let names: Vec<String> = query
        .all("state")
        .flat_map(|names| names.split(','))
        .map(str::to_ascii_lowercase)
        .collect();
    let mut states = Vec::new();
    for name in names {
        match StateName::from_name(&name) {
            Some(state) => states.push(state),
            None => {
                let known = StateName::ALL.map(StateName::as_str);
                let message = units::nearest::unknown("state", &name, known);
                query.fail("state", "enum", format!("is wrong: {message}"));
            }
        }
    }
    states.sort_unstable();
    states.dedup();
    states
}
