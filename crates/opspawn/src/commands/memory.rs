//! `opspawn memory`: facts of long-term memory, of this data folder.
//!
//! The commands open the file themselves, also while a server runs: SQLite serves several processes, and each takes the
//! others' facts in before it searches.

mod audit;

use std::{collections::BTreeSet, io::Read as _, path::Path, sync::Arc};

use agentkit::memory::long_term::{
    Fact, FactState, Filter, LongTermMemory as _, MemoryError, Mode, Namespace, NewFact,
    Provenance, Search, Source, Why,
};
use agentkit_memory::Embedded;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use ops_core::TenantId;
use serde_json::json;

use crate::{
    cli::{self, MemoryMode, Whose},
    config::Config,
    exit::{self, Exit},
    memory,
    output::{self, Table, show, status},
};

/// Facts of a page.
const PAGE: u32 = 500;
/// The largest file of an import, in bytes.
const MAX_IMPORT: u64 = 1 << 30;

/// Dispatches.
pub(super) async fn memory(config: &Config, args: cli::Memory, json: bool) -> Result<Exit> {
    let store = memory::store(config)
        .map_err(|error| exit::error(Exit::Usage, format!("{error:#}")))?
        .ok_or_else(|| {
            exit::error(
                Exit::Usage,
                "the tasks are in PostgreSQL (`store.url`), and long-term memory is not served there by this release",
            )
        })?;
    match args {
        cli::Memory::Search {
            query,
            whose,
            limit,
            label,
            mode,
        } => search(&store, &query, &whose, limit, label, mode, json).await,
        cli::Memory::Add {
            text,
            whose,
            subject,
            relation,
            label,
        } => {
            let fact = NewFact {
                text: given(&text)?,
                subject,
                relation,
                labels: label.into_iter().collect(),
                ..NewFact::default()
            };
            add(&store, &whose, fact, json).await
        }
        cli::Memory::Forget {
            id,
            whose,
            reason,
            erase,
        } => {
            let space = space(&whose);
            let ids = match erase {
                true => store.delete(&space, &id, &reason).await,
                false => store.invalidate(&space, &id, &reason).await,
            };
            tell_ids("forgotten", &ids.map_err(told)?, json);
            Ok(Exit::Ok)
        }
        cli::Memory::Restore { id, whose } => {
            let ids = store.restore(&space(&whose), &id).await.map_err(told)?;
            tell_ids("restored", &ids, json);
            Ok(Exit::Ok)
        }
        cli::Memory::Why { id, whose } => {
            let why = store.why(&space(&whose), &id).await.map_err(told)?;
            tell_why(&why, json)
        }
        cli::Memory::Export { whose } => {
            each_fact(&store, &space(&whose), |fact| {
                output::json_line(&serde_json::to_value(fact).unwrap_or_default());
            })
            .await?;
            Ok(Exit::Ok)
        }
        cli::Memory::Import { file, whose } => import(&store, &space(&whose), &file, json).await,
        cli::Memory::Reembed => reembed(&store, json).await,
        cli::Memory::Audit { whose } => audit::audit(&store, &space(&whose), json).await,
    }
}

fn space(whose: &Whose) -> Namespace {
    let tenant = TenantId::DEFAULT.0.to_string();
    Namespace::of_agent(&tenant, &whose.agent).with_user(whose.user.as_deref())
}

fn told(error: MemoryError) -> anyhow::Error {
    let exit = match error {
        MemoryError::Invalid(_) | MemoryError::Secret(_) => Exit::Usage,
        MemoryError::NotFound(_)
        | MemoryError::Vector(_)
        | MemoryError::Embedder(_)
        | MemoryError::Away(_) => Exit::Failed,
    };
    exit::error(exit, error.to_string())
}

/// A text of the command line, or of standard input.
fn given(text: &str) -> Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut read = String::new();
    let most = u64::try_from(agentkit::memory::long_term::MAX_TEXT).unwrap_or(u64::MAX);
    std::io::stdin()
        .take(most.saturating_add(1))
        .read_to_string(&mut read)
        .context("standard input is no text")?;
    Ok(read)
}

fn day(micros: i64) -> String {
    let time = Timestamp::from_microsecond(micros).unwrap_or_default();
    time.strftime("%Y-%m-%d").to_string()
}

async fn search(
    store: &Embedded,
    query: &str,
    whose: &Whose,
    limit: u32,
    labels: Vec<String>,
    mode: MemoryMode,
    json: bool,
) -> Result<Exit> {
    let search = Search {
        namespaces: space(whose).readable(),
        filter: Filter {
            labels: labels.into_iter().collect::<BTreeSet<_>>(),
            ..Filter::default()
        },
        limit,
        mode: match mode {
            MemoryMode::Hybrid => Mode::Hybrid,
            MemoryMode::Dense => Mode::Dense,
            MemoryMode::Text => Mode::Text,
        },
        ..Search::new(space(whose), query)
    };
    let found = store.search(&search).await.map_err(told)?;
    if json {
        output::json(&serde_json::to_value(&found)?);
        return Ok(Exit::Ok);
    }
    if let Some(notice) = &found.notice {
        status!("{notice}");
    }
    let mut table = Table::new(&["FACT", "SINCE", "BY", "TEXT"]);
    for hit in &found.hits {
        table.add_row([
            hit.fact.id.clone(),
            day(hit.fact.valid_micros),
            hit.fact.provenance.source.name().to_owned(),
            output::cut(&output::one_line(&hit.excerpt), 100),
        ]);
    }
    table.print();
    Ok(Exit::Ok)
}

