//! Writes. Each function runs in a transaction of its own.

use std::collections::{BTreeSet, VecDeque};

use agentkit::{
    memory::long_term::{
        Added, Fact, FactState, MemoryError, Namespace, NewFact, Settled, Source, settle,
        supersedes, text,
    },
    tool::digest_hex,
};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    rows::{self, number},
    threads::Failed,
    visible::{hide, mark, show},
};

/// Facts that a task has read, of which a new fact of the task is compared with the last so many.
const MAX_READ: u32 = 256;
/// Of a fact that a task has read, so much is compared, in characters.
const MAX_COMPARED: u32 = 8_192;
/// The most facts that one call hides or deletes.
const MAX_CASCADE: usize = 100_000;

/// When and within which bounds a write happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now_micros: i64,
    /// The most current facts of a namespace.
    pub(super) max_facts: u64,
}

/// A fact that was checked, and the digest of its text.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) fact: NewFact,
    digest: String,
}

impl Checked {
    /// Checks a fact. A long text takes a while. A text of SQLite ends at its first NUL, so no text has one.
    pub(super) fn new(mut fact: NewFact) -> Result<Self, MemoryError> {
        if fact.text.contains('\0') {
            fact.text = fact.text.replace('\0', " ");
        }
        fact.check()?;
        let digest = text::digest(&fact.text);
        Ok(Self { fact, digest })
    }
}

/// Adds a fact.
pub(super) fn add(
    connection: &Connection,
    namespace: &Namespace,
    Checked { fact, digest }: &Checked,
    moment: Moment,
) -> Result<Added, Failed> {
    let id = id(namespace, fact.key.as_deref());
    if fact.key.is_some()
        && let Some(added) = added_before(connection, &id)?
    {
        return Ok(added);
    }
    let owner = owner(connection, namespace)?;
    let read = read_by_task(connection, namespace, fact)?;
    let compared: Vec<(String, String)> = read
        .iter()
        .map(|(_, id, text)| (id.clone(), text.clone()))
        .collect();
    let equal = current_with(connection, owner, digest)?;
    if let Settled::Same(id) = settle(fact, equal.as_deref(), &compared) {
        return Ok(Added {
            id,
            is_new: false,
            superseded: Vec::new(),
        });
    }
    let full: i64 = connection
        .prepare_cached("SELECT facts FROM namespaces WHERE n = ?1")?
        .query_row([owner], |row| row.get(0))?;
    let full = full.unsigned_abs();
    if full >= moment.max_facts {
        return Err(Failed::Told(MemoryError::Invalid(format!(
            "the namespace has {full} facts, and may have {}; forget some, or raise `memory.max_facts`",
            moment.max_facts
        ))));
    }
    let valid = fact.valid_micros.unwrap_or(moment.now_micros);
    let (superseded, superseded_by) = pair(connection, owner, fact, valid, &id)?;
    let origins: BTreeSet<i64> = origins(connection, namespace, fact, &read)?;
    let state = match superseded_by {
        None => FactState::Current,
        Some(_) => FactState::Superseded,
    };
    let labels = serde_json::to_string(&fact.labels).unwrap_or_default();
    connection
        .prepare_cached(
            "INSERT INTO facts (id, namespace, text, digest, subject, relation, labels, state, created, valid, expires,
                superseded_by, source, task, step, learnt, change)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                (SELECT coalesce(max(change), 0) + 1 FROM facts))",
        )?
        .execute(params![
            id,
            owner,
            fact.text,
            digest,
            fact.subject,
            fact.relation,
            labels,
            number(state),
            moment.now_micros,
            valid,
            fact.expires_micros,
            superseded_by,
            fact.provenance.source.name(),
            fact.provenance.task,
            fact.provenance.step,
            fact.provenance.learnt,
        ])?;
    let n = connection.last_insert_rowid();
    for label in &fact.labels {
        connection
            .prepare_cached("INSERT INTO labels (fact, label) VALUES (?1, ?2)")?
            .execute((n, label))?;
    }
    for origin in origins {
        connection
            .prepare_cached("INSERT OR IGNORE INTO derived (fact, origin) VALUES (?1, ?2)")?
            .execute((n, origin))?;
    }
    if state == FactState::Current {
        show(connection, n, owner, &fact.text)?;
    }
    Ok(Added {
        id,
        is_new: true,
        superseded,
    })
}

