//! Listing tasks, newest first. Each state is read from the index that holds it, so that a rare
//! state among a million tasks is found without looking at the others.

use ops_core::{
    TaskId, TenantId,
    ports::{TaskFilter, TaskRecord},
    task::{StateName, Status},
};
use rusqlite::{Connection, params};

use super::rows::{self, record_columns};

/// The most tasks that are read with one connection in one go.
pub(super) const PAGE: u32 = 128;

/// Greater than every task id.
const ABOVE_ALL: [u8; 17] = [0xff; 17];

/// The tasks of a filter, newest first: a page of them, with the id to go on from.
pub(super) fn tasks(
    conn: &Connection,
    tenant: TenantId,
    filter: &TaskFilter,
) -> rusqlite::Result<Vec<TaskRecord>> {
    let limit = filter.limit.min(PAGE);
    let rows = match sources(filter) {
        None => rows_of(conn, tenant, filter, limit, &Source::ALL)?,
        Some(sources) => {
            let mut found = Vec::new();
            for source in &sources {
                found.append(&mut rows_of(conn, tenant, filter, limit, source)?);
            }
            found.sort_unstable_by(|(left, _), (right, _)| right.cmp(left));
            found.truncate(limit as usize);
            found
        }
    };
    let mut select = conn.prepare_cached(concat!(
        "SELECT ",
        record_columns!(),
        " FROM tasks JOIN task_requests USING (task_row) WHERE task_row = ?"
    ))?;
    let mut read = |row: i64| {
        let mut sparse = select.query_row([row], rows::record)?;
        sparse.fill(conn).map(|()| sparse.into_record())
    };
    rows.into_iter().map(|(_, row)| read(row)).collect()
}

/// An index and what is to be found in it.
struct Source {
    index: &'static str,
    only: String,
}

impl Source {
    const ALL: Self = Self {
        index: "tasks_key",
        only: String::new(),
    };

    /// Where the tasks of a state are.
    fn of(state: StateName) -> Self {
        let name = state.as_str();
        match state {
            StateName::Pending => Self {
                index: "tasks_ready",
                only: " AND state = 'pending'".into(),
            },
            StateName::Running => Self {
                index: "tasks_leased",
                only: " AND session_id IS NOT NULL AND state = 'running'".into(),
            },
            StateName::Scheduled
            | StateName::Paused
            | StateName::Cancelling
            | StateName::Waiting
            | StateName::Completed
            | StateName::Failed
            | StateName::Cancelled => Self {
                index: "tasks_settled",
                only: format!(" AND state NOT IN ('pending', 'running') AND state = '{name}'"),
            },
        }
    }
}

/// Where to look; none for everywhere.
fn sources(filter: &TaskFilter) -> Option<Vec<Source>> {
    let (of_status, started) = match filter.status {
        None => (None, ""),
        Some(Status::Pending) => (Some(Status::Pending), " AND started_at IS NULL"),
        Some(Status::Running) => (Some(Status::Running), " AND started_at IS NOT NULL"),
        Some(other) => (Some(other), ""),
    };
    let has_status = |state: StateName| match of_status {
        None => true,
        Some(Status::Pending | Status::Running) => !state.is_terminal(),
        Some(Status::Completed) => state == StateName::Completed,
        Some(Status::Failed) => state == StateName::Failed,
        Some(Status::Cancelled) => state == StateName::Cancelled,
    };
    let wanted = |state: &StateName| {
        has_status(*state) && (filter.states.is_empty() || filter.states.contains(state))
    };
    if filter.dead_letter {
        return Some(if wanted(&StateName::Failed) {
            vec![Source {
                index: "tasks_dead",
                only: " AND dead_letter = 1".to_owned(),
            }]
        } else {
            Vec::new()
        });
    }
    if filter.in_doubt {
        let source = Source {
            index: "tasks_in_doubt",
            only: format!(" AND wait_on = 'in_doubt'{started}"),
        };
        return Some(if wanted(&StateName::Waiting) {
            vec![source]
        } else {
            Vec::new()
        });
    }
    if filter.states.is_empty() && of_status.is_none() {
        return None;
    }
    let mut sources: Vec<Source> = StateName::ALL
        .into_iter()
        .filter(wanted)
        .map(Source::of)
        .collect();
    for source in &mut sources {
        source.only.push_str(started);
    }
    Some(sources)
}

/// Ids and rows of a source, newest first.
fn rows_of(
    conn: &Connection,
    tenant: TenantId,
    filter: &TaskFilter,
    limit: u32,
    source: &Source,
) -> rusqlite::Result<Vec<([u8; 16], i64)>> {
    let Source { index, only } = source;
    let parent = filter.parent.as_ref().map(TaskId::as_bytes);
    let (index, child) = match parent {
        None => (*index, " AND ?4 IS NULL"),
        Some(_) => (
            "tasks_children",
            " AND parent_row IS NOT NULL AND parent_row = \
             (SELECT task_row FROM tasks WHERE tenant_id = ?1 AND task_id = ?4)",
        ),
    };
    let mut select = conn.prepare_cached(&format!(
        "SELECT task_id, task_row FROM tasks INDEXED BY {index} \
         WHERE tenant_id = ?1 AND task_id < ?2{only}{child} ORDER BY task_id DESC LIMIT ?3"
    ))?;
    let before = filter
        .before
        .as_ref()
        .map_or(&ABOVE_ALL[..], |id| id.as_bytes());
    select
        .query_map(params![tenant.0, before, limit, parent], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect()
}