async fn add(store: &Embedded, whose: &Whose, fact: NewFact, json: bool) -> Result<Exit> {
    let added = store.add(&space(whose), fact).await.map_err(told)?;
    if json {
        output::json(&serde_json::to_value(&added)?);
        return Ok(Exit::Ok);
    }
    show!("{}", added.id);
    if !added.is_new {
        status!("known already, nothing was added");
    }
    for id in &added.superseded {
        status!("it takes the place of {id}");
    }
    Ok(Exit::Ok)
}

fn tell_ids(what: &str, ids: &[String], json: bool) {
    if json {
        output::json(&json!({what: ids}));
        return;
    }
    for id in ids {
        show!("{what} {id}");
    }
}

fn tell_why(why: &Why, json: bool) -> Result<Exit> {
    if json {
        output::json(&serde_json::to_value(why)?);
        return Ok(Exit::Ok);
    }
    let fact = &why.fact;
    show!("fact      {}", fact.id);
    show!("state     {}", fact.state.name());
    show!(
        "text      {}",
        output::cut(&output::one_line(&fact.text), 200)
    );
    show!(
        "written   {} by {}",
        day(fact.created_micros),
        fact.provenance.source.name()
    );
    if let Some(task) = &fact.provenance.task {
        match fact.provenance.step {
            Some(step) => show!("from      {task}, step {step}"),
            None => show!("from      {task}"),
        }
    }
    if let Some(id) = &fact.superseded_by {
        show!("now       {id}");
    }
    if let Some(reason) = &fact.reason {
        show!("reason    {}", output::one_line(reason));
    }
    for (label, ids) in [("derived", &why.derived_from), ("led to", &why.led_to)] {
        for id in ids {
            show!("{label:<9} {id}");
        }
    }
    for (task, step, at) in &why.read_by {
        show!(
            "read      {} by {task}, step {}",
            day(*at),
            step.unwrap_or_default()
        );
    }
    Ok(Exit::Ok)
}

/// Calls `work` with each fact of a namespace.
async fn each_fact(store: &Embedded, space: &Namespace, mut work: impl FnMut(&Fact)) -> Result<()> {
    let mut after = None;
    loop {
        let page = store
            .list(space, after.as_deref(), PAGE)
            .await
            .map_err(told)?;
        page.facts.iter().for_each(&mut work);
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Adds the current facts of lines of JSON.
async fn import(store: &Arc<Embedded>, space: &Namespace, file: &Path, json: bool) -> Result<Exit> {
    #[derive(serde::Deserialize)]
    struct Line {
        #[serde(flatten)]
        fact: NewFact,
        #[serde(default)]
        state: FactState,
    }
    let size = std::fs::metadata(file)
        .with_context(|| file.display().to_string())?
        .len();
    if size > MAX_IMPORT {
        return Err(exit::error(
            Exit::Usage,
            format!(
                "{} has {size} bytes, and {MAX_IMPORT} are the most",
                file.display()
            ),
        ));
    }
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let (mut added, mut known, mut left_out, mut refused) = (0_u64, 0_u64, 0_u64, 0_u64);
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let place = || format!("{}, line {}", file.display(), number + 1);
        let line: Line = serde_json::from_str(line)
            .map_err(|error| exit::error(Exit::Usage, format!("{}: {error}", place())))?;
        if line.state != FactState::Current {
            left_out += 1;
            continue;
        }
        let fact = NewFact {
            // Facts that it was derived from, and steps of tasks, may not be there.
            provenance: Provenance {
                source: Source::Import,
                ..Provenance::default()
            },
            key: None,
            ..line.fact
        };
        match store.add(space, fact).await {
            Ok(done) if done.is_new => added += 1,
            Ok(_) => known += 1,
            Err(error @ (MemoryError::Invalid(_) | MemoryError::Secret(_))) => {
                status!("{}: {error}", place());
                refused += 1;
            }
            Err(error) => return Err(told(error)),
        }
    }
    if json {
        output::json(
            &json!({"added": added, "known": known, "not_current": left_out, "refused": refused}),
        );
    } else {
        show!("added {added}, known already {known}, not current {left_out}, refused {refused}");
    }
    Ok(if refused == 0 { Exit::Ok } else { Exit::Failed })
}

async fn reembed(store: &Embedded, json: bool) -> Result<Exit> {
    let progress = output::spinner("making vectors");
    let status = store
        .embed_all(|left| {
            if let Some(progress) = &progress {
                progress.set_message(format!("making vectors, {left} left"));
            }
        })
        .await;
    if let Some(progress) = &progress {
        progress.finish_and_clear();
    }
    let status = status.map_err(told)?;
    if json {
        output::json(&serde_json::to_value(&status)?);
    } else {
        show!("facts     {}", status.facts);
        show!("refused   {}", status.refused);
        show!("embedder  {}", status.embedder.unwrap_or_default());
    }
    Ok(Exit::Ok)
}
