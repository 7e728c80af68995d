//! The verbs that delete.

use std::collections::BTreeSet;

use ops_core::{
    TaskId, TenantId,
    ports::{Expired, Fut, Progress, Retention, RetentionStore, StoreError},
    rules::retention::{RetentionCandidate, may_delete},
    verbs::{Key, Write},
};

use crate::{
    data::{Data, Tombstone},
    store::{MemoryStore, ready},
};

/// Events that are deleted in one piece.
const EVENTS: usize = 1_000;

impl RetentionStore for MemoryStore {
    fn expired(&self, keep: Retention) -> Fut<'_, Result<Expired, StoreError>> {
        let now = self.clock.now();
        ready(Ok(self.read(|data| {
            let keys = old(data, keep, now);
            sum(data, &keys)
        })))
    }

    fn mark_deleted(&self, keep: Retention, limit: u32) -> Fut<'_, Result<Expired, StoreError>> {
        ready(self.write(|write| {
            let mut keys = old(write.rows, keep, write.now);
            keys.truncate(limit as usize);
            let found = sum(write.rows, &keys);
            for key in keys {
                take_away(write, key);
            }
            Ok(found)
        }))
    }

    fn tombstones(&self, limit: u32) -> Fut<'_, Result<Vec<(TenantId, TaskId)>, StoreError>> {
        ready(Ok(self.read(|data| {
            let keys = data.tombstones.iter().map(|tombstone| tombstone.key);
            keys.take(limit as usize).collect()
        })))
    }

    fn purge(&self, tasks: Vec<(TenantId, TaskId)>) -> Fut<'_, Result<Progress, StoreError>> {
        ready(self.write(|write| {
            let mut left = EVENTS;
            for key in tasks {
                let Some(index) = write.rows.tombstones.iter().position(|of| of.key == key) else {
                    continue;
                };
                let tombstones = &mut write.rows.tombstones[index];
                let deleted = tombstones.events.min(left);
                tombstones.events -= deleted;
                left -= deleted;
                if left == 0 {
                    return Ok(Progress::More);
                }
                let values = write.rows.tombstones.remove(index).values;
                for digest in values {
                    let value = (key.0, digest);
                    if !is_wanted(write.rows, &value) {
                        write.rows.loose.insert(value);
                    }
                }
            }
            Ok(Progress::Done)
        }))
    }

    fn sweep_blobs(&self) -> Fut<'_, Result<Progress, StoreError>> {
        ready(self.write(|write| {
            let loose = std::mem::take(&mut write.rows.loose);
            let found = !loose.is_empty();
            for value in loose {
                if !is_wanted(write.rows, &value) {
                    write.rows.values.remove(&value);
                }
            }
            Ok(match found {
                true => Progress::More,
                false => Progress::Done,
            })
        }))
    }
}

/// The tasks that have been kept long enough, oldest first within a state and a tenant.
fn old(data: &Data, keep: Retention, now: ops_core::Micros) -> Vec<Key> {
    let newest = data.tasks.values().map(|row| row.number).max();
    let is_old = |key: Key| {
        let Some(row) = data.tasks.get(&key) else {
            return false;
        };
        let parent = data
            .parent_of(key)
            .and_then(|parent| data.tasks.get(&parent));
        let kept = RetentionCandidate {
            id: key.1,
            state: row.record.life.state.name(),
            completed_at: row.record.life.completed_at,
            parent_goes_on: parent.is_some_and(|row| row.record.life.completed_at.is_none()),
            is_newest: Some(row.number) == newest,
        };
        may_delete(kept, keep, now)
    };
    let state = |key: &Key| data.tasks.get(key).map(|row| row.record.life.state.name());
    let keys = data.tasks.keys().copied();
    let mut found: Vec<Key> = keys.filter(|key| is_old(*key)).collect();
    found.sort_by_key(|key| (state(key), *key));
    found
}

fn sum(data: &Data, keys: &[Key]) -> Expired {
    let mut sum = Expired::default();
    for row in keys.iter().filter_map(|key| data.tasks.get(key)) {
        *sum.tasks.entry(row.record.life.state.name()).or_default() += 1;
        sum.events += row.record.life.seq;
    }
    sum
}

fn take_away(write: &mut Write<'_, Data>, key: Key) {
    let Some(row) = write.rows.tasks.remove(&key) else {
        return;
    };
    write.rows.tombstones.push(Tombstone {
        key,
        events: row.log.len(),
        values: row.values,
    });
    write
        .rows
        .approvals
        .retain(|_, (tenant, approval)| (*tenant, approval.task) != key);
    write
        .rows
        .idempotency
        .retain(|(tenant, _), (_, task)| (*tenant, *task) != key);
    write.rows.budget_calls.remove(&key);
}

/// Whether a task refers to a value, or what is left of one.
fn is_wanted(data: &Data, (tenant, digest): &(TenantId, String)) -> bool {
    let refers =
        |owner: TenantId, values: &BTreeSet<String>| owner == *tenant && values.contains(digest);
    let mut tasks = data.tasks.iter();
    let mut tombstones = data.tombstones.iter();
    tasks.any(|(key, row)| refers(key.0, &row.values))
        || tombstones.any(|tombstones| refers(tombstones.key.0, &tombstones.values))
}
