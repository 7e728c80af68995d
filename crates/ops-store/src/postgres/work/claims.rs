//! What a claim looks at, and the tasks of a time.

use ops_core::{
    Micros, SessionId, TenantId,
    ports::{StoreError, TaskRecord},
    rules::claim::{CRASH_LOOP_LOSSES, Class, MAX_PRIORITY, Order},
    verbs::Numbered,
};
use tokio_postgres::types::Type;

use super::Work;
use crate::postgres::{
    connection::Param,
    schema::rows::{self, LIFE, LINKS, LOADED, REQUEST},
};

type Result<T> = std::result::Result<T, StoreError>;

impl Work<'_> {
    pub(super) fn session_lives(&mut self, session: SessionId) -> Result<bool> {
        // A session that is being ended waits for this claim, and takes its leases back as well.
        let sql = "SELECT over, last_heartbeat, ttl_micros FROM sessions WHERE session_id = $1 \
            FOR KEY SHARE";
        let session = &session.as_bytes()[..];
        let found = self.look(sql, &[(&session, Type::BYTEA)])?;
        let Some(row) = found.first() else {
            return Ok(false);
        };
        let over: bool = rows::get(row, 0)?;
        if !over {
            self.renew(session, rows::get(row, 1)?, rows::get(row, 2)?)?;
        }
        Ok(!over)
    }

    pub(super) fn candidates(
        &mut self,
        queue: &str,
        (class, order): (Class, Order),
        limit: u32,
    ) -> Result<Vec<TaskRecord>> {
        let ready = format!(
            "state = 'pending' AND queue = $1 AND (lease_losses >= {CRASH_LOOP_LOSSES}) = $2"
        );
        let chosen = match order {
            Order::Priority => "ORDER BY priority DESC, task_id LIMIT $3".to_owned(),
            // The index has the ready tasks by priority and then age: the oldest of all are among the oldest of
            // each priority.
            Order::Age => format!(
                "AND (tenant_id, task_id) IN (SELECT oldest.tenant_id, oldest.task_id \
                   FROM generate_series(0, {MAX_PRIORITY}) AS level \
                   CROSS JOIN LATERAL (SELECT tenant_id, task_id FROM tasks \
                     WHERE {ready} AND priority = level ORDER BY task_id LIMIT $3) AS oldest \
                   ORDER BY oldest.task_id LIMIT $3) \
                 ORDER BY task_id"
            ),
        };
        let sql = format!(
            "SELECT {LIFE}, {LINKS}, {REQUEST} FROM tasks \
             JOIN task_requests AS asked USING (tenant_id, task_id) \
             WHERE {ready} {chosen} FOR NO KEY UPDATE OF tasks SKIP LOCKED"
        );
        let (bytes, suspects) = (queue.as_bytes(), class == Class::CrashLoopSuspect);
        let limit = i64::from(limit);
        let params: [Param<'_>; 3] = [
            (&bytes, Type::BYTEA),
            (&suspects, Type::BOOL),
            (&limit, Type::INT8),
        ];
        let mut ready = Vec::new();
        for (key, row) in self.load_all(&sql, &params)? {
            let whole = rows::record(&row).and_then(|sparse| self.whole(sparse));
            match whole {
                Ok(record) => ready.push(record),
                Err(StoreError::Unreadable(error)) => {
                    tracing::error!(task = %key.1, error, "a task cannot be read and stays ready");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ready)
    }

    pub(super) fn any_suspect_leased(&mut self) -> Result<bool> {
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM tasks JOIN sessions USING (session_id) \
               WHERE lease_losses >= {CRASH_LOOP_LOSSES}), \
             EXISTS (SELECT 1 FROM tasks WHERE lease_losses >= {CRASH_LOOP_LOSSES} \
               AND state = 'pending')"
        );
        let found = self.ask(&sql, &[])?;
        let Some(row) = found.first() else {
            return Ok(true);
        };
        let (leased, ready): (bool, bool) = (rows::get(row, 0)?, rows::get(row, 1)?);
        if leased || !ready {
            return Ok(leased);
        }
        // Two claims at once must not both find that none is leased.
        self.lock("suspect", TenantId::DEFAULT, "")?;
        let found = self.ask(&sql, &[])?;
        found.first().map_or(Ok(true), |row| rows::get(row, 0))
    }

    /// Loads tasks with the two columns of [`Numbered`] behind `LIFE` and `LINKS`.
    pub(super) fn numbered(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Numbered>> {
        let mut numbered = Vec::new();
        for (key, row) in self.load_all(sql, params)? {
            numbered.push(Numbered {
                at: Micros(rows::get(&row, LOADED)?),
                number: rows::get(&row, LOADED + 1)?,
                key,
            });
        }
        Ok(numbered)
    }
}
