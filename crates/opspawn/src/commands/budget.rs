//! `opspawn budget`: what tasks may spend together, and have spent.

use anyhow::Result;
use serde_json::Value;

use crate::{
    client::Client,
    config::Config,
    exit::Exit,
    output::{self, Table, status},
    runtime::Role,
};

/// Lists the budgets with their present windows.
pub(super) async fn ls(config: &Config, json: bool) -> Result<Exit> {
    let client = Client::connect(config, Role::Answer).await?;
    let listed = client.get("/api/v1/budgets").await;
    client.close().await?;
    let listed = listed?;
    if json {
        output::json(&listed);
        return Ok(Exit::Ok);
    }
    let budgets = listed["budgets"].as_array().map_or(&[][..], Vec::as_slice);
    if budgets.is_empty() {
        status!("no budget is configured: see `[budgets.NAME]` of the configuration file");
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["NAME", "PERIOD", "FOR", "TOKENS", "LEFT", "USD", "LEFT"]);
    for budget in budgets {
        let mut tasks: Vec<String> = Vec::new();
        tasks.extend(
            budget["agent"]
                .as_str()
                .map(|agent| format!("agent {agent}")),
        );
        for (key, value) in budget["labels"].as_object().into_iter().flatten() {
            tasks.push(format!("{key}={}", value.as_str().unwrap_or_default()));
        }
        let tasks = match tasks.is_empty() {
            true => "every task".to_owned(),
            false => tasks.join(", "),
        };
        let (tokens, cost) = (&budget["tokens"], &budget["cost_usd"]);
        table.add_row([
            output::field(budget, "name"),
            output::field(budget, "period"),
            tasks,
            output::field(tokens, "used"),
            left(tokens),
            output::field(cost, "used"),
            left(cost),
        ]);
    }
    table.print();
    Ok(Exit::Ok)
}

/// What is left of a limit, of its most.
fn left(amount: &Value) -> String {
    match amount["most"].is_null() {
        true => "no limit".to_owned(),
        false => format!(
            "{} of {}",
            output::field(amount, "left"),
            output::field(amount, "most")
        ),
    }
}
