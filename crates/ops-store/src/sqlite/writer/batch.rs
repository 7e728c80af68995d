//! One group of requests in one transaction: the parts that every write shares.

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    sync::Arc,
};

use ops_core::{
    Json, Lifecycle, Micros, NewEvent, SessionId, TaskId, TenantId, Wait,
    event::StoredResult,
    ports::{Hint, Notice, StoreError},
    rules::{
        Outcome, Transition, lease, limits,
        links::{self, Follow},
    },
};
use rusqlite::{Connection, params};

use crate::sqlite::{
    error::WriteError,
    queries::view::View,
    schema::rows::{self, signed},
    sessions::{Interrupt, Sessions},
    values::{
        blob::{Digest, INLINE, Packed, parse_digest},
        pack::Values,
    },
    verbs::{approvals, children},
    writer::{changes::Changes, statements::Statements},
};

/// The most tasks that are remembered as reported.
const REPORTED: usize = 1_024;

/// The writer's connection with the changes of the present group so far.
pub(crate) struct Batch<'c> {
    pub(crate) conn: &'c Connection,
    pub(crate) sql: Statements<'c>,
    pub(crate) sessions: &'c Sessions,
    /// How many tasks a tree of tasks may have.
    pub(crate) max_tree_tasks: u64,
    /// When the group is written.
    pub(crate) now: Micros,
    pub(crate) changes: Changes,
    queues: HashMap<String, Arc<str>>,
    /// Tasks that were reported as unreadable before, by `task_row`.
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
    pub(crate) fn new(
        conn: &'c Connection,
        sessions: &'c Sessions,
        max_tree_tasks: u64,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            conn,
            sql: Statements::prepare(conn)?,
            sessions,
            max_tree_tasks,
            now: Micros(0),
            changes: Changes::default(),
            queues: HashMap::new(),
            reported: HashSet::new(),
        })
    }

    /// The group's own view of its uncommitted changes.
    pub(crate) fn view(&self) -> View<'c> {
        View::of_transaction(self.conn)
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

    /// Writes a transition, and gives its effects on linked tasks. A refused transition has written no row:
    /// the task has changed since its load, or a child cannot be started.
    pub(crate) fn write(
        &mut self,
        before: &Loaded,
        transition: Transition,
        values: &Values,
    ) -> Result<(Lifecycle, Vec<Follow>), WriteError> {
        let Transition {
            events,
            after,
            outcome,
            children,
            approvals,
            ..
        } = transition;
        if events.is_empty() {
            return Ok((after, Vec::new()));
        }
        let children = children::make(self, before, children)?;
        let stored = match &outcome {
            Some(Outcome::Result(result)) => self.large(result.as_str().as_bytes(), values),
            Some(Outcome::Error(_)) | None => None,
        };
        let follows = links::follow(
            &before.life,
            &after,
            outcome.as_ref(),
            stored_result(outcome.as_ref(), stored.as_ref()),
        );
        if self.update(before, &after, outcome, stored.as_ref())? == 0 {
            return Err(StoreError::Unavailable(
                "the task changed under the writer: another program writes to the database".into(),
            )
            .into());
        }
        for packed in values.packed() {
            self.store(before.tenant, packed)?;
        }
        for (seq, event) in (before.life.seq + 1..).zip(&events) {
            self.event((before.tenant, before.row), &after, seq, event, values)?;
        }
        self.moved(before, &after)?;
        for child in children {
            children::start(self, before, child, values)?;
        }
        for approval in approvals {
            approvals::create(self, before, approval)?;
        }
        Ok((after, follows))
    }

    fn update(
        &mut self,
        before: &Loaded,
        after: &Lifecycle,
        outcome: Option<Outcome>,
        stored: Option<&Large>,
    ) -> rusqlite::Result<usize> {
        let (epoch, seq) = (signed(before.life.epoch), signed(before.life.seq));
        let usage = &after.usage;
        if before.life.state == after.state
            && before.life.flags() == after.flags()
            && before.life.children_usage == after.children_usage
            && before.life.timeout == after.timeout
            && before.life.started_at == after.started_at
            && before.life.start_by == after.start_by
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
        let state = after.state.row();
        let wait = state
            .wait
            .as_ref()
            .and_then(|wait| Json::from_value(wait).ok());
        let inline = match outcome {
            Some(Outcome::Result(result)) if stored.is_none() => Some(result),
            Some(Outcome::Result(_) | Outcome::Error(_)) | None => None,
        };
        let failure = after.failure.as_ref();
        let failure = failure.and_then(|failure| Json::from_value(failure).ok());
        if let Some(large) = stored {
            self.keep((before.tenant, before.row), large)?;
        }
        self.sql.transition.execute(params![
            state.name.as_str(),
            state.session.as_ref().map(SessionId::as_bytes),
            state.due.map(|due| due.0),
            state.wait.as_ref().map(Wait::name),
            wait.as_ref().map(Json::as_str),
            state.dead_letter,
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
            stored.map(Large::digest),
            failure.as_ref().map(Json::as_str),
            after.flags(),
            signed(after.children_usage.input_tokens),
            signed(after.children_usage.output_tokens),
            signed(after.children_usage.cost_micros),
            after.timeout,
            after.start_by.map(|at| at.0),
            limits::expires(after).map(|at| at.0),
            before.row,
            epoch,
            seq,
        ])
    }

    /// A value that is too large for a row, packed by now.
    fn large(&self, content: &[u8], values: &Values) -> Option<Large> {
        if content.len() <= INLINE {
            return None;
        }
        Some(match values.find(content) {
            Some(digest) => Large::Packed(digest),
            None => Large::Late(Packed::new(content)),
        })
    }

    /// Notes that a task refers to a large value, and stores it unless the caller's values have it.
    fn keep(&mut self, (tenant, row): (TenantId, i64), large: &Large) -> rusqlite::Result<()> {
        if let Large::Late(packed) = large {
            self.store(tenant, packed)?;
        }
        self.refer(tenant, row, &large.digest())
    }

    /// Writes one event. Its body goes to the blob table if it is large.
    pub(crate) fn event(
        &mut self,
        (tenant, row): (TenantId, i64),
        after: &Lifecycle,
        seq: u64,
        event: &NewEvent,
        values: &Values,
    ) -> rusqlite::Result<()> {
        let stored = self.large(&event.body, values);
        if let Some(large) = &stored {
            self.keep((tenant, row), large)?;
        }
        for digest in event.blobs.iter().filter_map(|hex| parse_digest(hex)) {
            self.refer(tenant, row, &digest)?;
        }
        let body = stored.is_none().then_some(&*event.body);
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
            stored.as_ref().map(Large::digest),
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

    /// Notes that a task refers to a value: retention keeps the value as long as a task does.
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

    /// Notes that a task refers to the values of another task: rows of the other task were copied.
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
        if old.name() != new.name() {
            self.changes.count(tenant, old.name(), -1);
            self.changes.count(tenant, new.name(), 1);
        }
        let (was, is) = (lease::stop(&before.life), lease::stop(after));
        if was != is {
            let interrupts = &mut self.changes.interrupts;
            interrupts.extend(was.map(|stop| Interrupt::Ended(stop, tenant, after.id)));
            interrupts.extend(is.map(|stop| Interrupt::Begun(stop, tenant, after.id)));
        }
        let ready = match lease::wakes_queue(&before.life, after) {
            true => self.queue_of(before.row)?,
            false => None,
        };
        self.notice(tenant, after, ready);
        Ok(())
    }

    /// A task's queue; `None` if its name cannot be read, which must not fail a transition that is half
    /// written.
    fn queue_of(&mut self, row: i64) -> rusqlite::Result<Option<Arc<str>>> {
        let name = self
            .sql
            .queue
            .query_row([row], |row| row.get::<_, String>(0));
        match name.map_err(WriteError::from) {
            Ok(name) => Ok(Some(self.queue(&name))),
            Err(WriteError::Refused(error)) => {
                self.report(row, "unknown", &error);
                Ok(None)
            }
            Err(WriteError::Broken(error)) => Err(error),
        }
    }

    /// Reports a task that had to stay unchanged while its neighbours went on: once, since the store meets
    /// the task again and again.
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
            due: limits::due(after),
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

/// A value that is stored outside the row that refers to it.
enum Large {
    /// The caller packed the value.
    Packed(Digest),
    /// The caller did not pack the value.
    Late(Packed),
}

impl Large {
    fn digest(&self) -> Digest {
        match self {
            Self::Packed(digest) => *digest,
            Self::Late(packed) => packed.digest,
        }
    }
}

/// Where a result is, as the parent of its task is told.
fn stored_result(outcome: Option<&Outcome>, stored: Option<&Large>) -> Option<StoredResult> {
    match (outcome, stored) {
        (Some(Outcome::Result(result)), Some(large)) => Some(StoredResult {
            digest: units::hex::encode(large.digest()),
            bytes: result.as_str().len() as u64,
        }),
        _ => None,
    }
}
