//! Budgets: how much of their present windows is used.

use ops_core::{
    Micros, TenantId,
    budget::{Amount, Budget},
    rules::budget as rule,
};

use crate::{Engine, Error};

/// A budget with its present window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetState {
    /// The budget, as the configuration has it.
    pub budget: Budget,
    /// The beginning of the window.
    pub since: Micros,
    /// The end of the window; `None` for a window without an end.
    pub until: Option<Micros>,
    /// How much is used, with the worst cases of calls under way.
    pub used: Amount,
    /// The share of `used` that calls under way have reserved.
    pub under_way: Amount,
}

impl Engine {
    /// The configured budgets, in the order of their names.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn budgets(&self, tenant: TenantId) -> Result<Vec<BudgetState>, Error> {
        let budgets = &self.settings.budgets;
        if budgets.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        let windows = budgets
            .iter()
            .map(|budget| rule::window(&budget.name, budget.period, now));
        let ledgers = self.store.ledgers(tenant, windows.collect()).await?;
        let states = budgets
            .iter()
            .zip(ledgers)
            .map(|(budget, ledger)| BudgetState {
                budget: budget.clone(),
                since: rule::since(budget.period, now),
                until: rule::until(budget.period, now),
                used: ledger.used,
                under_way: ledger.under_way,
            });
        Ok(states.collect())
    }
}