/// Supersedes a current fact.
pub(super) fn update(
    connection: &Connection,
    namespace: &Namespace,
    id: &str,
    checked: &Checked,
    moment: Moment,
) -> Result<Added, Failed> {
    let (n, old) = current(connection, namespace, id)?;
    let owner = owner(connection, namespace)?;
    let mut checked = checked.clone();
    let fact = &mut checked.fact;
    if fact.subject.is_none() {
        fact.subject.clone_from(&old.subject);
        fact.relation.clone_from(&old.relation);
    }
    if fact.labels.is_empty() {
        fact.labels.clone_from(&old.labels);
    }
    let mut added = add(connection, namespace, &checked, moment)?;
    if added.is_new && !added.superseded.iter().any(|one| one == id) {
        hide(connection, n, owner, FactState::Superseded)?;
        connection
            .prepare_cached("UPDATE facts SET superseded_by = ?2 WHERE n = ?1")?
            .execute((n, &added.id))?;
        added.superseded.push(id.to_owned());
    }
    Ok(added)
}

/// Hides a fact and the facts derived from it; `erase` takes their texts as well.
pub(super) fn forget(
    connection: &Connection,
    namespace: &Namespace,
    id: &str,
    reason: &str,
    erase: bool,
) -> Result<Vec<String>, Failed> {
    let found = rows::by_id(connection, namespace, id)?;
    let (n, fact) = found.ok_or_else(|| MemoryError::NotFound(id.to_owned()))?;
    let goal = match erase {
        true => FactState::Deleted,
        false => FactState::Invalidated,
    };
    if fact.state == FactState::Deleted || fact.state == goal {
        return Ok(vec![id.to_owned()]);
    }
    let mut ids = Vec::new();
    for (n, one) in derived(connection, n, namespace)? {
        let owner: i64 = connection
            .prepare_cached("SELECT namespace FROM facts WHERE n = ?1")?
            .query_row([n], |row| row.get(0))?;
        let is_done = one.state == FactState::Deleted || one.state == goal;
        // A superseded or expired fact is hidden already, and an undo must not bring it back.
        if is_done || !erase && one.state != FactState::Current {
            continue;
        }
        hide(connection, n, owner, goal)?;
        connection
            .prepare_cached("UPDATE facts SET reason = ?2, hidden_with = ?3 WHERE n = ?1")?
            .execute((n, reason, id))?;
        if erase {
            connection
                .prepare_cached(
                    "UPDATE facts SET text = '', digest = '', subject = NULL, relation = NULL, labels = '[]' WHERE n = ?1",
                )?
                .execute([n])?;
            connection
                .prepare_cached("DELETE FROM labels WHERE fact = ?1")?
                .execute([n])?;
        }
        ids.push(one.id);
    }
    if erase && !ids.is_empty() {
        // The index of words keeps removed words until its parts are merged.
        connection.execute("INSERT INTO words (words) VALUES ('optimize')", [])?;
    }
    Ok(ids)
}

