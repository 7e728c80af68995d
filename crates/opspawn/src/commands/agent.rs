//! `opspawn agent`: named, versioned definitions.

mod diff;
pub(super) mod files;

use anyhow::Result;
use serde_json::{Value, json};

use self::files::DefinitionEntry;
use crate::{
    cli,
    client::{self, Client},
    config::Config,
    exit::{self, Exit},
    output::{self, Table, field, show, status},
    runtime::Role,
};

/// How much of a digest people are shown.
const SHORT: usize = 12;

/// Dispatches.
pub(super) async fn agent(config: &Config, args: cli::Agent, json: bool) -> Result<Exit> {
    // Read first: a mistake in a file needs no server.
    let entries = match &args {
        cli::Agent::Apply { file } | cli::Agent::Diff { file } => files::read(file)?,
        cli::Agent::Ls
        | cli::Agent::Get { .. }
        | cli::Agent::Rollback { .. }
        | cli::Agent::Rm { .. } => Vec::new(),
    };
    let client = Client::connect(config, Role::Answer).await?;
    let result = perform(&client, args, entries, json).await;
    client.close().await?;
    result
}

async fn perform(
    client: &Client,
    args: cli::Agent,
    entries: Vec<DefinitionEntry>,
    json: bool,
) -> Result<Exit> {
    match args {
        cli::Agent::Ls => ls(client, json).await?,
        cli::Agent::Get { name, digest } => {
            let (name, version) = named(&name, digest.as_deref());
            get(client, name, version, json).await?;
        }
        cli::Agent::Rollback { agent } => rollback(client, &agent, json).await?,
        cli::Agent::Rm { name } => {
            client.delete(&path(&name, "")).await?;
            match json {
                true => output::json(&json!({"name": name, "removed": true})),
                false => show!("agent {name} is removed"),
            }
        }
        cli::Agent::Apply { .. } => apply(client, entries, json).await?,
        cli::Agent::Diff { .. } => return diff(client, entries, json).await,
    }
    Ok(Exit::Ok)
}

fn path(name: &str, rest: &str) -> String {
    format!("/api/v1/agents/{}{rest}", client::escape(name))
}

/// The beginning of a digest.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..SHORT).unwrap_or(digest)
}

/// Every agent, by name.
async fn all(client: &Client) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut page = client
            .get(&format!("/api/v1/agents?limit=1000{cursor}"))
            .await?;
        if let Some(found) = page["agents"].as_array_mut() {
            all.append(found);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(all),
        }
    }
}

async fn ls(client: &Client, json: bool) -> Result<()> {
    let all = all(client).await?;
    if json {
        output::json(&json!({"agents": all}));
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "VERSION", "REVISION", "UPDATED", "DESCRIPTION"]);
    for one in &all {
        table.add_row([
            field(one, "name"),
            short(&field(one, "digest")).to_owned(),
            field(one, "revision"),
            field(one, "updated_at"),
            output::cut(&field(one, "description"), 60),
        ]);
    }
    table.print();
    Ok(())
}

/// The agent and the version of `NAME` or `NAME@DIGEST`.
fn named<'a>(name: &'a str, digest: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    match (name.split_once('@'), digest) {
        (Some((name, version)), None) => (name, Some(version)),
        (Some(_), Some(_)) | (None, _) => (name, digest),
    }
}

/// Makes an earlier version the current one again.
async fn rollback(client: &Client, version: &str, json: bool) -> Result<()> {
    let (name, Some(digest)) = named(version, None) else {
        let message = format!(
            "`{version}` names no version; write NAME@DIGEST, and see the versions with `opspawn agent \
             get {version}`"
        );
        return Err(exit::error(Exit::Usage, message));
    };
    let earlier = self::version(client, name, digest).await?;
    let body = json!({"definition": earlier["definition"]});
    let stored = client.put(&path(name, ""), &body).await?;
    if json {
        output::json(&stored);
    } else {
        let digest = field(&stored, "digest");
        show!(
            "agent {name} {} {}",
            field(&stored, "change"),
            short(&digest)
        );
    }
    Ok(())
}

