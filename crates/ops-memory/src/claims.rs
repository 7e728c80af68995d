//! The candidates of a claim.

use std::{cmp::Reverse, collections::BTreeMap};

use ops_core::{
    State, TenantId,
    ports::TaskRecord,
    rules::claim::{Class, Order, is_crash_loop_suspect, share, turns_of_tenants},
};

use crate::data::Data;

impl Data {
    pub(crate) fn candidates(
        &self,
        queue: &str,
        (class, order): (Class, Order),
        after: Option<TenantId>,
        limit: u32,
    ) -> Vec<TaskRecord> {
        let is_ready = |record: &&TaskRecord| {
            record.task.queue == queue
                && matches!(record.life.state, State::Pending { .. })
                && is_crash_loop_suspect(&record.life) == (class == Class::CrashLoopSuspect)
        };
        let mut ready: BTreeMap<TenantId, Vec<&TaskRecord>> = BTreeMap::new();
        for record in self.tasks.values().map(|row| &row.record).filter(is_ready) {
            ready.entry(record.task.tenant).or_default().push(record);
        }
        let tenants = turns_of_tenants(ready.keys().copied(), after, limit);
        let share = share(limit, tenants.len()) as usize;
        let mut found = Vec::new();
        for tenant in tenants {
            let mut of_tenant = ready.remove(&tenant).unwrap_or_default();
            of_tenant.sort_unstable_by_key(|record| {
                let priority = match order {
                    Order::Priority => record.task.priority,
                    Order::Age => 0,
                };
                (Reverse(priority), record.task.id)
            });
            found.extend(of_tenant.into_iter().take(share).cloned());
        }
        found
    }
}
