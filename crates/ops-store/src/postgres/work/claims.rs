//! What a claim looks at, and the tasks of a time.

use ops_core::{
    Micros, SessionId, TenantId,
    ports::{StoreError, TaskRecord},
    rules::claim::{CRASH_LOOP_LOSSES, Class, MAX_PRIORITY, Order, share, turns_of_tenants},
    verbs::Numbered,
};
use tokio_postgres::types::Type;

use super::Work;
use crate::postgres::{
    connection::Param,
    schema::rows::{self, LIFE, LINKS, LOADED, REQUEST},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Ready tasks that are no suspects, as the index of ready tasks has them. The class is a number: the planner turns a
/// comparison with `false` into another condition, which no index is found for, and sorts the whole backlog.
const USUAL: &str = "state = 'pending' AND (lease_losses >= 2)::int = 0";
const _: () = assert!(CRASH_LOOP_LOSSES == 2, "the queries and the index say so");

/// The meaning of ready tasks of other tenants for the next tasks of some tenants.
#[derive(Clone, Copy)]
enum Others {
    /// No change: the tenants have the turn.
    Pass,
    /// No task is given: a tenant thought to be alone is not alone.
    Refuse,
}

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
        after: Option<TenantId>,
        limit: u32,
    ) -> Result<Vec<TaskRecord>> {
        match (class, self.shared.lone_tenant(queue, self.now)) {
            // Few, if any: no index has them by tenant.
            (Class::CrashLoopSuspect, _) => return self.suspects(queue, after, limit),
            (Class::Usual, Some(tenant)) => {
                let found = self.ready_of(queue, &[tenant], order, limit, Others::Refuse)?;
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            (Class::Usual, None) => {}
        }
        let ready = self.ready_tenants(queue, after, limit.max(2))?;
        self.shared.found_tenants(queue, self.now, &ready);
        let tenants = turns_of_tenants(ready, after, limit);
        match tenants.is_empty() {
            true => Ok(Vec::new()),
            false => {
                let share = share(limit, tenants.len());
                self.ready_of(queue, &tenants, order, share, Others::Pass)
            }
        }
    }

    // Tenants with ready tasks, found by steps in the index: at most so many from the tenant after the last one to the end,
    // and as many from the first one on. Two are enough to see that there is more than one.
    fn ready_tenants(
        &mut self,
        queue: &str,
        after: Option<TenantId>,
        most: u32,
    ) -> Result<Vec<TenantId>> {
        let round = |name: &str, from: &str, until: &str| {
            // The order is that of the index, so that no other index is taken for the step.
            let step = |from: &str| {
                format!(
                    "SELECT tenant_id FROM tasks WHERE {USUAL} AND queue = $1 AND tenant_id > {from} {until} \
                     ORDER BY tenant_id, priority DESC, task_id LIMIT 1"
                )
            };
            let (first, next) = (step(from), step(&format!("{name}.tenant_id")));
            format!(
                "{name} (tenant_id, n) AS (SELECT first.tenant_id, 1 FROM ({first}) AS first UNION ALL \
                   SELECT next.tenant_id, n + 1 FROM {name} CROSS JOIN LATERAL ({next}) AS next WHERE n < $2)"
            )
        };
        let (later, sooner) = (
            round("later", "$3", ""),
            round("sooner", "-1", "AND tenant_id <= $3"),
        );
        let sql = format!(
            "WITH RECURSIVE {later}, {sooner} SELECT tenant_id FROM later UNION ALL SELECT tenant_id FROM sooner"
        );
        let (bytes, most) = (queue.as_bytes(), i64::from(most));
        let from = after.map_or(-1, |tenant| i64::from(tenant.0));
        let params: [Param<'_>; 3] = [
            (&bytes, Type::BYTEA),
            (&most, Type::INT8),
            (&from, Type::INT8),
        ];
        let found = self.ask(&sql, &params)?;
        let tenant = |row: &tokio_postgres::Row| {
            let number: i64 = rows::get(row, 0)?;
            Ok(TenantId(u32::try_from(number).unwrap_or(u32::MAX)))
        };
        let mut ready: Vec<TenantId> = found.iter().map(tenant).collect::<Result<_>>()?;
        ready.sort_unstable();
        Ok(ready)
    }

    // The next tasks of tenants, so many of each. Where other tenants are refused, there is one tenant.
    fn ready_of(
        &mut self,
        queue: &str,
        tenants: &[TenantId],
        order: Order,
        share: u32,
        others: Others,
    ) -> Result<Vec<TaskRecord>> {
        let ready = format!("{USUAL} AND queue = $1");
        let (chosen, in_tenant) = match order {
            Order::Priority => (
                format!(
                    "{ready} AND tasks.tenant_id = turns.tenant_id ORDER BY priority DESC, task_id LIMIT $3"
                ),
                "tasks.priority DESC, tasks.task_id",
            ),
            // The index has the ready tasks of a tenant by priority and then age: the oldest of all are among the oldest
            // of each priority.
            Order::Age => (
                format!(
                    "{ready} AND (tasks.tenant_id, tasks.task_id) IN (SELECT turns.tenant_id, oldest.task_id \
                       FROM generate_series(0, {MAX_PRIORITY}) AS level \
                       CROSS JOIN LATERAL (SELECT task_id FROM tasks \
                         WHERE {ready} AND tenant_id = turns.tenant_id AND priority = level \
                         ORDER BY task_id LIMIT $3) AS oldest \
                       ORDER BY oldest.task_id LIMIT $3) \
                     ORDER BY task_id LIMIT $3"
                ),
                "tasks.task_id",
            ),
        };
        // Asked once, before a row is locked. The order is that of the index.
        let none_of = |others: &str| {
            format!(
                "(SELECT tenant_id FROM tasks WHERE {ready} AND tenant_id {others} ($2)[1] \
                   ORDER BY tenant_id, priority DESC, task_id LIMIT 1) IS NULL"
            )
        };
        let alone = match others {
            Others::Pass => String::new(),
            Others::Refuse => format!("WHERE {} AND {}", none_of("<"), none_of(">")),
        };
        let sql = format!(
            "SELECT {LIFE}, {LINKS}, {REQUEST} FROM unnest($2) WITH ORDINALITY AS turns (tenant_id, n) \
             CROSS JOIN LATERAL (SELECT * FROM tasks WHERE {chosen} FOR NO KEY UPDATE OF tasks SKIP LOCKED) AS tasks \
             JOIN task_requests AS asked ON asked.tenant_id = tasks.tenant_id AND asked.task_id = tasks.task_id \
             {alone} ORDER BY turns.n, {in_tenant}"
        );
        let (bytes, share) = (queue.as_bytes(), i64::from(share));
        let tenants: Vec<i64> = tenants.iter().map(|tenant| tenant.0.into()).collect();
        let params: [Param<'_>; 3] = [
            (&bytes, Type::BYTEA),
            (&tenants, Type::INT8_ARRAY),
            (&share, Type::INT8),
        ];
        self.records(&sql, &params)
    }

    fn suspects(
        &mut self,
        queue: &str,
        after: Option<TenantId>,
        limit: u32,
    ) -> Result<Vec<TaskRecord>> {
        let sql = format!(
            "SELECT {LIFE}, {LINKS}, {REQUEST} FROM tasks \
             JOIN task_requests AS asked USING (tenant_id, task_id) \
             WHERE state = 'pending' AND (lease_losses >= {CRASH_LOOP_LOSSES})::int = 1 AND queue = $1 \
             ORDER BY tasks.tenant_id <= $2, tasks.tenant_id, priority DESC, tasks.task_id LIMIT $3 \
             FOR NO KEY UPDATE OF tasks SKIP LOCKED"
        );
        let bytes = queue.as_bytes();
        let from = after.map_or(-1, |tenant| i64::from(tenant.0));
        let limit = i64::from(limit);
        let params: [Param<'_>; 3] = [
            (&bytes, Type::BYTEA),
            (&from, Type::INT8),
            (&limit, Type::INT8),
        ];
        self.records(&sql, &params)
    }

    fn records(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<TaskRecord>> {
        let mut ready = Vec::new();
        for (key, row) in self.load_all(sql, params)? {
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
