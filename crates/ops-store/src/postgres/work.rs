// A transaction's working set: the rows that its verbs have loaded, and what they have written so far.
//
// Rows are loaded with a lock and kept, so that a verb that asks again gets what it wrote. What is written is
// collected and sent as one statement for each table, when a question needs it or at the end: a batch of a
// hundred appends is three round trips. Every update of a task names the epoch and the last event that it was
// decided on.

mod agents;
mod approvals;
mod claims;
mod ledgers;
mod links;
mod pending;
mod port;
mod providers;
mod schedules;
mod values;

pub(crate) use self::{
    ledgers::ledger,
    providers::provider,
    values::{CHUNK, fill, read as read_value},
};

use std::collections::{BTreeMap, BTreeSet};

use ops_core::{
    AgentName, Micros, TaskId, TenantId,
    agent::Agent,
    ports::{StoreError, TaskRecord},
    rules::Outcome,
    task::StateName,
    verbs::{Done, Key, Write},
};
use sha2::{Digest as _, Sha256};
use tokio_postgres::{Row, types::Type};

use self::pending::Pending;
use crate::postgres::{
    connection::{Connection, Param},
    error::Failure,
    options::Time,
    schema::rows::{self, LIFE, LINKS, Linked},
    shared::Shared,
};

/// The time of the database.
pub(crate) const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8";

/// A transaction under way.
pub(crate) struct Work<'c> {
    pub(crate) conn: &'c Connection,
    pub(crate) shared: &'c Shared,
    pub(crate) now: Micros,
    tasks: BTreeMap<Key, Option<Slot>>,
    new: BTreeMap<Key, TaskRecord>,
    dirty: BTreeSet<Key>,
    agents: BTreeMap<(TenantId, AgentName), Option<Agent>>,
    keys: BTreeMap<(TenantId, String), ([u8; 32], TaskId)>,
    counts: BTreeMap<(TenantId, StateName), i64>,
    pending: Pending,
    /// Grows with each write, so that a refused verb that has written shows itself.
    writes: u64,
    done: Done,
    broken: Option<Failure>,
}

/// A task that was loaded, or made.
#[derive(Debug, Clone)]
struct Slot {
    linked: Linked,
    // The epoch and the last event that the database has; none if the task is new.
    stored: Option<(u64, u64)>,
    outcome: Option<Outcome>,
}

