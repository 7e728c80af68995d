//! Repeated appends. A worker whose acknowledgement was lost sends its append again; if the log
//! shows that it was committed, by the same epoch, it succeeds again and writes nothing.

use ops_core::{Append, NewEvent, Next, event::TaskEvent};
use rusqlite::{Connection, OptionalExtension as _};

use crate::sqlite::{
    schema::rows::{self, event_columns, signed},
    values::{
        blob::{Digest, Packed},
        prepare::Outside,
    },
    writer::batch::Loaded,
};

/// Whether the log has exactly what an append would write, where it would write it.
pub(crate) fn is_repeated(
    conn: &Connection,
    task: &Loaded,
    append: &Append,
    outside: &Outside,
) -> rusqlite::Result<bool> {
    if append.events.is_empty() && append.next == Next::Continue {
        return Ok(false);
    }
    let end = match &append.next {
        Next::Continue => 0,
        Next::Complete { .. } | Next::Fail { .. } | Next::Wait(_) | Next::Cancelled => 1,
    };
    let last = append
        .expected_seq
        .saturating_add(append.events.len() as u64 + end);
    if last > task.life.seq {
        return Ok(false);
    }
    let mut select = conn.prepare_cached(concat!(
        "SELECT ",
        event_columns!(),
        " FROM events WHERE tenant_id = ? AND task_row = ? AND seq > ? AND seq <= ? AND epoch = ? \
         ORDER BY seq"
    ))?;
    let mut stored = select.query((
        task.tenant.0,
        task.row,
        signed(append.expected_seq),
        signed(last),
        signed(append.epoch),
    ))?;
    for (index, given) in append.events.iter().enumerate() {
        let Some(row) = stored.next()? else {
            return Ok(false);
        };
        let (event, digest) = rows::event(row)?;
        if !same(&event.event, digest, given, outside.body(index)) {
            return Ok(false);
        }
    }
    if end == 0 {
        return Ok(true);
    }
    let Some(row) = stored.next()? else {
        return Ok(false);
    };
    let (event, digest) = rows::event(row)?;
    let is = |expected: TaskEvent| same(&event.event, digest, &expected.envelope(), None);
    Ok(match &append.next {
        Next::Continue => true,
        Next::Complete { result } => {
            is(TaskEvent::Completed {}) && has_result(conn, task, result.as_str(), outside.result)?
        }
        Next::Fail { error, retryable } => {
            let failed = TaskEvent::Failed {
                error: error.clone(),
                dead_letter: *retryable,
            };
            is(failed)
                || match TaskEvent::decode(&event.event.body) {
                    Ok(TaskEvent::RetryScheduled { error: stored, .. }) => {
                        *retryable && stored == *error
                    }
                    Ok(_) | Err(_) => false,
                }
        }
        Next::Wait(wait) => is(TaskEvent::Waiting { wait: wait.clone() }),
        Next::Cancelled => is(TaskEvent::Cancelled {}),
    })
}

/// Whether a stored event is the given one.
fn same(
    stored: &NewEvent,
    stored_digest: Option<Digest>,
    given: &NewEvent,
    given_digest: Option<Digest>,
) -> bool {
    let bodies = match (stored_digest, given_digest) {
        (None, None) => stored.body == given.body,
        (Some(stored), Some(given)) => stored == given,
        (Some(stored), None) => stored == Packed::new(&given.body).digest,
        (None, Some(_)) => false,
    };
    bodies && stored.kind == given.kind && stored.step == given.step
}

fn has_result(
    conn: &Connection,
    task: &Loaded,
    given: &str,
    given_digest: Option<Digest>,
) -> rusqlite::Result<bool> {
    let mut select =
        conn.prepare_cached("SELECT result, result_digest FROM tasks WHERE task_row = ?")?;
    let stored = select
        .query_row([task.row], |row| {
            Ok((
                row.get::<_, Option<String>>(0)?,
                row.get::<_, Option<Digest>>(1)?,
            ))
        })
        .optional()?;
    Ok(match stored {
        Some((Some(text), None)) => text == given,
        Some((None, Some(digest))) => given_digest == Some(digest),
        Some(_) | None => false,
    })
}
