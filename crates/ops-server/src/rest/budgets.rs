//! Budgets: `GET /budgets`.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use http::StatusCode;
use ops_core::rules::budget::Kind;
use ops_engine::BudgetState;
use serde::Serialize;
use units::money;
use utoipa::ToSchema;

use super::{AppState, answer, extract::Caller};
use crate::{json, problem::Problem, time};

/// The configured budgets.
#[derive(Serialize, ToSchema)]
pub(crate) struct Budgets {
    /// In the order of their names.
    budgets: Vec<Budget>,
}

/// A budget with its present window.
#[derive(Serialize, ToSchema)]
struct Budget {
    name: String,
    /// `day`, `month` or `total`. Days and months are those of UTC.
    period: String,
    /// Only tasks of this agent; null for all tasks.
    #[schema(required)]
    agent: Option<String>,
    /// Only tasks with all of these labels.
    labels: BTreeMap<String, String>,
    /// The beginning of the window; null for `total`.
    #[schema(required)]
    since: Option<String>,
    /// The end of the window; null for `total`.
    #[schema(required)]
    until: Option<String>,
    tokens: Tokens,
    cost_usd: Cost,
}

/// Tokens of prompts and answers; those of calls under way count with their worst case.
#[derive(Serialize, ToSchema)]
#[schema(as = BudgetTokens)]
struct Tokens {
    /// Null for no limit.
    #[schema(required)]
    most: Option<u64>,
    used: u64,
    #[schema(required)]
    left: Option<u64>,
}

/// US dollars, likewise.
#[derive(Serialize, ToSchema)]
#[schema(as = BudgetCost)]
struct Cost {
    /// Null for no limit.
    #[schema(required)]
    most: Option<f64>,
    used: f64,
    #[schema(required)]
    left: Option<f64>,
}

/// The configured budgets, with how much of their present windows is used and left.
#[utoipa::path(
    get, path = "/api/v1/budgets", tag = "Budgets", operation_id = "list_budgets",
    responses((status = 200, body = Budgets, description = "Every budget.")),
)]
pub(crate) async fn list(State(app): AppState, caller: Caller) -> Result<Response, Problem> {
    let states = app.settings.engine.budgets(caller.tenant).await?;
    let budgets = states.into_iter().map(view).collect();
    Ok(answer(StatusCode::OK, json::to_vec(&Budgets { budgets })))
}

/// Warnings about budgets with a tenth or less left.
pub(super) fn warnings(states: &[BudgetState]) -> Vec<String> {
    let mut warnings = Vec::new();
    for state in states {
        let (most, used) = (state.budget.most, state.used);
        let limits = [
            (Kind::Tokens, most.tokens, used.tokens),
            (Kind::Cost, most.cost_micros, used.cost_micros),
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

fn view(state: BudgetState) -> Budget {
    let BudgetState {
        budget,
        since,
        until,
        used,
    } = state;
    let left = |most: Option<u64>, used: u64| most.map(|most| most.saturating_sub(used));
    let (tokens, cost) = (budget.most.tokens, budget.most.cost_micros);
    Budget {
        name: budget.name,
        period: budget.period.as_str().to_owned(),
        agent: budget.agent,
        labels: budget.labels,
        since: until.map(|_| time::text(since)),
        until: until.map(time::text),
        tokens: Tokens {
            most: tokens,
            used: used.tokens,
            left: left(tokens, used.tokens),
        },
        cost_usd: Cost {
            most: cost.map(money::usd),
            used: money::usd(used.cost_micros),
            left: left(cost, used.cost_micros).map(money::usd),
        },
    }
}
