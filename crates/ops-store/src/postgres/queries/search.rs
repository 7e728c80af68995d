//! Lists and counts of tasks: a filter as SQL.

use ops_core::{
    Micros, TaskId, TenantId,
    ports::{Listed, TaskFilter, TaskRecord},
    task::{StateName, Status},
};
use tokio_postgres::types::{ToSql, Type};

use super::{Found, read, reads};
use crate::postgres::{
    connection::{Connection, Param},
    schema::{
        rows::{self, LIFE, LINKS, REQUEST},
        terms::Kind,
    },
};

/// The most tasks that are read in one go.
pub(crate) const PAGE: u32 = 128;

/// A condition with its values.
#[derive(Default)]
struct Condition {
    sql: String,
    values: Vec<(Value, Type)>,
}

enum Value {
    Int(i64),
    Bytes(Vec<u8>),
    Names(Vec<String>),
}

impl Value {
    fn as_param(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Int(value) => value,
            Self::Bytes(value) => value,
            Self::Names(value) => value,
        }
    }
}

impl Condition {
    /// The place of a value in the statement.
    fn int(&mut self, value: i64) -> String {
        self.add(Value::Int(value), Type::INT8)
    }

    fn bytes(&mut self, value: impl Into<Vec<u8>>) -> String {
        self.add(Value::Bytes(value.into()), Type::BYTEA)
    }

    fn names(&mut self, value: Vec<String>) -> String {
        self.add(Value::Names(value), Type::TEXT_ARRAY)
    }

    fn add(&mut self, value: Value, of: Type) -> String {
        self.values.push((value, of));
        format!("${}", self.values.len())
    }

    fn and(&mut self, condition: &str) {
        if !self.sql.is_empty() {
            self.sql.push_str(" AND ");
        }
        self.sql.push_str(condition);
    }

    fn params(&self) -> Vec<Param<'_>> {
        let values = self.values.iter();
        values
            .map(|(value, of)| (value.as_param(), of.clone()))
            .collect()
    }

    fn of(tenant: TenantId, filter: &TaskFilter) -> Self {
        let mut all = Self::default();
        let owner = all.int(tenant.0.into());
        all.and(&format!("tasks.tenant_id = {owner}"));
        if filter.status.is_some() || !filter.states.is_empty() {
            let names = wanted(filter).iter().map(ToString::to_string).collect();
            let names = all.names(names);
            all.and(&format!("tasks.state = ANY ({names})"));
        }
        match filter.status {
            Some(Status::Pending) => all.and("tasks.started_at IS NULL"),
            Some(Status::Running) => all.and("tasks.started_at IS NOT NULL"),
            Some(Status::Completed | Status::Failed | Status::Cancelled) | None => {}
        }
        let agent = filter.agent.iter().map(|agent| (Kind::Agent, "", agent));
        let labels = filter.labels.iter();
        let labels = labels.map(|(key, value)| (Kind::Label, key.as_str(), value));
        for (kind, key, value) in agent.chain(labels) {
            let (kind, key) = (all.int(kind as i64), all.bytes(key));
            let value = all.bytes(value.as_str());
            all.and(&format!(
                "EXISTS (SELECT 1 FROM task_terms AS term WHERE term.tenant_id = tasks.tenant_id \
                 AND term.kind = {kind} AND term.key = {key} AND term.value = {value} \
                 AND term.task_id = tasks.task_id)"
            ));
        }
        if let Some(text) = &filter.text {
            all.text(&text.to_ascii_lowercase());
        }
        let first = |at: Micros| TaskId::new(at, [0; 10]).as_bytes().to_vec();
        if let Some(at) = filter.created_after {
            let at = all.bytes(first(at));
            all.and(&format!("tasks.task_id >= {at}"));
        }
        let before = filter.before.map(|id| id.as_bytes().to_vec());
        for id in before.into_iter().chain(filter.created_before.map(first)) {
            let id = all.bytes(id);
            all.and(&format!("tasks.task_id < {id}"));
        }
        if filter.in_doubt {
            all.and("tasks.wait_on = 'in_doubt'");
        }
        if filter.dead_letter {
            all.and("tasks.dead_letter = 1");
        }
        if let Some(parent) = &filter.parent {
            let parent = all.bytes(parent.as_bytes().to_vec());
            all.and(&format!(
                "tasks.parent_id = {parent} AND EXISTS (SELECT 1 FROM tasks AS parent \
                 WHERE parent.tenant_id = tasks.tenant_id AND parent.task_id = {parent})"
            ));
        }
        all
    }

    /// The name has a text within it, or the id begins or ends with it.
    fn text(&mut self, lower: &str) {
        let (kind, text) = (self.int(Kind::Name as i64), self.bytes(lower));
        let mut any = format!(
            "EXISTS (SELECT 1 FROM task_terms AS term WHERE term.tenant_id = tasks.tenant_id \
             AND term.task_id = tasks.task_id AND term.kind = {kind} \
             AND position({text} IN term.folded) > 0)"
        );
        if let Some(digits) = id_digits(lower) {
            let length = digits.len();
            let digits = self.bytes(digits);
            any = format!(
                "({any} OR left(encode(tasks.task_id, 'hex'), {length}) = convert_from({digits}, 'UTF8') \
                 OR right(encode(tasks.task_id, 'hex'), {length}) = convert_from({digits}, 'UTF8'))"
            );
        }
        self.and(&any);
    }
}

