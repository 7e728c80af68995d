//! Rows as values of the domain. Column lists stand beside the functions that read them.

use ops_core::{
    AgentDigest, Json, Lifecycle, Micros, Parent, SessionId, StoredEvent, Task, TaskId, TenantId,
    Wait,
    event::{EffectClass, NewEvent, StepKind, StepMark, StepStatus, TaskError, Usage},
    ports::{LIST_BYTES, LeftOut, Listed, TaskRecord},
    retry::RetryPolicy,
    task::{LifeRow, StateName, StateRow},
};
use rusqlite::{
    Connection, Error, Row, Rows,
    types::{Type, ValueRef},
};
use serde::de::DeserializeOwned;

use crate::sqlite::{
    error::{Newer, WriteError},
    schema::sums,
    values::blob::{self, Digest},
};

/// What [`life`] reads, in its order: the whole row, as its sum is that of the whole row.
macro_rules! life_columns {
    () => {
        concat!(
            $crate::sqlite::schema::sums::summed!(tasks),
            ", ",
            $crate::sqlite::schema::sums::found!(tasks)
        )
    };
}
/// How many columns [`life`] reads.
const LIFE_COLUMNS: usize = 38;
/// How many columns [`record`] reads.
pub(crate) const RECORD_COLUMNS: usize = LIFE_COLUMNS + 18;

/// How many columns [`event`] reads.
pub(crate) const EVENT_COLUMNS: usize = 14;

/// Where [`record`] reads the task's id.
pub(crate) const ID_COLUMN: usize = 1;

/// What [`record`] reads, in its order, from `tasks` joined with `task_requests`.
macro_rules! record_columns {
    () => {
        concat!(
            $crate::sqlite::schema::rows::life_columns!(),
            ", ",
            $crate::sqlite::schema::sums::summed!(task_requests),
            ", ",
            $crate::sqlite::schema::sums::found!(task_requests)
        )
    };
}

/// What [`event`] reads, in its order.
macro_rules! event_columns {
    () => {
        concat!(
            "seq, at, kind, step, step_kind, step_status, effect, input_tokens, output_tokens, \
             cost_micros, blobs, body, body_digest, ",
            $crate::sqlite::schema::sums::intact!(events)
        )
    };
}
pub(crate) use {event_columns, life_columns, record_columns};

/// An unsigned number as SQLite stores it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An unsigned number that [`signed`] stored.
pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|error| unreadable(column, error.into()))
}

pub(crate) fn unreadable(
    column: usize,
    why: Box<dyn std::error::Error + Send + Sync + 'static>,
) -> Error {
    Error::FromSqlConversionFailure(column, Type::Null, why)
}

/// Refuses a row that is not as it was written, as the expression [`sums::intact!`] in this column says.
/// What such a row says otherwise, such as that a newer release wrote it, counts nothing.
pub(crate) fn intact(row: &Row<'_>, column: usize) -> rusqlite::Result<()> {
    refuse_damage(row.get(column)?, column)
}

fn refuse_damage(is_intact: bool, column: usize) -> rusqlite::Result<()> {
    if !is_intact && !units::mutant!("ops-store.row_sum") {
        return Err(unreadable(column, sums::Damaged.into()));
    }
    Ok(())
}

/// Refuses a row that is not as it was written: the columns of its sum are these, and the expression
/// [`sums::found!`] comes after them. A row that is read as a whole is summed here: in SQL each of its
/// columns would be read twice.
fn whole(row: &Row<'_>, at: usize, columns: usize) -> rusqlite::Result<()> {
    refuse_damage(sums::is_whole(row, at, columns)?, at + columns)
}

pub(crate) fn micros(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Micros>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Micros))
}

/// A value stored by its name.
pub(crate) fn named<T>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let text = row
        .get_ref(column)?
        .as_str()
        .map_err(|error| unreadable(column, error.into()))?;
    parse(text).ok_or_else(|| unreadable(column, Newer(text.to_owned()).into()))
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => {
            let text = value
                .as_str()
                .map_err(|error| unreadable(column, error.into()))?;
            serde_json::from_str(text)
                .map(Some)
                .map_err(|error| unreadable(column, error.into()))
        }
    }
}

/// The most rows of a list that are passed over because they cannot be read.
pub(crate) const MAX_DAMAGED: usize = 1_000;

