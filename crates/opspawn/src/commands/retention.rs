//! `opspawn retention`: deleting tasks that have been kept long enough.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::{
    cli,
    client::Client,
    config::Config,
    exit::Exit,
    output::{self, Table, show},
    runtime::Role,
};

/// Dispatches.
pub(super) async fn retention(config: &Config, args: cli::Retention, json: bool) -> Result<Exit> {
    let client = Client::connect(config, Role::Answer).await?;
    let result = match args {
        cli::Retention::Show => show(&client, json).await,
        cli::Retention::Run(args) => run(&client, args, json).await,
    };
    client.close().await?;
    result
}

async fn show(client: &Client, json: bool) -> Result<Exit> {
    let shown = client.get("/api/v1/retention").await?;
    if json {
        output::json(&shown);
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["STATE", "KEPT FOR", "TO BE DELETED"]);
    for state in ["completed", "failed", "cancelled"] {
        let kept = match shown["keep"][state].as_f64() {
            Some(seconds) => format!("{seconds} s"),
            None => "ever".to_owned(),
        };
        let count = shown["tasks"][state].as_u64().unwrap_or(0);
        table.add_row([state.to_owned(), kept, count.to_string()]);
    }
    table.print();
    Ok(Exit::Ok)
}

/// A request deletes a thousand tasks at the most: it is sent until nothing is left.
async fn run(client: &Client, args: cli::RetentionRun, json: bool) -> Result<Exit> {
    let mut body = json!({"dry_run": args.dry_run});
    for (state, kept) in [
        ("completed", args.completed),
        ("failed", args.failed),
        ("cancelled", args.cancelled),
    ] {
        if let Some(kept) = kept {
            body[state] = kept.into();
        }
    }
    let spinner = output::spinner("deleting");
    let mut tasks = Map::new();
    let mut events = 0;
    let last = loop {
        let done = client.post("/api/v1/retention/run", &body, None).await?;
        for (state, count) in done["tasks"].as_object().into_iter().flatten() {
            let sum = tasks.get(state).and_then(Value::as_u64).unwrap_or(0);
            tasks.insert(state.clone(), (sum + count.as_u64().unwrap_or(0)).into());
        }
        events += done["events"].as_u64().unwrap_or(0);
        if done["more"] != true {
            break done;
        }
        if let Some(spinner) = &spinner {
            spinner.set_message(format!("deleting: {events} events so far"));
        }
    };
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    if json {
        let dry_run = args.dry_run;
        output::json(
            &json!({"dry_run": dry_run, "keep": last["keep"], "tasks": tasks,
            "events": events}),
        );
        return Ok(Exit::Ok);
    }
    let what = if args.dry_run {
        "would be deleted"
    } else {
        "deleted"
    };
    for state in ["completed", "failed", "cancelled"] {
        let count = tasks.get(state).and_then(Value::as_u64).unwrap_or(0);
        show!("{state:<9} {count} {what}");
    }
    show!("events    {events} {what}");
    Ok(Exit::Ok)
}
