//! `opspawn task cancel`, `pause` and `resume`: of one task, or of those that a filter fits.

use anyhow::Result;
use serde_json::{Value, json};

use super::list;
use crate::{
    cli,
    client::{self, Client},
    exit::{self, Exit},
    output::{self, field, show},
};

/// Tasks in one request.
const PAGE: usize = 200;

/// Steers one task, or page by page all that the filter fits.
pub(super) async fn steer(
    client: &Client,
    which: &cli::Which,
    verb: &str,
    json: bool,
) -> Result<Exit> {
    let by_filter = which.filter != cli::Filter::default();
    match (&which.id, by_filter) {
        (Some(id), false) => {
            super::steer(client, id, &format!("/{verb}"), json!({}), json).await?;
            Ok(Exit::Ok)
        }
        (None, true) => all(client, which, verb, json).await,
        (Some(_), true) => Err(exit::error(
            Exit::Usage,
            "name a task or a filter, not both",
        )),
        (None, false) => Err(exit::error(
            Exit::Usage,
            format!(
                "name a task, or a filter such as `--state pending`; see `opspawn task {verb} --help`"
            ),
        )),
    }
}

async fn all(client: &Client, which: &cli::Which, verb: &str, json: bool) -> Result<Exit> {
    let filter = list::query(client, &which.filter).await?;
    let (mut exit, mut count) = (Exit::Ok, 0);
    let mut cursor = String::new();
    loop {
        let dry_run = which.dry_run;
        let path = format!("/api/v1/tasks:{verb}?limit={PAGE}&dry_run={dry_run}{filter}{cursor}");
        let page = client.post(&path, &json!({}), None).await?;
        for task in page["tasks"].as_array().into_iter().flatten() {
            count += u32::from(task["error"].is_null());
            if !task["error"].is_null() {
                exit = Exit::Failed;
            }
            print(task, (verb, dry_run), json);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", client::escape(next)),
            None => break,
        }
    }
    if !json {
        let would = if which.dry_run {
            " would be steered"
        } else {
            ""
        };
        show!("{count} tasks{would}");
    }
    Ok(exit)
}

fn print(task: &Value, (verb, dry_run): (&str, bool), json: bool) {
    let id = field(task, "task_id");
    if json {
        output::json_line(task);
    } else if let Some(error) = task["error"].as_str() {
        show!("{id} stays: {error}");
    } else if dry_run {
        show!("{id} is {}: to {verb}", field(task, "state"));
    } else {
        show!("{id} is {}", field(task, "state"));
    }
}
