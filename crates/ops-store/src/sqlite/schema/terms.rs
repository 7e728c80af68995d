//! What tasks are found by: labels, the agent and the name, each with the tasks that have it.

use ops_core::Task;
use rusqlite::{Connection, params};

/// The kinds of terms, as they are stored.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum Kind {
    Label = 0,
    Agent = 1,
    Name = 2,
}

/// Takes note of a new task's terms. One that has none costs nothing.
pub(crate) fn insert(conn: &Connection, task: &Task) -> rusqlite::Result<()> {
    let labels = task.labels.iter();
    let labels = labels.map(|(key, value)| (Kind::Label, key.as_str(), value));
    let agent = task.agent_id.iter().map(|agent| (Kind::Agent, "", agent));
    let name = task.name.iter().map(|name| (Kind::Name, "", name));
    for (kind, key, value) in labels.chain(agent).chain(name) {
        let mut insert = conn.prepare_cached(
            "INSERT INTO task_terms (tenant_id, kind, key, value, task_id) VALUES (?, ?, ?, ?, ?)",
        )?;
        let task = (task.tenant.0, task.id.as_bytes());
        insert.execute(params![task.0, kind as u8, key, value, task.1])?;
    }
    Ok(())
}
