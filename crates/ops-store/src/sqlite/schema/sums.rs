//! Checksums of rows: what is read is what was written.
//!
//! A row of a summed table has in its column `sum` a checksum of its other columns. Statements compute it
//! with the SQL function `row_sum` and check it with `row_intact`, so a statement that writes a row, one
//! that copies rows and one that looks all of them over share one list of columns. SQLite itself does not
//! see a flipped bit in a value: the page is still well formed, and an answer made of it would be wrong
//! without a word.
//!
//! The sum is a CRC-32 of the columns that are not NULL, each with its place in the list, its type and its
//! length. So a later release may add a column that may be NULL to the end of a list: rows without it keep
//! their sums.

use rusqlite::{
    Connection, Result,
    functions::{Context, FunctionFlags},
    types::ValueRef,
};

/// In the upper half of each sum. It also keeps SQLite from storing a sum in fewer than eight bytes.
const SCHEME: i64 = 0x5355_4d31;

/// The columns of a table that its sum is made of, with names that no join makes ambiguous.
macro_rules! summed {
    (tasks) => {
        "tasks.tenant_id, task_id, queue, priority, state, session_id, due_at, wait_on, wait, \
         dead_letter, attempt, epoch, seq, lease_losses, run_started, input_tokens, output_tokens, \
         cost_micros, retry_max_attempts, retry_initial_micros, retry_max_micros, \
         retry_max_lease_losses, started_at, updated_at, completed_at, result, result_digest, error, \
         flags, children_input_tokens, children_output_tokens, children_cost_micros, parent_row, \
         concurrency_key, timeout_micros, start_by, expires_at"
    };
    (task_requests) => {
        "task_row, task_requests.tenant_id, task_type, name, agent_id, input, input_digest, labels, \
         limits, retry_of, created_at, run_at, parent_id, parent_step, depth_left, agent_digest, in_force"
    };
    (events) => {
        "tenant_id, task_row, seq, epoch, at, kind, step, step_kind, step_status, effect, \
         input_tokens, output_tokens, cost_micros, blobs, body, body_digest"
    };
    (blobs) => {
        "tenant_id, digest, chunk, size, codec, bytes, whole"
    };
    (snapshots) => {
        "tenant_id, task_id, seq, version, size, codec, body"
    };
    (approvals) => {
        "tenant_id, task_row, task_id, step, revision, status, tool, tool_digest, agent_digest, \
         input, input_digest, input_schema, reason, asked_at, expires_at, decided_at, decided_by, note"
    };
    (schedules) => {
        "tenant_id, name, cron, timezone, overlap, catch_up, template, paused, revision, next_at, \
         waiting, created_at, updated_at"
    };
    (schedule_runs) => {
        "tenant_id, schedule_row, due, at, cause, outcome, task_id, message"
    };
    (agents) => {
        "agents.tenant_id, agents.name, agents.version_row, agents.revision, agents.created_at, \
         agents.updated_at"
    };
    (agent_versions) => {
        "agent_versions.tenant_id, agent_versions.name, digest, definition, description, agents, \
         agent_versions.created_at"
    };
    (counters) => {
        "tenant_id, state, n"
    };
    (idempotency) => {
        "tenant_id, key, digest, task_id, created_at"
    };
}

/// Whether a row is as it was written: an expression for a SELECT from this table.
macro_rules! intact {
    (tasks) => {
        $crate::sqlite::schema::sums::intact!(0, "tasks.task_row", tasks)
    };
    (task_requests) => {
        $crate::sqlite::schema::sums::intact!(1, "task_row", task_requests)
    };
    (events) => {
        $crate::sqlite::schema::sums::intact!(2, "event_row", events)
    };
    (blobs) => {
        $crate::sqlite::schema::sums::intact!(3, "blob_row", blobs)
    };
    (snapshots) => {
        $crate::sqlite::schema::sums::intact!(4, "snapshot_row", snapshots)
    };
    (approvals) => {
        $crate::sqlite::schema::sums::intact!(5, "approval_row", approvals)
    };
    (schedules) => {
        $crate::sqlite::schema::sums::intact!(6, "schedule_row", schedules)
    };
    (schedule_runs) => {
        $crate::sqlite::schema::sums::intact!(7, "run_row", schedule_runs)
    };
    (agents) => {
        $crate::sqlite::schema::sums::intact!(8, "0", agents)
    };
    (agent_versions) => {
        $crate::sqlite::schema::sums::intact!(9, "agent_versions.version_row", agent_versions)
    };
    (counters) => {
        $crate::sqlite::schema::sums::intact!(10, "0", counters)
    };
    (idempotency) => {
        $crate::sqlite::schema::sums::intact!(11, "0", idempotency)
    };
    ($number:literal, $row:literal, $table:ident) => {
        concat!(
            "row_intact(",
            $number,
            ", ",
            $row,
            ", ",
            stringify!($table),
            ".sum, ",
            $crate::sqlite::schema::sums::summed!($table),
            ")"
        )
    };
}
pub(crate) use {intact, summed};

