//! `opspawn mcp`: the MCP servers, and definitions of theirs that are held.

mod login;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentkit::tool::OutputPart;
use agentkit_mcp::{
    Config as Servers, Host, HostSettings, Nobody, Outcome, Records, Server, ToolCall,
    config::Transport,
};
use agentkit_tools::http::Listeners;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    cli,
    client::Client,
    config::Config,
    exit::{self, Exit},
    output::{self, Table, field, show, status},
    runtime::Role,
};

/// Dispatches.
pub(super) async fn mcp(config: &Config, args: cli::Mcp, json: bool) -> Result<Exit> {
    if let cli::Mcp::Test {
        name,
        tool,
        arguments,
        wait,
    } = args
    {
        return test(config, &name, tool.as_deref(), &arguments, &wait, json).await;
    }
    if let cli::Mcp::Login { name } = args {
        return login::login(config, &name, json).await;
    }
    let client = Client::connect(config, Role::Answer).await?;
    let result = match args {
        cli::Mcp::Ls => ls(&client, json).await,
        cli::Mcp::Diff { name } => diff(&client, name.as_deref(), json).await,
        cli::Mcp::Approve { name, tools, all } => approve(&client, &name, &tools, all, json).await,
        cli::Mcp::Test { .. } | cli::Mcp::Login { .. } => Ok(Exit::Ok),
    };
    client.close().await?;
    result
}

async fn ls(client: &Client, json: bool) -> Result<Exit> {
    let listed = client.get("/api/v1/mcp/servers").await?;
    if json {
        output::json(&listed);
        return Ok(Exit::Ok);
    }
    let servers = listed["servers"].as_array().cloned().unwrap_or_default();
    if servers.is_empty() {
        status!(
            "the server has no MCP servers; write them into mcp_servers.yaml of its data folder, and have a \
             running server read the file with `opspawn reload`"
        );
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["SERVER", "STATUS", "PROTOCOL", "APPROVED", "HELD", "PLACE"]);
    for server in &servers {
        table.add_row([
            field(server, "name"),
            field(server, "status"),
            field(server, "protocol"),
            field(server, "approved"),
            field(server, "held"),
            output::cut(&field(server, "place"), 60),
        ]);
    }
    table.print();
    for server in &servers {
        let name = field(server, "name");
        if !server["reason"].is_null() {
            status!("{name}: {}", field(server, "reason"));
        }
        for one in server["unusable"].as_array().into_iter().flatten() {
            status!(
                "{name}: {} is not used: {}",
                field(one, "name"),
                field(one, "reason")
            );
        }
        for note in server["notes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            status!("{name}: {note}");
        }
        if server["held"].as_u64().is_some_and(|held| held > 0) {
            status!("{name}: `opspawn mcp diff {name}` shows what is held");
        }
    }
    Ok(Exit::Ok)
}

/// The definitions of a server that are held.
async fn held(client: &Client, name: &str) -> Result<Vec<Value>> {
    let path = format!("/api/v1/mcp/servers/{}", segment(name));
    let server = client.get(&path).await?;
    let definitions = server["definitions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let is_held = |one: &Value| matches!(one["state"].as_str(), Some("new" | "changed"));
    Ok(definitions.into_iter().filter(is_held).collect())
}

async fn diff(client: &Client, name: Option<&str>, json: bool) -> Result<Exit> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => {
            let listed = client.get("/api/v1/mcp/servers").await?;
            let servers = listed["servers"].as_array().cloned().unwrap_or_default();
            servers.iter().map(|server| field(server, "name")).collect()
        }
    };
    let mut all = Vec::new();
    for name in names {
        for one in held(client, &name).await? {
            all.push((name.clone(), one));
        }
    }
    if json {
        let all: Vec<Value> = all
            .iter()
            .map(|(server, one)| {
                json!({
                    "server": server, "kind": one["kind"], "name": one["name"], "state": one["state"],
                    "digest": one["listed"]["digest"], "differences": differences(one),
                })
            })
            .collect();
        output::json(&json!({"held": all}));
        return Ok(Exit::Ok);
    }
    if all.is_empty() {
        status!("nothing is held");
        return Ok(Exit::Ok);
    }
    for (server, one) in &all {
        show!(
            "{} {} {}: {}",
            server,
            field(one, "kind"),
            field(one, "name"),
            field(one, "state")
        );
        for difference in differences(one).as_array().into_iter().flatten() {
            let at = field(difference, "at");
            for (sign, side) in [("-", "approved"), ("+", "listed")] {
                if !difference[side].is_null() {
                    // What hides in a description is what a person looks for.
                    let text = agentkit_mcp::text::shown(&difference[side].to_string(), 2_000);
                    show!("  {sign} {at} {text}");
                }
            }
        }
    }
    status!(
        "`opspawn mcp approve SERVER TOOL` gives one of them to agents, `--all` all of a server"
    );
    Ok(Exit::Ok)
}

