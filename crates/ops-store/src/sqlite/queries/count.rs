//! How many tasks a filter fits.

use ops_core::{
    TenantId,
    ports::TaskFilter,
    task::{StateName, Status},
};
use rusqlite::params_from_iter;

use crate::sqlite::{
    queries::{reads, search, view::View},
    schema::rows::unsigned,
};

/// The number of tasks of a filter, wherever its page begins. The counters of the states tell where
/// they can, so that a long list costs nothing.
pub(crate) fn tasks(
    conn: &View<'_>,
    tenant: TenantId,
    filter: &TaskFilter,
) -> rusqlite::Result<u64> {
    let tenant = match units::mutant!("ops-store.counts_are_everybodys") {
        true => TenantId::DEFAULT,
        false => tenant,
    };
    let filter = filter.of_any_page();
    if filter.is_by_state() {
        by_counters(conn, tenant, &filter)
    } else {
        one_by_one(conn, tenant, &filter)
    }
}

fn by_counters(conn: &View<'_>, tenant: TenantId, filter: &TaskFilter) -> rusqlite::Result<u64> {
    let counts = reads::counts(conn, tenant)?;
    let mut total = 0;
    for state in search::wanted(filter) {
        let count = counts.get(&state).copied().unwrap_or(0);
        if count == 0 {
            continue;
        }
        // How many were started before; those alone are counted one by one.
        let restarted = || {
            let started = TaskFilter {
                states: vec![state],
                status: Some(Status::Running),
                ..TaskFilter::default()
            };
            one_by_one(conn, tenant, &started)
        };
        total += match (filter.status, has_both(state)) {
            (Some(Status::Pending), true) => count.saturating_sub(restarted()?),
            (Some(Status::Running), true) => restarted()?,
            (Some(Status::Pending), false) => 0,
            (_, _) => count,
        };
    }
    Ok(total)
}

/// Whether tasks of a state read `pending` or `running` as they were started before or not. What
/// runs or is being cancelled by a worker was started.
fn has_both(state: StateName) -> bool {
    match state {
        StateName::Pending | StateName::Scheduled | StateName::Paused | StateName::Waiting => true,
        StateName::Running
        | StateName::Cancelling
        | StateName::Completed
        | StateName::Failed
        | StateName::Cancelled => false,
    }
}

fn one_by_one(conn: &View<'_>, tenant: TenantId, filter: &TaskFilter) -> rusqlite::Result<u64> {
    let mut total = 0;
    for source in search::sources(tenant, filter) {
        let mut select = conn.prepare_cached(&format!(
            "SELECT count(*) FROM {}",
            source.lone.as_ref().unwrap_or(&source.sql)
        ))?;
        total += select.query_row(params_from_iter(source.params), |row| unsigned(row, 0))?;
    }
    Ok(total)
}
