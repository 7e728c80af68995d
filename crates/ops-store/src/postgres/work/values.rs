//! Large values: by content, each once.

use ops_core::{
    Json, StoredEvent, TenantId,
    ports::{StoreError, TaskRecord},
    rules::links::MAX_INLINE_BYTES,
    verbs::{Key, Rows as _},
};
use tokio_postgres::{Row, types::Type};

use super::Work;
use crate::postgres::{
    connection::{Connection, Param},
    error::Failure,
    schema::rows::{self, Digest, Sparse},
};

/// The size of a chunk.
pub(crate) const CHUNK: usize = 256 << 10;

/// The statement that reads a whole value.
const WHOLE: &str = "SELECT bytes FROM blobs WHERE tenant_id = $1 AND digest = $2 ORDER BY chunk";

/// Reads a whole value, and compares it with its digest.
pub(crate) fn read(
    conn: &Connection,
    tenant: TenantId,
    digest: &Digest,
) -> Result<Result<Vec<u8>, StoreError>, Failure> {
    let (tenant, wanted) = (i64::from(tenant.0), &digest[..]);
    let rows = conn.query(WHOLE, &[(&tenant, Type::INT8), (&wanted, Type::BYTEA)])?;
    Ok(joined(&rows, digest))
}

fn joined(found: &[Row], digest: &Digest) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    for row in found {
        bytes.extend_from_slice(rows::get::<&[u8]>(row, 0)?);
    }
    match Work::digest(&bytes) == *digest {
        true => Ok(bytes),
        false => Err(StoreError::Unreadable(format!(
            "the value {} is damaged or missing",
            units::hex::encode(digest)
        ))),
    }
}

/// A stored value as JSON.
pub(crate) fn json(bytes: &[u8]) -> Result<Json, StoreError> {
    let text = std::str::from_utf8(bytes).map_err(|error| damaged(&error))?;
    Json::parse(text).map_err(|error| damaged(&error))
}

fn damaged(why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unreadable(format!("a large value: {why}"))
}

/// Fetches the values that a record lacks.
pub(crate) fn fill(
    sparse: Sparse,
    mut value: impl FnMut(TenantId, &Digest) -> Result<Vec<u8>, StoreError>,
) -> Result<TaskRecord, StoreError> {
    let Sparse {
        mut record,
        input,
        result,
    } = sparse;
    let tenant = record.task.tenant;
    if let Some(digest) = input {
        record.task.input = json(&value(tenant, &digest)?)?;
    }
    if let Some(digest) = result {
        record.result = Some(json(&value(tenant, &digest)?)?);
    }
    Ok(record)
}

impl Work<'_> {
    pub(super) fn value(
        &mut self,
        tenant: TenantId,
        digest: &Digest,
    ) -> Result<Vec<u8>, StoreError> {
        let (number, wanted) = (i64::from(tenant.0), &digest[..]);
        let params: [Param<'_>; 2] = [(&number, Type::INT8), (&wanted, Type::BYTEA)];
        let rows = self.ask(WHOLE, &params)?;
        joined(&rows, digest)
    }

    pub(super) fn whole(&mut self, sparse: Sparse) -> Result<TaskRecord, StoreError> {
        fill(sparse, |tenant, digest| self.value(tenant, digest))
    }

    /// Events of a query, with their epochs and bodies.
    pub(super) fn whole_events(
        &mut self,
        tenant: TenantId,
        found: &[Row],
    ) -> Result<Vec<(u64, StoredEvent)>, StoreError> {
        let mut events = Vec::with_capacity(found.len());
        for row in found {
            let (epoch, mut event, digest) = rows::event(row)?;
            if let Some(digest) = digest {
                event.event.body = self.value(tenant, &digest)?.into();
            }
            events.push((epoch, event));
        }
        Ok(events)
    }

    /// Keeps a value of a task, and that the task refers to it.
    pub(super) fn keep(&mut self, key: Key, digest: &Digest, bytes: &[u8]) {
        let tenant = i64::from(key.0.0);
        let mut chunks: Vec<&[u8]> = bytes.chunks(CHUNK).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        for (number, chunk) in (0_i64..).zip(chunks) {
            // One statement must not write a row twice.
            if self.pending.kept.insert((key.0, *digest, number)) {
                self.pending.blobs.push([
                    tenant.into(),
                    digest.to_vec().into(),
                    number.into(),
                    chunk.to_vec().into(),
                ]);
            }
        }
        self.refer(key, digest);
    }

    pub(super) fn refer(&mut self, key: Key, digest: &Digest) {
        self.writes += 1;
        self.pending.refs.push([
            i64::from(key.0.0).into(),
            digest.to_vec().into(),
            key.1.as_bytes().to_vec().into(),
        ]);
    }

    /// Keeps bytes apart if they are large; gives their digest then.
    pub(super) fn apart(&mut self, key: Key, bytes: &[u8]) -> Option<Digest> {
        (bytes.len() > MAX_INLINE_BYTES).then(|| {
            let digest = Self::digest(bytes);
            self.keep(key, &digest, bytes);
            digest
        })
    }
}
