//! Which tasks a filter fits.

use ops_core::{State, TaskId, TenantId, Wait, ports::TaskFilter, verbs::Key};

use crate::data::{Data, Row};

/// The tasks of a filter, newest first, wherever its page begins and however many it takes.
pub(crate) fn fitting<'d>(
    data: &'d Data,
    tenant: TenantId,
    filter: &'d TaskFilter,
) -> impl Iterator<Item = (&'d Key, &'d Row)> {
    let of_tenant = data.tasks.iter().filter(move |(key, _)| key.0 == tenant);
    of_tenant
        .rev()
        .filter(move |(key, row)| fits(data, filter, **key, row))
}

fn fits(data: &Data, filter: &TaskFilter, key: Key, row: &Row) -> bool {
    let (task, life) = (&row.record.task, &row.record.life);
    let TaskFilter {
        states,
        status,
        agent,
        labels,
        text,
        created_after,
        created_before,
        before: _,
        in_doubt,
        dead_letter,
        parent,
        limit: _,
        without_large: _,
    } = filter;
    let first = |at| TaskId::new(at, [0; 10]);
    (states.is_empty() || states.contains(&life.state.name()))
        && status.is_none_or(|status| life.status() == status)
        && (agent.is_none() || task.agent_id == *agent)
        && labels
            .iter()
            .all(|(key, value)| task.labels.get(key) == Some(value))
        && text.as_deref().is_none_or(|text| has_text(row, text))
        && created_after.is_none_or(|at| key.1 >= first(at))
        && created_before.is_none_or(|at| key.1 < first(at))
        && (!in_doubt || matches!(life.state, State::Waiting(Wait::InDoubt { .. })))
        && (!dead_letter || is_dead_letter(row))
        && parent.is_none_or(|parent| {
            task.parent.is_some_and(|of| of.task == parent)
                && data.tasks.contains_key(&(key.0, parent))
        })
}

/// Whether it was given up, and nobody has taken it over.
fn is_dead_letter(row: &Row) -> bool {
    let given_up = matches!(
        row.record.life.state,
        State::Failed {
            dead_letter: true,
            ..
        }
    );
    given_up && !row.redriven
}

/// Whether the name has a text within it, ASCII case aside, or the id begins with it.
fn has_text(row: &Row, text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let task = &row.record.task;
    let name = task.name.as_ref().map(|name| name.to_ascii_lowercase());
    let digits = lower
        .strip_prefix("task_")
        .unwrap_or(&lower)
        .replace('-', "");
    let is_id = (4..=32).contains(&digits.len())
        && units::hex::encode(task.id.as_bytes()).starts_with(&digits);
    is_id || name.is_some_and(|name| name.contains(&lower))
}
