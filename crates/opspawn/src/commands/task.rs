//! `opspawn task`: see and steer tasks.

use anyhow::Result;
use serde_json::{Value, json};

use super::run::Progress;
use crate::{
    cli,
    client::Client,
    config::Config,
    exit::Exit,
    output::{self, field},
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
        cli::Task::Ls { state, limit } => {
            let filter = state.map_or_else(String::new, |state| format!("&state={state}"));
            let page = client
                .get(&format!("/api/v1/tasks/?limit={limit}{filter}"))
                .await?;
            if json {
                output::json(&page)
            } else {
                list(&page)
            }
        }
        cli::Task::Get { id } => show(&client.get(&path(&id, "")).await?, json),
        cli::Task::Cancel { id } => {
            show(
                &client.post(&path(&id, "/cancel"), &json!({}), None).await?,
                json,
            );
        }
        cli::Task::Retry { id } => {
            show(
                &client.post(&path(&id, "/retry"), &json!({}), None).await?,
                json,
            );
        }
        cli::Task::Logs { id } => logs(client, &id, json).await?,
        cli::Task::Watch { id } => return watch(client, &id, json).await,
    }
    Ok(Exit::Ok)
}

fn path(id: &str, rest: &str) -> String {
    // An id has no character that a path would need escaped; anything else is not found as well.
    let id: String = id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c))
        .collect();
    format!("/api/v1/tasks/{id}{rest}")
}

fn list(page: &Value) {
    let mut table = output::table(&["TASK", "STATE", "NAME", "CREATED", "TOKENS", "GOAL"]);
    for task in page["tasks"].as_array().into_iter().flatten() {
        let goal = &task["input_data"];
        let goal = goal["prompt"]
            .as_str()
            .or(goal["goal"].as_str())
            .unwrap_or_default();
        let tokens = task["usage"]["input_tokens"].as_u64().unwrap_or(0)
            + task["usage"]["output_tokens"].as_u64().unwrap_or(0);
        table.add_row([
            field(task, "task_id"),
            field(task, "state"),
            field(task, "name"),
            field(task, "created_at"),
            tokens.to_string(),
            output::cut(goal, 60),
        ]);
    }
    output::print_table(&table);
    println!(
        "{} of {} tasks",
        page["tasks"].as_array().map_or(0, Vec::len),
        page["total"]
    );
}

fn show(task: &Value, json: bool) {
    if json {
        output::json(task);
        return;
    }
    let waits = match &task["state_detail"] {
        Value::Null => String::new(),
        detail => format!(" ({detail})"),
    };
    println!("task      {}", field(task, "task_id"));
    println!("state     {}{waits}", field(task, "state"));
    for (label, key) in [
        ("type", "task_type"),
        ("name", "name"),
        ("attempt", "attempt"),
        ("created", "created_at"),
        ("started", "started_at"),
        ("completed", "completed_at"),
        ("retry of", "retry_of"),
    ] {
        if !task[key].is_null() {
            println!("{label:<9} {}", field(task, key));
        }
    }
    println!(
        "tokens    {} in, {} out",
        task["usage"]["input_tokens"], task["usage"]["output_tokens"]
    );
    if let Some(message) = task["error_message"].as_str() {
        println!("error     {message}");
    }
    if !task["result"].is_null() {
        let result = serde_json::to_string_pretty(&task["result"]).unwrap_or_default();
        println!("result    {result}");
    }
}

async fn logs(client: &Client, id: &str, json: bool) -> Result<()> {
    let mut cursor: Option<String> = None;
    let mut table = output::table(&[
        "STEP", "KIND", "NAME", "STATUS", "TRY", "STARTED", "INPUT", "OUTPUT",
    ]);
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
        output::print_table(&table);
    }
    Ok(())
}

async fn watch(client: &Client, id: &str, json: bool) -> Result<Exit> {
    let task = client.get(&path(id, "")).await?;
    let id = field(&task, "task_id");
    let mut progress = Progress::default();
    client
        .follow(&id, |event| {
            if json {
                if event.kind != "delta" {
                    output::json_line(&event.data);
                }
                progress.in_doubt = super::run::parks(event);
                return progress.in_doubt.is_none();
            }
            progress.see(event)
        })
        .await?;
    let waits = progress.in_doubt.take();
    drop(progress);
    let task = client.get(&path(&id, "")).await?;
    if !json {
        show(&task, false);
    }
    if waits.is_some() {
        eprintln!("the task waits for a decision; see `opspawn reconcile ls`");
        return Ok(Exit::Waits);
    }
    Ok(super::run::exit_of(&task))
}
