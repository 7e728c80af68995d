//! Rows of facts.

use std::collections::BTreeSet;

use agentkit::memory::long_term::{Fact, FactState, Namespace, Provenance, Source};
use rusqlite::{Connection, OptionalExtension as _, Row};

/// Columns of [`fact`], of `facts f` and `namespaces s`.
pub(super) const COLUMNS: &str = "f.id, f.text, f.subject, f.relation, f.labels, f.state, f.created, f.valid, f.expires, \
     f.superseded_by, f.reason, f.source, f.task, f.step, f.learnt, s.tenant, s.agent, s.user, f.n";

/// The number of a state.
pub(super) fn number(state: FactState) -> i64 {
    let index = FactState::ALL.iter().position(|one| *one == state);
    index
        .and_then(|index| i64::try_from(index).ok())
        .unwrap_or(0)
}

/// The parts of a namespace as columns; no part is the empty text, which no name is.
pub(super) fn parts(namespace: &Namespace) -> (&str, &str, &str) {
    (
        &namespace.tenant,
        namespace.agent.as_deref().unwrap_or_default(),
        namespace.user.as_deref().unwrap_or_default(),
    )
}

/// The number of a namespace, if it has ever had a fact.
pub(super) fn namespace(
    connection: &Connection,
    namespace: &Namespace,
) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT n FROM namespaces WHERE tenant = ?1 AND agent = ?2 AND user = ?3",
    )?;
    statement
        .query_row(parts(namespace), |row| row.get(0))
        .optional()
}

/// A fact from its row, and its number.
pub(super) fn fact(row: &Row<'_>) -> rusqlite::Result<(i64, Fact)> {
    let optional = |text: String| (!text.is_empty()).then_some(text);
    let labels: String = row.get(4)?;
    let labels: BTreeSet<String> = serde_json::from_str(&labels).unwrap_or_default();
    let state: i64 = row.get(5)?;
    let state = usize::try_from(state).unwrap_or(usize::MAX);
    let source: String = row.get(11)?;
    let fact = Fact {
        id: row.get(0)?,
        namespace: Namespace {
            tenant: row.get(15)?,
            agent: optional(row.get(16)?),
            user: optional(row.get(17)?),
        },
        text: row.get(1)?,
        subject: row.get(2)?,
        relation: row.get(3)?,
        labels,
        state: FactState::ALL
            .get(state)
            .copied()
            .unwrap_or(FactState::Deleted),
        created_micros: row.get(6)?,
        valid_micros: row.get(7)?,
        expires_micros: row.get(8)?,
        superseded_by: row.get(9)?,
        reason: row.get(10)?,
        provenance: Provenance {
            source: Source::parse(&source).unwrap_or_default(),
            task: row.get(12)?,
            step: row.get(13)?,
            learnt: row.get(14)?,
            derived_from: Vec::new(),
        },
    };
    Ok((row.get(18)?, fact))
}

/// The fact of an id in a namespace.
pub(super) fn by_id(
    connection: &Connection,
    namespace: &Namespace,
    id: &str,
) -> rusqlite::Result<Option<(i64, Fact)>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM facts f JOIN namespaces s ON s.n = f.namespace
         WHERE f.id = ?1 AND s.tenant = ?2 AND s.agent = ?3 AND s.user = ?4"
    ))?;
    let (tenant, agent, user) = parts(namespace);
    let found = statement
        .query_row((id, tenant, agent, user), fact)
        .optional()?;
    let Some((n, mut found)) = found else {
        return Ok(None);
    };
    found.provenance.derived_from = origins(connection, n)?;
    Ok(Some((n, found)))
}

/// Ids of the facts that a fact was derived from.
pub(super) fn origins(connection: &Connection, n: i64) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT f.id FROM derived d JOIN facts f ON f.n = d.origin WHERE d.fact = ?1 ORDER BY f.n",
    )?;
    statement.query_map([n], |row| row.get(0))?.collect()
}