/// Undoes an invalidation.
pub(super) fn restore(
    connection: &Connection,
    namespace: &Namespace,
    id: &str,
) -> Result<Vec<String>, Failed> {
    let found = rows::by_id(connection, namespace, id)?;
    let (_, fact) = found.ok_or_else(|| MemoryError::NotFound(id.to_owned()))?;
    if fact.state != FactState::Invalidated {
        return Err(Failed::Told(MemoryError::Invalid(format!(
            "fact `{id}` is {}, and only an invalidated fact can be restored",
            fact.state.name()
        ))));
    }
    let hidden: Vec<(i64, i64, String, String, String)> = connection
        .prepare_cached(
            "SELECT n, namespace, id, text, digest FROM facts
             WHERE state = ?1 AND (id = ?2 OR hidden_with = ?2) ORDER BY n",
        )?
        .query_map((number(FactState::Invalidated), id), |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ))
        })?
        .collect::<Result<_, _>>()?;
    let mut ids = Vec::new();
    for (n, owner, one, text, digest) in hidden {
        if let Some(equal) = current_with(connection, owner, &digest)? {
            if one != id {
                continue;
            }
            return Err(Failed::Told(MemoryError::Invalid(format!(
                "fact `{equal}` says the same as `{id}` by now"
            ))));
        }
        mark(connection, n, FactState::Current)?;
        connection
            .prepare_cached("UPDATE facts SET reason = NULL, hidden_with = NULL WHERE n = ?1")?
            .execute([n])?;
        show(connection, n, owner, &text)?;
        ids.push(one);
    }
    Ok(ids)
}

