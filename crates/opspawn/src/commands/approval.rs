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
        cli::Approval::Approve { step, decision } => {
            let approval = decide(client, &step, "approve", json!({}), decision).await?;
            show(&approval, json);
        }
        cli::Approval::Deny {
            step,
            reason,
            decision,
        } => {
            let body = json!({"reason": reason});
            show(&decide(client, &step, "deny", body, decision).await?, json);
        }
        cli::Approval::Edit {
            step,
            input,
            approve,
            decision,
        } => {
            let body = json!({"input": arguments(input)?});
            let mut approval = decide(client, &step, "edit", body, decision.clone()).await?;
            if approve {
                let revision = approval["revision"].as_u64();
                let revision = revision.and_then(|revision| u32::try_from(revision).ok());
                let decision = cli::DecisionArgs {
                    revision,
                    ..decision
                };
                approval = decide(client, &step, "approve", json!({}), decision).await?;
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

async fn decide(
    client: &Client,
    step: &cli::Step,
    verb: &str,
    mut body: Value,
    decision: cli::DecisionArgs,
) -> Result<Value> {
    body["by"] = decision.by.or_else(user).into();
    body["revision"] = decision.revision.into();
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
    let mut table = Table::new(&["TASK", "STEP", "TOOL", "STATUS", "EXPIRES", "WITH", "INPUT"]);
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
                group(approval).to_owned(),
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
    for line in beside(approval) {
        show!("{line}");
    }
}

/// The group that an approval was escalated to; nothing before.
fn group(approval: &Value) -> &str {
    let escalation = &approval["escalation"];
    let is_escalated = escalation["escalated"] == true;
    let group = escalation["to"].as_str().filter(|_| is_escalated);
    group.unwrap_or_default()
}

/// The escalation and the preview of an approval, a line each.
pub(super) fn beside(approval: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let escalation = &approval["escalation"];
    if let Some(to) = escalation["to"].as_str() {
        let (to, at) = (output::one_line(to), field(escalation, "at"));
        lines.push(match escalation["escalated"] == true {
            true => format!("escalated to {to}, at {at}"),
            false => format!("escalates to {to}, at {at}"),
        });
    }
    let preview = &approval["preview"];
    let Some(status) = preview["status"].as_str() else {
        return lines;
    };
    let outdated = match preview["outdated"] == true {
        true => ", with the arguments before the edit",
        false => "",
    };
    let tool = field(preview, "tool");
    let shown = match status {
        "completed" => {
            let output = serde_json::to_string_pretty(&preview["output"]).unwrap_or_default();
            format!(": {}", output::clean_json(&output))
        }
        "failed" => format!(" failed: {}", field(&preview["error"], "message")),
        _ => " is still to come".to_owned(),
    };
    lines.push(format!("preview   `{tool}`{outdated}{shown}"));
    lines
}
