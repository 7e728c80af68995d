//! Checksums of rows: a row reads as written, or not at all.
//!
//! A row of a summed table has in its column `sum` a checksum of its other columns. Statements compute the sum
//! with the SQL function `row_sum` and check the sum with `row_intact`, so statements that write, copy and verify
//! rows share a list of columns. SQLite itself does not see a flipped bit in a value: the page is still well
//! formed, and an answer made of the page would be wrong without a word.
//!
//! The sum is a CRC-32 of the columns that are not NULL, each with its place in the list, its type and its
//! length. So a later release may add a column that may be NULL to the end of a list: rows without it keep
//! their sums.

use rusqlite::{
    Connection, Result,
    functions::{Context, FunctionFlags},
    types::ValueRef,
};

/// In the upper half of each sum. The constant also keeps SQLite from storing a sum in fewer than eight bytes.
const SCHEME: i64 = 0x5355_4d31;

/// The summed columns of a table, with names that no join makes ambiguous.
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
         input, input_digest, input_schema, reason, asked_at, expires_at, decided_at, decided_by, note, \
         details"
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
    (mcp_servers) => {
        "tenant_id, name, pins, updated_at"
    };
    (budget_ledgers) => {
        "tenant_id, budget, since, tokens, cost_micros"
    };
    (budget_calls) => {
        "budget_calls.tenant_id, budget_calls.task_id, budget, since, call_epoch, waits, tokens, micros, most_tokens, \
         most_micros"
    };
}

/// Whether a row is intact: an expression for a SELECT from this table.
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
    (mcp_servers) => {
        $crate::sqlite::schema::sums::intact!(12, "0", mcp_servers)
    };
    (budget_ledgers) => {
        $crate::sqlite::schema::sums::intact!(13, "0", budget_ledgers)
    };
    (budget_calls) => {
        $crate::sqlite::schema::sums::intact!(14, "0", budget_calls)
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

/// The stored sum of a row. For a row without a sum: 1 if the row may lack a sum, else 0. Sums are never so small.
macro_rules! found {
    (tasks) => {
        "ifnull(tasks.sum, row_intact(0, tasks.task_row, NULL))"
    };
    (task_requests) => {
        "ifnull(task_requests.sum, row_intact(1, task_row, NULL))"
    };
}
pub(crate) use {found, intact, summed};

/// A table whose rows have sums.
#[derive(Debug)]
pub(crate) struct Summed {
    pub(crate) name: &'static str,
    /// Key column of the rows.
    pub(crate) row: &'static str,
    /// The summed columns.
    columns: &'static str,
    /// SQL expression: whether a row is intact.
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
table!(MCP_SERVERS, mcp_servers, "name");
table!(BUDGET_LEDGERS, budget_ledgers, "budget");
table!(BUDGET_CALLS, budget_calls, "budget");

/// Every summed table, in the order of the table numbers of `row_intact`.
pub(crate) const ALL: [Summed; 15] = [
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
    MCP_SERVERS,
    BUDGET_LEDGERS,
    BUDGET_CALLS,
];

impl Summed {
    fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.columns.split(", ").map(bare)
    }

    /// `row_sum` of a row with these values in some columns, and in the others their present value or NULL.
    pub(crate) fn sum(&self, given: &[(&str, &str)], others: Others) -> String {
        let value = |column: &'static str| {
            let found = given.iter().find(|(name, _)| *name == column);
            match (found, others) {
                (Some((_, value)), _) => (*value).to_owned(),
                (None, Others::Null) => "NULL".to_owned(),
                (None, Others::Unchanged) => column.to_owned(),
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

    /// Updates rows and their sums. The first parameters are the columns in this order; parameters of the
    /// condition go on from there, by number. A row must have been checked before: the update would give a damaged
    /// row a valid sum.
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
            self.sum(given, Others::Unchanged),
        )
    }
}

/// Values of columns without a value in a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Others {
    Null,
    Unchanged,
}

