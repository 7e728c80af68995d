//! `opspawn reconcile`: steps whose outcome is unknown.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    cli,
    client::Client,
    config::Config,
    exit::{self, Exit},
    output::{self, Table, field, show},
    runtime::Role,
};

/// Dispatches.
pub(super) async fn reconcile(config: &Config, args: cli::Reconcile, json: bool) -> Result<Exit> {
    let client = Client::connect(config, Role::Answer).await?;
    let result = perform(&client, args, json).await;
    client.close().await?;
    result
}

async fn perform(client: &Client, args: cli::Reconcile, json: bool) -> Result<Exit> {
    match args {
        cli::Reconcile::Ls => {
            let page = client.get("/api/v1/reconciliations").await?;
            if json {
                output::json(&page);
                return Ok(Exit::Ok);
            }
            let mut table = Table::new(&["TASK", "STEP", "TOOL", "STARTED", "INPUT"]);
            for open in page["reconciliations"].as_array().into_iter().flatten() {
                table.add_row([
                    field(open, "task_id"),
                    field(open, "step"),
                    field(open, "name"),
                    field(open, "started_at"),
                    output::cut(&output::plain(&open["input"]), 60),
                ]);
            }
            table.print();
        }
        cli::Reconcile::Resolve {
            id,
            step,
            resolution,
            output: said,
            by,
        } => {
            let mut body = match (resolution, said) {
                (cli::Resolution::Done, said) => {
                    let said = said.unwrap_or_else(|| "done, as somebody confirmed".to_owned());
                    let value = serde_json::from_str(&said).unwrap_or(Value::String(said));
                    json!({"resolution": "done", "output": value})
                }
                (cli::Resolution::Failed, said) => {
                    let said = said
                        .unwrap_or_else(|| "it did not take effect, as somebody found".to_owned());
                    json!({"resolution": "failed", "message": said})
                }
                (cli::Resolution::Retry, None) => json!({"resolution": "retry"}),
                (cli::Resolution::Retry, Some(_)) => {
                    return Err(exit::error(
                        Exit::Usage,
                        "--output does not go with `retry`",
                    ));
                }
            };
            body["by"] = by.or_else(super::approval::user).into();
            let id = super::task::id::resolve(client, &id).await?;
            let id = super::task::path_part(&id);
            let task = client
                .post(&format!("/api/v1/reconciliations/{id}/{step}"), &body, None)
                .await?;
            if json {
                output::json(&task);
            } else {
                show!(
                    "task {} is {}",
                    field(&task, "task_id"),
                    field(&task, "state")
                );
            }
        }
    }
    Ok(Exit::Ok)
}