fn differences(one: &Value) -> Value {
    let (before, after) = (&one["approved"]["definition"], &one["listed"]["definition"]);
    let found = match before.is_null() {
        true => agentkit_mcp::definition::differences(&json!({}), after),
        false => agentkit_mcp::definition::differences(before, after),
    };
    let found = found.into_iter();
    found
        .map(|(at, (approved, listed))| json!({"at": at, "approved": approved, "listed": listed}))
        .collect()
}

async fn approve(
    client: &Client,
    name: &str,
    tools: &[String],
    all: bool,
    json: bool,
) -> Result<Exit> {
    let held = held(client, name).await?;
    let wanted: Vec<&Value> = match all {
        true => held.iter().collect(),
        false => {
            let mut wanted = Vec::new();
            for tool in tools {
                let found = held.iter().find(|one| one["name"] == tool.as_str());
                let known: Vec<String> = held.iter().map(|one| field(one, "name")).collect();
                wanted.push(found.ok_or_else(|| {
                    let hint = match known.is_empty() {
                        true => "nothing of it is held".to_owned(),
                        false => units::nearest::hint(tool, known.iter().map(String::as_str)),
                    };
                    exit::error(
                        Exit::Usage,
                        format!("`{tool}` of the server `{name}` is not held; {hint}"),
                    )
                })?);
            }
            wanted
        }
    };
    let path = format!("/api/v1/mcp/servers/{}/approve", segment(name));
    let mut approved = Vec::new();
    for one in wanted {
        // What was looked at, and no other: it may have changed meanwhile.
        let body =
            json!({"kind": one["kind"], "name": one["name"], "digest": one["listed"]["digest"]});
        client.post(&path, &body, None).await?;
        approved.push(json!({"kind": one["kind"], "name": one["name"]}));
        if !json {
            show!(
                "approved {} {} of {name}",
                field(one, "kind"),
                field(one, "name")
            );
        }
    }
    if json {
        output::json(&json!({"server": name, "approved": approved}));
    } else if approved.is_empty() {
        status!("nothing of {name} is held");
    }
    Ok(Exit::Ok)
}

/// A name as a segment of a path.
fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Connects to a server from this process.
async fn test(
    config: &Config,
    name: &str,
    tool: Option<&str>,
    arguments: &str,
    wait: &str,
    json: bool,
) -> Result<Exit> {
    let wait = units::duration::parse(wait)
        .map_err(|error| exit::error(Exit::Usage, format!("--wait: {error}")))?;
    let arguments: Value = serde_json::from_str(arguments)
        .map_err(|error| exit::error(Exit::Usage, format!("--arguments: {error}")))?;
    let loaded = crate::mcp::load(config)?;
    let Some(server) = loaded.config.servers.get(name) else {
        let message = match (loaded.config.refused.get(name), &loaded.path) {
            (Some(why), _) => format!("the server `{name}` cannot be used: {why}"),
            (None, None) => {
                "there is no file of MCP servers: write mcp_servers.yaml into the data folder"
                    .to_owned()
            }
            (None, Some(path)) => {
                let known = loaded.config.servers.keys().map(String::as_str);
                let hint = units::nearest::hint(name, known.collect::<Vec<_>>());
                format!("there is no server `{name}` in {}; {hint}", path.display())
            }
        };
        return Err(exit::error(Exit::Usage, message));
    };
    let mut servers = Servers::default();
    servers.servers.insert(name.to_owned(), server.clone());
    let settings = HostSettings {
        // What a server of the folder has recorded is not this process's to end.
        records: Records::default(),
        answers: Arc::new(Nobody),
        ..crate::mcp::settings(config, &Listeners::default(), true)?
    };
    let program = match &server.transport {
        Transport::Stdio(program) => match program.resolve() {
            Ok(path) => Some(path.display().to_string()),
            Err(error) => return Err(exit::error(Exit::Failed, error.to_string())),
        },
        Transport::Http { .. } => None,
    };
    let host = Host::new(servers, &settings);
    host.start();
    let server = host
        .server(name)
        .map_err(|failure| exit::error(Exit::Usage, failure.message))?;
    let looked = look(&server, program, tool, arguments, wait, json);
    until_stopped(&host, looked).await
}

