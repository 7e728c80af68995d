//! Tasks and logs as they are read.

use ops_core::{
    Lifecycle, StoredEvent, TaskId, TenantId,
    ports::{Configuration, Counts, EVENT_BYTES, Snapshot, StoreError, TaskRecord},
    task::StateName,
};
use tokio_postgres::types::Type;

use super::{Found, read};
use crate::postgres::{
    connection::{Connection, Param},
    schema::rows::{self, EVENT, LIFE, LINKS, REQUEST, signed},
    work::{CHUNK, fill, read_value},
};

// One task; none if the tenant has no such task.
pub(crate) fn task(conn: &Connection, tenant: TenantId, task: TaskId) -> Found<Option<TaskRecord>> {
    let sql = format!(
        "SELECT {LIFE}, {LINKS}, {REQUEST} FROM tasks \
         JOIN task_requests AS asked USING (tenant_id, task_id) \
         WHERE tenant_id = $1 AND task_id = $2"
    );
    let (number, id) = (i64::from(tenant.0), &task.as_bytes()[..]);
    let found = conn.query(&sql, &[(&number, Type::INT8), (&id, Type::BYTEA)])?;
    let Some(row) = found.first() else {
        return Ok(Ok(None));
    };
    let sparse = read!(rows::record(row));
    Ok(whole(conn, sparse)?.map(Some))
}

/// A record with its large values.
pub(crate) fn whole(conn: &Connection, sparse: rows::Sparse) -> Found<TaskRecord> {
    let mut broken = None;
    let record = fill(sparse, |tenant, digest| {
        match read_value(conn, tenant, digest) {
            Ok(value) => value,
            Err(failure) => {
                let error = StoreError::Unavailable(failure.message.clone());
                broken = Some(failure);
                Err(error)
            }
        }
    });
    match broken {
        Some(failure) => Err(failure),
        None => Ok(record),
    }
}

