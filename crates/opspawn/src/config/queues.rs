//! The queues that this installation serves: `[queues.NAME]` in the file.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use ops_core::rate::Rate;
use ops_worker::QueueSettings;
use serde::Deserialize;

use super::plainly::plainly;

/// The queue of tasks that name none; always served.
const DEFAULT: &str = ops_engine::submit::DEFAULT_QUEUE;

/// What the file says of a queue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    rate: Option<String>,
    burst: Option<u32>,
    concurrency: Option<usize>,
}

/// The queues of a file's table, and the default one.
pub(super) fn read(rows: toml::Table) -> Result<BTreeMap<String, QueueSettings>> {
    let mut queues = none();
    for (name, row) in rows {
        let queue = read_row(&name, row).with_context(|| format!("queue `{name}`"))?;
        queues.insert(name, queue);
    }
    Ok(queues)
}

/// The default queue alone.
pub(super) fn none() -> BTreeMap<String, QueueSettings> {
    BTreeMap::from([(DEFAULT.to_owned(), QueueSettings::new(DEFAULT))])
}

fn read_row(name: &str, row: toml::Value) -> Result<QueueSettings> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        bail!("its name must be 1 to 64 of the characters a-z, A-Z, 0-9, `_`, `.` and `-`");
    }
    let row: Row = row
        .try_into()
        .map_err(|error: toml::de::Error| anyhow::anyhow!("{}", plainly(error.message())))?;
    if row.concurrency == Some(0) {
        bail!("`concurrency` must be 1 at least");
    }
    let rate = match (row.rate, row.burst) {
        (None, None) => None,
        (None, Some(_)) => {
            bail!("`burst` says how many tasks of a `rate` may come at once; give one")
        }
        (Some(_), Some(0)) => bail!("`burst` must be 1 at least"),
        (Some(rate), burst) => {
            let rate: Rate = rate.parse().map_err(anyhow::Error::msg).context("`rate`")?;
            Some(rate.with_burst(burst.unwrap_or(1)))
        }
    };
    Ok(QueueSettings {
        name: name.to_owned(),
        concurrency: row.concurrency,
        rate,
    })
}
