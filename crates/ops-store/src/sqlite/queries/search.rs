//! A filter as SQL: where to look for its tasks, and which of those found there fit.
//!
//! Without a term, each state is read from the index that holds it, so that a rare state among a
//! million tasks is found without looking at the others. With one, the tasks of that term are read,
//! or, for a text, those of every term that has it within, or else those of a parent; the rest of the
//! filter is looked up.

use ops_core::{
    Micros, TaskId, TenantId,
    ports::TaskFilter,
    task::{StateName, Status},
};
use rusqlite::types::Value;

use crate::sqlite::schema::terms::Kind;

/// One place to look in: what follows `SELECT .. FROM`, up to the order.
pub(crate) struct Place {
    /// The tables and the conditions.
    pub(crate) sql: String,
    /// What its question marks stand for.
    pub(crate) params: Vec<Value>,
    /// The column with the ids.
    pub(crate) order: &'static str,
    /// What counts the same tasks without looking at them, if terms alone tell.
    pub(crate) lone: Option<String>,
    /// Where to look first for the newest ones, if their index is in another order: among the newest
    /// tasks of any state, with the same parameters. It may have fewer of them, or none.
    pub(crate) newest: Option<String>,
}

/// Among so many of the newest tasks it is looked first: many times a page, and soon done.
const NEWEST: u32 = 1_024;

impl Place {
    /// The tasks of an index.
    fn index(index: &str, tenant: TenantId, range: &Range) -> Self {
        let sql = format!("tasks INDEXED BY {index} WHERE tasks.tenant_id = ?");
        Self::new(sql, tenant, "tasks.task_id").within(range)
    }

    /// The tasks of a term. The order of the join is that of the list: it stops with a full page.
    fn term(term: Term<'_>, tenant: TenantId, range: &Range) -> Self {
        let sql = "task_terms AS term CROSS JOIN tasks INDEXED BY tasks_key \
                   ON tasks.tenant_id = term.tenant_id AND tasks.task_id = term.task_id \
                   WHERE term.tenant_id = ?";
        let mut place = Self::new(sql.to_owned(), tenant, "term.task_id");
        place.lone = Some("task_terms AS term WHERE term.tenant_id = ?".to_owned());
        place.and(
            "term.kind = ? AND term.key = ? AND term.value = ?",
            term.values(),
        );
        place.within(range)
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

    /// The tasks that are ready. Their index is in the order of their turn, so the newest of a large
    /// backlog are not found in it without reading all of them; but among the newest tasks they are.
    fn ready(tenant: TenantId, range: &Range, only: &str) -> Self {
        let mut place = Self::index("tasks_ready", tenant, range);
        let newest = Self::index("tasks_key", tenant, range).sql;
        place.newest = Some(format!(
            "(SELECT tasks.task_id, tasks.task_row, state, started_at FROM {newest} ORDER BY tasks.task_id DESC LIMIT {NEWEST}) AS tasks \
             WHERE true{only}"
        ));
        place.sql.push_str(only);
        place
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

    /// A condition on what stands in the tasks themselves.
    fn and_task(&mut self, condition: &str, params: impl IntoIterator<Item = Value>) {
        self.lone = None;
        self.and(condition, params);
    }
}

/// Something that tasks are found by.
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

/// Where the tasks of a filter are; each is in one place.
pub(crate) fn places(tenant: TenantId, filter: &TaskFilter) -> Vec<Place> {
    let range = Range::new(filter);
    let by_term = filter.agent.is_some() || !filter.labels.is_empty() || filter.text.is_some();
    if by_term || filter.parent.is_some() {
        return vec![searched(tenant, filter, &range)];
    }
    let place = |index: &str, only: &str| {
        let mut place = Place::index(index, tenant, &range);
        place.sql.push_str(only);
        place
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
        return wanted.then(|| place(index, &only)).into_iter().collect();
    }
    if is_everything(filter) {
        return vec![place("tasks_key", "")];
    }
    let of = |state: StateName| {
        let (index, only) = index_of(state);
        let only = format!("{only}{}", started(filter));
        match (state, filter.status) {
            (StateName::Pending, Some(Status::Running)) => place("tasks_restarted", &only),
            (StateName::Pending, _) => Place::ready(tenant, &range, &only),
            (_, _) => place(index, &only),
        }
    };
    wanted(filter).into_iter().map(of).collect()
}

/// Whether neither a state nor a status is asked for.
pub(crate) fn is_everything(filter: &TaskFilter) -> bool {
    filter.states.is_empty() && filter.status.is_none()
}

/// The states that a task of the filter can be in.
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

/// What tells the two statuses of a task that has not ended apart.
fn started(filter: &TaskFilter) -> &'static str {
    match filter.status {
        Some(Status::Pending) => " AND started_at IS NULL",
        Some(Status::Running) => " AND started_at IS NOT NULL",
        Some(Status::Completed | Status::Failed | Status::Cancelled) | None => "",
    }
}

/// The index that holds the tasks of a state, and the condition that lets it be used.
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
fn searched(tenant: TenantId, filter: &TaskFilter, range: &Range) -> Place {
    let agent = filter
        .agent
        .iter()
        .map(|agent| Term(Kind::Agent, "", agent));
    let labels = filter.labels.iter();
    let labels = labels.map(|(key, value)| Term(Kind::Label, key, value));
    let mut terms = agent.chain(labels);
    let mut place = match terms.next() {
        Some(first) => Place::term(first, tenant, range),
        None if filter.parent.is_some() => Place::index("tasks_children", tenant, range),
        None => Place::index("tasks_key", tenant, range),
    };
    for term in terms {
        let has = "EXISTS (SELECT 1 FROM task_terms AS other \
                   WHERE other.tenant_id = term.tenant_id AND other.kind = ? AND other.key = ? \
                   AND other.value = ? AND other.task_id = term.task_id)";
        place.and(has, term.values());
    }
    if let Some(text) = &filter.text {
        let lower = text.to_ascii_lowercase();
        let (low, high) = ids_with_prefix(&lower);
        let end = id_digits(&lower).unwrap_or_default().to_ascii_uppercase();
        let length = Value::Integer(i64::try_from(end.len()).unwrap_or(0));
        place.and_task(
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
        place.and_task(
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
        place.and_task(&only, []);
    }
    for (asked, only) in [
        (filter.in_doubt, IN_DOUBT),
        (filter.dead_letter, DEAD_LETTER),
    ] {
        if asked {
            place.and_task(only, []);
        }
    }
    place
}

/// The digits of a part of an id, if the text may be one.
fn id_digits(text: &str) -> Option<String> {
    let digits = text.strip_prefix("task_").unwrap_or(text).replace('-', "");
    let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    // Fewer digits are rather a word that is looked for.
    (hex && (4..=32).contains(&digits.len())).then_some(digits)
}

/// The smallest and the largest id that begin with a text; an empty range if none does.
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