/// A table whose rows have sums.
#[derive(Debug)]
pub(crate) struct Summed {
    pub(crate) name: &'static str,
    /// What tells its rows apart.
    pub(crate) row: &'static str,
    /// What its sum is made of.
    columns: &'static str,
    /// Whether a row is as it was written.
    pub(crate) intact: &'static str,
}

macro_rules! table {
    ($constant:ident, $table:ident, $row:literal) => {
        pub(crate) const $constant: Summed = Summed {
            name: stringify!($table),
            row: $row,
            columns: summed!($table),
            intact: intact!($table),
        };
    };
}

table!(TASKS, tasks, "task_row");
table!(TASK_REQUESTS, task_requests, "task_row");
table!(EVENTS, events, "event_row");
table!(BLOBS, blobs, "blob_row");
table!(SNAPSHOTS, snapshots, "snapshot_row");
table!(APPROVALS, approvals, "approval_row");
table!(SCHEDULES, schedules, "schedule_row");
table!(SCHEDULE_RUNS, schedule_runs, "run_row");
table!(AGENTS, agents, "name");
table!(AGENT_VERSIONS, agent_versions, "version_row");
table!(COUNTERS, counters, "state");
table!(IDEMPOTENCY, idempotency, "key");

/// Every summed table, in the order of the numbers that `row_intact` has for them.
pub(crate) const ALL: [Summed; 12] = [
    TASKS,
    TASK_REQUESTS,
    EVENTS,
    BLOBS,
    SNAPSHOTS,
    APPROVALS,
    SCHEDULES,
    SCHEDULE_RUNS,
    AGENTS,
    AGENT_VERSIONS,
    COUNTERS,
    IDEMPOTENCY,
];

impl Summed {
    fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.columns.split(", ").map(bare)
    }

    /// `row_sum` of a row in which some columns have these values, and the others the value that they
    /// have, or none.
    pub(crate) fn sum(&self, given: &[(&str, &str)], others: Others) -> String {
        let value = |column: &'static str| {
            let found = given.iter().find(|(name, _)| *name == column);
            match (found, others) {
                (Some((_, value)), _) => (*value).to_owned(),
                (None, Others::Null) => "NULL".to_owned(),
                (None, Others::Kept) => column.to_owned(),
            }
        };
        let values: Vec<String> = self.columns().map(value).collect();
        format!("row_sum({})", values.join(", "))
    }

    /// Inserts a row with its sum. The first parameters are the columns in this order, then there are
    /// columns with literal values; all others are NULL.
    pub(crate) fn insert(&self, columns: &[&str], literals: &[(&str, &str)]) -> String {
        let numbers: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
        let given = columns.iter().copied();
        let given = given.zip(numbers.iter().map(String::as_str));
        let given: Vec<(&str, &str)> = given.chain(literals.iter().copied()).collect();
        let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        let values: Vec<&str> = given.iter().map(|(_, value)| *value).collect();
        format!(
            "INSERT INTO {} ({}, sum) VALUES ({}, {})",
            self.name,
            names.join(", "),
            values.join(", "),
            self.sum(&given, Others::Null),
        )
    }

    /// Updates rows and their sums. The first parameters are the columns in this order; those of the
    /// condition go on from there, by number. A row must have been looked at before: what was damaged
    /// would be taken as it is.
    pub(crate) fn update(&self, columns: &[&str], condition: &str) -> String {
        let numbers: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
        let values = numbers.iter().map(String::as_str);
        let given: Vec<(&str, &str)> = columns.iter().copied().zip(values).collect();
        self.set(&given, condition)
    }

    /// Updates rows and their sums with SQL expressions.
    pub(crate) fn set(&self, given: &[(&str, &str)], condition: &str) -> String {
        let set: Vec<String> = given
            .iter()
            .map(|(column, value)| format!("{column} = {value}"))
            .collect();
        format!(
            "UPDATE {} SET {}, sum = {} WHERE {condition}",
            self.name,
            set.join(", "),
            self.sum(given, Others::Kept),
        )
    }
}

/// The values of columns that a statement does not give.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Others {
    Null,
    Kept,
}

