//! Claim: leases ready tasks to a session.

use std::sync::Arc;

use ops_core::{
    Command, SessionId, TaskId, decide,
    ports::{self, ClaimRequest, More, StoreError, TaskRecord},
};
use rusqlite::Connection;

use crate::sqlite::{
    error::Fault,
    schema::rows::{self, Sparse, record_columns},
    values::prepare::{Outside, Prepared},
    verbs::{cascade::key_is_held, rates::Pace},
    writer::{
        batch::{Batch, Loaded},
        inbox::Inbox,
        request::{Apply, Request},
    },
};

/// The most tasks in one claim.
const MOST: u32 = 1_000;
/// The most tasks that a claim passes over because they cannot be read.
const MOST_UNREADABLE: u32 = 1_000;
/// About how many tasks a claim blocks at the most: what is behind more of them waits for the next
/// claim, and other requests come between.
const MOST_BLOCKED: usize = 256;

/// Leased tasks on their way to the worker. If nobody takes them (the caller went away), they are
/// given back at once instead of when the session ends.
#[derive(Debug)]
pub(crate) struct Claimed {
    records: Vec<Sparse>,
    more: More,
    inbox: Arc<Inbox<Request>>,
}

impl Claimed {
    pub(crate) fn new((records, more): (Vec<Sparse>, More), inbox: Arc<Inbox<Request>>) -> Self {
        Self {
            records,
            more,
            inbox,
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.records.iter().all(Sparse::is_whole)
    }

    /// Fetches the missing values. Takes out the tasks whose values cannot be read, and says why.
    pub(crate) fn fill(
        &mut self,
        conn: &Connection,
    ) -> rusqlite::Result<Vec<(TaskRecord, StoreError)>> {
        let mut unreadable = Vec::new();
        let mut index = 0;
        while let Some(record) = self.records.get_mut(index) {
            match record.fill(conn).map_err(Fault::from) {
                Ok(()) => index += 1,
                Err(Fault::Refused(error)) => {
                    unreadable.push((self.records.remove(index).into_record(), error));
                }
                // All of them are given back, those that were taken out as well.
                Err(Fault::Broken(error)) => {
                    let back = unreadable.into_iter();
                    self.records
                        .extend(back.map(|(record, _)| Sparse::whole(record)));
                    return Err(error);
                }
            }
        }
        Ok(unreadable)
    }

    /// The worker has them.
    pub(crate) fn take(mut self) -> ports::Claimed {
        let records = std::mem::take(&mut self.records).into_iter();
        ports::Claimed {
            tasks: records.map(Sparse::into_record).collect(),
            more: self.more,
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        for record in self.records.drain(..) {
            let command = Command::Release {
                epoch: record.life().epoch,
            };
            let apply = Apply {
                tenant: record.task().tenant,
                task: record.task().id,
                prepared: Prepared {
                    command,
                    outside: Outside::default(),
                },
            };
            // A writer that has stopped holds no lease either: the next start voids them all.
            let _ = self.inbox.push(Request::Apply(Box::new(apply), None));
        }
    }
}

/// Leases ready tasks to the session of a claim, and says when it is worth claiming again.
pub(crate) fn claim(
    batch: &mut Batch<'_>,
    request: &ClaimRequest,
) -> Result<(Vec<Sparse>, More), Fault> {
    if !batch.sessions.is_open(request.session) {
        return Err(StoreError::SessionOver.into());
    }
    let now = batch.now;
    let mut pace = Pace::load(batch, request)?;
    let allowed = pace.as_ref().map_or(MOST, |pace| pace.allows(now));
    let most = request.max.min(MOST).min(allowed);
    let (mut claimed, mut blocked) = (Vec::new(), 0);
    let left = |claimed: &Vec<Sparse>| most - u32::try_from(claimed.len()).unwrap_or(most);
    // Tasks whose concurrency key is taken leave the queue, so that those behind them are seen.
    while left(&claimed) > 0 && blocked < MOST_BLOCKED {
        let also = take(batch, request, Kind::Usual, left(&claimed), &mut claimed)?;
        blocked += also;
        if also == 0 {
            break;
        }
    }
    // Only one suspect runs at a time. If it kills its worker it has few neighbours that count a
    // lost lease with it, and an innocent one gets to an outcome, which clears it.
    if left(&claimed) > 0 && !suspect_is_leased(batch)? {
        take(batch, request, Kind::Suspect, 1, &mut claimed)?;
    }
    let full = left(&claimed) == 0;
    if let Some(pace) = &mut pace {
        let taken = u32::try_from(claimed.len()).unwrap_or(u32::MAX);
        pace.take(batch, &request.queue, taken)?;
        if full && pace.allows(now) == 0 {
            return Ok((claimed, More::At(pace.next(now))));
        }
    }
    let more = match full || blocked >= MOST_BLOCKED {
        true => More::Now,
        false => More::Rung,
    };
    Ok((claimed, more))
}

/// Which tasks a claim looks at: the first key of `tasks_ready` after the queue.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Usual = 0,
    /// A task that lost so many leases in a row that it may be what kills its workers.
    Suspect = 1,
}

/// Leases at most so many tasks of a kind. One that cannot be read or written is passed
/// over; one whose concurrency key is taken is blocked. Says how many were blocked.
fn take(
    batch: &mut Batch<'_>,
    request: &ClaimRequest,
    kind: Kind,
    most: u32,
    claimed: &mut Vec<Sparse>,
) -> Result<usize, Fault> {
    let mut blocked = 0;
    for (mut record, row) in ready(batch, request, kind, most)? {
        let before = Loaded {
            row,
            tenant: record.task().tenant,
            life: record.life().clone(),
        };
        let command = match key_taken(batch, &record)? {
            Some(key) => Command::Block { key },
            None => Command::Claim {
                session: request.session,
            },
        };
        let blocks = matches!(command, Command::Block { .. });
        let written = decide(&before.life, command, batch.now)
            .map_err(|rejection| StoreError::from(rejection).into())
            .and_then(|decision| batch.write(&before, decision, &Outside::default()));
        match written {
            Ok(_) if blocks => blocked += 1,
            Ok(life) => {
                let waited = batch.now.0.saturating_sub(before.life.updated_at.0);
                let waited = u64::try_from(waited).unwrap_or(0);
                batch.changes.work.queue_wait.add(waited);
                record.set_life(life);
                claimed.push(record);
            }
            Err(Fault::Refused(error)) => batch.report(row, before.life.id, &error),
            Err(broken) => return Err(broken),
        }
    }
    Ok(blocked)
}

/// The concurrency key that a task would begin under, if another task holds it.
fn key_taken(batch: &Batch<'_>, record: &Sparse) -> rusqlite::Result<Option<String>> {
    let task = record.task();
    match &task.concurrency_key {
        Some(key) if record.life().started_at.is_none() => {
            Ok(key_is_held(batch, task.tenant, key)?.then(|| key.clone()))
        }
        Some(_) | None => Ok(None),
    }
}

/// Whether a session of this process runs a suspect. A lease of a session that is not known is one
/// that could not be taken back, because its task cannot be read: nobody runs that.
fn suspect_is_leased(batch: &Batch<'_>) -> rusqlite::Result<bool> {
    let mut select = batch.conn.prepare_cached(
        "SELECT session_id FROM tasks INDEXED BY tasks_suspect \
         WHERE session_id IS NOT NULL AND lease_losses >= 2",
    )?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        if let Ok(id) = row.get(0)
            && batch.sessions.is_known(SessionId::from_bytes(id))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The next tasks of a kind, with their rows.
fn ready(
    batch: &mut Batch<'_>,
    request: &ClaimRequest,
    kind: Kind,
    most: u32,
) -> Result<Vec<(Sparse, i64)>, Fault> {
    let mut select = batch.conn.prepare_cached(concat!(
        "SELECT ",
        record_columns!(),
        ", task_row FROM tasks INDEXED BY tasks_ready JOIN task_requests USING (task_row) \
         WHERE state = 'pending' AND queue = ? AND (lease_losses >= 2) = ? \
         ORDER BY priority DESC, task_id LIMIT ?"
    ))?;
    let limit = most.saturating_add(MOST_UNREADABLE);
    let mut rows = select.query((&request.queue, kind as i64, limit))?;
    let mut found = Vec::new();
    while found.len() < most as usize
        && let Some(row) = rows.next()?
    {
        let task_row = row.get(rows::RECORD_COLUMNS)?;
        match rows::record(row).map_err(Fault::from) {
            Ok(record) => found.push((record, task_row)),
            Err(Fault::Refused(error)) => match row.get(rows::ID_COLUMN) {
                Ok(id) => batch.report(task_row, TaskId::from_bytes(id), &error),
                Err(_) => batch.report(task_row, "unknown", &error),
            },
            Err(broken) => return Err(broken),
        }
    }
    Ok(found)
}
