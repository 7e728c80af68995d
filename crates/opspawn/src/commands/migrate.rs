//! `opspawn migrate`: the schema of the database, and its data from elsewhere.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ops_store::version_1::Note;
use serde_json::{Value, json};

use crate::{
    commands::backup,
    config::Config,
    database,
    exit::{self, Exit},
    output::{self, show, status},
    version_1,
};

/// Brings the schema of the configured PostgreSQL database up to date, and copies what is asked for.
pub(super) fn migrate(config: &Config, from: Option<&[PathBuf]>, as_json: bool) -> Result<Exit> {
    if let Some([kind, source]) = from
        && kind == Path::new("v1")
    {
        return version_1(config, source, as_json);
    }
    let Some(url) = config.optional("store.url") else {
        return Err(exit::error(
            Exit::Usage,
            "no PostgreSQL database is configured (`store.url`); SQLite is brought up to date when its data \
             folder is opened",
        ));
    };
    match from {
        None => schema(url, as_json),
        Some([kind, path]) if kind == Path::new("sqlite") => sqlite(url, path, as_json),
        Some(_) => Err(exit::error(
            Exit::Usage,
            "`--from` takes a kind and a place: `sqlite` and a data folder, or `v1` and the URL or the file of the first \
             Opspawn's database",
        )),
    }
}

fn schema(url: &str, as_json: bool) -> Result<Exit> {
    let (database, schema) = database::migrate(url)?;
    match as_json {
        true => output::json(&json!({"database": database, "schema": schema})),
        false => show!("{database} has schema {schema}"),
    }
    Ok(Exit::Ok)
}

fn sqlite(url: &str, path: &Path, as_json: bool) -> Result<Exit> {
    if !as_json {
        status!("copying {} and comparing each task", path.display());
    }
    let copied = backup::counting("comparing each task", |progress| {
        database::import(url, path, progress)
    })?;
    if as_json {
        output::json(&copied);
        return Ok(Exit::Ok);
    }
    for name in ["tasks", "events", "values"] {
        show!("{name:<9} {}", copied[name]);
    }
    let digest = copied["sha256"].as_str().unwrap_or_default();
    show!("sha256    {digest} (of all logs)");
    status!(
        "each task is the same in both. The data folder stays as it is: its tasks go on where a server is started, \
         so start none on it without `store.url`"
    );
    Ok(Exit::Ok)
}

/// Brings over the tasks of the first Opspawn.
fn version_1(config: &Config, source: &Path, as_json: bool) -> Result<Exit> {
    let brought = backup::counting("bringing over tasks of the first Opspawn", |progress| {
        version_1::bring(config, source, progress)
    })?;
    let notes = |notes: &[Note]| -> Vec<Value> {
        let note = |note: &Note| json!({"task_id": note.task_id, "why": note.why});
        notes.iter().map(note).collect()
    };
    if as_json {
        output::json(&json!({
            "found": brought.found,
            "imported": brought.imported,
            "already": brought.already,
            "left_out": notes(&brought.left_out),
            "changed": notes(&brought.changed),
        }));
        return Ok(Exit::Ok);
    }
    show!("found     {}", brought.found);
    show!("imported  {}", brought.imported);
    show!("already   {}", brought.already);
    show!("left out  {}", brought.left_out.len());
    for (what, notes) in [
        ("left out", &brought.left_out),
        ("changed", &brought.changed),
    ] {
        for Note { task_id, why } in notes {
            status!("{what}: {task_id}: {why}");
        }
    }
    Ok(Exit::Ok)
}