impl<'c> Work<'c> {
    /// Begins a transaction, loads and locks these tasks in their order, and looks at the clock.
    pub(crate) fn begin(
        conn: &'c Connection,
        shared: &'c Shared,
        keys: &[Key],
    ) -> Result<Self, Failure> {
        let sql = format!(
            "SELECT {LIFE}, {LINKS} FROM unnest($1, $2) AS wanted (tenant_id, task_id) \
             JOIN tasks USING (tenant_id, task_id) \
             ORDER BY tasks.tenant_id, tasks.task_id FOR NO KEY UPDATE OF tasks"
        );
        let tenants: Vec<i64> = keys.iter().map(|(tenant, _)| tenant.0.into()).collect();
        let tasks: Vec<&[u8]> = keys.iter().map(|(_, task)| &task.as_bytes()[..]).collect();
        let params: [Param<'_>; 2] = [(&tenants, Type::INT8_ARRAY), (&tasks, Type::BYTEA_ARRAY)];
        let (found, clock) = conn.begin_with((&sql, &params), (CLOCK, &[]))?;
        let now = match &shared.options.time {
            Time::Given(clock) => clock.now(),
            Time::Database => {
                let row = clock.first();
                let now = row.and_then(|row| row.try_get(0).ok());
                let now = Micros(now.ok_or_else(|| Failure::give("the database tells no time"))?);
                shared.told(now);
                now
            }
        };
        let mut work = Self {
            conn,
            shared,
            now,
            tasks: BTreeMap::new(),
            new: BTreeMap::new(),
            dirty: BTreeSet::new(),
            agents: BTreeMap::new(),
            keys: BTreeMap::new(),
            counts: BTreeMap::new(),
            pending: Pending::default(),
            writes: 0,
            done: Done::default(),
            broken: None,
        };
        for row in &found {
            // One that cannot be read is read again, and refused, by the verb that is about it.
            if let (Ok(key), Ok(linked)) = (rows::linked_key(row), rows::linked(row)) {
                work.remember(key, linked);
            }
        }
        let unreadable: BTreeSet<Key> = found
            .iter()
            .filter(|row| rows::linked(row).is_err())
            .filter_map(|row| rows::linked_key(row).ok())
            .collect();
        for key in keys {
            if !unreadable.contains(key) {
                work.tasks.entry(*key).or_insert(None);
            }
        }
        Ok(work)
    }

    // Runs a verb of the engine's. One that is refused must have written nothing, as the others of the
    // transaction are committed.
    pub(crate) fn verb<T>(
        &mut self,
        verb: impl FnOnce(&mut Write<'_, Self>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (writes, now) = (self.writes, self.now);
        let most = self.shared.options.max_tree_tasks;
        let mut write = Write::new(self, now, most);
        let done = verb(&mut write);
        let told = write.finish();
        self.done.add(told);
        if done.is_err() && self.writes != writes && self.broken.is_none() {
            let why = "a request was refused after it had written; nothing of it was committed";
            self.broken = Some(Failure::give(why));
        }
        done
    }

    /// Fails if the database has failed the transaction.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.broken.take().map_or(Ok(()), Err)
    }

    // Sends what is left to send, and numbers the transaction in the row of its lane if it has written. Says whether
    // it has.
    pub(crate) fn finish(mut self, lane: &[u8; 16], number: i64) -> Result<(bool, Done), Failure> {
        self.flush().map_err(|_| self.failure())?;
        let wrote = self.writes > 0;
        if wrote {
            let sql = "INSERT INTO commits (lane, number) VALUES ($1, $2) ON CONFLICT (lane) \
                DO UPDATE SET number = EXCLUDED.number, at = EXCLUDED.at";
            let params: [Param<'_>; 2] = [(&&lane[..], Type::BYTEA), (&number, Type::INT8)];
            self.conn.execute(sql, &params)?;
        }
        Ok((wrote, self.done))
    }

    fn failure(&mut self) -> Failure {
        let failure = self.broken.take();
        failure.unwrap_or_else(|| Failure::give("the transaction failed"))
    }

    /// Takes note that the database failed: the transaction is void.
    fn fail(&mut self, failure: Failure) -> StoreError {
        let error = failure.clone().into_store_error();
        self.broken.get_or_insert(failure);
        error
    }

    // Asks the database, which is told first what was written.
    pub(crate) fn ask(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.flush()?;
        self.look(sql, params)
    }

    // Asks the database something that nothing unsent changes.
    fn look(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        if let Some(failure) = &self.broken {
            return Err(failure.clone().into_store_error());
        }
        let found = self.conn.query(sql, params);
        found.map_err(|failure| self.fail(failure))
    }

    /// Writes at once.
    pub(crate) fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.flush()?;
        if let Some(failure) = &self.broken {
            return Err(failure.clone().into_store_error());
        }
        self.writes += 1;
        let done = self.conn.execute(sql, params);
        done.map_err(|failure| self.fail(failure))
    }

    // Keeps others out of what this name stands for, until the transaction ends. It is a lock of the
    // transaction: one of the session would stay with a pooler's connection.
    pub(crate) fn lock(
        &mut self,
        kind: &str,
        tenant: TenantId,
        name: &str,
    ) -> Result<(), StoreError> {
        let mut hash = Sha256::new();
        hash.update(kind.as_bytes());
        hash.update([0]);
        hash.update(tenant.0.to_be_bytes());
        hash.update(name.as_bytes());
        let hash: [u8; 32] = hash.finalize().into();
        let mut number = [0; 8];
        number.copy_from_slice(&hash[..8]);
        let number = i64::from_be_bytes(number);
        let params: [Param<'_>; 1] = [(&number, Type::INT8)];
        self.ask("SELECT pg_advisory_xact_lock($1)::text", &params)?;
        Ok(())
    }

    /// Keeps a task as it was loaded, unless it was before.
    fn remember(&mut self, key: Key, linked: Linked) {
        let stored = Some((linked.life.epoch, linked.life.seq));
        let slot = self.tasks.entry(key).or_insert(None);
        slot.get_or_insert(Slot {
            linked,
            stored,
            outcome: None,
        });
    }

    // Loads the tasks of a query that selects `LIFE` and `LINKS` first. One that cannot be read is reported and
    // left as it is.
    fn load_all(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<(Key, Row)>, StoreError> {
        let found = self.ask(sql, params)?;
        let mut loaded = Vec::with_capacity(found.len());
        for row in found {
            match (rows::linked_key(&row), rows::linked(&row)) {
                (Ok(key), Ok(linked)) => {
                    self.remember(key, linked);
                    loaded.push((key, row));
                }
                (key, Err(error)) => {
                    let task = key.map(|(_, task)| task.to_string()).unwrap_or_default();
                    tracing::error!(task, %error, "a task cannot be read and is left as it is");
                }
                (Err(error), Ok(_)) => {
                    tracing::error!(%error, "a task cannot be read and is left as it is");
                }
            }
        }
        Ok(loaded)
    }

    fn slot(&mut self, key: Key) -> Result<Option<&mut Slot>, StoreError> {
        if !self.tasks.contains_key(&key) {
            let sql = format!(
                "SELECT {LIFE}, {LINKS} FROM tasks WHERE tenant_id = $1 AND task_id = $2 \
                 FOR NO KEY UPDATE"
            );
            let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
            let params: [Param<'_>; 2] = [(&tenant, Type::INT8), (&task, Type::BYTEA)];
            let found = self.look(&sql, &params)?;
            match found.first() {
                Some(row) => {
                    let linked = rows::linked(row)?;
                    self.remember(key, linked);
                }
                None => {
                    self.tasks.insert(key, None);
                }
            }
        }
        Ok(self.tasks.get_mut(&key).and_then(Option::as_mut))
    }

    /// Takes note that a question has written.
    pub(crate) fn wrote(&mut self) {
        self.writes += 1;
    }

    /// Takes note that a task was deleted.
    pub(crate) fn gone(&mut self, key: Key, state: StateName) {
        self.tasks.insert(key, None);
        self.count(key.0, state, -1);
    }

    fn count(&mut self, tenant: TenantId, state: StateName, by: i64) {
        *self.counts.entry((tenant, state)).or_default() += by;
    }
}