/// At most `limit` rows, until the columns that may be large have more than [`LIST_BYTES`] together; the
/// first in any case. One that cannot be read is named and passed over: the rest of the list is as good as
/// before.
pub(crate) fn bounded<T>(
    mut rows: Rows<'_>,
    limit: u32,
    large: &[usize],
    name: impl Fn(&Row<'_>) -> String,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Listed<T>> {
    let (mut listed, mut bytes) = (Listed::default(), 0);
    while listed.found.len() < limit as usize
        && listed.damaged.len() < MAX_DAMAGED
        && let Some(row) = rows.next()?
    {
        for column in large {
            let value = row.get_ref(*column)?.as_bytes_or_null();
            bytes += value.ok().flatten().map_or(0, <[u8]>::len);
        }
        if bytes > LIST_BYTES && !listed.found.is_empty() {
            break;
        }
        match read(row).map_err(WriteError::from) {
            Ok(entry) => listed.found.push(entry),
            Err(WriteError::Refused(_)) => listed.damaged.push(name(row)),
            Err(WriteError::Broken(error)) => return Err(error),
        }
    }
    Ok(listed)
}

/// A name as it is stored, to tell which row is damaged.
pub(crate) fn shown(row: &Row<'_>, column: usize) -> String {
    let name = row.get_ref(column).ok().and_then(|value| {
        let bytes = value.as_bytes().ok()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    });
    name.unwrap_or_else(|| "unknown".to_owned())
}

/// A task's id as it is stored, to tell which row is damaged.
pub(crate) fn shown_id(row: &Row<'_>, column: usize) -> String {
    match row.get(column) {
        Ok(id) => TaskId::from_bytes(id).to_string(),
        Err(_) => "unknown".to_owned(),
    }
}

pub(crate) fn document(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Json>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => {
            let text = value
                .as_str()
                .map_err(|error| unreadable(column, error.into()))?;
            Json::parse(text)
                .map(Some)
                .map_err(|error| unreadable(column, error.into()))
        }
    }
}

/// A lifecycle from [`life_columns!`] that begin at column `at`.
pub(crate) fn life(row: &Row<'_>, id: TaskId, at: usize) -> rusqlite::Result<Lifecycle> {
    whole(row, at, LIFE_COLUMNS - 1)?;
    let session: Option<[u8; 16]> = row.get(at + 5)?;
    let state = StateRow {
        name: named(row, at + 4, StateName::from_name)?,
        session: session.map(SessionId::from_bytes),
        due: micros(row, at + 6)?,
        wait: json::<Wait>(row, at + 8)?,
        dead_letter: row.get(at + 9)?,
    };
    let decoded = Lifecycle::from_row(LifeRow {
        id,
        state,
        attempt: row.get(at + 10)?,
        epoch: unsigned(row, at + 11)?,
        seq: unsigned(row, at + 12)?,
        lease_losses: row.get(at + 13)?,
        run_started: row.get(at + 14)?,
        flags: row.get(at + 28)?,
        timeout: row.get(at + 34)?,
        start_by: micros(row, at + 35)?,
        usage: usage(row, at + 15)?,
        children_usage: usage(row, at + 29)?,
        retry: RetryPolicy {
            max_attempts: row.get(at + 18)?,
            initial_micros: row.get(at + 19)?,
            max_micros: row.get(at + 20)?,
            max_lease_losses: row.get(at + 21)?,
        },
        started_at: micros(row, at + 22)?,
        updated_at: Micros(row.get(at + 23)?),
        completed_at: micros(row, at + 24)?,
        failure: json::<TaskError>(row, at + 27)?,
    });
    decoded.map_err(|error| unreadable(at, error.into()))
}

fn usage(row: &Row<'_>, at: usize) -> rusqlite::Result<Usage> {
    Ok(Usage {
        input_tokens: unsigned(row, at)?,
        output_tokens: unsigned(row, at + 1)?,
        cost_micros: unsigned(row, at + 2)?,
    })
}

/// A record whose large values are still in the blob table.
#[derive(Debug)]
pub(crate) struct Sparse {
    record: TaskRecord,
    input: Option<Digest>,
    result: Option<Digest>,
}

impl Sparse {
    /// A record that has all its values.
    pub(crate) fn whole(record: TaskRecord) -> Self {
        Self {
            record,
            input: None,
            result: None,
        }
    }

