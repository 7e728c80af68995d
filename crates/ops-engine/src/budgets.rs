//! Budgets: how much of their present windows is used; and the lines of tasks before providers.

use std::sync::Arc;

use ops_core::{
    Micros, TenantId,
    budget::{Amount, Budget},
    provider::{ProviderLimit, ProviderState},
    rules::{budget as rule, provider},
};

use crate::{Engine, Error};

/// A provider with limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderLine {
    /// The limits.
    pub limit: Arc<ProviderLimit>,
    /// How long a new call would wait, in microseconds; 0 if it need not wait.
    pub wait_micros: i64,
}

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

    /// How long a call of each provider with limits would wait for its turn now.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn provider_lines(&self) -> Result<Vec<ProviderLine>, Error> {
        let limits = &self.settings.providers;
        if limits.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        let keys = limits.iter().map(|limit| limit.key).collect();
        let states = self.store.providers(keys).await?;
        let line = |(limit, state): (&Arc<ProviderLimit>, ProviderState)| ProviderLine {
            limit: Arc::clone(limit),
            wait_micros: provider::line(limit, state, now),
        };
        Ok(limits.iter().zip(states).map(line).collect())
    }
}
