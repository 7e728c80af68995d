//! Worker sessions: rows, so that every server knows them. What a session is to stop is read from the tasks that
//! it holds.

use ops_core::{
    SessionId, TaskId, TenantId,
    ports::{Configuration, HeartbeatReply, StoreError},
    rules::lease::{Stop, stop},
    task::PAUSED,
};
use tokio_postgres::types::Type;

use crate::postgres::{
    connection::Param,
    listen::ENDED,
    options::Time,
    schema::rows::LOADED,
    schema::rows::{self, LIFE, LINKS},
    shared::micros,
    work::Work,
};

type Result<T> = std::result::Result<T, StoreError>;

impl Work<'_> {
    /// The time that heartbeats are compared by.
    pub(crate) fn last_heartbeat(&self) -> i64 {
        match &self.shared.options.time {
            Time::Given(clock) => clock.boot_micros(),
            Time::Database => self.now.0,
        }
    }

    // Renews a session that claims: an idle one is kept alive by looks, which are seldom, and a lease must not be
    // over as soon as it begins.
    pub(crate) fn renew(&mut self, session: &[u8], last_heartbeat: i64, ttl: i64) -> Result<()> {
        let now = self.last_heartbeat();
        if self.shared.elsewhere.is_on() && now - last_heartbeat > ttl / 4 {
            let sql = "UPDATE sessions SET last_heartbeat = $2 WHERE session_id = $1";
            self.execute(sql, &[(&session, Type::BYTEA), (&now, Type::INT8)])?;
        }
        Ok(())
    }
}

/// Opens a session, or keeps it alive.
pub(crate) fn open(work: &mut Work<'_>, session: SessionId) -> Result<()> {
    let sql = "INSERT INTO sessions (session_id, last_heartbeat, ttl_micros) VALUES ($1, $2, $3) \
        ON CONFLICT (session_id) DO UPDATE SET last_heartbeat = excluded.last_heartbeat WHERE NOT sessions.over";
    let (id, last_heartbeat) = (&session.as_bytes()[..], work.last_heartbeat());
    let ttl = micros(work.shared.options.session_ttl);
    let params: [Param<'_>; 3] = [
        (&id, Type::BYTEA),
        (&last_heartbeat, Type::INT8),
        (&ttl, Type::INT8),
    ];
    match work.execute(sql, &params)? {
        0 => Err(StoreError::SessionOver),
        _ => Ok(()),
    }
}

/// Says which queues a session serves.
pub(crate) fn serve(work: &mut Work<'_>, session: SessionId, queues: &[String]) -> Result<()> {
    let sql = "UPDATE sessions SET queues = $2 WHERE session_id = $1 AND NOT over";
    let id = &session.as_bytes()[..];
    let names: Vec<&[u8]> = queues.iter().map(|queue| queue.as_bytes()).collect();
    match work.execute(sql, &[(&id, Type::BYTEA), (&names, Type::BYTEA_ARRAY)])? {
        0 => Err(StoreError::SessionOver),
        _ => Ok(()),
    }
}

/// Stores the configuration of the worker of a session.
pub(crate) fn describe(
    work: &mut Work<'_>,
    session: SessionId,
    configuration: &Configuration,
) -> Result<()> {
    let text = serde_json::to_string(configuration)
        .map_err(|error| StoreError::Unreadable(error.to_string()))?;
    let sql = "UPDATE sessions SET configuration = $2 WHERE session_id = $1 AND NOT over";
    let id = &session.as_bytes()[..];
    match work.execute(sql, &[(&id, Type::BYTEA), (&text, Type::TEXT)])? {
        0 => Err(StoreError::SessionOver),
        _ => Ok(()),
    }
}

// Keeps a session alive, and says what it is to stop, and whether it holds a lease: one statement.
pub(crate) fn heartbeat(work: &mut Work<'_>, session: SessionId) -> Result<(HeartbeatReply, bool)> {
    let sql = format!(
        "WITH beat AS (UPDATE sessions SET last_heartbeat = $2 WHERE session_id = $1 AND NOT over \
           RETURNING session_id) \
         SELECT {LIFE}, {LINKS}, EXISTS (SELECT 1 FROM tasks WHERE session_id = $1) \
         FROM beat LEFT JOIN tasks ON tasks.session_id = beat.session_id \
           AND (tasks.state = 'cancelling' OR tasks.flags & {PAUSED} <> 0)"
    );
    let (id, last_heartbeat) = (&session.as_bytes()[..], work.last_heartbeat());
    let found = work.ask(&sql, &[(&id, Type::BYTEA), (&last_heartbeat, Type::INT8)])?;
    let Some(first) = found.first() else {
        return Err(StoreError::SessionOver);
    };
    let holds = rows::get(first, LOADED)?;
    let mut reply = HeartbeatReply::default();
    // A session that has nothing to stop has one row without a task.
    let held = found
        .iter()
        .filter_map(|row| rows::linked(row).ok().zip(rows::linked_key(row).ok()));
    for (linked, key) in held {
        let stops: &mut Vec<(TenantId, TaskId)> = match stop(&linked.life) {
            Some(Stop::Cancel(_)) => &mut reply.cancel,
            Some(Stop::Pause(_)) => &mut reply.pause,
            None => continue,
        };
        stops.push(key);
    }
    reply.cancel.sort_unstable();
    reply.pause.sort_unstable();
    Ok((reply, holds))
}

/// Ends a session and takes its leases back.
pub(crate) fn close(work: &mut Work<'_>, session: SessionId) -> Result<()> {
    let sql = "SELECT 1 FROM sessions WHERE session_id = $1 FOR UPDATE";
    let id = &session.as_bytes()[..];
    if work.ask(sql, &[(&id, Type::BYTEA)])?.is_empty() {
        return Ok(());
    }
    end(work, session)
}

// Ends the sessions whose heartbeats stopped; says how many. So are leases of sessions that are not there taken
// back: those of a database that was restored.
pub(crate) fn expire(work: &mut Work<'_>) -> Result<u32> {
    let sql = format!(
        "SELECT session_id FROM sessions WHERE {ENDED} ORDER BY session_id FOR UPDATE SKIP LOCKED"
    );
    let now = work.last_heartbeat();
    let allowance = micros(work.shared.elsewhere.idle_allowance());
    let mut ended = 0;
    let found = work.ask(&sql, &[(&now, Type::INT8), (&allowance, Type::INT8)])?;
    for row in &found {
        if let Some(session) = rows::session_id(row, 0)? {
            end(work, session)?;
            ended += 1;
        }
    }
    let sql = "SELECT DISTINCT session_id FROM tasks WHERE session_id IS NOT NULL \
        AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.session_id = tasks.session_id)";
    let orphaned = work.ask(sql, &[])?;
    for row in &orphaned {
        if let Some(session) = rows::session_id(row, 0)? {
            work.verb(|write| write.end_session(session))?;
        }
    }
    Ok(ended)
}

fn end(work: &mut Work<'_>, session: SessionId) -> Result<()> {
    let id = &session.as_bytes()[..];
    work.verb(|write| write.end_session(session))?;
    let sql = "DELETE FROM sessions WHERE session_id = $1";
    work.execute(sql, &[(&id, Type::BYTEA)])?;
    Ok(())
}