/// The states that a task of the filter can be in.
fn wanted(filter: &TaskFilter) -> Vec<StateName> {
    let has_status = |state: StateName| match filter.status {
        None => true,
        Some(Status::Pending | Status::Running) => !state.is_terminal(),
        Some(Status::Completed) => state == StateName::Completed,
        Some(Status::Failed) => state == StateName::Failed,
        Some(Status::Cancelled) => state == StateName::Cancelled,
    };
    let named = |state: &StateName| filter.states.is_empty() || filter.states.contains(state);
    let all = StateName::ALL.into_iter();
    all.filter(|state| has_status(*state) && named(state))
        .collect()
}

// The digits of a part of an id, if the text may be one.
fn id_digits(text: &str) -> Option<String> {
    let digits = text.strip_prefix("task_").unwrap_or(text).replace('-', "");
    let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    // Fewer digits are rather a word that is looked for.
    (hex && (4..=32).contains(&digits.len())).then_some(digits)
}

// The tasks of a filter, newest first: at most [`PAGE`] of them. Those that cannot be read are named, and
// take no place.
pub(crate) fn tasks(
    conn: &Connection,
    tenant: TenantId,
    filter: &TaskFilter,
) -> Found<Listed<TaskRecord>> {
    let limit = filter.limit.min(PAGE) as usize;
    let mut listed = Listed::default();
    let mut rest = filter.clone();
    while listed.found.len() < limit {
        let mut condition = Condition::of(tenant, &rest);
        let missing = limit - listed.found.len();
        let most = condition.int(i64::try_from(missing).unwrap_or(i64::MAX));
        let sql = format!(
            "SELECT {LIFE}, {LINKS}, {REQUEST} FROM tasks \
             JOIN task_requests AS asked USING (tenant_id, task_id) \
             WHERE {} ORDER BY tasks.task_id DESC LIMIT {most}",
            condition.sql
        );
        let found = conn.query(&sql, &condition.params())?;
        for row in &found {
            let (_, id) = read!(rows::linked_key(row));
            rest.before = Some(id);
            let record = match rows::record(row) {
                Ok(sparse) if rest.without_large => reads::without_large(conn, sparse)?,
                Ok(sparse) => reads::whole(conn, sparse)?,
                Err(error) => Err(error),
            };
            match record {
                Ok(record) => listed.found.push(record),
                Err(_) => listed.damaged.push(id.to_string()),
            }
        }
        if found.len() < missing || listed.damaged.len() > 1_000 {
            break;
        }
    }
    Ok(Ok(listed))
}

/// The number of tasks of a filter, wherever its page begins.
pub(crate) fn count(conn: &Connection, tenant: TenantId, filter: &TaskFilter) -> Found<u64> {
    let filter = filter.of_any_page();
    // A task that has not ended has one of two statuses, whatever its state.
    let is_counted = filter
        .status
        .is_none_or(|status| !matches!(status, Status::Pending | Status::Running));
    if filter.is_by_state() && is_counted {
        let counts = read!(reads::counts(conn, tenant)?);
        let wanted = wanted(&filter).into_iter();
        let counted = wanted.filter_map(|state| counts.get(&state));
        return Ok(Ok(counted.sum()));
    }
    let condition = Condition::of(tenant, &filter);
    let sql = format!("SELECT count(*) FROM tasks WHERE {}", condition.sql);
    let found = conn.query(&sql, &condition.params())?;
    Ok(found.first().map_or(Ok(0), |row| rows::unsigned(row, 0)))
}
