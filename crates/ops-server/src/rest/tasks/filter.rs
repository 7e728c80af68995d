//! Which tasks to list, and how many there are of them.

use ops_core::{
    TenantId,
    ports::TaskFilter,
    task::{StateName, Status},
};
use ops_engine::Engine;

use utoipa::IntoParams;

use crate::{
    problem::Problem,
    query::Query,
    rest::{cursor, schema},
};

/// Without `limit`, and at the most.
const MAX_LIMIT: u64 = 1_000;

const STATUSES: [(&str, Status); 5] = [
    ("pending", Status::Pending),
    ("running", Status::Running),
    ("completed", Status::Completed),
    ("failed", Status::Failed),
    ("cancelled", Status::Cancelled),
];

/// The parameters, for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is described, never made")]
pub(super) struct Parameters {
    /// Only tasks with this status.
    status: Option<schema::Status>,
    /// Only tasks in one of these states. It may also hold several with commas between.
    #[param(schema_with = schema::states)]
    state: Option<Vec<String>>,
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A wish for a list.
#[derive(Debug)]
pub(super) struct Wish {
    /// Which tasks.
    pub(super) filter: TaskFilter,
    /// How many of them at most.
    pub(super) limit: u32,
}

impl Wish {
    /// Reads the query string.
    ///
    /// # Errors
    /// 422 that names every parameter that is wrong.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut query = Query::parse(query, &["status", "state", "limit", "cursor"], &["state"]);
        let limit = query.number("limit", 1..=MAX_LIMIT).unwrap_or(MAX_LIMIT);
        let before = cursor::task(&mut query);
        let status = status(&mut query);
        let states = states(&mut query);
        query.check()?;
        Ok(Self {
            filter: TaskFilter {
                states,
                status,
                before,
                ..TaskFilter::default()
            },
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        })
    }

    /// How many tasks the filter fits, whatever the page.
    ///
    /// The counts of the states tell, but for tasks that are pending or scheduled: those that wait
    /// for their first start read `pending`, and the few that were started before read `running`.
    /// Only the latter are counted one by one, so a long queue costs nothing.
    pub(super) async fn total(&self, engine: &Engine, tenant: TenantId) -> Result<u64, Problem> {
        let counts = engine.counts(tenant).await?;
        let mut total = 0;
        for state in StateName::ALL {
            let count = counts.get(&state).copied().unwrap_or(0);
            let wanted = self.filter.states.is_empty() || self.filter.states.contains(&state);
            if !wanted || count == 0 {
                continue;
            }
            total += match self.filter.status {
                None => count,
                Some(status) => match fixed(state) {
                    Some(fixed) if fixed == status => count,
                    Some(_) => 0,
                    None => match status {
                        Status::Pending => {
                            count.saturating_sub(restarted(engine, tenant, state).await?)
                        }
                        Status::Running => restarted(engine, tenant, state).await?,
                        Status::Completed | Status::Failed | Status::Cancelled => 0,
                    },
                },
            };
        }
        Ok(total)
    }
}

/// The version-1 status of every task in a state, if it is the same for all. What runs or
/// is being cancelled by a worker was started.
fn fixed(state: StateName) -> Option<Status> {
    match state {
        StateName::Pending | StateName::Scheduled | StateName::Paused | StateName::Waiting => None,
        StateName::Running | StateName::Cancelling => Some(Status::Running),
        StateName::Completed => Some(Status::Completed),
        StateName::Failed => Some(Status::Failed),
        StateName::Cancelled => Some(Status::Cancelled),
    }
}

/// How many tasks in a state were started before.
async fn restarted(engine: &Engine, tenant: TenantId, state: StateName) -> Result<u64, Problem> {
    let mut filter = TaskFilter {
        states: vec![state],
        status: Some(Status::Running),
        limit: 256,
        ..TaskFilter::default()
    };
    let mut total = 0;
    loop {
        let page = engine.tasks(tenant, filter.clone()).await?;
        total += page.len() as u64;
        let Some(last) = page.last().filter(|_| page.len() >= 256) else {
            return Ok(total);
        };
        filter.before = Some(last.task.id);
    }
}

fn status(query: &mut Query) -> Option<Status> {
    let name = query.get("status")?.to_ascii_lowercase();
    let status = STATUSES.iter().find(|(known, _)| *known == name);
    if status.is_none() {
        let known = STATUSES.map(|(known, _)| known);
        let message = crate::nearest::unknown("status", &name, &known);
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
                let message = crate::nearest::unknown("state", &name, &known);
                query.fail("state", "enum", format!("is wrong: {message}"));
            }
        }
    }
    states
}
