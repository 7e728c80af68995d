//! Budgets: `GET /budgets`.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use http::StatusCode;
use ops_core::{
    Micros,
    rules::{budget::Kind as BudgetKind, provider::Kind},
    time::SECOND,
};
use ops_engine::{BudgetState, ProviderLine};
use units::money;

use super::{AppState, extract::Caller, shown};
use crate::{json::view, problem::Problem, time};

view! {
    /// The configured budgets.
    pub(crate) struct Budgets {
        /// In the order of their names.
        budgets: Vec<Budget>,
    }
}

view! {
    /// A budget with its present window.
    pub(crate) struct Budget {
        name: String,
        /// `day`, `month` or `total`. Days and months are those of UTC.
        period: &'static str,
        /// Only tasks of this agent; null for all tasks.
        agent: Option<String>,
        /// Only tasks with all of these labels.
        labels: BTreeMap<String, String>,
        /// The beginning of the window; null for `total`.
        since: Option<Micros>,
        /// The end of the window; null for `total`.
        until: Option<Micros>,
        tokens: Tokens,
        cost_usd: Cost,
    }
}

view! {
    /// Tokens of prompts and answers; those of calls under way count with their worst case.
    pub(crate) struct Tokens as BudgetTokens {
        /// Null for no limit.
        most: Option<u64>,
        used: u64,
        /// The share of `used` that calls under way have reserved.
        under_way: u64,
        left: Option<u64>,
    }
}

view! {
    /// US dollars, likewise.
    pub(crate) struct Cost as BudgetCost {
        /// Null for no limit.
        most: Option<f64>,
        used: f64,
        under_way: f64,
        left: Option<f64>,
    }
}

/// The configured budgets, with how much of their present windows is used and left.
#[utoipa::path(
    get, path = "/api/v1/budgets", tag = "Budgets", operation_id = "list_budgets",
    responses((status = 200, body = Budgets, description = "Every budget.")),
)]
pub(crate) async fn list(State(app): AppState, caller: Caller) -> Result<Response, Problem> {
    let states = app.settings.engine.budgets(caller.tenant).await?;
    let budgets = states.into_iter().map(view).collect();
    Ok(shown(StatusCode::OK, 1_024, &Budgets { budgets }))
}

/// Warnings about budgets with a tenth or less left.
pub(super) fn warnings(states: &[BudgetState]) -> Vec<String> {
    let mut warnings = Vec::new();
    for state in states {
        let (most, used) = (state.budget.most, state.used);
        let limits = [
            (BudgetKind::Tokens, most.tokens, used.tokens),
            (BudgetKind::Cost, most.cost_micros, used.cost_micros),
        ];
        for (kind, most, used) in limits {
            let Some(most) = most else { continue };
            let left = most.saturating_sub(used);
            if left > most / 10 {
                continue;
            }
            let until = state
                .until
                .map(|until| format!(" until {}", time::text(until)));
            warnings.push(format!(
                "the budget `{}` has {} left of {}{}: its tasks wait or fail once a call has no room",
                state.budget.name,
                kind.show(left),
                kind.show(most),
                until.unwrap_or_default(),
            ));
        }
    }
    warnings
}

/// A line before a provider that is worth a warning, in microseconds.
const LONG_LINE: i64 = 10 * SECOND;

/// Warnings about providers whose limits keep a new call waiting for long.
pub(super) fn line_warnings(lines: &[ProviderLine]) -> Vec<String> {
    let long = lines.iter().filter(|line| line.wait_micros >= LONG_LINE);
    long.map(|line| {
        let limit = &line.limit;
        let limits = [
            (Kind::Requests, limit.requests),
            (Kind::Tokens, limit.tokens),
        ];
        let named: Vec<String> = limits
            .into_iter()
            .filter_map(|(kind, most)| Some(format!("{} {}", most?, kind.name())))
            .collect();
        format!(
            "the provider `{}` takes {} a minute, and a task that calls it now waits {} s for its turn",
            limit.provider,
            named.join(" and "),
            line.wait_micros / SECOND,
        )
    })
    .collect()
}

fn view(state: BudgetState) -> Budget {
    let BudgetState {
        budget,
        since,
        until,
        used,
        under_way,
    } = state;
    let left = |most: Option<u64>, used: u64| most.map(|most| most.saturating_sub(used));
    let (tokens, cost) = (budget.most.tokens, budget.most.cost_micros);
    Budget {
        name: budget.name,
        period: budget.period.as_str(),
        agent: budget.agent,
        labels: budget.labels,
        since: until.map(|_| since),
        until,
        tokens: Tokens {
            most: tokens,
            used: used.tokens,
            under_way: under_way.tokens,
            left: left(tokens, used.tokens),
        },
        cost_usd: Cost {
            most: cost.map(money::usd),
            used: money::usd(used.cost_micros),
            under_way: money::usd(under_way.cost_micros),
            left: left(cost, used.cost_micros).map(money::usd),
        },
    }
}
