//! Checks the content of a database: every row against its checksum, every log against its task, every
//! value against its digest, and derived rows and counts against their sources.

use rusqlite::{Connection, Row};

use ops_core::TenantId;

use crate::sqlite::{
    schema::sums::{self, Summed},
    values::blob::{self, Digest},
};

/// Rows of a table that are named.
const NAMED: u32 = 5;
/// Values that are named.
const VALUES: usize = 20;

/// Damage in the content of a database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// One line for each kind of damage; empty if all is well.
    pub problems: Vec<String>,
    /// Rows that a release without checksums wrote. They cannot be checked.
    pub unsummed: u64,
}

/// Looks a database of the newest schema over. Reads all of it.
pub(crate) fn content(conn: &Connection) -> Content {
    let mut found = Content::default();
    for table in &sums::ALL {
        found.note(table.name, rows(conn, table));
        let without = format!("SELECT count(*) FROM {} WHERE sum IS NULL", table.name);
        match conn.query_row(&without, (), |row| row.get::<_, i64>(0)) {
            Ok(rows) => found.unsummed += u64::try_from(rows).unwrap_or(0),
            Err(error) => found.problems.push(format!("{}: {error}", table.name)),
        }
    }
    for (what, select) in RELATIONS {
        let count = conn.query_row(select, (), |row| row.get::<_, i64>(0));
        let problem = count.map(|count| (count > 0).then(|| format!("{count} {what}")));
        found.note(what, problem);
    }
    found.note("blobs", values(conn, &mut Vec::new()));
    found
}

impl Content {
    /// A check that fails is a problem as well: a page that it reads is damaged.
    fn note(&mut self, what: &str, problem: rusqlite::Result<Option<String>>) {
        match problem {
            Ok(problem) => self.problems.extend(problem),
            Err(error) => self.problems.push(format!("{what}: {error}")),
        }
    }
}

/// The rows of a table that are not as they were written.
fn rows(conn: &Connection, table: &Summed) -> rusqlite::Result<Option<String>> {
    let Summed {
        name, intact, row, ..
    } = table;
    let (count, named) = conn.query_row(
        &format!(
            "SELECT count(*), group_concat(id, ', ') FILTER (WHERE nth <= {NAMED}) FROM ( \
               SELECT {row} AS id, row_number() OVER () AS nth FROM {name} WHERE NOT {intact})"
        ),
        (),
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?)),
    )?;
    let named = named.unwrap_or_default();
    Ok((count > 0)
        .then(|| format!("{count} rows of `{name}` are not as they were written ({row} {named})")))
}

/// Labels, agents and names of tasks as they are found by.
macro_rules! terms_of_requests {
    () => {
        "SELECT tasks.tenant_id, 0, label.key, label.value, task_id \
           FROM tasks JOIN task_requests USING (task_row), \
           json_each(iif(json_valid(labels), labels, '{}')) AS label \
         UNION ALL SELECT tasks.tenant_id, 1, '', agent_id, task_id \
           FROM tasks JOIN task_requests USING (task_row) WHERE agent_id IS NOT NULL \
         UNION ALL SELECT tasks.tenant_id, 2, '', name, task_id \
           FROM tasks JOIN task_requests USING (task_row) WHERE name IS NOT NULL"
    };
}

/// Forbidden states, and the number of rows in each.
const RELATIONS: [(&str, &str); 7] = [
    (
        "tasks whose log has a gap or an end that their row does not name",
        "SELECT count(*) FROM tasks WHERE seq <> (SELECT count(*) FROM events \
           WHERE events.tenant_id = tasks.tenant_id AND events.task_row = tasks.task_row) \
         OR seq <> (SELECT coalesce(max(events.seq), 0) FROM events \
           WHERE events.tenant_id = tasks.tenant_id AND events.task_row = tasks.task_row)",
    ),
    (
        "tasks without their request",
        "SELECT count(*) FROM tasks WHERE NOT EXISTS (SELECT 1 FROM task_requests \
           WHERE task_requests.task_row = tasks.task_row)",
    ),
    (
        "requests without their task",
        "SELECT count(*) FROM task_requests WHERE NOT EXISTS (SELECT 1 FROM tasks \
           WHERE tasks.task_row = task_requests.task_row)",
    ),
    (
        "logs without their task",
        "SELECT count(*) FROM (SELECT DISTINCT tenant_id, task_row FROM events) AS log \
         WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.task_row = log.task_row) \
         AND NOT EXISTS (SELECT 1 FROM doomed WHERE doomed.task_row = log.task_row)",
    ),
    (
        "states with another number of tasks than the counters say",
        "SELECT count(*) FROM ( \
           SELECT * FROM (SELECT tenant_id, state, n FROM counters WHERE n <> 0 \
             EXCEPT SELECT tenant_id, state, count(*) FROM tasks GROUP BY 1, 2) \
           UNION ALL SELECT * FROM (SELECT tenant_id, state, count(*) FROM tasks GROUP BY 1, 2 \
             EXCEPT SELECT tenant_id, state, n FROM counters))",
    ),
    (
        "labels, agents or names that tasks are not found by",
        concat!(
            "SELECT count(*) FROM (",
            terms_of_requests!(),
            " EXCEPT SELECT tenant_id, kind, key, value, task_id FROM task_terms)"
        ),
    ),
    (
        "labels, agents or names of no task",
        concat!(
            "SELECT count(*) FROM (SELECT tenant_id, kind, key, value, task_id FROM task_terms EXCEPT \
             SELECT * FROM (",
            terms_of_requests!(),
            "))"
        ),
    ),
];

/// The values that are missing, or differ from their digests.
fn values(conn: &Connection, named: &mut Vec<String>) -> rusqlite::Result<Option<String>> {
    let mut damaged = 0_u64;
    let mut select = conn.prepare("SELECT DISTINCT tenant_id, digest FROM blob_refs")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let key = |row: &Row<'_>| {
            Ok::<_, rusqlite::Error>((TenantId(row.get(0)?), row.get::<_, Digest>(1)?))
        };
        let whole = key(row).and_then(|(tenant, digest)| {
            blob::read(conn, tenant, &digest)
                .map(drop)
                .inspect_err(|_| {
                    if named.len() < VALUES {
                        named.push(units::hex::encode(digest));
                    }
                })
        });
        damaged += u64::from(whole.is_err());
    }
    Ok((damaged > 0).then(|| {
        format!(
            "{damaged} large values are missing or damaged ({})",
            named.join(", ")
        )
    }))
}
