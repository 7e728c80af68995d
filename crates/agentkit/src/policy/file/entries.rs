//! The entries `[[guard]]` and `[[limit]]`.

use std::sync::Arc;

use regex::RegexBuilder;
use tokio::sync::Semaphore;

use super::{Location, PolicyError};
use crate::policy::{CallLimit, Guard, Guarded, Pattern};

/// The most entries of a kind.
const MAX_ENTRIES: usize = 1_000;
/// The most bytes of a compiled expression.
const MAX_EXPRESSION: usize = 1 << 20;
/// The most calls at once that a limit allows.
const MAX_CONCURRENCY: i64 = 10_000;

/// The entries of a kind, each read by itself.
pub(super) fn list<T>(
    table: &toml::Table,
    key: &'static str,
    read: impl Fn(&Location, &toml::Table) -> Result<T, PolicyError>,
) -> Result<Vec<T>, PolicyError> {
    let expected = match key {
        "guard" => "a list of at most 1,000 tables: write `[[guard]]`",
        _ => "a list of at most 1,000 tables: write `[[limit]]`",
    };
    let whole = Location("the policy".to_owned());
    let entries = match table.get(key) {
        None => return Ok(Vec::new()),
        Some(toml::Value::Array(entries)) if entries.len() <= MAX_ENTRIES => entries,
        Some(_) => return Err(whole.wrong(key, expected)),
    };
    let read = (1..).zip(entries).map(|(number, entry)| match entry {
        toml::Value::Table(entry) => read(&Location(format!("{key} {number}")), entry),
        _ => Err(whole.wrong(key, expected)),
    });
    read.collect()
}

pub(super) fn guard(at: &Location, entry: &toml::Table) -> Result<Guard, PolicyError> {
    at.known(entry, &["tool", "arguments", "result", "action", "reason"])?;
    let form = "a regular expression (no look-around, no back-references)";
    let arguments = at.text(entry, "arguments", form)?;
    let result = at.text(entry, "result", form)?;
    let (key, text) = match (arguments, result) {
        (Some(text), None) => ("arguments", text),
        (None, Some(text)) => ("result", text),
        (None, None) => return Err(at.missing("arguments")),
        (Some(_), Some(_)) => {
            return Err(at.wrong("result", "an entry of its own beside `arguments`"));
        }
    };
    let found = RegexBuilder::new(text).size_limit(MAX_EXPRESSION).build();
    let found = found.map_err(|_| at.wrong(key, form))?;
    let expected = match key {
        "arguments" => "`deny` or `ask` with `arguments`",
        _ => "`redact` or `withhold` with `result`",
    };
    let of = match (key, at.text(entry, "action", expected)?) {
        ("arguments", None | Some("deny")) => Guarded::DenyArguments,
        ("arguments", Some("ask")) => Guarded::AskAboutArguments,
        ("result", None | Some("redact")) => Guarded::RedactResult,
        ("result", Some("withhold")) => Guarded::WithholdResult,
        _ => return Err(at.wrong("action", expected)),
    };
    Ok(Guard {
        tool: tool(at, entry)?,
        of,
        found,
        reason: at.text(entry, "reason", "a sentence")?.map(str::to_owned),
    })
}

pub(super) fn limit(at: &Location, entry: &toml::Table) -> Result<CallLimit, PolicyError> {
    at.known(entry, &["tool", "timeout", "concurrency"])?;
    let expected = "a whole number from 1 to 10,000";
    let places = match entry.get("concurrency") {
        None => None,
        Some(toml::Value::Integer(count)) if (1..=MAX_CONCURRENCY).contains(count) => {
            let count = usize::try_from(*count).unwrap_or(1);
            Some(Arc::new(Semaphore::new(count)))
        }
        Some(_) => return Err(at.wrong("concurrency", expected)),
    };
    let timeout = at.duration(entry, "timeout")?;
    if timeout.is_none() && places.is_none() {
        return Err(at.missing("timeout"));
    }
    Ok(CallLimit {
        tool: tool(at, entry)?,
        timeout,
        places,
    })
}

/// The tools that an entry speaks of: every tool unless it says so.
fn tool(at: &Location, entry: &toml::Table) -> Result<Pattern, PolicyError> {
    match at.text(entry, "tool", "a pattern of tool names")? {
        None => Ok(Pattern::any()),
        Some(text) => text.parse().map_err(|error| PolicyError::Pattern {
            location: at.0.clone(),
            error,
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::PolicyFile;

    #[test]
    fn guards_and_limits_are_read_and_no_mistake_is_passed_over() {
        let file = PolicyFile::parse(
            "[[guard]]\narguments = 'rm -rf'\n[[guard]]\ntool = 'http_*'\nresult = 'x+'\naction = 'withhold'\n\
             [[limit]]\ntool = 'http_*'\ntimeout = '5s'\nconcurrency = 2\n",
        )
        .unwrap();
        assert_eq!((file.guards.len(), file.limits.len()), (2, 1));
        for (text, says) in [
            ("guard = 1", "the policy: `guard` must be a list"),
            ("[[guard]]\ntool = 'a'", "guard 1: `arguments` is missing"),
            (
                "[[guard]]\narguments = '('",
                "guard 1: `arguments` must be a regular expression",
            ),
            (
                "[[guard]]\narguments = 'x{100000000}'",
                "guard 1: `arguments` must be a regular expression",
            ),
            (
                "[[guard]]\narguments = 'x'\naction = 'redact'",
                "guard 1: `action` must be `deny` or `ask`",
            ),
            (
                "[[guard]]\nresult = 'x'\naction = 'deny'",
                "guard 1: `action` must be `redact` or `withhold`",
            ),
            (
                "[[guard]]\nresult = 'x'\nargument = 'y'",
                "guard 1: there is no key `argument`; did you mean `arguments`?",
            ),
            ("[[limit]]\ntool = 'a'", "limit 1: `timeout` is missing"),
            (
                "[[limit]]\nconcurrency = 0",
                "limit 1: `concurrency` must be a whole number",
            ),
            (
                "[[limit]]\ntool = 'a b'\ntimeout = 1",
                "limit 1: tool pattern `a b` is not valid",
            ),
        ] {
            let error = PolicyFile::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
