//! `opspawn approval`: leave that steps ask for.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    cli,
    client::Client,
    config::Config,
    exit::{self, Exit},
    output::{self, Table, field, show},
    runtime::Role,
};

/// The longest arguments that are read.
const MAX_INPUT_BYTES: u64 = 8 << 20;

/// Dispatches.
pub(super) async fn approval(config: &Config, args: cli::Approval, json: bool) -> Result<Exit> {
    let client = Client::connect(config, Role::Answer).await?;
    let result = perform(&client, args, json).await;
    client.close().await?;
    result
}

async fn perform(client: &Client, args: cli::Approval, json: bool) -> Result<Exit> {
    match args {
        cli::Approval::Ls { all, task } => list(client, all, task, json).await?,
        cli::Approval::Get { step } => {
            let path = path(client, &step, "").await?;
            show(&client.get(&path).await?, json);
        }
        cli::Approval::Approve { step, word } => {
            let approval = judge(client, &step, "approve", json!({}), word).await?;
            show(&approval, json);
        }
        cli::Approval::Deny { step, reason, word } => {
            let body = json!({"reason": reason});
            show(&judge(client, &step, "deny", body, word).await?, json);
        }
        cli::Approval::Edit {
            step,
            input,
            approve,
            word,
        } => {
            let body = json!({"input": arguments(input)?});
            let mut approval = judge(client, &step, "edit", body, word.clone()).await?;
            if approve {
                let revision = approval["revision"].as_u64();
                let revision = revision.and_then(|revision| u32::try_from(revision).ok());
                let word = cli::Word { revision, ..word };
                approval = judge(client, &step, "approve", json!({}), word).await?;
            }
            show(&approval, json);
        }
    }
    Ok(Exit::Ok)
}

/// The user that runs the command.
pub(super) fn user() -> Option<String> {
    std::env::var("USER").ok().filter(|name| !name.is_empty())
}

async fn path(client: &Client, step: &cli::Step, verb: &str) -> Result<String> {
    let task = super::task::id::resolve(client, &step.id).await?;
    let task = super::task::path_part(&task);
    Ok(format!("/api/v1/approvals/{task}/{}{verb}", step.step))
}

async fn judge(
    client: &Client,
    step: &cli::Step,
    verb: &str,
    mut body: Value,
    word: cli::Word,
) -> Result<Value> {
    body["by"] = word.by.or_else(user).into();
    body["revision"] = word.revision.into();
    let path = path(client, step, &format!("/{verb}")).await?;
    client.post(&path, &body, None).await
}

/// The arguments of `--input`.
fn arguments(text: String) -> Result<Value> {
    let text = match text.as_str() {
        "-" => crate::input::stdin(MAX_INPUT_BYTES)
            .context("cannot read the arguments from standard input")?,
        _ => text,
    };
    serde_json::from_str(&text)
        .map_err(|error| exit::error(Exit::Usage, format!("--input is not JSON: {error}")))
}

async fn list(client: &Client, all: bool, task: Option<String>, json: bool) -> Result<()> {
    let status = if all { "all" } else { "pending" };
    let task = match task {
        Some(task) => {
            let id = super::task::id::resolve(client, &task).await?;
            format!("&task_id={}", super::task::path_part(&id))
        }
        None => String::new(),
    };
    let mut listed = Vec::new();
    let mut table = Table::new(&["TASK", "STEP", "TOOL", "STATUS", "EXPIRES", "INPUT"]);
    let mut cursor = String::new();
    loop {
        let query = format!("/api/v1/approvals?status={status}{task}&limit=200{cursor}");
        let mut page = client.get(&query).await?;
        for approval in page["approvals"].as_array_mut().into_iter().flatten() {
            if json {
                listed.push(approval.take());
                continue;
            }
            table.add_row([
                field(approval, "task_id"),
                field(approval, "step"),
                field(approval, "tool"),
                field(approval, "status"),
                field(approval, "expires_at"),
                output::arguments(&approval["input"], 60),
            ]);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    if json {
        output::json(&json!({"approvals": listed}));
    } else {
        table.print();
    }
    Ok(())
}

fn show(approval: &Value, json: bool) {
    if json {
        output::json(approval);
        return;
    }
    let labels = [
        ("task", "task_id"),
        ("step", "step"),
        ("tool", "tool"),
        ("status", "status"),
        ("revision", "revision"),
        ("reason", "reason"),
        ("asked", "asked_at"),
        ("expires", "expires_at"),
        ("decided", "decided_at"),
        ("by", "decided_by"),
        ("note", "note"),
    ];
    output::fields(approval, &labels);
    let input = serde_json::to_string_pretty(&approval["input"]).unwrap_or_default();
    show!("input     {}", output::clean_json(&input));
}
