//! A filter as SQL: the places to search for its tasks, and the condition on the found tasks.
//!
//! Without a term, each state is read from its index, so that a rare state among a
//! million tasks is found without reading the other states. With a term, the tasks of the term are read,
//! or, for a text, the tasks of every term with the text within, or else the tasks of a parent; the rest of the
//! filter is checked for each task.

use ops_core::{
    Micros, TaskId, TenantId,
    ports::TaskFilter,
    task::{StateName, Status},
};
use rusqlite::types::Value;

use crate::sqlite::schema::terms::Kind;

/// A place to search: the SQL after `SELECT .. FROM`, up to the order.
pub(crate) struct Source {
    /// The tables and the conditions.
    pub(crate) sql: String,
    /// Values of the parameters.
    pub(crate) params: Vec<Value>,
    /// The column with the ids.
    pub(crate) order: &'static str,
    /// SQL that counts the same tasks by terms alone, if terms suffice.
    pub(crate) lone: Option<String>,
    /// A place to search first for the newest tasks, if the index has a different order: among the newest
    /// tasks of any state, with the same parameters. The place may have fewer of the tasks.
    pub(crate) newest: Option<String>,
}

/// Number of newest tasks for the first search: many times a page, and soon done.
const NEWEST: u32 = 1_024;

impl Source {
    /// The tasks of an index.
    fn index(index: &str, tenant: TenantId, range: &Range) -> Self {
        let sql = format!("tasks INDEXED BY {index} WHERE tasks.tenant_id = ?");
        Self::new(sql, tenant, "tasks.task_id").within(range)
    }

    /// The tasks of a term. The join has the order of the list, so the search stops with a full page.
    fn term(term: Term<'_>, tenant: TenantId, range: &Range) -> Self {
        let sql = "task_terms AS term CROSS JOIN tasks INDEXED BY tasks_key \
                   ON tasks.tenant_id = term.tenant_id AND tasks.task_id = term.task_id \
                   WHERE term.tenant_id = ?";
        let mut source = Self::new(sql.to_owned(), tenant, "term.task_id");
        source.lone = Some("task_terms AS term WHERE term.tenant_id = ?".to_owned());
        source.and(
            "term.kind = ? AND term.key = ? AND term.value = ?",
            term.values(),
        );
        source.within(range)
    }

    fn new(sql: String, tenant: TenantId, order: &'static str) -> Self {
        Self {
            sql,
            params: vec![tenant.0.into()],
            order,
            lone: None,
            newest: None,
        }
    }

    /// The ready tasks. The index is in the order of claims, so the newest tasks of a large
    /// backlog need a read of the whole backlog; but the newest tasks of any state have them.
    fn ready(tenant: TenantId, range: &Range, only: &str) -> Self {
        let mut source = Self::index("tasks_ready", tenant, range);
        let newest = Self::index("tasks_key", tenant, range).sql;
        source.newest = Some(format!(
            "(SELECT tasks.task_id, tasks.task_row, state, started_at FROM {newest} ORDER BY tasks.task_id DESC LIMIT {NEWEST}) AS tasks \
             WHERE true{only}"
        ));
        source.sql.push_str(only);
        source
    }

    fn within(mut self, range: &Range) -> Self {
        self.and(&format!("{} < ?", self.order), [range.below.clone()]);
        if let Some(from) = &range.from {
            self.and(&format!("{} >= ?", self.order), [from.clone()]);
        }
        self
    }

    /// A condition on the ids.
    fn and(&mut self, condition: &str, params: impl IntoIterator<Item = Value>) {
        for sql in std::iter::once(&mut self.sql).chain(&mut self.lone) {
            sql.push_str(" AND ");
            sql.push_str(condition);
        }
        self.params.extend(params);
    }

    /// A condition on columns of the tasks.
    fn and_task(&mut self, condition: &str, params: impl IntoIterator<Item = Value>) {
        self.lone = None;
        self.and(condition, params);
    }
}

/// A search term of tasks.
struct Term<'a>(Kind, &'a str, &'a str);

