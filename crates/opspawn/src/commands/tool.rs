//! `opspawn tool`: the tools that agents may have.

use anyhow::Result;

use crate::{
    cli,
    client::Client,
    config::Config,
    exit::Exit,
    output::{self, Table, field, say},
    runtime::Role,
};

/// Dispatches.
pub(super) async fn tool(config: &Config, args: cli::Tool, json: bool) -> Result<Exit> {
    let client = Client::connect(config, Role::Answer).await?;
    let result = match args {
        cli::Tool::Ls => ls(&client, json).await,
    };
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
        for place in tool["settles"].as_array().into_iter().flatten() {
            let place = place.as_str().unwrap_or_default();
            say!("{}: {place}", field(tool, "name"));
        }
    }
    for source in listed["sources"].as_array().into_iter().flatten() {
        if !source["trouble"].is_null() {
            say!(
                "source {}: {}",
                field(source, "name"),
                field(source, "trouble")
            );
        }
    }
    Ok(Exit::Ok)
}
