//! `opspawn task`: see and steer tasks.

mod export;
pub(super) mod id;
mod list;
mod many;
pub(super) mod questions;
mod step;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    cli,
    client::Client,
    config::Config,
    exit::{self, Exit},
    output::{self, Table, field, show, status},
    runtime::Role,
};

/// Dispatches.
pub(super) async fn task(config: &Config, args: cli::Task, json: bool) -> Result<Exit> {
    // Only a command that waits for the task needs a worker, should there be no server.
    let role = if matches!(args, cli::Task::Watch { .. }) {
        Role::Work
    } else {
        Role::Answer
    };
    let client = Client::connect(config, role).await?;
    let result = perform(&client, args, json).await;
    client.close().await?;
    result
}

async fn perform(client: &Client, args: cli::Task, json: bool) -> Result<Exit> {
    match args {
        cli::Task::Ls(args) => list::ls(client, &args, json).await?,
        cli::Task::Get { id } => {
            let id = id::resolve(client, &id).await?;
            show(&client.get(&path(&id, "")).await?, json);
        }
        cli::Task::Export { id, output } => {
            let id = id::resolve(client, &id).await?;
            return export::export(client, &id, output.as_deref(), json).await;
        }
        cli::Task::Cancel(which) => return many::steer(client, &which, "cancel", json).await,
        cli::Task::Retry { id } => steer(client, &id, "/retry", json!({}), json).await?,
        cli::Task::Pause(which) => return many::steer(client, &which, "pause", json).await,
        cli::Task::Resume(which) => return many::steer(client, &which, "resume", json).await,
        cli::Task::Limit {
            id,
            max_steps,
            max_tokens,
            max_cost_usd,
            timeout,
        } => {
            let max_cost_usd = max_cost_usd.map(units::money::usd);
            let body = json!({
                "max_steps": max_steps, "max_tokens": max_tokens, "max_cost_usd": max_cost_usd,
                "timeout": timeout,
            });
            steer(client, &id, "/limits", body, json).await?;
        }
        cli::Task::Rerun {
            id,
            from_step,
            input,
            message,
            goal,
        } => {
            let input = input.as_deref().map(serde_json::from_str::<Value>);
            let input = input.transpose().map_err(|error| {
                exit::error(Exit::Usage, format!("--input is not JSON: {error}"))
            })?;
            let id = id::resolve(client, &id).await?;
            let mut body = json!({"from_step": from_step, "input": input, "message": message});
            if let Some(goal) = goal {
                let old = client.get(&path(&id, "")).await?;
                body["input_data"] = old["input_data"].clone();
                body["input_data"]["prompt"] = goal.into();
            }
            show(&client.post(&path(&id, "/rerun"), &body, None).await?, json);
        }
        cli::Task::Signal { id, payload, name } => {
            let id = id::resolve(client, &id).await?;
            signal(client, &id, &payload, name, json).await?;
        }
        cli::Task::Questions => questions::list(client, json).await?,
        cli::Task::Logs { id } => {
            let id = id::resolve(client, &id).await?;
            logs(client, &id, json).await?;
        }
        cli::Task::Step { id, step } => {
            let id = id::resolve(client, &id).await?;
            let prompt = client
                .get(&path(&id, &format!("/steps/{step}/prompt")))
                .await?;
            step::show(&prompt, json);
        }
        cli::Task::Watch { id } => {
            let id = id::resolve(client, &id).await?;
            return watch(client, &id, json).await;
        }
    }
    Ok(Exit::Ok)
}

/// Does something to a task, and shows the task.
async fn steer(client: &Client, id: &str, verb: &str, body: Value, json: bool) -> Result<()> {
    let id = id::resolve(client, id).await?;
    show(&client.post(&path(&id, verb), &body, None).await?, json);
    Ok(())
}

fn path(id: &str, rest: &str) -> String {
    format!("/api/v1/tasks/{}{rest}", path_part(id))
}

/// An id has no character that a path would need escaped; anything else is not found as well.
pub(super) fn path_part(id: &str) -> String {
    id.chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c))
        .collect()
}

/// Sends a signal; without a name, the one that the task waits for, if that is clear.
async fn signal(
    client: &Client,
    id: &str,
    payload: &str,
    name: Option<String>,
    json: bool,
) -> Result<()> {
    let name = match name {
        Some(name) => name,
        None => {
            let task = client.get(&path(id, "")).await?;
            let names = task["state_detail"]["signals"].as_array();
            match names.map_or(&[][..], Vec::as_slice) {
                [Value::String(name)] => name.clone(),
                [] => {
                    let message = "the task waits for no signal right now; name one with --name";
                    return Err(exit::error(Exit::Usage, message));
                }
                names => {
                    let names: Vec<_> = names.iter().map(output::plain).collect();
                    let message = format!(
                        "the task waits for several signals; name one with --name: {}",
                        names.join(", ")
                    );
                    return Err(exit::error(Exit::Usage, message));
                }
            }
        }
    };
    let payload = serde_json::from_str(payload).unwrap_or_else(|_| Value::from(payload));
    let body = json!({"name": name, "payload": payload});
    show(
        &client.post(&path(id, "/signals"), &body, None).await?,
        json,
    );
    Ok(())
}