impl Term<'_> {
    fn values(&self) -> [Value; 3] {
        let Self(kind, key, value) = *self;
        [
            Value::Integer(kind as i64),
            key.to_owned().into(),
            value.to_owned().into(),
        ]
    }
}

/// Ids begin with their time: a span of time is a range of ids.
struct Range {
    below: Value,
    from: Option<Value>,
}

impl Range {
    fn new(filter: &TaskFilter) -> Self {
        let first = |at: Micros| TaskId::new(at, [0; 10]).as_bytes().to_vec();
        let ends = [
            filter.before.map(|id| id.as_bytes().to_vec()),
            filter.created_before.map(first),
        ];
        // Greater than every id.
        let open = vec![0xff; 17];
        Self {
            below: Value::Blob(ends.into_iter().flatten().min().unwrap_or(open)),
            from: filter.created_after.map(|at| Value::Blob(first(at))),
        }
    }
}

const DEAD_LETTER: &str = "dead_letter = 1";
const IN_DOUBT: &str = "wait_on = 'in_doubt'";

/// The places of the tasks of a filter; each task is in a single place.
pub(crate) fn sources(tenant: TenantId, filter: &TaskFilter) -> Vec<Source> {
    let range = Range::new(filter);
    let by_term = filter.agent.is_some() || !filter.labels.is_empty() || filter.text.is_some();
    if by_term || filter.parent.is_some() {
        return vec![searched(tenant, filter, &range)];
    }
    let source = |index: &str, only: &str| {
        let mut source = Source::index(index, tenant, &range);
        source.sql.push_str(only);
        source
    };
    let special = match (filter.dead_letter, filter.in_doubt) {
        (false, false) => None,
        (true, true) => return Vec::new(),
        (true, false) => Some((StateName::Failed, "tasks_dead", DEAD_LETTER)),
        (false, true) => Some((StateName::Waiting, "tasks_in_doubt", IN_DOUBT)),
    };
    if let Some((state, index, only)) = special {
        let only = format!(" AND {only}{}", started(filter));
        let wanted = wanted(filter).contains(&state);
        return wanted.then(|| source(index, &only)).into_iter().collect();
    }
    if is_everything(filter) {
        return vec![source("tasks_key", "")];
    }
    let of = |state: StateName| {
        let (index, only) = index_of(state);
        let only = format!("{only}{}", started(filter));
        match (state, filter.status) {
            (StateName::Pending, Some(Status::Running)) => source("tasks_restarted", &only),
            (StateName::Pending, _) => Source::ready(tenant, &range, &only),
            (_, _) => source(index, &only),
        }
    };
    wanted(filter).into_iter().map(of).collect()
}

/// Whether neither a state nor a status is asked for.
pub(crate) fn is_everything(filter: &TaskFilter) -> bool {
    filter.states.is_empty() && filter.status.is_none()
}

/// The states of the filter.
pub(crate) fn wanted(filter: &TaskFilter) -> Vec<StateName> {
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

/// The condition of a status of live tasks.
fn started(filter: &TaskFilter) -> &'static str {
    match filter.status {
        Some(Status::Pending) => " AND started_at IS NULL",
        Some(Status::Running) => " AND started_at IS NOT NULL",
        Some(Status::Completed | Status::Failed | Status::Cancelled) | None => "",
    }
}

/// The index of the tasks of a state, and the condition for its use.
fn index_of(state: StateName) -> (&'static str, String) {
    let name = state.as_str();
    match state {
        StateName::Pending => ("tasks_ready", " AND state = 'pending'".into()),
        StateName::Running => (
            "tasks_leased",
            " AND session_id IS NOT NULL AND state = 'running'".into(),
        ),
        StateName::Scheduled
        | StateName::Paused
        | StateName::Cancelling
        | StateName::Waiting
        | StateName::Completed
        | StateName::Failed
        | StateName::Cancelled => (
            "tasks_settled",
            format!(" AND state NOT IN ('pending', 'running') AND state = '{name}'"),
        ),
    }
}

