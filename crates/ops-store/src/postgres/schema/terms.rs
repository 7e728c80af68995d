//! What tasks are found by: labels, the agent and the name, each with the tasks that have it.

use ops_core::Task;

use crate::postgres::bulk::Cell;

/// The kinds of terms, as they are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Label = 0,
    Agent = 1,
    Name = 2,
}

/// The rows of a new task's terms: `tenant_id, kind, key, value, folded, task_id`.
pub(crate) fn of(task: &Task) -> Vec<[Cell; 6]> {
    let labels = task.labels.iter();
    let labels = labels.map(|(key, value)| (Kind::Label, key.as_str(), value));
    let agent = task.agent_id.iter().map(|agent| (Kind::Agent, "", agent));
    let name = task.name.iter().map(|name| (Kind::Name, "", name));
    let terms = labels.chain(agent).chain(name);
    terms
        .map(|(kind, key, value)| {
            let folded = matches!(kind, Kind::Name).then(|| value.to_ascii_lowercase());
            [
                i64::from(task.tenant.0).into(),
                (kind as i64).into(),
                key.as_bytes().to_vec().into(),
                value.as_bytes().to_vec().into(),
                folded.map(String::into_bytes).into(),
                task.id.as_bytes().to_vec().into(),
            ]
        })
        .collect()
}
