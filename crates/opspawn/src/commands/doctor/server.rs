//! What a running server says about itself.

use std::time::Duration;

use serde_json::Value;

use super::{Finding, finding};

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the server at a URL.
pub(super) async fn look(url: &str) -> Vec<Finding> {
    let url = match crate::client::base_of(url) {
        Ok(url) => url,
        Err(error) => return vec![finding("server", false, error.to_string())],
    };
    let url = url.as_str();
    let info = match ask(url, "/api/v1/info").await {
        Ok(info) => info,
        Err(message) => return vec![finding("server", false, message)],
    };
    let text = |key: &str| info[key].as_str().unwrap_or("unknown");
    let own = env!("CARGO_PKG_VERSION");
    let other = match text("version") {
        version if version == own => String::new(),
        _ => format!(", another release than this command ({own})"),
    };
    let mut findings = vec![finding(
        "server",
        true,
        format!(
            "{url} runs opspawn {} as `{}` on {} ({}){other}",
            text("version"),
            text("mode"),
            text("storage"),
            text("durability")
        ),
    )];
    match ask(url, "/ready").await {
        Ok(ready) => {
            findings.push(finding("ready", true, "it takes work"));
            let warnings = ready["warnings"].as_array().into_iter().flatten();
            let warnings = warnings.filter_map(Value::as_str);
            // Tasks without a worker wait, and so may tasks without a budget or before a provider; a plain PostgreSQL 15 has no checksums.
            let harmless = [
                "tasks wait in",
                "the budget `",
                "the provider `",
                "the worker ",
                "the database has no data checksums",
            ];
            let is_harmless =
                |warning: &str| harmless.iter().any(|start| warning.starts_with(start));
            findings
                .extend(warnings.map(|warning| finding("warning", is_harmless(warning), warning)));
        }
        Err(message) => findings.push(finding("ready", false, message)),
    }
    findings.extend(mcp(url).await);
    let model = &info["model"];
    let name = |key: &str| model[key].as_str().unwrap_or_default();
    let name = match (name("provider"), name("name")) {
        (provider, "") => provider.to_owned(),
        (provider, model) => format!("{provider}/{model}"),
    };
    findings.push(match info["notice"].as_str() {
        Some(notice) => finding("model", true, notice),
        None => finding("model", true, format!("{name} answers")),
    });
    findings
}

/// The MCP servers that the server is connected to. `/ready` warns of those that it is not connected to.
async fn mcp(url: &str) -> Vec<Finding> {
    let listed = match ask(url, "/api/v1/mcp/servers").await {
        Ok(listed) => listed,
        Err(message) => return vec![finding("mcp", false, message)],
    };
    let servers = listed["servers"].as_array().map_or(&[][..], Vec::as_slice);
    if servers.is_empty() {
        return Vec::new();
    }
    let ready = servers.iter().filter(|server| server["status"] == "ready");
    let (ready, all) = (ready.count(), servers.len());
    let text = format!("{ready} of {all} MCP servers are ready");
    let mut findings = vec![finding("mcp", true, text)];
    for server in servers {
        let name = server["name"].as_str().unwrap_or_default();
        let notes = server["notes"].as_array().into_iter().flatten();
        let notes = notes.filter_map(Value::as_str);
        findings.extend(notes.map(|note| finding("mcp", true, format!("server `{name}`: {note}"))));
    }
    findings
}

async fn ask(url: &str, path: &str) -> Result<Value, String> {
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .no_proxy()
        .build()
        .map_err(|error| format!("no HTTP client can be made: {error}"))?;
    let failed = |error: reqwest::Error| format!("{url}{path} cannot be read: {error}");
    let response = client
        .get(format!("{url}{path}"))
        .send()
        .await
        .map_err(failed)?;
    let status = response.status();
    let body: Value = response.json().await.map_err(failed)?;
    if status.is_success() {
        return Ok(body);
    }
    let detail = body["detail"].as_str().unwrap_or_default();
    Err(format!("{url}{path} answers {status}: {detail}"))
}
