//! One group of requests in one transaction: what every write shares.

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    sync::Arc,
};

use ops_core::{
    Json, Lifecycle, Micros, NewEvent, State, TaskId, TenantId,
    decide::{Decision, Outcome},
    ports::{Hint, Notice, StoreError},
};
use rusqlite::{Connection, params};

use crate::sqlite::{
    error::Fault,
    schema::{
        columns::{StateColumns, flags},
        rows::{self, signed},
    },
    sessions::{Interrupt, Sessions, Stop},
    values::{
        blob::{Digest, INLINE, Packed, parse_digest},
        prepare::Outside,
    },
    verbs::{approvals, cascade, submit},
    writer::{changes::Changes, statements::Statements},
};

/// So many lost leases in a row make a task a suspect: it may be what kills its workers. The schema's
/// indexes have the same number.
const SUSPECT: u32 = 2;
/// The most tasks that are remembered as reported.
const REPORTED: usize = 1_024;

/// The writer's connection with what the group that is being written has changed so far.
pub(crate) struct Batch<'c> {
    pub(crate) conn: &'c Connection,
    pub(crate) sql: Statements<'c>,
    pub(crate) sessions: &'c Sessions,
    /// When the group is written.
    pub(crate) now: Micros,
    pub(crate) changes: Changes,
    queues: HashMap<String, Arc<str>>,
    /// What was reported as unreadable before, by `task_row`.
    reported: HashSet<i64>,
}

/// A task as a decision needs it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) row: i64,
    pub(crate) tenant: TenantId,
    pub(crate) life: Lifecycle,
}

impl<'c> Batch<'c> {
    pub(crate) fn new(conn: &'c Connection, sessions: &'c Sessions) -> rusqlite::Result<Self> {
        Ok(Self {
            conn,
            sql: Statements::prepare(conn)?,
            sessions,
            now: Micros(0),
            changes: Changes::default(),
            queues: HashMap::new(),
            reported: HashSet::new(),
        })
    }

    pub(crate) fn load(
        &mut self,
        tenant: TenantId,
        id: TaskId,
    ) -> rusqlite::Result<Option<Loaded>> {
        let mut rows = self.sql.load.query((tenant.0, id.as_bytes()))?;
        match rows.next()? {
            Some(row) => Ok(Some(Loaded {
                row: row.get(0)?,
                tenant,
                life: rows::life(row, id, 1)?,
            })),
            None => Ok(None),
        }
    }

    /// Writes a decision. A task that is not as it was loaded is refused and nothing is written.
    pub(crate) fn write(
        &mut self,
        before: &Loaded,
        decision: Decision,
        outside: &Outside,
    ) -> Result<Lifecycle, Fault> {
        let Decision {
            events,
            after,
            outcome,
            children,
            approvals,
        } = decision;
        let end = cascade::end(&after, outcome.as_ref(), outside.result);
        if !events.is_empty() && self.update(before, &after, outcome, outside.result)? == 0 {
            return Err(StoreError::Unavailable(
                "the task changed under the writer: another program writes to the database".into(),
            )
            .into());
        }
        for packed in &outside.packed {
            self.store(before.tenant, packed)?;
        }
        for (index, event) in events.iter().enumerate() {
            let seq = before.life.seq + 1 + index as u64;
            self.event(
                (before.tenant, before.row),
                &after,
                seq,
                event,
                outside.decided(index, &event.body),
            )?;
        }
        if events.is_empty() {
            return Ok(after);
        }
        self.moved(before, &after)?;
        for (child, input) in children.into_iter().zip(outside.inputs()) {
            submit::child(self, before, child, input)?;
        }
        for approval in &approvals {
            approvals::ask(self, before, approval)?;
        }
        cascade::follow(self, before, &after, end)?;
        Ok(after)
    }