/// A column's name without its table.
fn bare(column: &'static str) -> &'static str {
    column.rsplit_once('.').map_or(column, |(_, name)| name)
}

/// A row that is not as it was written.
#[derive(Debug, thiserror::Error)]
#[error("its checksum is wrong: it is not as it was written")]
pub(crate) struct Damaged;

/// Gives a connection `row_sum` and `row_intact`. A database that is older than sums has no use for the
/// second one.
pub(crate) fn register(conn: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    conn.create_scalar_function("row_sum", -1, flags, |context| Ok(sum(context, 0)))?;
    let unsummed = unsummed(conn)?;
    conn.create_scalar_function("row_intact", -1, flags, move |context| {
        let found = match context.get_raw(2) {
            // An older release wrote it, if it is as old as that.
            ValueRef::Null => {
                let table = usize::try_from(context.get::<i64>(0)?).unwrap_or(usize::MAX);
                let until = unsummed.get(table).copied().unwrap_or(i64::MIN);
                return Ok(context.get::<i64>(1)? <= until);
            }
            ValueRef::Integer(found) => found,
            ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => return Ok(false),
        };
        Ok(found == sum(context, 3))
    })
}

/// For each table, the last row that may be without a sum.
fn unsummed(conn: &Connection) -> Result<[i64; ALL.len()]> {
    let mut until = [i64::MIN; ALL.len()];
    let there = "SELECT 1 FROM sqlite_schema WHERE name = 'unsummed'";
    if !conn.prepare(there)?.exists(())? {
        return Ok(until);
    }
    let mut select = conn.prepare("SELECT name, until FROM unsummed")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_str()?;
        if let Some(table) = ALL.iter().position(|table| table.name == name) {
            until[table] = row.get(1)?;
        }
    }
    Ok(until)
}

/// The sum of the arguments from one on.
fn sum(context: &Context<'_>, from: usize) -> i64 {
    let mut crc = crc32fast::Hasher::new();
    for index in from..context.len() {
        let value = context.get_raw(index);
        let (kind, bytes): (u8, &[u8]) = match &value {
            ValueRef::Null => continue,
            ValueRef::Integer(number) => (1, &number.to_le_bytes()),
            ValueRef::Real(number) => (2, &number.to_bits().to_le_bytes()),
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(bytes) => (4, bytes),
        };
        // Far fewer than 256 columns, and values far below 4 GiB: SQLite has no larger ones.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let (place, length) = ((index - from) as u8, bytes.len() as u32);
        crc.update(&[place, kind]);
        crc.update(&length.to_le_bytes());
        crc.update(bytes);
    }
    SCHEME << 32 | i64::from(crc.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;

    fn columns_of(conn: &Connection, table: &str) -> Vec<String> {
        let mut select = conn
            .prepare("SELECT name FROM pragma_table_info(?)")
            .unwrap();
        let names = select.query_map([table], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    }

    #[test]
    fn every_column_but_a_row_number_is_in_the_sum_of_its_table() {
        let conn = Connection::open_in_memory().unwrap();
        schema::migrate(&conn).unwrap();
        for table in &ALL {
            let summed: Vec<&str> = table.columns().collect();
            let mut missing = columns_of(&conn, table.name);
            missing.retain(|column| !summed.contains(&column.as_str()));
            let number = ["task_row", "event_row", "blob_row", "snapshot_row"];
            let more = ["approval_row", "schedule_row", "run_row", "version_row"];
            missing.retain(|column| {
                column != "sum"
                    && !number.contains(&column.as_str())
                    && !more.contains(&column.as_str())
            });
            assert_eq!(missing, Vec::<String>::new(), "{}", table.name);
        }
    }

    #[test]
    fn any_flipped_bit_of_a_row_is_seen() {
        let conn = Connection::open_in_memory().unwrap();
        schema::migrate(&conn).unwrap();
        let columns = ["tenant_id", "state", "n"];
        conn.execute(&COUNTERS.insert(&columns, &[]), (1, "pending", 7))
            .unwrap();
        let intact = format!("SELECT {} FROM counters", COUNTERS.intact);
        let intact = || {
            conn.query_row(&intact, (), |row| row.get::<_, bool>(0))
                .unwrap()
        };
        assert!(intact());
        for bit in 0..32 {
            let flip = format!(
                "UPDATE counters SET n = (n | {0}) - (n & {0})",
                1_u64 << bit
            );
            conn.execute(&flip, ()).unwrap();
            assert!(!intact(), "bit {bit}");
            conn.execute(&flip, ()).unwrap();
            assert!(intact());
        }
        for damage in ["state = 'pendinf'", "n = 'x'", "sum = NULL", "sum = 7.5"] {
            conn.execute_batch("SAVEPOINT s").unwrap();
            conn.execute(&format!("UPDATE counters SET {damage}"), ())
                .unwrap();
            assert!(!intact(), "{damage}");
            conn.execute_batch("ROLLBACK TO s").unwrap();
        }
    }

    #[test]
    fn a_value_that_moves_to_another_column_is_another_row() {
        let conn = Connection::open_in_memory().unwrap();
        register(&conn).unwrap();
        let sum = |values: &str| {
            conn.query_row(&format!("SELECT row_sum({values})"), (), |row| {
                row.get::<_, i64>(0)
            })
            .unwrap()
        };
        assert_ne!(sum("'a', NULL"), sum("NULL, 'a'"));
        assert_ne!(sum("'ab', 'c'"), sum("'a', 'bc'"));
        assert_ne!(sum("'1'"), sum("1"));
        assert_ne!(sum("'a'"), sum("x'61'"));
        // A column that is added later, and empty, changes nothing.
        assert_eq!(sum("'a', 1"), sum("'a', 1, NULL"));
    }
}
