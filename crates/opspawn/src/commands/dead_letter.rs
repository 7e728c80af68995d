//! `opspawn dead-letter`: tasks that were given up.

use anyhow::Result;
use serde_json::json;

use crate::{
    cli,
    client::Client,
    config::Config,
    exit::Exit,
    output::{self, Table, field, show},
    runtime::Role,
};

/// Dispatches.
pub(super) async fn dead_letter(
    config: &Config,
    args: cli::DeadLetter,
    json: bool,
) -> Result<Exit> {
    let client = Client::connect(config, Role::Answer).await?;
    let result = perform(&client, args, json).await;
    client.close().await?;
    result
}

async fn perform(client: &Client, args: cli::DeadLetter, json: bool) -> Result<Exit> {
    match args {
        cli::DeadLetter::Ls { limit } => {
            let page = client
                .get(&format!("/api/v1/dead-letters?limit={limit}"))
                .await?;
            if json {
                output::json(&page);
                return Ok(Exit::Ok);
            }
            let mut table = Table::new(&["TASK", "ATTEMPT", "ENDED", "ERROR"]);
            for task in page["tasks"].as_array().into_iter().flatten() {
                table.add_row([
                    field(task, "task_id"),
                    field(task, "attempt"),
                    field(task, "completed_at"),
                    output::cut(&field(task, "error_message"), 80),
                ]);
            }
            table.print();
        }
        cli::DeadLetter::Redrive { id: Some(id), .. } => {
            let id = super::task::id::resolve(client, &id).await?;
            let id = super::task::path_part(&id);
            let path = format!("/api/v1/dead-letters/{id}/redrive");
            let task = client.post(&path, &json!({}), None).await?;
            super::task::show(&task, json);
        }
        cli::DeadLetter::Redrive {
            id: None, dry_run, ..
        } => return redrive_all(client, dry_run, json).await,
    }
    Ok(Exit::Ok)
}

/// Page by page, until nothing is left that can be redriven.
async fn redrive_all(client: &Client, dry_run: bool, json: bool) -> Result<Exit> {
    let mut exit = Exit::Ok;
    loop {
        let body = json!({"limit": 1_000, "dry_run": dry_run});
        let done = client
            .post("/api/v1/dead-letters:redrive", &body, None)
            .await?;
        let redriven = done["redriven"].as_array().cloned().unwrap_or_default();
        let mut went_on = 0;
        for one in &redriven {
            if json {
                output::json_line(one);
            } else if let Some(error) = one["error"].as_str() {
                show!("{} stays: {error}", field(one, "from"));
            } else if dry_run {
                show!("{} would go on", field(one, "from"));
            } else {
                show!(
                    "{} goes on as {}",
                    field(one, "from"),
                    field(one, "task_id")
                );
            }
            went_on += u32::from(!one["task_id"].is_null());
            if !one["error"].is_null() {
                exit = Exit::Failed;
            }
        }
        if dry_run || went_on == 0 || redriven.len() < 1_000 {
            return Ok(exit);
        }
    }
}
