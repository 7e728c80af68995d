//! The port of the verbs on PostgreSQL.

use std::{ops::RangeInclusive, sync::Arc};

use ops_core::{
    Approval, Json, Lifecycle, Micros, SessionId, StoredEvent, TaskId, TenantId,
    budget::{Amount, BudgetCall, Waiter, Window},
    ports::{Blob, Snapshot, StoreError, TaskRecord},
    provider::{ProviderKey, ProviderState},
    rules::{
        Outcome,
        claim::{Class, Order},
    },
    task::TaskLimits,
    verbs::{Key, Numbered, Rows, Times},
};
use sha2::{Digest as _, Sha256};
use tokio_postgres::types::Type;

use super::{
    Slot, Work,
    pending::{EVENT_COLUMNS, chosen},
};
use crate::postgres::{
    bulk::Cell,
    connection::Param,
    schema::{
        rows::{self, EVENT, LIFE, LINKS, Linked, REQUEST, signed},
        terms,
    },
};

type Result<T> = std::result::Result<T, StoreError>;

impl Rows for Work<'_> {
    fn digest(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    fn life(&mut self, key: Key) -> Result<Option<Lifecycle>> {
        let slot = self.slot(key)?;
        Ok(slot.map(|slot| slot.linked.life.clone()))
    }

    fn record(&mut self, key: Key) -> Result<Option<TaskRecord>> {
        let sql = format!(
            "SELECT {LIFE}, {LINKS}, {REQUEST} FROM tasks \
             JOIN task_requests AS asked USING (tenant_id, task_id) \
             WHERE tenant_id = $1 AND task_id = $2 FOR NO KEY UPDATE OF tasks"
        );
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let params: [Param<'_>; 2] = [(&tenant, Type::INT8), (&task, Type::BYTEA)];
        let found = self.ask(&sql, &params)?;
        let Some(row) = found.first() else {
            return Ok(None);
        };
        self.remember(key, rows::linked(row)?);
        let record = self.whole(rows::record(row)?)?;
        Ok(Some(record))
    }

    fn is_open(&mut self, key: Key) -> Result<bool> {
        if let Some(slot) = self.tasks.get(&key) {
            let life = slot.as_ref().map(|slot| &slot.linked.life);
            return Ok(life.is_some_and(|life| life.completed_at.is_none()));
        }
        let sql = "SELECT 1 FROM tasks \
            WHERE tenant_id = $1 AND task_id = $2 AND completed_at IS NULL";
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let params: [Param<'_>; 2] = [(&tenant, Type::INT8), (&task, Type::BYTEA)];
        Ok(!self.look(sql, &params)?.is_empty())
    }

    fn queue(&mut self, key: Key) -> Option<Arc<str>> {
        let slot = self.tasks.get(&key)?.as_ref()?;
        Some(Arc::clone(&slot.linked.queue))
    }

    fn insert_task(&mut self, record: &TaskRecord) -> Result<()> {
        let task = &record.task;
        let key = (task.tenant, task.id);
        let linked = Linked {
            life: record.life.clone(),
            queue: task.queue.as_str().into(),
            concurrency_key: task.concurrency_key.clone(),
            parent: task.parent.map(|parent| parent.task),
        };
        let slot = Slot {
            linked,
            stored: None,
            outcome: None,
        };
        self.tasks.insert(key, Some(slot));
        self.new.insert(key, record.clone());
        self.dirty.insert(key);
        self.count(key.0, record.life.state.name(), 1);
        self.apart(key, task.input.as_str().as_bytes());
        for term in terms::of(task) {
            self.pending.terms.push(term);
        }
        self.writes += 1;
        Ok(())
    }

    fn put_life(
        &mut self,
        key: Key,
        before: &Lifecycle,
        after: &Lifecycle,
        outcome: Option<Outcome>,
    ) -> Result<()> {
        if let Some(Outcome::Result(result)) = &outcome {
            self.apart(key, result.as_str().as_bytes());
        }
        let (was, is) = (before.state.name(), after.state.name());
        if was != is {
            self.count(key.0, was, -1);
            self.count(key.0, is, 1);
        }
        let slot = self.slot(key)?.ok_or(StoreError::NotFound)?;
        slot.linked.life = after.clone();
        if outcome.is_some() {
            slot.outcome = outcome;
        }
        self.dirty.insert(key);
        self.writes += 1;
        Ok(())
    }

    fn put_limits(
        &mut self,
        key: Key,
        asked: Option<TaskLimits>,
        in_force: Option<TaskLimits>,
    ) -> Result<()> {
        let changed = self.pending.limits.entry(key).or_default();
        changed.0 = asked.or(changed.0);
        changed.1 = in_force.or(changed.1);
        self.writes += 1;
        Ok(())
    }

    fn mark_redriven(&mut self, key: Key) -> Result<()> {
        let sql = "UPDATE tasks SET dead_letter = 2 WHERE tenant_id = $1 AND task_id = $2 \
            AND dead_letter = 1";
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let params: [Param<'_>; 2] = [(&tenant, Type::INT8), (&task, Type::BYTEA)];
        self.execute(sql, &params)?;
        Ok(())
    }

    fn put_event(&mut self, key: Key, epoch: u64, event: StoredEvent) -> Result<()> {
        let StoredEvent { seq, at, event } = event;
        for digest in &event.blobs {
            if let Some(digest) = units::hex::decode_array(digest) {
                self.refer(key, &digest);
            }
        }
        let digest = self.apart(key, &event.body);
        let (step, usage) = (event.step, event.usage);
        let inline = digest.is_none().then(|| event.body.to_vec());
        let name = |name: Option<&'static str>| Cell::Text(name.map(str::to_owned));
        let row = [
            i64::from(key.0.0).into(),
            key.1.as_bytes().to_vec().into(),
            signed(seq).into(),
            signed(epoch).into(),
            at.0.into(),
            event.kind.into(),
            step.map(|step| i64::from(step.number)).into(),
            name(step.map(|step| step.kind.as_str())),
            name(step.map(|step| step.status.as_str())),
            name(step.map(|step| step.effect.as_str())),
            signed(usage.input_tokens).into(),
            signed(usage.output_tokens).into(),
            signed(usage.cost_micros).into(),
            Cell::Text((!event.blobs.is_empty()).then(|| event.blobs.join(","))),
            inline.into(),
            digest.map(|digest| digest.to_vec()).into(),
        ];
        debug_assert_eq!(row.len(), EVENT_COLUMNS.split(',').count());
        self.pending.events.push(row);
        self.writes += 1;
        Ok(())
    }

    fn put_value(&mut self, key: Key, value: Blob) -> Result<()> {
        let digest = Self::digest(&value.bytes);
        self.keep(key, &digest, &value.bytes);
        Ok(())
    }

    fn log(&mut self, key: Key) -> Result<Vec<StoredEvent>> {
        let events = self.recorded(key, 0..=u64::MAX)?;
        Ok(events.into_iter().map(|(_, event)| event).collect())
    }

    fn share_values(&mut self, from: Key, to: Key) -> Result<()> {
        let sql = "INSERT INTO blob_refs (tenant_id, digest, task_id) \
            SELECT tenant_id, digest, $3 FROM blob_refs WHERE tenant_id = $1 AND task_id = $2 \
            ON CONFLICT DO NOTHING";
        let tenant = i64::from(from.0.0);
        let (from, to) = (&from.1.as_bytes()[..], &to.1.as_bytes()[..]);
        let params: [Param<'_>; 3] = [
            (&tenant, Type::INT8),
            (&from, Type::BYTEA),
            (&to, Type::BYTEA),
        ];
        self.execute(sql, &params)?;
        Ok(())
    }

    fn recorded(&mut self, key: Key, seqs: RangeInclusive<u64>) -> Result<Vec<(u64, StoredEvent)>> {
        let sql = format!(
            "SELECT {EVENT} FROM events WHERE tenant_id = $1 AND task_id = $2 \
             AND seq BETWEEN $3 AND $4 ORDER BY seq"
        );
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let (from, to) = (signed(*seqs.start()), signed(*seqs.end()));
        let params: [Param<'_>; 4] = [
            (&tenant, Type::INT8),
            (&task, Type::BYTEA),
            (&from, Type::INT8),
            (&to, Type::INT8),
        ];
        let found = self.ask(&sql, &params)?;
        self.whole_events(key.0, &found)
    }

    fn result(&mut self, key: Key) -> Result<Option<Json>> {
        Ok(self.record(key)?.and_then(|record| record.result))
    }

    fn idempotency(&mut self, tenant: TenantId, key: &str) -> Result<Option<([u8; 32], TaskId)>> {
        if let Some(known) = self.keys.get(&(tenant, key.to_owned())) {
            return Ok(Some(*known));
        }
        let sql = "SELECT digest, task_id FROM idempotency WHERE tenant_id = $1 AND key = $2";
        let (number, bytes) = (i64::from(tenant.0), key.as_bytes());
        let params: [Param<'_>; 2] = [(&number, Type::INT8), (&bytes, Type::BYTEA)];
        let found = self.look(sql, &params)?;
        let Some(row) = found.first() else {
            return Ok(None);
        };
        let digest = rows::digest(row, 0)?.ok_or_else(|| {
            StoreError::Unreadable("an idempotency key without a digest".to_owned())
        })?;
        let known = (digest, rows::task_id(row, 1)?);
        self.keys.insert((tenant, key.to_owned()), known);
        Ok(Some(known))
    }

    fn put_idempotency(
        &mut self,
        tenant: TenantId,
        key: &str,
        digest: [u8; 32],
        task: TaskId,
    ) -> Result<()> {
        let (number, bytes) = (i64::from(tenant.0), key.as_bytes());
        let known = self.keys.insert((tenant, key.to_owned()), (digest, task));
        if known.is_some() {
            // Its task is gone.
            let params: [Param<'_>; 2] = [(&number, Type::INT8), (&bytes, Type::BYTEA)];
            let sql = "DELETE FROM idempotency WHERE tenant_id = $1 AND key = $2";
            self.execute(sql, &params)?;
        }
        // Whoever is second with a key violates the index, and finds the first one when it tries again.
        self.pending.keys.push([
            number.into(),
            chosen(Some(key)),
            digest.to_vec().into(),
            task.as_bytes().to_vec().into(),
            self.now.0.into(),
        ]);
        self.writes += 1;
        Ok(())
    }

    fn parent(&mut self, key: Key) -> Result<Option<Key>> {
        let slot = self.slot(key)?;
        let parent = slot.and_then(|slot| slot.linked.parent);
        let Some(parent) = parent else {
            return Ok(None);
        };
        let parent = (key.0, parent);
        Ok(self.slot(parent)?.map(|_| parent))
    }

    fn open_children(&mut self, key: Key) -> Result<Vec<Key>> {
        self.children_of(key)
    }

    fn tree_size(&mut self, key: Key, most: u64) -> Result<u64> {
        self.size_of_tree(key, most)
    }

    fn key_is_held(&mut self, tenant: TenantId, key: &str) -> Result<bool> {
        self.is_held(tenant, key)
    }

    fn turns_of_key(&mut self, key: Key, now: Micros) -> Result<Vec<Key>> {
        self.turns(key, now)
    }

    fn approval(&mut self, key: Key, step: u32) -> Result<Option<(i64, Approval)>> {
        self.approval_row(key, step)
    }

    fn open_approvals(&mut self, key: Key) -> Result<Vec<(i64, Approval)>> {
        self.pending_approvals(key)
    }

    fn insert_approval(&mut self, tenant: TenantId, approval: Approval) -> Result<()> {
        self.add_approval(tenant, approval)
    }

    fn put_approval(&mut self, number: i64, tenant: TenantId, approval: Approval) -> Result<()> {
        self.store_approval(number, tenant, approval)
    }

    fn session_is_open(&mut self, session: SessionId) -> Result<bool> {
        self.session_lives(session)
    }

    fn held_by(&mut self, session: SessionId) -> Result<Vec<Key>> {
        let sql = format!(
            "SELECT {LIFE}, {LINKS} FROM tasks WHERE session_id = $1 ORDER BY task_row \
             FOR NO KEY UPDATE"
        );
        let session = &session.as_bytes()[..];
        let found = self.load_all(&sql, &[(&session, Type::BYTEA)])?;
        Ok(found.into_iter().map(|(key, _)| key).collect())
    }

    fn ready(
        &mut self,
        queue: &str,
        of: (Class, Order),
        after: Option<TenantId>,
        limit: u32,
    ) -> Result<Vec<TaskRecord>> {
        self.candidates(queue, of, after, limit)
    }

    fn crash_loop_suspect_is_leased(&mut self) -> Result<bool> {
        self.any_suspect_leased()
    }

    fn rate(&mut self, queue: &str) -> Result<Option<Micros>> {
        self.lock("rate", TenantId::DEFAULT, queue)?;
        let sql = "SELECT expected FROM queue_rates WHERE queue = $1";
        let queue = queue.as_bytes();
        let found = self.ask(sql, &[(&queue, Type::BYTEA)])?;
        found.first().map_or(Ok(None), |row| rows::micros(row, 0))
    }

    fn put_rate(&mut self, queue: &str, expected: Micros) -> Result<()> {
        let sql = "INSERT INTO queue_rates (queue, expected) VALUES ($1, $2) \
            ON CONFLICT (queue) DO UPDATE SET expected = excluded.expected";
        let queue = queue.as_bytes();
        self.execute(sql, &[(&queue, Type::BYTEA), (&expected.0, Type::INT8)])?;
        Ok(())
    }

    fn ledger(&mut self, tenant: TenantId, window: &Window) -> Result<Amount> {
        self.ledger_row(tenant, window)
    }

    fn put_ledger(
        &mut self,
        tenant: TenantId,
        window: &Window,
        used: Amount,
        kept_from: Micros,
    ) -> Result<()> {
        self.store_ledger(tenant, window, used, kept_from)
    }

    fn under_way(&mut self, tenant: TenantId, window: &Window) -> Result<Amount> {
        self.reserved(tenant, window)
    }

    fn put_budget_calls(&mut self, key: Key, epoch: u64, calls: &[BudgetCall]) -> Result<()> {
        self.store_calls(key, epoch, calls)
    }

    fn budget_waiters(
        &mut self,
        tenant: TenantId,
        window: &Window,
        limit: u32,
    ) -> Result<Vec<Waiter>> {
        self.waiters(tenant, window, limit)
    }

    fn provider(&mut self, key: ProviderKey) -> Result<ProviderState> {
        self.provider_row(key)
    }

    fn put_provider(&mut self, key: ProviderKey, state: &ProviderState) -> Result<()> {
        self.store_provider(key, state)
    }

    fn past(
        &mut self,
        times: Times,
        after: (Micros, i64),
        until: Micros,
        limit: u32,
    ) -> Result<Vec<Numbered>> {
        let column = column(times);
        let sql = format!(
            "SELECT {LIFE}, {LINKS}, {column}, task_row FROM tasks WHERE {column} IS NOT NULL \
             AND {column} <= $1 AND ({column}, task_row) > ($2, $3) \
             ORDER BY {column}, task_row LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED"
        );
        let limit = i64::from(limit);
        let params: [Param<'_>; 4] = [
            (&until.0, Type::INT8),
            (&after.0.0, Type::INT8),
            (&after.1, Type::INT8),
            (&limit, Type::INT8),
        ];
        self.numbered(&sql, &params)
    }

    fn next(&mut self, times: Times, after: (Micros, i64)) -> Result<Option<Micros>> {
        let column = column(times);
        let sql = format!(
            "SELECT {column} FROM tasks WHERE {column} IS NOT NULL \
             AND ({column}, task_row) > ($1, $2) ORDER BY {column}, task_row LIMIT 1"
        );
        let params: [Param<'_>; 2] = [(&after.0.0, Type::INT8), (&after.1, Type::INT8)];
        let found = self.ask(&sql, &params)?;
        found.first().map_or(Ok(None), |row| rows::micros(row, 0))
    }

    fn written_after(&mut self, latest: Micros, after: i64, limit: u32) -> Result<Vec<Numbered>> {
        let sql = format!(
            "SELECT {LIFE}, {LINKS}, updated_at, task_row FROM tasks \
             WHERE (due_at IS NOT NULL OR expires_at IS NOT NULL OR session_id IS NOT NULL) \
             AND updated_at > $1 AND task_row > $2 ORDER BY task_row LIMIT $3 \
             FOR NO KEY UPDATE SKIP LOCKED"
        );
        let limit = i64::from(limit);
        let params: [Param<'_>; 3] = [
            (&latest.0, Type::INT8),
            (&after, Type::INT8),
            (&limit, Type::INT8),
        ];
        self.numbered(&sql, &params)
    }

    fn snapshot_number(&mut self, key: Key) -> Result<Option<(u32, u64)>> {
        let sql = "SELECT version, seq FROM snapshots WHERE tenant_id = $1 AND task_id = $2";
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let params: [Param<'_>; 2] = [(&tenant, Type::INT8), (&task, Type::BYTEA)];
        let found = self.ask(sql, &params)?;
        let Some(row) = found.first() else {
            return Ok(None);
        };
        let version = u32::try_from(rows::unsigned(row, 0)?).unwrap_or(u32::MAX);
        Ok(Some((version, rows::unsigned(row, 1)?)))
    }

    fn put_snapshot(&mut self, key: Key, snapshot: Snapshot) -> Result<()> {
        let sql = "INSERT INTO snapshots (tenant_id, task_id, seq, version, body) \
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant_id, task_id) DO UPDATE \
            SET seq = excluded.seq, version = excluded.version, body = excluded.body";
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let (seq, version) = (signed(snapshot.seq), i64::from(snapshot.version));
        let params: [Param<'_>; 5] = [
            (&tenant, Type::INT8),
            (&task, Type::BYTEA),
            (&seq, Type::INT8),
            (&version, Type::INT8),
            (&snapshot.body, Type::BYTEA),
        ];
        self.execute(sql, &params)?;
        Ok(())
    }
}

fn column(times: Times) -> &'static str {
    match times {
        Times::Due => "due_at",
        Times::Expiry => "expires_at",
    }
}