/// Hides facts whose time is over.
pub(super) fn expire(connection: &Connection, now_micros: i64) -> Result<u64, Failed> {
    let over: Vec<(i64, i64)> = connection
        .prepare_cached(
            "SELECT n, namespace FROM facts WHERE state = 0 AND expires <= ?1 LIMIT 10000",
        )?
        .query_map([now_micros], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (n, owner) in &over {
        hide(connection, *n, *owner, FactState::Expired)?;
    }
    Ok(over.len() as u64)
}

/// Notes that a task's step was given facts.
pub(super) fn read(
    connection: &Connection,
    task: &str,
    step: u32,
    facts: &[i64],
    now_micros: i64,
) -> Result<(), Failed> {
    for fact in facts {
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO reads (task, fact, step, at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((task, fact, step, now_micros))?;
    }
    Ok(())
}

/// The id of a fact: of its key, so that a repeated write finds it, or random.
fn id(namespace: &Namespace, key: Option<&str>) -> String {
    let hex = match key {
        Some(key) => {
            let (tenant, agent, user) = rows::parts(namespace);
            digest_hex(format!("{tenant}\0{agent}\0{user}\0{key}").as_bytes())
        }
        None => digest_hex(&rand::random::<[u8; 32]>()),
    };
    format!("fact_{}", &hex[..24])
}

/// The result of an earlier write of the id.
fn added_before(connection: &Connection, id: &str) -> Result<Option<Added>, Failed> {
    let there = connection
        .prepare_cached("SELECT 1 FROM facts WHERE id = ?1")?
        .exists([id])?;
    if !there {
        return Ok(None);
    }
    let superseded = connection
        .prepare_cached("SELECT id FROM facts WHERE superseded_by = ?1 ORDER BY n LIMIT 100")?
        .query_map([id], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(Some(Added {
        id: id.to_owned(),
        is_new: true,
        superseded,
    }))
}

/// The number of a namespace, made if need be.
fn owner(connection: &Connection, namespace: &Namespace) -> Result<i64, Failed> {
    if let Some(n) = rows::namespace(connection, namespace)? {
        return Ok(n);
    }
    connection
        .prepare_cached("INSERT INTO namespaces (tenant, agent, user) VALUES (?1, ?2, ?3)")?
        .execute(rows::parts(namespace))?;
    Ok(connection.last_insert_rowid())
}

fn current_with(
    connection: &Connection,
    owner: i64,
    digest: &str,
) -> Result<Option<String>, Failed> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM facts WHERE namespace = ?1 AND digest = ?2 AND state = 0",
    )?;
    Ok(statement
        .query_row((owner, digest), |row| row.get(0))
        .optional()?)
}

fn current(
    connection: &Connection,
    namespace: &Namespace,
    id: &str,
) -> Result<(i64, Fact), Failed> {
    let found = rows::by_id(connection, namespace, id)?;
    let (n, fact) = found.ok_or_else(|| MemoryError::NotFound(id.to_owned()))?;
    match fact.state {
        FactState::Current => Ok((n, fact)),
        state => Err(Failed::Told(MemoryError::Invalid(format!(
            "fact `{id}` is {}, and only a current fact can be updated",
            state.name()
        )))),
    }
}

/// Number, id and the beginning of the text of the facts that the task of a new fact has read.
fn read_by_task(
    connection: &Connection,
    namespace: &Namespace,
    fact: &NewFact,
) -> Result<Vec<(i64, String, String)>, Failed> {
    let Some(task) = &fact.provenance.task else {
        return Ok(Vec::new());
    };
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT f.n, f.id, substr(f.text, 1, ?3) FROM reads r
         JOIN facts f ON f.n = r.fact JOIN namespaces s ON s.n = f.namespace
         WHERE r.task = ?1 AND s.tenant = ?2 AND f.text != '' ORDER BY f.n DESC LIMIT ?4",
    )?;
    let rows = statement.query_map((task, &namespace.tenant, MAX_COMPARED, MAX_READ), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The facts that a new fact is derived from: those that it names, and those that its task has read.
fn origins(
    connection: &Connection,
    namespace: &Namespace,
    fact: &NewFact,
    read: &[(i64, String, String)],
) -> Result<BTreeSet<i64>, Failed> {
    let mut origins: BTreeSet<i64> = match fact.provenance.source {
        Source::Model | Source::Run => read.iter().map(|(n, ..)| *n).collect(),
        Source::Person | Source::Import => BTreeSet::new(),
    };
    for id in &fact.provenance.derived_from {
        let mut statement = connection.prepare_cached(
            "SELECT f.n FROM facts f JOIN namespaces s ON s.n = f.namespace WHERE f.id = ?1 AND s.tenant = ?2",
        )?;
        let found = statement
            .query_row((id, &namespace.tenant), |row| row.get(0))
            .optional()?;
        origins.insert(found.ok_or_else(|| MemoryError::NotFound(id.clone()))?);
    }
    Ok(origins)
}

/// Supersedes the current facts with the subject and relation of a new fact. Returns their ids, and the id of a current
/// fact that holds since later and so supersedes the new fact.
fn pair(
    connection: &Connection,
    owner: i64,
    fact: &NewFact,
    valid: i64,
    id: &str,
) -> Result<(Vec<String>, Option<String>), Failed> {
    let (Some(subject), Some(relation)) = (&fact.subject, &fact.relation) else {
        return Ok((Vec::new(), None));
    };
    let same: Vec<(i64, String, i64)> = connection
        .prepare_cached(
            "SELECT n, id, valid FROM facts
             WHERE namespace = ?1 AND subject = ?2 AND relation = ?3 AND state = 0",
        )?
        .query_map((owner, subject, relation), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    if let Some((_, later, _)) = same
        .iter()
        .find(|(.., current)| !supersedes(valid, *current))
    {
        return Ok((Vec::new(), Some(later.clone())));
    }
    let mut superseded = Vec::new();
    for (n, old, _) in same {
        hide(connection, n, owner, FactState::Superseded)?;
        connection
            .prepare_cached("UPDATE facts SET superseded_by = ?2 WHERE n = ?1")?
            .execute((n, id))?;
        superseded.push(old);
    }
    Ok((superseded, None))
}

/// A fact and everything derived from it, within its tenant.
fn derived(
    connection: &Connection,
    n: i64,
    namespace: &Namespace,
) -> Result<Vec<(i64, Fact)>, Failed> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([n]);
    let mut next = VecDeque::from([n]);
    while let Some(n) = next.pop_front() {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {} FROM facts f JOIN namespaces s ON s.n = f.namespace WHERE f.n = ?1 AND s.tenant = ?2",
            rows::COLUMNS
        ))?;
        if let Some(one) = statement
            .query_row((n, &namespace.tenant), rows::fact)
            .optional()?
        {
            found.push(one);
        }
        let mut statement =
            connection.prepare_cached("SELECT fact FROM derived WHERE origin = ?1")?;
        for fact in statement.query_map([n], |row| row.get(0))? {
            let fact = fact?;
            if seen.len() < MAX_CASCADE && seen.insert(fact) {
                next.push_back(fact);
            }
        }
    }
    Ok(found)
}
