// A look at the database: what a process that does nothing else has to know, in one transaction.

use std::{collections::BTreeSet, time::Duration};

use ops_core::{Micros, SessionId};
use tokio_postgres::types::Type;

use super::LISTENS;
use crate::postgres::{
    connection::{Connection, Param},
    error::Failure,
    schema::rows,
    shared::micros,
};

/// Processes look so often in all, in seconds: one alone once a second, a hundred every 25 s each.
const LOOKS_A_SECOND: f64 = 4.0;
const MIN_INTERVAL: f64 = 1.0;
const MAX_INTERVAL: f64 = 60.0;
/// A session that is idle is kept alive when its last sign of life is so old.
const BEAT: Duration = Duration::from_secs(20);
/// A date that is so long past was missed by the process that knew of it.
const OVERDUE: Duration = Duration::from_secs(2);

/// Whether a session is over: at time `$1`, where an idle session lives `$2` longer. A claim renews the session
/// that it leases tasks to, under a lock that this waits for and then looks again.
pub(crate) const ENDED: &str = "(over OR $1 - last_heartbeat > ttl_micros \
    AND ($1 - last_heartbeat > ttl_micros + $2 \
      OR EXISTS (SELECT 1 FROM tasks WHERE tasks.session_id = sessions.session_id)))";

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// The time of the database.
    pub(super) now: Micros,
    /// Sessions of all processes.
    pub(crate) live: u64,
    /// Connections that listen, this one too.
    pub(crate) listeners: i64,
    /// Those of the sessions asked about that are not over.
    pub(super) sessions: BTreeSet<SessionId>,
    /// Whether a session of any process has to be ended.
    pub(crate) has_expired: bool,
    /// Whether a task has missed its date.
    pub(super) is_overdue: bool,
    /// Queues with tasks that are ready.
    pub(crate) queues: Vec<String>,
    /// Queues that live workers serve.
    pub(crate) served: Vec<String>,
}

/// The time between two looks of a process, where so many sessions are live; `jitter` is about 1.
pub(super) fn interval(live: u64, jitter: f64) -> Duration {
    let live = u32::try_from(live).map_or(f64::from(u32::MAX), f64::from);
    let seconds = (live / LOOKS_A_SECOND).clamp(MIN_INTERVAL, MAX_INTERVAL);
    Duration::from_secs_f64(seconds * jitter)
}

/// Looks, and keeps idle sessions alive.
pub(super) fn look(
    conn: &Connection,
    idle: &BTreeSet<SessionId>,
    allowance: Duration,
) -> Result<Look, Failure> {
    let now = "(extract(epoch FROM clock_timestamp()) * 1000000)::int8";
    let ids: Vec<&[u8]> = idle.iter().map(|session| &session.as_bytes()[..]).collect();
    let beat = format!(
        "UPDATE sessions SET last_heartbeat = {now} WHERE session_id = ANY($1) AND NOT over \
         AND {now} - last_heartbeat > $2"
    );
    let (beat_after, overdue) = (micros(BEAT), micros(OVERDUE));
    let beats: [Param<'_>; 2] = [(&ids, Type::BYTEA_ARRAY), (&beat_after, Type::INT8)];
    let ended = ENDED.replace("$1", "now.at");
    let sql = format!(
        "WITH RECURSIVE now (at) AS MATERIALIZED (SELECT {now}), ready (name) AS ( \
           (SELECT queue FROM tasks WHERE state = 'pending' ORDER BY queue LIMIT 1) \
           UNION ALL \
           SELECT (SELECT queue FROM tasks WHERE state = 'pending' AND queue > name \
             ORDER BY queue LIMIT 1) FROM ready WHERE name IS NOT NULL) \
         SELECT (SELECT count(*) FROM sessions WHERE NOT over), \
           (SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = '{LISTENS}'), \
           ARRAY (SELECT session_id FROM sessions WHERE session_id = ANY($1) AND NOT over), \
           EXISTS (SELECT 1 FROM sessions WHERE {ended}) OR EXISTS ( \
             SELECT 1 FROM tasks WHERE session_id IS NOT NULL AND NOT EXISTS ( \
               SELECT 1 FROM sessions WHERE sessions.session_id = tasks.session_id)), \
           EXISTS (SELECT 1 FROM tasks WHERE due_at IS NOT NULL AND due_at < now.at - $3) \
             OR EXISTS (SELECT 1 FROM tasks WHERE expires_at IS NOT NULL AND expires_at < now.at - $3), \
           ARRAY (SELECT name FROM ready WHERE name IS NOT NULL), \
           ARRAY (SELECT DISTINCT unnest(queues) FROM sessions WHERE NOT over ORDER BY 1), now.at \
         FROM now"
    );
    let allowance = micros(allowance);
    let params: [Param<'_>; 3] = [
        (&ids, Type::BYTEA_ARRAY),
        (&allowance, Type::INT8),
        (&overdue, Type::INT8),
    ];
    let (_, found) = conn.begin_with((&beat, &beats), (&sql, &params))?;
    conn.commit()?;
    let row = found
        .first()
        .ok_or_else(|| Failure::give("the database answers nothing"))?;
    let unread = |error: ops_core::ports::StoreError| Failure::give(error.to_string());
    let sessions: Vec<&[u8]> = rows::get(row, 2).map_err(unread)?;
    let queues: Vec<&[u8]> = rows::get(row, 5).map_err(unread)?;
    let served: Vec<&[u8]> = rows::get(row, 6).map_err(unread)?;
    let live: i64 = rows::get(row, 0).map_err(unread)?;
    let id = |bytes: &[u8]| Some(SessionId::from_bytes(bytes.try_into().ok()?));
    Ok(Look {
        now: Micros(rows::get(row, 7).map_err(unread)?),
        live: u64::try_from(live).unwrap_or(0),
        listeners: rows::get(row, 1).map_err(unread)?,
        sessions: sessions.into_iter().filter_map(id).collect(),
        has_expired: rows::get(row, 3).map_err(unread)?,
        is_overdue: rows::get(row, 4).map_err(unread)?,
        queues: names(queues),
        served: names(served),
    })
}

fn names(of: Vec<&[u8]>) -> Vec<String> {
    let texts = of.into_iter().map(String::from_utf8_lossy);
    texts.map(std::borrow::Cow::into_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bound of `docs/operations.md`: idle processes cost the database five transactions a second at most, a
    /// notification to themselves every five minutes included.
    #[test]
    fn idle_processes_look_so_seldom_that_all_of_them_cost_little() {
        for live in 1..=240_u64 {
            let looks = f64::from(u32::try_from(live).unwrap()) / interval(live, 1.0).as_secs_f64();
            let probes =
                f64::from(u32::try_from(live).unwrap()) / super::super::PROBE.as_secs_f64();
            assert!(looks + probes <= 5.0, "{live}: {looks} and {probes}");
        }
        assert_eq!(interval(1, 1.0), Duration::from_secs(1));
        assert_eq!(interval(100, 1.0), Duration::from_secs(25));
        assert_eq!(interval(1_000_000, 1.0), Duration::from_secs(60));
        // An idle session is kept alive before its time is over.
        assert!(interval(u64::MAX, 1.25) + BEAT < super::super::IDLE_ALLOWANCE);
    }
}