/// Ends the servers of a host once the work is done or this process is asked to stop. Servers have groups of their own,
/// so that no signal of a terminal reaches them, and nobody would end a server that does not look at its input.
async fn until_stopped(host: &Host, work: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let result = tokio::select! {
        result = work => result,
        stopped = super::stop_requested() => stopped.map(|_| Exit::Interrupted),
    };
    host.stop().await;
    result
}

async fn look(
    server: &Server,
    program: Option<String>,
    tool: Option<&str>,
    arguments: Value,
    wait: Duration,
    json: bool,
) -> Result<Exit> {
    let begun = Instant::now();
    let listed = tokio::time::timeout(wait, server.first_listing()).await;
    let listing = match listed {
        Ok(Ok(listing)) => listing,
        Ok(Err(why)) => return Err(exit::error(Exit::Failed, why)),
        Err(_) => {
            let message = format!(
                "the server `{}` gave no list within {wait:?}; try a longer --wait",
                server.name()
            );
            return Err(exit::error(Exit::Failed, message));
        }
    };
    let took = begun.elapsed();
    server.approve(&listing.listed);
    let called = match tool {
        None => None,
        Some(tool) => Some(call(server, tool, arguments).await?),
    };
    let tools: Vec<&str> = server_tools(&listing.listed);
    if json {
        output::json(&json!({
            "server": server.name(), "program": program, "place": server.config().place(),
            "info": listing.info.name, "protocol": listing.info.protocol, "seconds": took.as_secs_f64(),
            "tools": tools,
            "unusable": listing.refused.iter().map(|(name, why)| json!({"name": name, "reason": why})).collect::<Vec<_>>(),
            "notes": listing.notes, "result": called,
        }));
        return Ok(Exit::Ok);
    }
    show!("server    {}", server.name());
    show!(
        "place     {}",
        program.unwrap_or_else(|| server.config().place())
    );
    show!("says      {}", output::one_line(&listing.info.name));
    show!("protocol  {}", listing.info.protocol);
    show!("ready in  {:.2} s", took.as_secs_f64());
    show!(
        "tools     {}: {}",
        tools.len(),
        output::cut(&output::one_line(&tools.join(", ")), 400)
    );
    for (name, why) in &listing.refused {
        show!("unusable  {name}: {}", output::one_line(why));
    }
    for note in &listing.notes {
        show!("note      {}", output::one_line(note));
    }
    if let Some(result) = called {
        show!("result    {result}");
    }
    Ok(Exit::Ok)
}

fn server_tools(listed: &[agentkit_mcp::Listed]) -> Vec<&str> {
    let tools = listed
        .iter()
        .filter(|one| one.kind == agentkit_mcp::Kind::Tool);
    tools.map(|one| one.name.as_str()).collect()
}

/// A part of a result, without the bytes of media.
fn shown(part: &OutputPart) -> Value {
    match part {
        OutputPart::Text(text) => json!(text),
        OutputPart::Structured(value) => value.clone(),
        OutputPart::Image(bytes) => json!({"type": "image", "bytes": bytes.len()}),
        OutputPart::Audio { media_type, bytes } => {
            json!({"type": "audio", "media_type": media_type, "bytes": bytes.len()})
        }
        OutputPart::ResourceLink {
            uri,
            name,
            description,
            media_type,
        } => json!({"type": "resource_link", "uri": uri, "name": name,
            "description": description, "media_type": media_type}),
    }
}

async fn call(server: &Server, tool: &str, arguments: Value) -> Result<Value> {
    let failed = |failure: agentkit::event::Failure| exit::error(Exit::Failed, failure.message);
    let definition = server.tool(tool).map_err(failed)?;
    let arguments = definition
        .arguments(arguments)
        .map_err(|why| exit::error(Exit::Usage, format!("--arguments: {why}")))?;
    let key = units::hex::encode(rand::random::<[u8; 16]>());
    let call = ToolCall {
        definition: &definition,
        arguments,
        key: &key,
        answers: None,
        has_person: false,
    };
    Ok(
        match server
            .call(&call)
            .await
            .map_err(failed)
            .context("the tool was called")?
        {
            Outcome::Done(output) => match output.parts.is_empty() {
                true => output.content,
                false => Value::Array(output.parts.iter().map(shown).collect()),
            },
            Outcome::InputRequired { requests, .. } => json!({"input_required": requests}),
        },
    )
}