    fn update(
        &mut self,
        before: &Loaded,
        after: &Lifecycle,
        outcome: Option<Outcome>,
        result_digest: Option<Digest>,
    ) -> rusqlite::Result<usize> {
        let (epoch, seq) = (signed(before.life.epoch), signed(before.life.seq));
        let usage = &after.usage;
        if before.life.state == after.state
            && flags(&before.life) == flags(after)
            && before.life.children_usage == after.children_usage
        {
            // The indexes with a column of this one hold no such row, unless it is a suspect: it
            // touches a single page.
            return self.sql.advance.execute(params![
                signed(after.seq),
                after.lease_losses,
                after.run_started,
                signed(usage.input_tokens),
                signed(usage.output_tokens),
                signed(usage.cost_micros),
                after.updated_at.0,
                before.row,
                epoch,
                seq,
            ]);
        }
        let columns = StateColumns::new(&after.state);
        let (result, error) = match outcome {
            Some(Outcome::Result(result)) => (Some(result), None),
            Some(Outcome::Error(error)) => (None, Json::from_value(&error).ok()),
            None => (None, None),
        };
        let inline = result.filter(|_| result_digest.is_none());
        if let Some(digest) = &result_digest {
            self.refer(before.tenant, before.row, digest)?;
        }
        self.sql.transition.execute(params![
            columns.name,
            columns.session,
            columns.due,
            columns.wait_on,
            columns.wait.as_ref().map(Json::as_str),
            columns.dead_letter,
            after.attempt,
            signed(after.epoch),
            signed(after.seq),
            after.lease_losses,
            after.run_started,
            signed(usage.input_tokens),
            signed(usage.output_tokens),
            signed(usage.cost_micros),
            after.started_at.map(|at| at.0),
            after.updated_at.0,
            after.completed_at.map(|at| at.0),
            inline.as_ref().map(Json::as_str),
            result_digest,
            error.as_ref().map(Json::as_str),
            flags(after),
            signed(after.children_usage.input_tokens),
            signed(after.children_usage.output_tokens),
            signed(after.children_usage.cost_micros),
            before.row,
            epoch,
            seq,
        ])
    }

    /// Writes one event. Its body goes to the blob table if it is large.
    pub(crate) fn event(
        &mut self,
        (tenant, row): (TenantId, i64),
        after: &Lifecycle,
        seq: u64,
        event: &NewEvent,
        stored: Option<Digest>,
    ) -> rusqlite::Result<()> {
        let stored = match stored {
            None if event.body.len() > INLINE => {
                let packed = Packed::new(&event.body);
                self.store(tenant, &packed)?;
                Some(packed.digest)
            }
            known => known,
        };
        let named = event.blobs.iter().filter_map(|hex| parse_digest(hex));
        for digest in stored.into_iter().chain(named) {
            self.refer(tenant, row, &digest)?;
        }
        let body = stored.is_none().then_some(event.body.as_slice());
        let blobs = (!event.blobs.is_empty()).then(|| event.blobs.join(","));
        self.sql.insert_event.execute(params![
            tenant.0,
            row,
            signed(seq),
            signed(after.epoch),
            after.updated_at.0,
            event.kind,
            event.step.map(|step| step.number),
            event.step.map(|step| step.kind.as_str()),
            event.step.map(|step| step.status.as_str()),
            event.step.map(|step| step.effect.as_str()),
            signed(event.usage.input_tokens),
            signed(event.usage.output_tokens),
            signed(event.usage.cost_micros),
            blobs,
            body,
            stored,
        ])?;
        self.changes.written = true;
        self.changes.events += 1;
        self.changes.work.event(event);
        Ok(())
    }

    pub(crate) fn store(&mut self, tenant: TenantId, packed: &Packed) -> rusqlite::Result<()> {
        self.changes.written = true;
        packed.store(self.conn, tenant)
    }