/// A column's name without its table.
fn bare(column: &'static str) -> &'static str {
    column.rsplit_once('.').map_or(column, |(_, name)| name)
}

/// A damaged row.
#[derive(Debug, thiserror::Error)]
#[error("its checksum is wrong: it is not as it was written")]
pub(crate) struct Damaged;

/// Registers `row_sum` and `row_intact` for a connection. A database older than sums has no use for
/// `row_intact`.
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

/// For each table, the last row that may lack a sum.
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

/// Whether a row is intact, from its summed columns and then [`found!`].
pub(crate) fn is_whole(row: &rusqlite::Row<'_>, at: usize, columns: usize) -> Result<bool> {
    let found = match row.get_ref(at + columns)? {
        ValueRef::Integer(1) => return Ok(true),
        ValueRef::Integer(found) => found,
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
            return Ok(false);
        }
    };
    let mut row_sum = Columns::default();
    for column in 0..columns {
        // Far fewer than 256 columns: SQLite has no more.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        row_sum.push(column as u8, &row.get_ref(at + column)?);
    }
    Ok(found == row_sum.sum())
}

/// The sum of the arguments from an index on.
///
/// The columns are laid out side by side and summed at once: for the few bytes of a single column a CRC
/// costs more to begin and to end than to compute.
fn sum(context: &Context<'_>, from: usize) -> i64 {
    let mut columns = Columns::default();
    for index in from..context.len() {
        // Far fewer than 256 columns: SQLite has no more.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        columns.push((index - from) as u8, &context.get_raw(index));
    }
    columns.sum()
}

/// How many bytes are summed at once: most rows as a whole.
const BLOCK: usize = 1_024;

/// The columns of a row that are not summed yet, behind the summed columns.
struct Columns {
    crc: crc32fast::Hasher,
    block: [u8; BLOCK],
    filled: usize,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            crc: crc32fast::Hasher::new(),
            block: [0; BLOCK],
            filled: 0,
        }
    }
}

impl Columns {
    fn push(&mut self, place: u8, value: &ValueRef<'_>) {
        match value {
            ValueRef::Null => {}
            ValueRef::Integer(number) => self.column(place, 1, &number.to_le_bytes()),
            ValueRef::Real(number) => self.column(place, 2, &number.to_bits().to_le_bytes()),
            ValueRef::Text(text) => self.column(place, 3, text),
            ValueRef::Blob(bytes) => self.column(place, 4, bytes),
        }
    }

    fn column(&mut self, place: u8, kind: u8, bytes: &[u8]) {
        // Values are far below 4 GiB: SQLite has no larger ones.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let [a, b, c, d] = (bytes.len() as u32).to_le_bytes();
        self.write(&[place, kind, a, b, c, d]);
        self.write(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        if bytes.len() > BLOCK - self.filled {
            self.crc.update(&self.block[..self.filled]);
            self.filled = 0;
            if bytes.len() > BLOCK {
                self.crc.update(bytes);
                return;
            }
        }
        self.block[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    fn sum(mut self) -> i64 {
        self.crc.update(&self.block[..self.filled]);
        SCHEME << 32 | i64::from(self.crc.finalize())
    }
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

    #[test]
    fn sums_are_those_that_are_stored() {
        let conn = Connection::open_in_memory().unwrap();
        register(&conn).unwrap();
        // As the CRC of the same bytes in one piece: whatever the lengths, also around a block.
        for length in [
            0,
            1,
            7,
            BLOCK - 13,
            BLOCK - 12,
            BLOCK - 6,
            BLOCK,
            BLOCK + 1,
            5 * BLOCK,
        ] {
            let text = "x".repeat(length);
            let found: i64 = conn
                .query_row("SELECT row_sum(7, ?1, NULL, 1.5)", [&text], |row| {
                    row.get(0)
                })
                .unwrap();
            let mut bytes = vec![0, 1, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 3];
            bytes.extend(u32::try_from(length).unwrap().to_le_bytes());
            bytes.extend(text.as_bytes());
            bytes.extend([3, 2, 8, 0, 0, 0]);
            bytes.extend(1.5_f64.to_bits().to_le_bytes());
            let crc = i64::from(crc32fast::hash(&bytes));
            assert_eq!(found, SCHEME << 32 | crc, "{length}");
        }
    }
}
