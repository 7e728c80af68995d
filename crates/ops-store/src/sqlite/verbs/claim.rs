//! Claim: leases ready tasks to a session.

use std::sync::{Arc, LazyLock};

use ops_core::{
    Micros, RunCommand, SessionId, TaskId, TenantId,
    ports::{ClaimRequest, Claimed, More, StoreError, TaskRecord},
    rules::claim::{
        CRASH_LOOP_LOSSES, Claim, Class, Look, MAX_PRIORITY, Order, Wanted, in_turn, key_needed,
        share, turns_of_tenants,
    },
};
use rusqlite::{Connection, OptionalExtension as _};

use crate::sqlite::{
    error::WriteError,
    schema::rows::{self, Sparse, record_columns},
    values::pack::Values,
    verbs::{
        command,
        follow::{carry_out, key_is_held},
    },
    writer::{
        batch::{Batch, Loaded},
        inbox::Inbox,
        job::Job,
    },
};

/// The most tasks that a claim passes over because they cannot be read.
const MAX_UNREADABLE: u32 = 1_000;
/// The same for a claim by age.
const MAX_UNREADABLE_AGED: u32 = 20;

/// The next tenant with ready tasks of a class, after a tenant: one step in the index.
static NEXT_TENANT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT tenant_id FROM tasks INDEXED BY tasks_ready \
         WHERE state = 'pending' AND queue = ? AND (lease_losses >= {CRASH_LOOP_LOSSES}) = ? AND tenant_id > ? \
         ORDER BY tenant_id LIMIT 1"
    )
});

/// The next tasks of a class of a tenant. The class is written as the index has it.
static READY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {}, task_row FROM tasks INDEXED BY tasks_ready \
         JOIN task_requests USING (task_row) \
         WHERE state = 'pending' AND queue = ?1 AND (lease_losses >= {CRASH_LOOP_LOSSES}) = ?2 \
         AND tasks.tenant_id = ?3 ORDER BY priority DESC, task_id LIMIT ?4",
        record_columns!()
    )
});

/// The oldest tasks of a class of a tenant. The index has the ready tasks by priority and then age: the oldest of all are among the
/// oldest of each priority.
static OLDEST: LazyLock<String> = LazyLock::new(|| {
    let of_each = (0..=MAX_PRIORITY).map(|priority| {
        format!(
            "SELECT * FROM (SELECT task_id, task_row FROM tasks INDEXED BY tasks_ready \
             WHERE state = 'pending' AND queue = ?1 AND (lease_losses >= {CRASH_LOOP_LOSSES}) = ?2 \
             AND tenant_id = ?3 AND priority = {priority} ORDER BY task_id LIMIT ?4)"
        )
    });
    let of_each: Vec<String> = of_each.collect();
    format!(
        "SELECT {}, task_row FROM tasks JOIN task_requests USING (task_row) \
         WHERE task_row IN (SELECT task_row FROM ({}) ORDER BY task_id LIMIT ?4) \
         ORDER BY tasks.task_id",
        record_columns!(),
        of_each.join(" UNION ALL ")
    )
});

/// The leased suspects.
static CRASH_LOOP_SUSPECTS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT session_id FROM tasks INDEXED BY tasks_suspect \
         WHERE session_id IS NOT NULL AND lease_losses >= {CRASH_LOOP_LOSSES}"
    )
});

/// Leased tasks on their way to the worker. If the worker does not take them (the caller went away), the
/// leases are given back at once instead of when the session ends.
#[derive(Debug)]
pub(crate) struct Taken {
    records: Vec<Sparse>,
    more: More,
    inbox: Arc<Inbox<Job>>,
}

