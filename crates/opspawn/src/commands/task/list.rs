//! `opspawn task ls`.

use anyhow::Result;
use jiff::Timestamp;
use ops_core::ports::Clock as _;
use serde_json::Value;
use units::duration;

use super::id;
use crate::{
    cli,
    client::{self, Client},
    exit::{self, Exit},
    output::{self, Table, field, say, show},
    system::SystemClock,
};

/// Lists tasks.
pub(super) async fn ls(client: &Client, args: &cli::List, json: bool) -> Result<()> {
    let mut query = query(client, &args.filter).await?;
    query.push_str(&format!("&limit={}", args.limit));
    if let Some(cursor) = &args.cursor {
        query.push_str(&format!("&cursor={}", client::escape(cursor)));
    }
    let page = client.get(&format!("/api/v1/tasks/?{query}")).await?;
    if json {
        output::json(&page);
    } else {
        print(&page);
        for id in page["damaged"].as_array().into_iter().flatten() {
            say!(
                "{} is damaged and left out; see `opspawn doctor`",
                output::plain(id)
            );
        }
    }
    Ok(())
}

/// A filter as a query string.
pub(super) async fn query(client: &Client, args: &cli::Filter) -> Result<String> {
    let parent = match &args.parent {
        Some(parent) => Some(id::resolve(client, parent).await?),
        None => None,
    };
    let now = SystemClock.now().0;
    let since = args.since.as_deref().map(|text| time(text, now, "--since"));
    let until = args.until.as_deref().map(|text| time(text, now, "--until"));
    let mut query = String::new();
    let mut add = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            query.push_str(&format!("&{key}={}", client::escape(value)));
        }
    };
    add("state", args.state.as_deref());
    add("status", args.status.as_deref());
    add("agent", args.agent.as_deref());
    add("q", args.query.as_deref());
    add("created_after", since.transpose()?.as_deref());
    add("created_before", until.transpose()?.as_deref());
    add("parent", parent.as_deref());
    for label in &args.labels {
        add("label", Some(label));
    }
    Ok(query)
}

/// A time, or one that lies so long before now, as the server reads it.
fn time(text: &str, now: i64, flag: &str) -> Result<String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.to_string());
    }
    let ago = duration::parse(text).map_err(|_| {
        exit::error(
            Exit::Usage,
            format!(
                "{flag} `{text}` is neither a time like 2026-01-31T09:00:00Z nor a duration like 2h"
            ),
        )
    })?;
    let at = Timestamp::from_microsecond(now.saturating_sub(duration::micros(ago)));
    Ok(at.unwrap_or(Timestamp::MIN).to_string())
}

fn print(page: &Value) {
    let mut table = Table::new(&["TASK", "STATE", "NAME", "CREATED", "TOKENS", "GOAL"]);
    let tasks = page["tasks"].as_array().map_or(&[][..], Vec::as_slice);
    for task in tasks {
        let goal = &task["input_data"];
        let goal = goal["prompt"].as_str().or(goal["goal"].as_str());
        let tokens = task["usage"]["input_tokens"].as_u64().unwrap_or(0)
            + task["usage"]["output_tokens"].as_u64().unwrap_or(0);
        table.add_row([
            field(task, "task_id"),
            field(task, "state"),
            output::cut(&field(task, "name"), 40),
            field(task, "created_at"),
            tokens.to_string(),
            output::cut(goal.unwrap_or_default(), 60),
        ]);
    }
    table.print();
    let more = match page["next_cursor"].as_str() {
        Some(cursor) => format!("; go on with --cursor {cursor}"),
        None => String::new(),
    };
    show!("{} of {} tasks{more}", tasks.len(), page["total"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_so_long_ago() {
        let now = 1_744_452_000_000_000;
        assert_eq!(time("2h", now, "--since").unwrap(), "2025-04-12T08:00:00Z");
        assert_eq!(
            time("2025-04-12T12:00:00+02:00", now, "--since").unwrap(),
            "2025-04-12T10:00:00Z"
        );
        let error = time("yesterday", now, "--until").unwrap_err();
        assert!(error.to_string().contains("--until `yesterday`"), "{error}");
    }
}
