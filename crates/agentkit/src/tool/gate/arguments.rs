//! Reads the arguments of a call as a model wrote them.

use bounded::schema::CheckError;
use serde_json::Value;

use super::cap::prefix;
use crate::{event::Failure, tool::registry::Entry, values};

/// The longest arguments, in bytes.
const MAX_BYTES: usize = 1024 * 1024;
/// How deep objects and arrays may nest. `serde_json` itself stops at 128.
const MAX_DEPTH: usize = 64;
/// How much is kept of arguments that are too large, in bytes.
const RAW_LIMIT: usize = 4 * 1024;

/// Arguments that are not JSON within the limits.
pub(super) struct Malformed {
    /// Their text, or the beginning of it.
    pub(super) kept: String,
    /// The failure for the model.
    pub(super) error: Failure,
}

/// The arguments as JSON; empty arguments count as `{}`.
pub(super) fn parse(raw: &str) -> Result<Value, Malformed> {
    if raw.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    if raw.len() > MAX_BYTES {
        let reason = format!(
            "they have {} bytes, and {MAX_BYTES} is the limit",
            raw.len()
        );
        return Err(malformed(prefix(raw, RAW_LIMIT), &reason));
    }
    if values::may_be_too_many(raw) {
        let reason = format!("they hold more than {} values", values::MAX_VALUES);
        return Err(malformed(prefix(raw, RAW_LIMIT), &reason));
    }
    let value = serde_json::from_str(raw)
        .map_err(|error| malformed(raw, &format!("they are not valid JSON: {error}")))?;
    if nests_deeper(&value, MAX_DEPTH) {
        let reason = format!("they nest deeper than {MAX_DEPTH} levels");
        return Err(malformed(raw, &reason));
    }
    Ok(value)
}

/// The stored part of unreadable arguments.
pub(super) fn kept(raw: &str) -> &str {
    match raw.len() > MAX_BYTES {
        true => prefix(raw, RAW_LIMIT),
        false => raw,
    }
}

fn malformed(kept: &str, reason: &str) -> Malformed {
    let message = format!("the arguments cannot be read: {reason}; send one JSON object");
    Malformed {
        kept: kept.to_owned(),
        error: invalid(message),
    }
}

fn invalid(message: String) -> Failure {
    Failure::last("invalid_arguments", message)
}

fn nests_deeper(value: &Value, levels: usize) -> bool {
    let below = |inner: &Value| levels == 0 || nests_deeper(inner, levels - 1);
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(below),
        Value::Object(members) => levels == 0 || members.values().any(below),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The failure for the model about refused arguments.
pub(super) fn refused(entry: &Entry, error: &CheckError) -> Failure {
    let name = &entry.spec.name;
    match error {
        CheckError::Violations(violations) => invalid(format!(
            "the arguments do not match the schema of tool `{name}`: {violations}"
        )),
        CheckError::TooCostly => {
            let message = format!("the arguments of tool `{name}` cannot be checked: {error}");
            Failure::last(error.code(), message)
        }
    }
}
