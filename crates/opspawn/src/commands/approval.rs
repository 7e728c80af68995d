//! `opspawn approval`: leave that steps ask for.

use std::io::Read as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    cli,
    client::Client,
    config::Config,
    exit::{self, Exit},
    output::{self, field},
    runtime::Role,
};

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
        cli::Approval::Get { step } => show(&client.get(&path(&step, "")).await?, json),
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

fn path(step: &cli::Step, verb: &str) -> String {
    let task = super::task::path_part(&step.id);
    format!("/api/v1/approvals/{task}/{}{verb}", step.step)
}

async fn judge(
    client: &Client,
    step: &cli::Step,
    verb: &str,
    mut body: Value,
    word: cli::Word,
) -> Result<Value> {
    let user = || std::env::var("USER").ok().filter(|name| !name.is_empty());
    body["by"] = word.by.or_else(user).into();
    body["revision"] = word.revision.into();
    client
        .post(&path(step, &format!("/{verb}")), &body, None)
        .await
}

/// The arguments of `--input`.
fn arguments(text: String) -> Result<Value> {
    let text = match text.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read the arguments from standard input")?;
            text
        }
        _ => text,
    };
    serde_json::from_str(&text)
        .map_err(|error| exit::error(Exit::Usage, format!("--input is not JSON: {error}")))
}

async fn list(client: &Client, all: bool, task: Option<String>, json: bool) -> Result<()> {
    let status = if all { "all" } else { "pending" };
    let task = task.map_or_else(String::new, |task| {
        format!("&task_id={}", super::task::path_part(&task))
    });
    let mut table = output::table(&["TASK", "STEP", "TOOL", "STATUS", "EXPIRES", "INPUT"]);
    let mut cursor = String::new();
    loop {
        let query = format!("/api/v1/approvals?status={status}{task}&limit=200{cursor}");
        let page = client.get(&query).await?;
        for approval in page["approvals"].as_array().into_iter().flatten() {
            if json {
                output::json_line(approval);
                continue;
            }
            table.add_row([
                field(approval, "task_id"),
                field(approval, "step"),
                field(approval, "tool"),
                field(approval, "status"),
                field(approval, "expires_at"),
                output::cut(&output::plain(&approval["input"]), 60),
            ]);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    if !json {
        output::print_table(&table);
    }
    Ok(())
}

fn show(approval: &Value, json: bool) {
    if json {
        output::json(approval);
        return;
    }
    for (label, key) in [
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
    ] {
        if !approval[key].is_null() {
            println!("{label:<9} {}", field(approval, key));
        }
    }
    let input = serde_json::to_string_pretty(&approval["input"]).unwrap_or_default();
    println!("input     {input}");
}
