//! Tasks that others are linked to: children and concurrency keys.

use ops_core::{
    Micros, TaskId, TenantId,
    ports::StoreError,
    rules::{
        claim::{MAX_PRIORITY, serves_aged, waits_since},
        links::{self, Waiter},
    },
    task::PAUSED,
    verbs::Key,
};
use tokio_postgres::{Row, types::Type};

use super::Work;
use crate::postgres::{
    connection::Param,
    schema::rows::{self, LIFE, LINKS, signed},
};

type Result<T> = std::result::Result<T, StoreError>;

impl Work<'_> {
    pub(super) fn children_of(&mut self, key: Key) -> Result<Vec<Key>> {
        let sql = format!(
            "SELECT {LIFE}, {LINKS} FROM tasks WHERE tenant_id = $1 AND parent_id = $2 \
             AND completed_at IS NULL ORDER BY task_id FOR NO KEY UPDATE"
        );
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let params: [Param<'_>; 2] = [(&tenant, Type::INT8), (&task, Type::BYTEA)];
        let found = self.load_all(&sql, &params)?;
        Ok(found.into_iter().map(|(key, _)| key).collect())
    }

    pub(super) fn size_of_tree(&mut self, key: Key, most: u64) -> Result<u64> {
        let sql = "WITH RECURSIVE up (task_id, parent_id, height) AS ( \
              SELECT task_id, parent_id, 0 FROM tasks WHERE tenant_id = $1 AND task_id = $2 \
              UNION ALL SELECT above.task_id, above.parent_id, height + 1 FROM up \
                JOIN tasks AS above ON above.tenant_id = $1 AND above.task_id = up.parent_id), \
            tree (task_id) AS ( \
              SELECT eldest.task_id FROM ( \
                SELECT task_id FROM up ORDER BY height DESC LIMIT 1) AS eldest \
              UNION ALL SELECT below.task_id FROM tree \
                JOIN tasks AS below ON below.tenant_id = $1 AND below.parent_id = tree.task_id) \
            SELECT count(*) FROM (SELECT 1 FROM tree LIMIT $3) AS counted";
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let most = signed(most.saturating_add(1));
        let params: [Param<'_>; 3] = [
            (&tenant, Type::INT8),
            (&task, Type::BYTEA),
            (&most, Type::INT8),
        ];
        let found = self.ask(sql, &params)?;
        found.first().map_or(Ok(0), |row| rows::unsigned(row, 0))
    }

    // Whether a task holds a key. Whoever asks keeps others from taking it, giving it back, or lining up for
    // it until the transaction ends: two claims would both find it free.
    pub(super) fn is_held(&mut self, tenant: TenantId, key: &str) -> Result<bool> {
        if !units::mutant!("ops-store.postgres_keys_are_not_locked") {
            self.lock("key", tenant, key)?;
        }
        let sql = "SELECT 1 FROM tasks WHERE tenant_id = $1 AND concurrency_key = $2 \
            AND concurrency_key IS NOT NULL AND completed_at IS NULL AND started_at IS NOT NULL \
            LIMIT 1";
        let (number, bytes) = (i64::from(tenant.0), key.as_bytes());
        let params: [Param<'_>; 2] = [(&number, Type::INT8), (&bytes, Type::BYTEA)];
        Ok(!self.ask(sql, &params)?.is_empty())
    }

    // The first of each queue among those that wait for the key of a task, as the rule `turns` says.
    pub(super) fn turns(&mut self, of: Key, now: Micros) -> Result<Vec<Key>> {
        let slot = self.slot(of)?;
        let Some(key) = slot.and_then(|slot| slot.linked.concurrency_key.clone()) else {
            return Ok(Vec::new());
        };
        if self.is_held(of.0, &key)? {
            return Ok(Vec::new());
        }
        let waits = format!(
            "tenant_id = $1 AND concurrency_key = $2 AND wait_on = 'concurrency' \
             AND flags & {PAUSED} = 0"
        );
        let first = format!(
            "SELECT {WAITER} FROM tasks JOIN task_requests USING (tenant_id, task_id) \
             WHERE {waits} AND queue > $3 ORDER BY queue, priority DESC, task_id LIMIT 1"
        );
        // The index has the waiters of a queue by priority and then age.
        let oldest = format!(
            "SELECT {WAITER} FROM tasks JOIN task_requests USING (tenant_id, task_id) \
             WHERE tenant_id = $1 AND task_id = (SELECT oldest.task_id \
               FROM generate_series(0, {MAX_PRIORITY}) AS level CROSS JOIN LATERAL (SELECT task_id FROM tasks \
                 WHERE {waits} AND queue = $3 AND priority = level ORDER BY task_id LIMIT 1) AS oldest \
             ORDER BY oldest.task_id LIMIT 1)"
        );
        let (tenant, bytes) = (i64::from(of.0.0), key.as_bytes());
        let mut queue: Vec<u8> = Vec::new();
        let mut turns: Vec<(TenantId, TaskId)> = Vec::new();
        loop {
            let params: [Param<'_>; 3] = [
                (&tenant, Type::INT8),
                (&bytes, Type::BYTEA),
                (&queue, Type::BYTEA),
            ];
            let mut found = self.ask(&first, &params)?;
            let Some(row) = found.first() else {
                return Ok(turns);
            };
            let next: Vec<u8> = rows::get(row, 0)?;
            if serves_aged(now) {
                let params: [Param<'_>; 3] = [
                    (&tenant, Type::INT8),
                    (&bytes, Type::BYTEA),
                    (&next, Type::BYTEA),
                ];
                found.extend(self.ask(&oldest, &params)?);
            }
            let waiters = found.iter().map(waiter).collect::<Result<Vec<_>>>()?;
            turns.extend(
                links::turns(waiters, now)
                    .into_iter()
                    .map(|task| (of.0, task)),
            );
            queue = next;
        }
    }
}

const WAITER: &str = "queue, task_id, priority, updated_at, created_at, run_at";

/// A waiter of a queue with the columns of [`WAITER`].
fn waiter(row: &Row) -> Result<Waiter<'static>> {
    Ok(Waiter {
        task: rows::task_id(row, 1)?,
        queue: "",
        priority: rows::small_number(row, 2)?,
        since: waits_since(
            Micros(rows::get(row, 4)?),
            rows::get::<Option<i64>>(row, 5)?.map(Micros),
            Micros(rows::get(row, 3)?),
        ),
    })
}
