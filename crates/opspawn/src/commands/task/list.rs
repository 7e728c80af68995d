//! `opspawn task ls`.

use anyhow::Result;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use ops_core::ports::Clock as _;
use serde_json::{Value, json};
use units::duration;

use super::id;
use crate::{
    cli,
    client::{self, Client},
    exit::{self, Exit},
    output::{self, Table, field, show, status},
    system::SystemClock,
};

/// Lists tasks.
pub(super) async fn ls(client: &Client, args: &cli::List, json: bool) -> Result<()> {
    let mut query = query(client, &args.filter).await?;
    query.push_str(&format!("&limit={}", args.limit));
    if let Some(cursor) = &args.cursor {
        query.push_str(&format!("&cursor={}", client::escape(cursor)));
    }
    let mut page = client.get(&format!("/api/v1/tasks/?{query}")).await?;
    if json {
        output::json(&page);
    } else {
        fill_goals(client, &mut page).await?;
        print(&page);
        if page["total"] == 0
            && let Some(agent) = &args.filter.agent
        {
            unknown_agent(client, agent).await?;
        }
        for id in page["damaged"].as_array().into_iter().flatten() {
            status!(
                "{} is damaged and left out; see `opspawn doctor`",
                output::plain(id)
            );
        }
    }
    Ok(())
}

/// Most bytes of an input that is asked for only to show the goal in it, and of all such inputs of a page.
const GOAL_INPUT: u64 = 256 << 10;
const GOAL_INPUTS: u64 = 4 << 20;

/// Asks for inputs that the list left out because they are large, as far as a table is worth it.
async fn fill_goals(client: &Client, page: &mut Value) -> Result<()> {
    let mut room = GOAL_INPUTS;
    let tasks = page["tasks"].as_array_mut();
    for task in tasks.into_iter().flatten() {
        let Some(bytes) = task["left_out"]["input_data"].as_u64() else {
            continue;
        };
        if bytes > GOAL_INPUT || bytes > room {
            task["input_data"] =
                json!({"goal": format!("({} KiB of input)", bytes.div_ceil(1024))});
            continue;
        }
        room -= bytes;
        let id = field(task, "task_id");
        let whole = client
            .get(&format!("/api/v1/tasks/{}", super::path_part(&id)))
            .await;
        // A task that was deleted meanwhile has no goal.
        if let Ok(whole) = whole {
            task["input_data"] = whole["input_data"].clone();
        }
    }
    Ok(())
}

/// Says so if there is no agent of that name: a list without tasks looks the same for a misspelt one.
async fn unknown_agent(client: &Client, agent: &str) -> Result<()> {
    let listed = client.get("/api/v1/agents?limit=500").await?;
    let agents = listed["agents"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<&str> = agents
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    if !names.contains(&agent) && listed["next_cursor"].is_null() {
        status!("{}", units::nearest::unknown("agent", agent, names));
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
    let (since, until) = (since.transpose()?, until.transpose()?);
    if let (Some(since), Some(until)) = (&since, &until)
        && since.parse::<Timestamp>().ok() >= until.parse::<Timestamp>().ok()
    {
        let message = "--until must be later than --since: no task fits both";
        return Err(exit::error(Exit::Usage, message));
    }
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
    add("created_after", since.as_deref());
    add("created_before", until.as_deref());
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
    // A date is its beginning in the time zone of the command.
    if let Ok(date) = text.parse::<Date>() {
        let begin = date.to_zoned(TimeZone::system());
        return begin
            .map(|begin| begin.timestamp().to_string())
            .map_err(|error| exit::error(Exit::Usage, format!("{flag} `{text}`: {error}")));
    }
    let ago = duration::parse(text).map_err(|_| {
        exit::error(
            Exit::Usage,
            format!(
                "{flag} `{text}` is no time like 2026-01-31T09:00:00Z, no date like 2026-01-31 and no duration like 2h"
            ),
        )
    })?;
    let at = Timestamp::from_microsecond(now.saturating_sub(duration::micros(ago)));
    Ok(at.unwrap_or(Timestamp::MIN).to_string())
}

/// The failure of a task: of the try that the task waits to repeat, else of its last failed attempt.
fn failure(task: &Value) -> &Value {
    match &task["state_detail"]["error"] {
        Value::Null => &task["last_failure"],
        error => error,
    }
}

fn print(page: &Value) {
    let tasks = page["tasks"].as_array().map_or(&[][..], Vec::as_slice);
    // Most pages have no failure, and a column costs width.
    let failures = tasks.iter().any(|task| !failure(task).is_null());
    let mut table = match failures {
        true => {
            let columns = [
                "TASK", "STATE", "NAME", "CREATED", "TOKENS", "GOAL", "FAILURE",
            ];
            Table::new(&columns).flexible(2)
        }
        false => Table::new(&["TASK", "STATE", "NAME", "CREATED", "TOKENS", "GOAL"]),
    };
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
            output::cut(&field(failure(task), "message"), 60),
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
        let date: Timestamp = time("2025-04-12", now, "--since").unwrap().parse().unwrap();
        let local = date.to_zoned(TimeZone::system());
        assert_eq!(local.strftime("%F %T").to_string(), "2025-04-12 00:00:00");
        let error = time("yesterday", now, "--until").unwrap_err();
        assert!(error.to_string().contains("--until `yesterday`"), "{error}");
    }
}