    /// Whether no value is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.input.is_none() && self.result.is_none()
    }

    /// Fetches the missing values.
    pub(crate) fn fill(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let tenant = self.record.task.tenant;
        if let Some(digest) = self.input.take() {
            self.record.task.input = stored_json(conn, tenant, &digest)?;
        }
        if let Some(digest) = self.result.take() {
            self.record.result = Some(stored_json(conn, tenant, &digest)?);
        }
        Ok(())
    }

    /// Leaves the missing values where they are, and notes their sizes.
    pub(crate) fn leave_out(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let tenant = self.record.task.tenant;
        let size = |digest: Option<Digest>| {
            digest
                .map(|digest| blob::size(conn, tenant, &digest))
                .transpose()
        };
        self.record.left_out = LeftOut {
            input: size(self.input.take())?,
            result: size(self.result.take())?,
        };
        Ok(())
    }

    /// The record; after [`Self::fill`] it is whole.
    pub(crate) fn into_record(self) -> TaskRecord {
        self.record
    }

    pub(crate) fn task(&self) -> &Task {
        &self.record.task
    }

    pub(crate) fn life(&self) -> &Lifecycle {
        &self.record.life
    }

    /// Takes over a later lifecycle.
    pub(crate) fn set_life(&mut self, life: Lifecycle) {
        self.record.life = life;
    }
}

fn stored_json(conn: &Connection, tenant: TenantId, digest: &Digest) -> rusqlite::Result<Json> {
    let bytes = blob::read(conn, tenant, digest)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| unreadable(0, error.into()))?;
    Json::parse(text).map_err(|error| unreadable(0, error.into()))
}

/// A record from [`record_columns!`].
pub(crate) fn record(row: &Row<'_>) -> rusqlite::Result<Sparse> {
    let at = LIFE_COLUMNS;
    let life = life(row, TaskId::from_bytes(row.get(ID_COLUMN)?), 0)?;
    whole(row, at, RECORD_COLUMNS - LIFE_COLUMNS - 1)?;
    let retry_of: Option<[u8; 16]> = row.get(at + 9)?;
    let digest: Option<[u8; 32]> = row.get(at + 15)?;
    let parent = match row.get::<_, Option<[u8; 16]>>(at + 12)? {
        Some(task) => Some(Parent {
            task: TaskId::from_bytes(task),
            step: row.get(at + 13)?,
            depth_left: row.get(at + 14)?,
        }),
        None => None,
    };
    let task = Task {
        id: life.id,
        tenant: TenantId(row.get(0)?),
        queue: row.get(2)?,
        priority: row.get(3)?,
        task_type: row.get(at + 2)?,
        name: row.get(at + 3)?,
        agent_id: row.get(at + 4)?,
        agent_digest: digest.map(AgentDigest::from_bytes),
        input: document(row, at + 5)?.unwrap_or_else(Json::null),
        labels: json(row, at + 7)?.unwrap_or_default(),
        limits: json(row, at + 8)?.unwrap_or_default(),
        concurrency_key: row.get(33)?,
        retry_of: retry_of.map(TaskId::from_bytes),
        parent,
        created_at: Micros(row.get(at + 10)?),
        run_at: micros(row, at + 11)?,
    };
    Ok(Sparse {
        record: TaskRecord {
            task,
            life,
            result: document(row, 25)?,
            in_force: json(row, at + 16)?,
            left_out: LeftOut::default(),
        },
        input: row.get(at + 6)?,
        result: row.get(26)?,
    })
}

/// An event from [`event_columns!`], with the digest of its body if that is in the blob table.
pub(crate) fn event(row: &Row<'_>) -> rusqlite::Result<(StoredEvent, Option<Digest>)> {
    intact(row, EVENT_COLUMNS - 1)?;
    let step = match row.get::<_, Option<u32>>(3)? {
        Some(number) => Some(StepMark {
            number,
            kind: named(row, 4, StepKind::from_name)?,
            status: named(row, 5, StepStatus::from_name)?,
            effect: named(row, 6, EffectClass::from_name)?,
        }),
        None => None,
    };
    let blobs = match row.get_ref(10)? {
        ValueRef::Null => Vec::new(),
        value => {
            let text = value
                .as_str()
                .map_err(|error| unreadable(10, error.into()))?;
            text.split(',').map(str::to_owned).collect()
        }
    };
    let event = NewEvent {
        kind: row.get(2)?,
        step,
        usage: usage(row, 7)?,
        blobs,
        body: row
            .get::<_, Option<Vec<u8>>>(11)?
            .unwrap_or_default()
            .into(),
    };
    let stored = StoredEvent {
        seq: unsigned(row, 0)?,
        at: Micros(row.get(1)?),
        event,
    };
    Ok((stored, row.get(12)?))
}
