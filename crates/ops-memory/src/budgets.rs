//! The ledgers of budgets, and the calls beside them.

use ops_core::{
    Micros, State, TenantId, Wait,
    budget::{Amount, BudgetCall, Waiter, Window},
    verbs::Key,
};

use crate::data::Data;

impl Data {
    pub(crate) fn used(&self, tenant: TenantId, window: &Window) -> Amount {
        let found = self.ledgers.get(&(tenant, window.clone()));
        found.copied().unwrap_or_default()
    }

    pub(crate) fn store_ledger(
        &mut self,
        tenant: TenantId,
        window: &Window,
        used: Amount,
        kept_from: Micros,
    ) {
        self.ledgers.retain(|(owner, known), _| {
            let is_old = known.since < kept_from && known.since != Micros(0);
            *owner != tenant || known.budget != window.budget || !is_old
        });
        self.ledgers.insert((tenant, window.clone()), used);
    }

    pub(crate) fn reserved(&self, tenant: TenantId, window: &Window) -> Amount {
        let mut sum = Amount::default();
        for (key, epoch, call) in self.calls(tenant, window) {
            let life = self.tasks.get(key).map(|row| &row.record.life);
            let is_held =
                |life: &ops_core::Lifecycle| life.state.session().is_some() && life.epoch == epoch;
            if call.waits.is_none() && life.is_some_and(is_held) {
                sum.tokens += call.amount.tokens;
                sum.cost_micros += call.amount.cost_micros;
            }
        }
        sum
    }

    pub(crate) fn waiters(&self, tenant: TenantId, window: &Window, limit: usize) -> Vec<Waiter> {
        let waits = |key: &Key| {
            let state = self.tasks.get(key).map(|row| &row.record.life.state);
            matches!(state, Some(State::Waiting(Wait::Budget { .. })))
        };
        let waiters = self.calls(tenant, window).filter_map(|(key, _, call)| {
            Some(Waiter {
                task: key.1,
                amount: call.amount,
                most: call.waits.filter(|_| waits(key))?,
            })
        });
        waiters.take(limit).collect()
    }

    /// The calls of a window with their epochs, in the order of their tasks.
    fn calls<'a>(
        &'a self,
        tenant: TenantId,
        window: &'a Window,
    ) -> impl Iterator<Item = (&'a Key, u64, &'a BudgetCall)> {
        let of_tenant = self.budget_calls.iter();
        of_tenant
            .filter(move |(key, _)| key.0 == tenant)
            .flat_map(|(key, (epoch, calls))| calls.iter().map(move |call| (key, *epoch, call)))
            .filter(move |(_, _, call)| call.window == *window)
    }
}