async fn get(client: &Client, name: &str, version: Option<&str>, json: bool) -> Result<()> {
    let mut shown = match version {
        None => client.get(&path(name, "")).await?,
        Some(version) => self::version(client, name, version).await?,
    };
    let versions = client.get(&path(name, "/versions?limit=1000")).await?["versions"].take();
    if json {
        shown["versions"] = versions;
        output::json(&shown);
        return Ok(());
    }
    let labels = [
        ("agent", "name"),
        ("version", "digest"),
        ("about", "description"),
        ("revision", "revision"),
        ("updated", "updated_at"),
    ];
    output::fields(&shown, &labels);
    show!();
    output::json(&shown["definition"]);
    show!();
    let mut table = Table::new(&["VERSION", "FIRST APPLIED", "CURRENT"]);
    for one in versions.as_array().into_iter().flatten() {
        let current = if one["current"] == true { "yes" } else { "" };
        table.add_row([
            short(&field(one, "digest")).to_owned(),
            field(one, "created_at"),
            current.to_owned(),
        ]);
    }
    table.print();
    Ok(())
}

/// The version of an agent whose digest begins like this.
pub(super) async fn version(client: &Client, name: &str, begins: &str) -> Result<Value> {
    let versions = client.get(&path(name, "/versions?limit=1000")).await?;
    let digests: Vec<&str> = versions["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|version| version["digest"].as_str())
        .filter(|digest| digest.starts_with(&begins.to_lowercase()))
        .collect();
    let wrong = |message: String| Err(exit::error(Exit::Usage, message));
    match digests.as_slice() {
        [digest] => {
            client
                .get(&path(name, &format!("/versions/{digest}")))
                .await
        }
        [] => wrong(format!(
            "no version of agent `{name}` begins with `{begins}`; see them with `opspawn agent get \
             {name}`"
        )),
        several => wrong(format!(
            "{} versions of agent `{name}` begin with `{begins}`; write more of the digest",
            several.len()
        )),
    }
}

/// Each is stored by itself, and every one that the server refuses is told.
async fn apply(client: &Client, entries: Vec<DefinitionEntry>, json: bool) -> Result<()> {
    let (mut applied, mut refused) = (Vec::new(), Vec::new());
    for entry in entries {
        let stored = client.put(&path(&entry.name, ""), &entry.body()).await;
        let mut stored = match stored.map_err(|error| entry.failed(&error)) {
            Ok(stored) => stored,
            Err(error) if exit::code_of(&error) == Exit::Unavailable => return Err(error),
            Err(error) => {
                refused.push(error);
                continue;
            }
        };
        if !json {
            let digest = field(&stored, "digest");
            show!(
                "agent {} {} {}",
                entry.name,
                field(&stored, "change"),
                short(&digest)
            );
            entry.notes.iter().for_each(|note| show!("  {note}"));
            let warnings = stored["warnings"].as_array().into_iter().flatten();
            for warning in warnings.filter_map(Value::as_str) {
                status!("warning: agent {}: {warning}", entry.name);
            }
        } else if !entry.notes.is_empty() {
            stored["notes"] = json!(entry.notes);
        }
        applied.push(stored);
    }
    if json {
        output::json(&json!({"agents": applied}));
    }
    exit::all(refused)
}

/// What an apply would change. Exits like `diff`: 0 where all is the same.
async fn diff(client: &Client, entries: Vec<DefinitionEntry>, json: bool) -> Result<Exit> {
    let known = all(client).await?;
    let known = |name: &str| known.iter().any(|agent| agent["name"] == name);
    let mut seen = Vec::new();
    let mut same = true;
    for entry in &entries {
        let before = match known(&entry.name) {
            true => client.get(&path(&entry.name, "")).await?,
            false => Value::Null,
        };
        let after = match files::starts_new(entry, &entries, known) {
            // The server would miss the agents that the same apply makes.
            true => entry.as_new(),
            false => client
                .put(&path(&entry.name, "?dry_run=true"), &entry.body())
                .await
                .map_err(|error| entry.failed(&error))?,
        };
        let changes = diff::changes(&before["definition"], &after["definition"]);
        let change = match (before.is_null(), changes.is_empty()) {
            (true, _) => "created",
            (false, true) => "unchanged",
            (false, false) => "changed",
        };
        same &= change == "unchanged";
        if json {
            seen.push(json!({
                "name": entry.name, "change": change,
                "from": before["digest"], "to": after["digest"], "changes": changes,
            }));
            continue;
        }
        show!("agent {} {change}", entry.name);
        changes.iter().for_each(diff::print);
    }
    if json {
        output::json(&json!({"agents": seen}));
    }
    Ok(if same { Exit::Ok } else { Exit::Failed })
}
