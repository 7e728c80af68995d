//! `opspawn tool`: the tools that agents may have.

mod call;
mod new;

use anyhow::Result;
use serde_json::Value;

use crate::{
    cli,
    client::Client,
    config::Config,
    exit::{self, Exit},
    output::{self, Table, field, show, status},
    runtime::Role,
};

/// Dispatches.
pub(super) async fn tool(config: &Config, args: cli::Tool, json: bool) -> Result<Exit> {
    match args {
        cli::Tool::Ls => with_server(config, async |client| ls(client, json).await).await,
        cli::Tool::Show { name } => {
            with_server(config, async |client| show_one(client, &name, json).await).await
        }
        cli::Tool::Call {
            name,
            input,
            workspace,
        } => call::call(config, &name, &input, workspace.as_deref(), json).await,
        cli::Tool::New {
            name,
            kind,
            language,
        } => new::new(config, &name, kind, language, json),
    }
}

async fn with_server(
    config: &Config,
    work: impl AsyncFnOnce(&Client) -> Result<Exit>,
) -> Result<Exit> {
    let client = Client::connect(config, Role::Answer).await?;
    let result = work(&client).await;
    client.close().await?;
    result
}

async fn ls(client: &Client, json: bool) -> Result<Exit> {
    let listed = client.get("/api/v1/tools").await?;
    if json {
        output::json(&listed);
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["TOOL", "SOURCE", "EFFECT", "DESCRIPTION"]);
    for tool in listed["tools"].as_array().into_iter().flatten() {
        table.add_row([
            field(tool, "name"),
            field(tool, "source"),
            field(tool, "effect"),
            output::cut(&field(tool, "description"), 80),
        ]);
    }
    table.print();
    for tool in listed["tools"].as_array().into_iter().flatten() {
        for test_dir in tool["settles"].as_array().into_iter().flatten() {
            let test_dir = test_dir.as_str().unwrap_or_default();
            status!("{}: {test_dir}", field(tool, "name"));
        }
    }
    for source in listed["sources"].as_array().into_iter().flatten() {
        if !source["trouble"].is_null() {
            status!(
                "source {}: {}",
                field(source, "name"),
                field(source, "trouble")
            );
        }
    }
    Ok(Exit::Ok)
}

async fn show_one(client: &Client, name: &str, json: bool) -> Result<Exit> {
    let listed = client.get("/api/v1/tools").await?;
    let tools: Vec<&Value> = listed["tools"].as_array().into_iter().flatten().collect();
    let Some(tool) = tools.iter().find(|tool| tool["name"] == name) else {
        let known = tools.iter().filter_map(|tool| tool["name"].as_str());
        let hint = units::nearest::hint(name, known.collect::<Vec<_>>());
        return Err(exit::error(
            Exit::Failed,
            format!("there is no tool `{name}`; {hint}"),
        ));
    };
    if json {
        output::json(tool);
        return Ok(Exit::Ok);
    }
    show!("{}", output::clean(&field(tool, "description")));
    show!();
    for key in ["source", "effect", "digest"] {
        show!("{key:<8} {}", field(tool, key));
    }
    for place in tool["settles"].as_array().into_iter().flatten() {
        show!(
            "settles  {}",
            output::one_line(place.as_str().unwrap_or_default())
        );
    }
    show!("input");
    let schema = serde_json::to_string_pretty(&tool["input_schema"]).unwrap_or_default();
    show!("{}", output::clean(&schema));
    Ok(Exit::Ok)
}