/// A record that says how large its large values are, in place of them.
pub(crate) fn without_large(conn: &Connection, sparse: rows::Sparse) -> Found<TaskRecord> {
    let rows::Sparse {
        mut record,
        input,
        result,
    } = sparse;
    let tenant = record.task.tenant;
    for (digest, left_out) in [
        (input, &mut record.left_out.input),
        (result, &mut record.left_out.result),
    ] {
        let Some(digest) = digest else { continue };
        let sql = "SELECT coalesce(sum(octet_length(bytes)), 0)::int8 FROM blobs \
            WHERE tenant_id = $1 AND digest = $2";
        let (number, digest) = (i64::from(tenant.0), &digest[..]);
        let params: [Param<'_>; 2] = [(&number, Type::INT8), (&digest, Type::BYTEA)];
        let found = conn.query(sql, &params)?;
        *left_out = Some(read!(
            found.first().map_or(Ok(0), |row| rows::unsigned(row, 0))
        ));
    }
    Ok(Ok(record))
}

/// Where a task stands.
pub(crate) fn life(conn: &Connection, tenant: TenantId, task: TaskId) -> Found<Option<Lifecycle>> {
    let sql = format!("SELECT {LIFE} FROM tasks WHERE tenant_id = $1 AND task_id = $2");
    let (number, id) = (i64::from(tenant.0), &task.as_bytes()[..]);
    let found = conn.query(&sql, &[(&number, Type::INT8), (&id, Type::BYTEA)])?;
    let life = found.first().map(|row| rows::life(row, task)).transpose();
    Ok(life)
}

/// The number of a task's last event.
fn last_seq(conn: &Connection, tenant: TenantId, task: TaskId) -> Found<Option<u64>> {
    let sql = "SELECT seq FROM tasks WHERE tenant_id = $1 AND task_id = $2";
    let (number, id) = (i64::from(tenant.0), &task.as_bytes()[..]);
    let found = conn.query(sql, &[(&number, Type::INT8), (&id, Type::BYTEA)])?;
    let seq = found.first().map(|row| rows::unsigned(row, 0)).transpose();
    Ok(seq)
}

// Events after a number, as far as their bodies fit; none if there is no such task. Their numbers have no
// gap, and the last one is the one that the task's row names.
pub(crate) fn events(
    conn: &Connection,
    tenant: TenantId,
    task: TaskId,
    after: u64,
    limit: u32,
) -> Found<Option<Vec<StoredEvent>>> {
    let Some(last) = read!(last_seq(conn, tenant, task)?) else {
        return Ok(Ok(None));
    };
    let missing = |seq: u64| StoreError::Unreadable(format!("event {seq} of {task} is missing"));
    let sql = format!(
        "SELECT {EVENT} FROM (SELECT *, sum(octet_length(body)) OVER (ORDER BY seq) AS so_far \
           FROM (SELECT * FROM events WHERE tenant_id = $1 AND task_id = $2 AND seq > $3 \
             ORDER BY seq LIMIT $4) AS page) AS events \
         WHERE so_far IS NULL OR so_far <= $5 + octet_length(coalesce(body, '')) ORDER BY seq"
    );
    let (number, id) = (i64::from(tenant.0), &task.as_bytes()[..]);
    let (from, limit_rows) = (signed(after), i64::from(limit));
    let bytes_most = i64::try_from(EVENT_BYTES).unwrap_or(i64::MAX);
    let params: [Param<'_>; 5] = [
        (&number, Type::INT8),
        (&id, Type::BYTEA),
        (&from, Type::INT8),
        (&limit_rows, Type::INT8),
        (&bytes_most, Type::INT8),
    ];
    let stored = conn.query(&sql, &params)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for row in &stored {
        let (_, mut event, digest) = read!(rows::event(row));
        let expected = after + 1 + found.len() as u64;
        if event.seq != expected {
            return Ok(Err(missing(expected)));
        }
        if let Some(digest) = digest {
            event.event.body = read!(read_value(conn, tenant, &digest)?).into();
        }
        bytes += event.event.body.len();
        if bytes > EVENT_BYTES && !found.is_empty() {
            return Ok(Ok(Some(found)));
        }
        found.push(event);
    }
    let read = after + found.len() as u64;
    // A page that is cut for its size has more bytes than that.
    if read < last && found.len() < limit as usize && bytes <= EVENT_BYTES {
        return Ok(Err(missing(read + 1)));
    }
    Ok(Ok(Some(found)))
}

/// The last event of a model step at or before a number.
pub(crate) fn turn_start(
    conn: &Connection,
    tenant: TenantId,
    task: TaskId,
    seq: u64,
) -> Found<Option<u64>> {
    if read!(last_seq(conn, tenant, task)?).is_none() {
        return Ok(Ok(None));
    }
    let sql = "SELECT seq FROM events WHERE tenant_id = $1 AND task_id = $2 AND seq <= $3 \
        AND step_kind = 'model' ORDER BY seq DESC LIMIT 1";
    let (number, id, seq) = (i64::from(tenant.0), &task.as_bytes()[..], signed(seq));
    let params: [Param<'_>; 3] = [
        (&number, Type::INT8),
        (&id, Type::BYTEA),
        (&seq, Type::INT8),
    ];
    let found = conn.query(sql, &params)?;
    Ok(found
        .first()
        .map_or(Ok(0), |row| rows::unsigned(row, 0))
        .map(Some))
}

/// How many tasks there are in each state that has any.
pub(crate) fn counts(conn: &Connection, tenant: TenantId) -> Found<Counts> {
    let sql = "SELECT state, sum(n)::int8 FROM counters WHERE tenant_id = $1 \
        GROUP BY state HAVING sum(n) <> 0";
    let number = i64::from(tenant.0);
    let mut counts = Counts::new();
    for row in &conn.query(sql, &[(&number, Type::INT8)])? {
        // A newer release's state is none of this one's.
        let name: &str = read!(rows::get(row, 0));
        if let Some(state) = StateName::from_name(name) {
            counts.insert(state, read!(rows::unsigned(row, 1)));
        }
    }
    Ok(Ok(counts))
}

/// The newest snapshot; the outer option is the task.
pub(crate) fn snapshot(
    conn: &Connection,
    tenant: TenantId,
    task: TaskId,
) -> Found<Option<Option<Snapshot>>> {
    if read!(last_seq(conn, tenant, task)?).is_none() {
        return Ok(Ok(None));
    }
    let sql = "SELECT seq, version, body FROM snapshots WHERE tenant_id = $1 AND task_id = $2";
    let (number, id) = (i64::from(tenant.0), &task.as_bytes()[..]);
    let found = conn.query(sql, &[(&number, Type::INT8), (&id, Type::BYTEA)])?;
    let Some(row) = found.first() else {
        return Ok(Ok(Some(None)));
    };
    let version = read!(rows::unsigned(row, 1));
    Ok(Ok(Some(Some(Snapshot {
        seq: read!(rows::unsigned(row, 0)),
        version: u32::try_from(version).unwrap_or(u32::MAX),
        body: read!(rows::get(row, 2)),
    }))))
}

// The queues that have ready tasks. Jumps from one to the next within the index.
pub(crate) fn ready_queues(conn: &Connection) -> Found<Vec<String>> {
    let sql = "WITH RECURSIVE ready (name) AS ( \
          (SELECT queue FROM tasks WHERE state = 'pending' ORDER BY queue LIMIT 1) \
          UNION ALL \
          SELECT (SELECT queue FROM tasks WHERE state = 'pending' AND queue > name \
            ORDER BY queue LIMIT 1) FROM ready WHERE name IS NOT NULL) \
        SELECT name FROM ready WHERE name IS NOT NULL";
    let found = conn.query(sql, &[])?;
    Ok(found.iter().map(|row| rows::must_text(row, 0)).collect())
}

// The queues that live workers serve.
pub(crate) fn served_queues(conn: &Connection) -> Found<Vec<String>> {
    let sql = "SELECT DISTINCT unnest(queues) FROM sessions WHERE NOT over ORDER BY 1";
    let found = conn.query(sql, &[])?;
    Ok(found.iter().map(|row| rows::must_text(row, 0)).collect())
}

// What the workers with a session run tasks with. A worker of an older release says nothing.
pub(crate) fn worker_configurations(conn: &Connection) -> Found<Vec<Configuration>> {
    let sql = "SELECT configuration FROM sessions WHERE NOT over AND configuration IS NOT NULL";
    let found = conn.query(sql, &[])?;
    let known = found.iter().filter_map(|row| {
        let text: Option<&str> = row.try_get(0).ok();
        serde_json::from_str(text?).ok()
    });
    Ok(Ok(known.collect()))
}

// A slice of a value; none if the tenant has no such value.
pub(crate) fn slice(
    conn: &Connection,
    tenant: TenantId,
    digest: &rows::Digest,
    offset: u64,
    len: u64,
) -> Found<Option<Vec<u8>>> {
    let chunk = CHUNK as u64;
    let (first, last) = (offset / chunk, offset.saturating_add(len) / chunk);
    let sql = "SELECT chunk, bytes FROM blobs WHERE tenant_id = $1 AND digest = $2 \
        AND (chunk = 0 OR chunk BETWEEN $3 AND $4) ORDER BY chunk";
    let (number, digest) = (i64::from(tenant.0), &digest[..]);
    let (from, to) = (signed(first), signed(last));
    let params: [Param<'_>; 4] = [
        (&number, Type::INT8),
        (&digest, Type::BYTEA),
        (&from, Type::INT8),
        (&to, Type::INT8),
    ];
    let found = conn.query(sql, &params)?;
    if found.is_empty() {
        return Ok(Ok(None));
    }
    let end = offset.saturating_add(len);
    let mut bytes = Vec::new();
    for row in &found {
        let begins = read!(rows::unsigned(row, 0)) * chunk;
        let part: &[u8] = read!(rows::get(row, 1));
        let within = |at: u64| {
            usize::try_from(at.saturating_sub(begins)).map_or(part.len(), |at| at.min(part.len()))
        };
        bytes.extend_from_slice(&part[within(offset)..within(end)]);
    }
    Ok(Ok(Some(bytes)))
}

/// The time of the database.
pub(crate) fn now(conn: &Connection) -> Found<i64> {
    let found = conn.query(crate::postgres::work::CLOCK, &[])?;
    Ok(found.first().map_or(Ok(0), |row| rows::get(row, 0)))
}
