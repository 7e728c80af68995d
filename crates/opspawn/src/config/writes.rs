//! What is known of places that `http_request` writes to: `[[tools.http.writes]]` in the file.

use agentkit_tools::http::WriteRule;
use anyhow::{Result, bail};

use super::plainly::plainly;

/// The rules of a file, in its order. All mistakes are told at once.
pub(super) fn read(rows: Vec<toml::Value>) -> Result<Vec<WriteRule>> {
    let (mut rules, mut mistakes) = (Vec::new(), Vec::new());
    for (number, row) in (1..).zip(rows) {
        let rule: Result<WriteRule, String> = row
            .try_into()
            .map_err(|error: toml::de::Error| plainly(error.message()));
        match rule.and_then(|rule| rule.check().map(|()| rule)) {
            Ok(rule) => rules.push(rule),
            Err(mistake) => mistakes.push(format!("entry {number}: {mistake}")),
        }
    }
    if !mistakes.is_empty() {
        bail!("{}", mistakes.join("; "));
    }
    Ok(rules)
}
