//! Built-in tools: files jailed to the workspace, HTTP to checked addresses, JSON queries, an exact
//! calculator, the time.
//!
//! Each tool is one file. To add one, write its file, list it in [`standard`] and test it through
//! the gate in `tests/it`.

mod calculator;
pub mod command;
mod current_time;
pub mod declared;
mod edit_file;
mod encoding;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod globs;
mod grep;
pub mod http;
mod http_fetch;
mod http_request;
mod json;
mod json_query;
mod list_files;
mod page;
mod quota;
mod read_file;
mod read_result;
mod replace;
mod search_files;
mod search_result;
mod table_query;
mod walk;
mod workspace;
mod write_file;

pub use quota::{Quota, QuotaCounts, QuotaLimits};

use std::sync::Arc;

use agentkit::{Tool, event::Failure};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Every built-in tool, with workspaces without limits.
#[must_use]
pub fn standard(http: &http::Settings) -> Vec<Arc<dyn Tool>> {
    standard_within(http, &Arc::default())
}

/// Every built-in tool. Files that would not fit into the quota are not written.
#[must_use]
pub fn standard_within(http: &http::Settings, quota: &Arc<Quota>) -> Vec<Arc<dyn Tool>> {
    vec![
        Arc::new(calculator::Calculator::new()),
        Arc::new(current_time::CurrentTime::new()),
        Arc::new(edit_file::EditFile::new(quota)),
        Arc::new(http_fetch::HttpFetch::new(http, quota)),
        Arc::new(http_request::HttpRequest::new(http, quota)),
        Arc::new(json_query::JsonQuery::new()),
        Arc::new(list_files::ListFiles::new()),
        Arc::new(read_file::ReadFile::new()),
        Arc::new(read_result::ReadResult::new()),
        Arc::new(search_files::SearchFiles::new()),
        Arc::new(search_result::SearchResult::new()),
        Arc::new(table_query::TableQuery::new()),
        Arc::new(write_file::WriteFile::new(quota)),
    ]
}

/// A text among the arguments.
fn text<'a>(arguments: &'a Value, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or("")
}

/// The folder that a call is about: the workspace unless the arguments name one.
fn folder(arguments: &Value) -> &str {
    let path = arguments.get("path").and_then(Value::as_str);
    path.unwrap_or(".")
}

/// The arguments as a tool's own type. The gate has checked them against the schema, which a few
/// values get through all the same: `1.0` counts as an integer there.
fn arguments<T: DeserializeOwned>(arguments: Value) -> Result<T, Failure> {
    serde_json::from_value(arguments).map_err(|error| {
        Failure::last(
            "invalid_arguments",
            format!("the arguments cannot be used: {error}"),
        )
    })
}