    /// Notes that a task refers to a value: retention keeps it as long as one does.
    pub(crate) fn refer(
        &self,
        tenant: TenantId,
        row: i64,
        digest: &Digest,
    ) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT OR IGNORE INTO blob_refs (tenant_id, digest, task_row) VALUES (?, ?, ?)",
            )?
            .execute((tenant.0, digest, row))
            .map(drop)
    }

    /// Notes that a task refers to what another one refers to: rows of that one were copied to it.
    pub(crate) fn refer_alike(
        &self,
        (tenant, row): (TenantId, i64),
        other: i64,
    ) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT OR IGNORE INTO blob_refs (tenant_id, digest, task_row) \
                 SELECT tenant_id, digest, ? FROM blob_refs WHERE tenant_id = ? AND task_row = ?",
            )?
            .execute((row, tenant.0, other))
            .map(drop)
    }

    /// Takes note of a transition for the counters, the followers and the sessions.
    fn moved(&mut self, before: &Loaded, after: &Lifecycle) -> rusqlite::Result<()> {
        let tenant = before.tenant;
        let (old, new) = (&before.life.state, &after.state);
        let mut ready = None;
        if old != new {
            if old.name() != new.name() {
                self.changes.count(tenant, old.name(), -1);
                self.changes.count(tenant, new.name(), 1);
            }
            if let State::Pending = new {
                ready = self.queue_of(before.row)?;
            }
        }
        let (was, is) = (stop_of(&before.life), stop_of(after));
        if was != is {
            let interrupts = &mut self.changes.interrupts;
            interrupts.extend(was.map(|stop| Interrupt::Ended(stop, tenant, after.id)));
            interrupts.extend(is.map(|stop| Interrupt::Begun(stop, tenant, after.id)));
        }
        // The next suspect may run now.
        if ready.is_none() && is_leased_suspect(&before.life) && !is_leased_suspect(after) {
            ready = self.queue_of(before.row)?;
        }
        self.notice(tenant, after, ready);
        Ok(())
    }

    /// A task's queue; none if its name cannot be read, which must not fail what is half written.
    fn queue_of(&mut self, row: i64) -> rusqlite::Result<Option<Arc<str>>> {
        let name = self
            .sql
            .queue
            .query_row([row], |row| row.get::<_, String>(0));
        match name.map_err(Fault::from) {
            Ok(name) => Ok(Some(self.queue(&name))),
            Err(Fault::Refused(error)) => {
                self.report(row, "unknown", &error);
                Ok(None)
            }
            Err(Fault::Broken(error)) => Err(error),
        }
    }

    /// Reports a task that had to be left as it is while its neighbours went on: once, since it is
    /// met again and again.
    pub(crate) fn report(&mut self, row: i64, task: impl Display, error: &StoreError) {
        if self.reported.len() >= REPORTED {
            self.reported.clear();
        }
        if self.reported.insert(row) {
            tracing::error!(%task, row, %error, "a task is left as it is and holds up nobody else");
        }
    }

    pub(crate) fn notice(&mut self, tenant: TenantId, after: &Lifecycle, ready: Option<Arc<str>>) {
        let hint = Hint {
            tenant,
            task: after.id,
            seq: after.seq,
            state: after.state.name(),
        };
        self.changes.notices.push(Notice {
            hint,
            ready,
            due: after.state.due(),
        });
    }

    /// A queue's name, allocated once.
    pub(crate) fn queue(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.queues.get(name) {
            return Arc::clone(known);
        }
        if self.queues.len() >= 1_024 {
            self.queues.clear();
        }
        let queue: Arc<str> = name.into();
        self.queues.insert(name.to_owned(), Arc::clone(&queue));
        queue
    }

    /// Adds the group's differences to the counters.
    pub(crate) fn flush_counters(&mut self) -> rusqlite::Result<()> {
        for (tenant, state, n) in self.changes.counters.drain(..).filter(|(_, _, n)| *n != 0) {
            self.sql.count.execute((tenant.0, state.as_str(), n))?;
        }
        Ok(())
    }
}

/// What the holder of a task's lease is to be told, and who that is.
fn stop_of(life: &Lifecycle) -> Option<Stop> {
    match life.state {
        State::Cancelling { session } => Some(Stop::Cancel(session)),
        State::Running { session } if life.paused => Some(Stop::Pause(session)),
        State::Running { .. }
        | State::Pending
        | State::Scheduled { .. }
        | State::Paused
        | State::Waiting(_)
        | State::Completed
        | State::Failed { .. }
        | State::Cancelled => None,
    }
}

/// Whether a task is a suspect at large. The next one waits for it.
fn is_leased_suspect(life: &Lifecycle) -> bool {
    life.state.session().is_some() && life.lease_losses >= SUSPECT
}
