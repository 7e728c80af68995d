//! `opspawn schedule`: tasks at set times.

mod file;

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    cli,
    client::Client,
    config::Config,
    exit::Exit,
    output::{self, Table, field, show},
    runtime::Role,
};

/// Dispatches.
pub(super) async fn schedule(config: &Config, args: cli::Schedule, json: bool) -> Result<Exit> {
    // Read first: a mistake in the file needs no server.
    let entries = match &args {
        cli::Schedule::Apply { file, .. } => file::read(file)?,
        _ => Vec::new(),
    };
    let client = Client::connect(config, Role::Answer).await?;
    let result = perform(&client, args, entries, json).await;
    client.close().await?;
    result
}

async fn perform(
    client: &Client,
    args: cli::Schedule,
    entries: Vec<file::ScheduleEntry>,
    json: bool,
) -> Result<Exit> {
    match args {
        cli::Schedule::Ls => ls(client, json).await?,
        cli::Schedule::Get { name, next, runs } => {
            let shown = client.get(&path(&name, &format!("?next={next}"))).await?;
            let runs = match runs {
                0 => json!([]),
                runs => client
                    .get(&path(&name, &format!("/runs?limit={runs}")))
                    .await?["runs"]
                    .take(),
            };
            show(shown, runs, json);
        }
        cli::Schedule::Apply { file, dry_run } => {
            apply(client, &file, entries, dry_run, json).await?;
        }
        cli::Schedule::Pause { name } => {
            let shown = client
                .post(&path(&name, "/pause"), &json!({}), None)
                .await?;
            tell(&shown, json, "is paused");
        }
        cli::Schedule::Resume { name } => {
            let shown = client
                .post(&path(&name, "/resume"), &json!({}), None)
                .await?;
            tell(&shown, json, &format!("is resumed; {}", next(&shown)));
        }
        cli::Schedule::Run { name } => {
            let run = client.post(&path(&name, "/run"), &json!({}), None).await?;
            if json {
                output::json(&run);
            } else {
                show!("{}", field(&run, "task_id"));
            }
        }
        cli::Schedule::Rm { name } => {
            client.delete(&path(&name, "")).await?;
            tell(&json!({"name": name, "removed": true}), json, "is removed");
        }
    }
    Ok(Exit::Ok)
}

fn path(name: &str, rest: &str) -> String {
    format!("/api/v1/schedules/{}{rest}", crate::client::escape(name))
}

fn tell(shown: &Value, json: bool, what: &str) {
    if json {
        output::json(shown);
    } else {
        show!("schedule {} {what}", field(shown, "name"));
    }
}

fn next(shown: &Value) -> String {
    match shown["next_run_at"].as_str() {
        Some(at) => format!("next run {at}"),
        None if shown["paused"] == true => "it is paused".to_owned(),
        None => "it is never due again".to_owned(),
    }
}

async fn ls(client: &Client, json: bool) -> Result<()> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut page = client
            .get(&format!("/api/v1/schedules?limit=1000{cursor}"))
            .await?;
        if let Some(found) = page["schedules"].as_array_mut() {
            all.append(found);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    if json {
        output::json(&json!({"schedules": all}));
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "CRON", "ZONE", "STATE", "NEXT RUN", "OVERLAP"]);
    for one in &all {
        let state = match (one["paused"] == true, one["next_run_at"].is_null()) {
            (true, _) => "paused",
            (false, true) => "over",
            (false, false) => "active",
        };
        table.add_row([
            field(one, "name"),
            field(one, "cron"),
            field(one, "timezone"),
            state.to_owned(),
            field(one, "next_run_at"),
            field(one, "overlap"),
        ]);
    }
    table.print();
    Ok(())
}

fn show(mut shown: Value, runs: Value, json: bool) {
    if json {
        shown["runs"] = runs;
        output::json(&shown);
        return;
    }
    show!("schedule  {}", field(&shown, "name"));
    show!(
        "cron      {} ({})",
        field(&shown, "cron"),
        field(&shown, "timezone")
    );
    show!("state     {}", next(&shown));
    for (label, key) in [("overlap", "overlap"), ("catch up", "catch_up")] {
        show!("{label:<9} {}", field(&shown, key));
    }
    show!("task      {}", shown["task"]);
    if !shown["waiting_since"].is_null() {
        let since = field(&shown, "waiting_since");
        show!("waiting   the run of {since} starts when the one before has ended");
    }
    let would = if shown["paused"] == true {
        "would be"
    } else {
        "next"
    };
    for at in shown["next_runs"].as_array().into_iter().flatten() {
        show!("{would:<9} {}", output::plain(at));
    }
    let runs = runs.as_array().map_or(&[][..], Vec::as_slice);
    if runs.is_empty() {
        return;
    }
    show!();
    let mut table = Table::new(&["DUE", "TRIGGER", "OUTCOME", "TASK"]);
    for run in runs {
        table.add_row([
            field(run, "due_at"),
            field(run, "trigger"),
            field(run, "outcome"),
            field(run, "task_id") + &field(run, "message"),
        ]);
    }
    table.print();
}

/// Each is stored by itself: what comes before a mistake is stored.
async fn apply(
    client: &Client,
    file: &Path,
    entries: Vec<file::ScheduleEntry>,
    dry_run: bool,
    json: bool,
) -> Result<()> {
    let mut applied = Vec::new();
    for file::ScheduleEntry { name, body } in entries {
        let query = if dry_run { "?dry_run=true" } else { "" };
        let stored = client.put(&path(&name, query), &body).await;
        let stored = stored.map_err(|error| file::in_file(file, &name, &error))?;
        if !json {
            let what = if dry_run {
                "would be stored"
            } else {
                "is stored"
            };
            show!("schedule {name} {what}; {}", next(&stored));
            for at in stored["next_runs"].as_array().into_iter().flatten().skip(1) {
                show!("  then {}", output::plain(at));
            }
        }
        applied.push(stored);
    }
    if json {
        output::json(&json!({"schedules": applied}));
    }
    Ok(())
}
