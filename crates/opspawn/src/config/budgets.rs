//! The budgets that tasks share: `[budgets.NAME]` in the file.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use ops_core::budget::{Budget, Most, Period};
use serde::Deserialize;
use units::{money, nearest};

use super::plainly::plainly;

/// The most budgets: a model call looks at each budget of its task.
const MAX_BUDGETS: usize = 64;

/// A budget in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    period: String,
    tokens: Option<u64>,
    cost_usd: Option<toml::Value>,
    agent: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// The budgets of a file's table, in the order of their names.
pub(super) fn read(rows: toml::Table) -> Result<Vec<Budget>> {
    if rows.len() > MAX_BUDGETS {
        bail!("there are {} budgets, and {MAX_BUDGETS} may be", rows.len());
    }
    let budget = |(name, row): (String, toml::Value)| {
        read_row(&name, row).with_context(|| format!("budget `{name}`"))
    };
    let mut budgets: Vec<Budget> = rows.into_iter().map(budget).collect::<Result<_>>()?;
    // Each call takes the ledgers in this order, so that no two wait for one another.
    budgets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(budgets)
}

fn read_row(name: &str, row: toml::Value) -> Result<Budget> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        bail!("its name must be 1 to 64 of the characters a-z, A-Z, 0-9, `_`, `.` and `-`");
    }
    let row: Row = row
        .try_into()
        .map_err(|error: toml::de::Error| anyhow::anyhow!("{}", plainly(error.message())))?;
    let Some(period) = Period::from_name(&row.period) else {
        let hint = nearest::hint(&row.period, Period::NAMES.iter().copied());
        bail!("`period` `{}` is not known; {hint}", row.period);
    };
    let cost_micros = match row.cost_usd {
        None => None,
        Some(toml::Value::Integer(usd)) => Some(money::parse(&usd.to_string())),
        Some(toml::Value::Float(usd)) => Some(money::from_usd(usd)),
        Some(toml::Value::String(text)) => Some(money::parse(&text)),
        Some(_) => bail!("`cost_usd` must be a number, such as 2.50"),
    };
    let cost_micros = cost_micros.transpose().context("`cost_usd`")?;
    if row.tokens.is_none() && cost_micros.is_none() {
        bail!("it limits nothing; give `tokens`, `cost_usd` or both");
    }
    Ok(Budget {
        name: name.to_owned(),
        period,
        most: Most {
            tokens: row.tokens,
            cost_micros,
        },
        agent: row.agent,
        labels: row.labels,
    })
}