impl Taken {
    pub(crate) fn new((records, more): (Vec<Sparse>, More), inbox: Arc<Inbox<Job>>) -> Self {
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
            match record.fill(conn).map_err(WriteError::from) {
                Ok(()) => index += 1,
                Err(WriteError::Refused(error)) => {
                    unreadable.push((self.records.remove(index).into_record(), error));
                }
                // All of them are given back, those that were taken out as well.
                Err(WriteError::Broken(error)) => {
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
    pub(crate) fn take(mut self) -> Claimed {
        let records = std::mem::take(&mut self.records).into_iter();
        Claimed {
            tasks: records.map(Sparse::into_record).collect(),
            more: self.more,
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for record in self.records.drain(..) {
            let (tenant, task) = (record.task().tenant, record.task().id);
            let release = RunCommand::release(record.life().epoch);
            let job = Job::new(
                move |batch| command::record(batch, tenant, task, release, &Values::default()),
                |released| {
                    if let Err(error) = released {
                        tracing::debug!(%error, "a lease that nobody waits for was not given back");
                    }
                },
            );
            // A writer that has stopped holds no lease either: the next start voids them all.
            let _ = self.inbox.push(job);
        }
    }
}

/// Leases ready tasks to the session of a claim, and says when it is worth claiming again.
pub(crate) fn claim(
    batch: &mut Batch<'_>,
    request: &ClaimRequest,
) -> Result<(Vec<Sparse>, More), WriteError> {
    if !batch.sessions.is_open(request.session) {
        return Err(StoreError::SessionOver.into());
    }
    let expected = match request.rate {
        Some(_) => expected(batch, &request.queue)?,
        None => Micros(0),
    };
    let mut claim = Claim::new(request, expected, batch.now);
    let mut taken = Vec::new();
    while let Some(wanted) = claim.wanted() {
        match wanted {
            Wanted::Candidates {
                class,
                order,
                limit,
            } => {
                let of = (class, order);
                let candidates = ready(batch, &request.queue, of, claim.after(), limit)?;
                for candidate in in_turn(candidates, |(record, _)| record.task().tenant) {
                    if !claim.considers(candidate.0.task(), candidate.0.life()) {
                        continue;
                    }
                    look(batch, &mut claim, candidate, &mut taken)?;
                }
            }
            Wanted::LeasedCrashLoopSuspect => {
                claim.crash_loop_suspect_is_leased(crash_loop_suspect_is_leased(batch)?)
            }
        }
    }
    let (more, moved) = claim.finish();
    if let Some(expected) = moved.filter(|_| request.rate.is_some()) {
        expect(batch, &request.queue, expected)?;
    }
    Ok((taken, more))
}

/// Takes or blocks a candidate. A candidate that cannot be written is passed over.
fn look(
    batch: &mut Batch<'_>,
    claim: &mut Claim,
    (mut record, row): (Sparse, i64),
    taken: &mut Vec<Sparse>,
) -> Result<(), WriteError> {
    let before = Loaded {
        row,
        tenant: record.task().tenant,
        life: record.life().clone(),
    };
    let held = match key_needed(record.task(), &before.life) {
        Some(key) if key_is_held(batch, before.tenant, key)? => Some(key.to_owned()),
        Some(_) | None => None,
    };
    let written = claim
        .look(&before.life, held)
        .map_err(|rejection| StoreError::from(rejection).into())
        .and_then(|(look, transition)| {
            let life = carry_out(batch, &before, transition, &Values::default())?;
            Ok((look, life))
        });
    match written {
        Ok((look, life)) => {
            claim.written(look, before.tenant);
            if look == Look::Taken {
                let waited = batch.now.0.saturating_sub(before.life.updated_at.0);
                let waited = u64::try_from(waited).unwrap_or(0);
                batch.changes.work.queue_wait.add(waited);
                record.set_life(life);
                taken.push(record);
            }
            Ok(())
        }
        Err(WriteError::Refused(error)) => {
            batch.report(row, before.life.id, &error);
            Ok(())
        }
        Err(broken) => Err(broken),
    }
}

/// Whether a session of this process runs a suspect. A lease of an unknown session could not be taken back,
/// because its task cannot be read: no worker runs the task.
fn crash_loop_suspect_is_leased(batch: &Batch<'_>) -> rusqlite::Result<bool> {
    let mut select = batch.conn.prepare_cached(&CRASH_LOOP_SUSPECTS)?;
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

/// The next tasks of a class, with their rows: of each tenant whose turn it is its share. Unreadable tasks are passed over.
fn ready(
    batch: &mut Batch<'_>,
    queue: &str,
    of: (Class, Order),
    after: Option<TenantId>,
    limit: u32,
) -> Result<Vec<(Sparse, i64)>, WriteError> {
    let tenants = tenants(batch, queue, of.0, after, limit)?;
    let share = share(limit, tenants.len());
    let mut found = Vec::new();
    for tenant in tenants {
        ready_of(batch, (queue, tenant), of, share, &mut found)?;
    }
    Ok(found)
}

/// The tenants whose turn it is. Only as many are looked for as the claim may take tasks.
fn tenants(
    batch: &Batch<'_>,
    queue: &str,
    class: Class,
    after: Option<TenantId>,
    limit: u32,
) -> rusqlite::Result<Vec<TenantId>> {
    let mut select = batch.conn.prepare_cached(&NEXT_TENANT)?;
    let suspects = class == Class::CrashLoopSuspect;
    let start = after.map_or(-1, |tenant| i64::from(tenant.0));
    let mut ready = Vec::new();
    // Round once: up to the last tenant, and from the first to where it began.
    for (from, until) in [(start, i64::MAX), (-1, start)] {
        let mut at = from;
        while at < until && ready.len() < limit as usize {
            let next = select
                .query_row((queue, suspects, at), |row| row.get::<_, u32>(0))
                .optional()?;
            let Some(next) = next.filter(|next| i64::from(*next) <= until) else {
                break;
            };
            at = i64::from(next);
            ready.push(TenantId(next));
        }
    }
    ready.sort_unstable();
    Ok(turns_of_tenants(ready, after, limit))
}

/// The next tasks of a tenant.
fn ready_of(
    batch: &mut Batch<'_>,
    (queue, tenant): (&str, TenantId),
    (class, order): (Class, Order),
    most: u32,
    found: &mut Vec<(Sparse, i64)>,
) -> Result<(), WriteError> {
    // By age all rows up to the limit are sorted, by priority only those that are taken are read.
    let (sql, spare) = match order {
        Order::Priority => (&READY, MAX_UNREADABLE),
        Order::Age => (&OLDEST, MAX_UNREADABLE_AGED),
    };
    let mut select = batch.conn.prepare_cached(sql)?;
    let limit = most.saturating_add(spare);
    let suspects = class == Class::CrashLoopSuspect;
    let mut rows = select.query((queue, suspects, tenant.0, limit))?;
    let whole = found.len() + most as usize;
    while found.len() < whole
        && let Some(row) = rows.next()?
    {
        let task_row = row.get(rows::RECORD_COLUMNS)?;
        match rows::record(row).map_err(WriteError::from) {
            Ok(record) => found.push((record, task_row)),
            Err(WriteError::Refused(error)) => match row.get(rows::ID_COLUMN) {
                Ok(id) => batch.report(task_row, TaskId::from_bytes(id), &error),
                Err(_) => batch.report(task_row, "unknown", &error),
            },
            Err(broken) => return Err(broken),
        }
    }
    Ok(())
}

/// When the next task of a queue with a rate is expected.
fn expected(batch: &Batch<'_>, queue: &str) -> rusqlite::Result<Micros> {
    let known = batch
        .conn
        .prepare_cached("SELECT expected FROM queue_rates WHERE queue = ?")?
        .query_row([queue], |row| row.get(0).map(Micros))
        .optional()?;
    Ok(known.unwrap_or(Micros(0)))
}

fn expect(batch: &mut Batch<'_>, queue: &str, at: Micros) -> rusqlite::Result<()> {
    batch
        .conn
        .prepare_cached(
            "INSERT INTO queue_rates (queue, expected) VALUES (?, ?) \
             ON CONFLICT DO UPDATE SET expected = excluded.expected",
        )?
        .execute((queue, at.0))?;
    batch.changes.written = true;
    Ok(())
}