/// The tasks of a term, of a text or of a parent.
fn searched(tenant: TenantId, filter: &TaskFilter, range: &Range) -> Source {
    let agent = filter
        .agent
        .iter()
        .map(|agent| Term(Kind::Agent, "", agent));
    let labels = filter.labels.iter();
    let labels = labels.map(|(key, value)| Term(Kind::Label, key, value));
    let mut terms = agent.chain(labels);
    let mut source = match terms.next() {
        Some(first) => Source::term(first, tenant, range),
        None if filter.parent.is_some() => Source::index("tasks_children", tenant, range),
        None => Source::index("tasks_key", tenant, range),
    };
    for term in terms {
        let has = "EXISTS (SELECT 1 FROM task_terms AS other \
                   WHERE other.tenant_id = term.tenant_id AND other.kind = ? AND other.key = ? \
                   AND other.value = ? AND other.task_id = term.task_id)";
        source.and(has, term.values());
    }
    if let Some(text) = &filter.text {
        let lower = text.to_ascii_lowercase();
        let (low, high) = ids_with_prefix(&lower);
        let end = id_digits(&lower).unwrap_or_default().to_ascii_uppercase();
        let length = Value::Integer(i64::try_from(end.len()).unwrap_or(0));
        source.and_task(
            "tasks.task_id IN (SELECT task_id FROM task_terms \
             WHERE tenant_id = ? AND kind = ? AND instr(lower(value), ?) > 0 \
             UNION SELECT task_id FROM tasks WHERE tenant_id = ? AND task_id BETWEEN ? AND ? \
             UNION SELECT task_id FROM tasks WHERE tenant_id = ? AND ? > 0 \
             AND substr(hex(task_id), -?) = ?)",
            [
                tenant.0.into(),
                Value::Integer(Kind::Name as i64),
                lower.into(),
                tenant.0.into(),
                Value::Blob(low),
                Value::Blob(high),
                tenant.0.into(),
                length.clone(),
                length,
                end.into(),
            ],
        );
    }
    if let Some(parent) = &filter.parent {
        source.and_task(
            "parent_row IS NOT NULL AND parent_row = \
             (SELECT task_row FROM tasks WHERE tenant_id = ? AND task_id = ?)",
            [tenant.0.into(), Value::Blob(parent.as_bytes().to_vec())],
        );
    }
    if !is_everything(filter) {
        let names: Vec<_> = wanted(filter)
            .into_iter()
            .map(|state| format!("'{state}'"))
            .collect();
        let only = format!("state IN ({}){}", names.join(", "), started(filter));
        source.and_task(&only, []);
    }
    for (asked, only) in [
        (filter.in_doubt, IN_DOUBT),
        (filter.dead_letter, DEAD_LETTER),
    ] {
        if asked {
            source.and_task(only, []);
        }
    }
    source
}

/// The digits of a part of an id, if the text may be such a part.
fn id_digits(text: &str) -> Option<String> {
    let digits = text.strip_prefix("task_").unwrap_or(text).replace('-', "");
    let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    // Fewer digits are rather a word that is looked for.
    (hex && (4..=32).contains(&digits.len())).then_some(digits)
}

/// The smallest and the largest id with a text at the beginning; an empty range without such ids.
fn ids_with_prefix(text: &str) -> (Vec<u8>, Vec<u8>) {
    let none = (vec![1], vec![0]);
    let Some(digits) = id_digits(text) else {
        return none;
    };
    let bound = |fill: &str| {
        let digits = format!("{digits}{}", fill.repeat(32 - digits.len()));
        u128::from_str_radix(&digits, 16).map(|id| id.to_be_bytes().to_vec())
    };
    match (bound("0"), bound("f")) {
        (Ok(low), Ok(high)) => (low, high),
        (Err(_), _) | (_, Err(_)) => none,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_is_a_range() {
        let id = TaskId::new(Micros(1_744_452_000_000_000), [7; 10]);
        let shown = id.to_string();
        for end in [9, 14, 20, shown.len()] {
            let (low, high) = ids_with_prefix(&shown[..end]);
            assert!(low <= id.as_bytes().to_vec() && id.as_bytes().to_vec() <= high);
        }
        for none in ["task_", "abc", "name", "task_zzzz", &"a".repeat(33)] {
            let (low, high) = ids_with_prefix(none);
            assert!(low > high, "{none}");
        }
    }
}
