// Holds the copy against its source: each task and each event as the queries of both stores read them, with the
// checksums that SQLite keeps of its rows, and each large value with its digest.

use ops_core::{
    StoredEvent, TaskId, TenantId,
    ports::{StoreError, TaskStore as _},
};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use tokio_postgres::types::Type;

use super::{ImportError, LeftOut, Progress, Target, left_out};
use crate::{
    postgres::{
        connection::{Param, runtime},
        queries::{Found, reads},
    },
    sqlite::SqliteStore,
};

/// The most events that are read at once.
const PAGE: u32 = 500;

pub(super) struct Logs {
    pub(super) tasks: u64,
    pub(super) events: u64,
    pub(super) digest: String,
}

/// Compares each large value with its SHA-256; gives their number.
pub(super) fn values(target: &Target<'_>, left_out: &mut LeftOut) -> Result<u64, ImportError> {
    let damaged = "(SELECT tenant_id, digest FROM (SELECT tenant_id, digest, \
        sha256(string_agg(bytes, ''::bytea ORDER BY chunk)) AS sum FROM blobs GROUP BY tenant_id, digest) AS value \
        WHERE digest <> sum)";
    let count = target.number(&format!("SELECT count(*) FROM {damaged} AS damaged"))?;
    if count > 0 {
        left_out.note(ImportError::Differs {
            what: format!("the content of {count} large values"),
        })?;
        let delete = format!("DELETE FROM blobs WHERE (tenant_id, digest) IN {damaged}");
        target.check(target.conn.execute_all(&delete))?;
    }
    let missing = "SELECT count(*) FROM blob_refs WHERE NOT EXISTS (SELECT 1 FROM blobs \
        WHERE blobs.tenant_id = blob_refs.tenant_id AND blobs.digest = blob_refs.digest)";
    if target.number(missing)? > 0 {
        left_out.note(ImportError::Differs {
            what: "a large value that is missing".to_owned(),
        })?;
    }
    let count = target.number("SELECT count(DISTINCT (tenant_id, digest)) FROM blobs")?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Compares each task, its log and its snapshot. Where damage is accepted, a task that differs is deleted.
pub(super) fn tasks(
    target: &Target<'_>,
    reader: &rusqlite::Connection,
    source: &SqliteStore,
    (left_out, progress): (&mut LeftOut, &(dyn Fn(Progress) + Sync)),
) -> Result<Logs, ImportError> {
    let failed = |error: std::io::Error| ImportError::Unreadable {
        why: error.to_string(),
    };
    let runtime = runtime().map_err(failed)?;
    let mut select = reader.prepare("SELECT tenant_id, task_id FROM tasks ORDER BY task_row")?;
    let mut keys = select.query([])?;
    let mut logs = Logs {
        tasks: 0,
        events: 0,
        digest: String::new(),
    };
    let mut digest = Sha256::new();
    loop {
        let key = match keys.next() {
            Ok(Some(row)) => row
                .get(0)
                .and_then(|tenant| Ok((TenantId(tenant), TaskId::from_bytes(row.get(1)?)))),
            Ok(None) => break,
            // The copy of the table has said so.
            Err(error) => {
                left_out.note(error.into())?;
                break;
            }
        };
        let (tenant, task) = match key {
            Ok(key) => key,
            Err(error) => {
                left_out.note(error.into())?;
                continue;
            }
        };
        let mut hashed = digest.clone();
        match compare(target, (source, &runtime), (tenant, task), &mut hashed) {
            Ok(events) => {
                digest = hashed;
                logs.events += events;
                logs.tasks += 1;
            }
            Err(error) => {
                left_out.note(error)?;
                left_out::delete(target, tenant, task)?;
            }
        }
        if logs.tasks.is_multiple_of(100) {
            progress(Progress {
                part: "comparison",
                rows: logs.tasks,
            });
        }
    }
    if !left_out.is_empty() {
        left_out::sweep(target)?;
    }
    let digest: [u8; 32] = digest.finalize().into();
    logs.digest = units::hex::encode(digest);
    Ok(logs)
}

/// Compares a task, its log and its snapshot; gives the number of events.
fn compare(
    target: &Target<'_>,
    (source, runtime): (&SqliteStore, &Runtime),
    (tenant, task): (TenantId, TaskId),
    digest: &mut Sha256,
) -> Result<u64, ImportError> {
    let differs = |what: &str| ImportError::Differs {
        what: format!("{what} of {task}"),
    };
    let unread = |error: StoreError| ImportError::Unreadable {
        why: format!("{task}: {error}"),
    };
    let number = i64::from(tenant.0);
    let known = runtime
        .block_on(source.task(tenant, task))
        .map_err(unread)?;
    let copied = taken(target, reads::task(target.conn, tenant, task))?;
    if copied.as_ref() != Some(&known) {
        return Err(differs("the record"));
    }
    digest.update(task.as_bytes());
    let (mut after, mut count) = (0, 0);
    while after < known.life.seq {
        let page = runtime
            .block_on(source.events(tenant, task, after, PAGE))
            .map_err(unread)?;
        let Some(last) = page.last().map(|event| event.seq) else {
            return Err(differs("the length of the log"));
        };
        let copied = copied_events(target, (tenant, task), after, page.len())?;
        if copied != page {
            return Err(differs("the log"));
        }
        for event in &page {
            digest.update(event.seq.to_be_bytes());
            digest.update(event.at.0.to_be_bytes());
            digest.update(event.event.kind.as_bytes());
            digest.update(&*event.event.body);
        }
        count += page.len() as u64;
        after = last;
    }
    let snapshot = reads::snapshot(target.conn, tenant, task);
    let copied = taken(target, snapshot)?.flatten();
    let known = runtime.block_on(ops_core::ports::RunStore::snapshot(source, tenant, task));
    if copied != known.map_err(unread)? {
        return Err(differs("the snapshot"));
    }
    let logged = "SELECT count(*) FROM events WHERE tenant_id = $1 AND task_id = $2";
    let id = &task.as_bytes()[..];
    let params: [Param<'_>; 2] = [(&number, Type::INT8), (&id, Type::BYTEA)];
    let rows = target.check(target.conn.query(logged, &params))?;
    let there: i64 = rows
        .first()
        .and_then(|row| row.try_get(0).ok())
        .unwrap_or(-1);
    if u64::try_from(there) != Ok(after) {
        return Err(differs("the length of the log"));
    }
    Ok(count)
}

/// So many events after a number.
fn copied_events(
    target: &Target<'_>,
    (tenant, task): (TenantId, TaskId),
    after: u64,
    wanted: usize,
) -> Result<Vec<StoredEvent>, ImportError> {
    let mut events: Vec<StoredEvent> = Vec::with_capacity(wanted);
    while events.len() < wanted {
        let after = events.last().map_or(after, |event| event.seq);
        let left = u32::try_from(wanted - events.len()).unwrap_or(PAGE);
        let page = reads::events(target.conn, tenant, task, after, left);
        match taken(target, page)? {
            Some(page) if !page.is_empty() => events.extend(page),
            Some(_) | None => break,
        }
    }
    Ok(events)
}

fn taken<T>(target: &Target<'_>, found: Found<T>) -> Result<T, ImportError> {
    target
        .check(found)?
        .map_err(|error| ImportError::Unreadable {
            why: format!("the copy: {error}"),
        })
}