pub(super) fn show(task: &Value, json: bool) {
    if json {
        output::json(task);
        return;
    }
    let waits = match &task["state_detail"] {
        Value::Null => String::new(),
        detail => format!(" ({})", output::one_line(&detail_text(detail))),
    };
    let failure = match &task["state_detail"]["error"] {
        Value::Null => &task["last_failure"],
        error => error,
    };
    show!("task      {}", field(task, "task_id"));
    let paused = match (&task["paused"], &task["state"]) {
        (Value::Bool(true), Value::String(state))
            if !["paused", "completed", "failed", "cancelled"].contains(&state.as_str()) =>
        {
            ", to be paused"
        }
        _ => "",
    };
    show!("state     {}{waits}{paused}", field(task, "state"));
    let labels = [
        ("type", "task_type"),
        ("name", "name"),
        ("attempt", "attempt"),
        ("created", "created_at"),
        ("started", "started_at"),
        ("completed", "completed_at"),
        ("retry of", "retry_of"),
        ("parent", "parent"),
    ];
    output::fields(task, &labels);
    if !task["agent_id"].is_null() {
        let version = match task["agent_digest"].as_str() {
            Some(digest) => format!(" ({})", super::agent::short(digest)),
            None => String::new(),
        };
        show!("agent     {}{version}", field(task, "agent_id"));
    }
    show!(
        "tokens    {} in, {} out",
        task["usage"]["input_tokens"],
        task["usage"]["output_tokens"]
    );
    if let Some(usd) = task["usage"]["cost_usd"].as_f64().filter(|usd| *usd > 0.0) {
        show!("cost      ${usd}");
    }
    if !task["error_message"].is_null() {
        show!("error     {}", field(task, "error_message"));
    } else if !failure.is_null() {
        show!(
            "failure   {} ({})",
            field(failure, "message"),
            field(failure, "code")
        );
    }
    if !task["result"].is_null() {
        let result = serde_json::to_string_pretty(&task["result"]).unwrap_or_default();
        show!("result    {}", output::clean_json(&result));
    }
}

/// A detail of a state as people read it: `approval, steps 3`.
fn detail_text(detail: &Value) -> String {
    let Some(fields) = detail.as_object() else {
        return output::plain(detail);
    };
    let text = |value: &Value| match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(output::plain).collect();
            items.join(", ")
        }
        value => output::plain(value),
    };
    // The kind of a wait comes first, and its key says nothing more. The failure has a line of its own.
    let on = fields.get("on").map(text);
    let rest = fields
        .iter()
        .filter(|(key, value)| !matches!(key.as_str(), "on" | "error") && !value.is_null());
    let rest = rest.map(|(key, value)| format!("{} {}", key.replace('_', " "), text(value)));
    on.into_iter().chain(rest).collect::<Vec<_>>().join(", ")
}

async fn logs(client: &Client, id: &str, json: bool) -> Result<()> {
    let mut cursor: Option<String> = None;
    let mut table = Table::new(&[
        "STEP", "KIND", "NAME", "STATUS", "TRY", "STARTED", "INPUT", "OUTPUT",
    ])
    .flexible(2);
    loop {
        let after = cursor
            .as_ref()
            .map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let page = client
            .get(&path(id, &format!("/steps?limit=200{after}")))
            .await?;
        for step in page["steps"].as_array().into_iter().flatten() {
            if json {
                output::json_line(step);
                continue;
            }
            let outcome = if step["error"].is_null() {
                &step["output"]
            } else {
                &step["error"]
            };
            table.add_row([
                field(step, "step"),
                field(step, "kind"),
                field(step, "name"),
                field(step, "status"),
                field(step, "attempt"),
                field(step, "started_at"),
                output::cut(&output::plain(&step["input"]), 40),
                output::cut(&output::plain(outcome), 50),
            ]);
        }
        cursor = match &page["next_cursor"] {
            Value::Null => None,
            cursor => Some(output::plain(cursor)),
        };
        if cursor.is_none() {
            break;
        }
    }
    if !json {
        table.print();
    }
    Ok(())
}

async fn watch(client: &Client, id: &str, json: bool) -> Result<Exit> {
    let task = client.get(&path(id, "")).await?;
    let id = field(&task, "task_id");
    if let Some(note) = super::run::resumed(client, Some(&id)).await? {
        status!("note: {note}");
    }
    let watched = super::run::until_settled(client, &id, json, |event| {
        if event.kind != "delta" {
            output::json_line(&event.data);
        }
    });
    let Some(parked) = watched.await? else {
        return Ok(Exit::Interrupted);
    };
    let task = client.get(&path(&id, "")).await?;
    if !json {
        show(&task, false);
    }
    if let Some(sentence) = parked {
        status!("{sentence}");
        return Ok(Exit::Waits);
    }
    Ok(super::run::exit_of(&task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_waits_for_is_told_in_words() {
        for (detail, words) in [
            (
                json!({"on": "approval", "steps": [3, 4]}),
                "approval, steps 3, 4",
            ),
            (
                json!({"on": "signal", "signals": ["answer"], "until": null}),
                "signal, signals answer",
            ),
            (
                json!({"on": "retry", "error": {"code": "x", "message": "full"}, "until": "2026"}),
                "retry, until 2026",
            ),
        ] {
            assert_eq!(detail_text(&detail), words);
        }
    }
}
