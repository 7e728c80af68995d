//! Claim: leases ready tasks to a session.

use std::sync::Arc;

use ops_core::{
    Command, decide,
    ports::{ClaimRequest, StoreError, TaskRecord},
};
use rusqlite::Connection;

use super::{
    batch::{Batch, Loaded},
    error::Fault,
    inbox::Inbox,
    prepare::{Outside, Prepared},
    request::{Apply, Request},
    rows::{self, Sparse, record_columns},
};

/// The most tasks in one claim.
const MOST: u32 = 1_000;

/// Leased tasks on their way to the worker. If nobody takes them (the caller went away), they are
/// given back at once instead of when the session ends.
#[derive(Debug)]
pub(super) struct Claimed {
    records: Vec<Sparse>,
    inbox: Arc<Inbox<Request>>,
}

impl Claimed {
    pub(super) fn new(records: Vec<Sparse>, inbox: Arc<Inbox<Request>>) -> Self {
        Self { records, inbox }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.records.iter().all(Sparse::is_whole)
    }

    /// Fetches the missing values.
    pub(super) fn fill(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        self.records
            .iter_mut()
            .try_for_each(|record| record.fill(conn))
    }

    /// The worker has them.
    pub(super) fn take(mut self) -> Vec<TaskRecord> {
        std::mem::take(&mut self.records)
            .into_iter()
            .map(Sparse::into_record)
            .collect()
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        for record in self.records.drain(..) {
            let command = Command::Release {
                epoch: record.life().epoch,
            };
            let apply = Apply {
                tenant: record.task().tenant,
                task: record.task().id,
                prepared: Prepared {
                    command,
                    outside: Outside::default(),
                },
            };
            // A writer that has stopped holds no lease either: the next start voids them all.
            let _ = self.inbox.push(Request::Apply(apply, None));
        }
    }
}

pub(super) fn claim(batch: &mut Batch<'_>, request: &ClaimRequest) -> Result<Vec<Sparse>, Fault> {
    if !batch.sessions.is_open(request.session) {
        return Err(StoreError::SessionOver.into());
    }
    let mut claimed = Vec::new();
    for (mut record, row) in ready(batch.conn, request)? {
        let before = Loaded {
            row,
            tenant: record.task().tenant,
            life: record.life().clone(),
        };
        let command = Command::Claim {
            session: request.session,
        };
        // Only pending tasks were selected, and those take a claim.
        let decision = decide(&before.life, command, batch.now).map_err(StoreError::from)?;
        record.set_life(batch.write(&before, decision, &Outside::default())?);
        claimed.push(record);
    }
    Ok(claimed)
}

/// The tasks that a claim takes, with their rows.
fn ready(conn: &Connection, request: &ClaimRequest) -> rusqlite::Result<Vec<(Sparse, i64)>> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT ",
        record_columns!(),
        ", task_row FROM tasks INDEXED BY tasks_ready JOIN task_requests USING (task_row) \
         WHERE state = 'pending' AND queue = ? ORDER BY priority DESC, task_id LIMIT ?"
    ))?;
    select
        .query_map((&request.queue, request.max.min(MOST)), |row| {
            Ok((rows::record(row)?, row.get(rows::RECORD_COLUMNS)?))
        })?
        .collect()
}
