//! Packing: work that callers do before the writer sees a job. Callers check sizes, and hash and compress
//! large values.
//!
//! The writer is one thread, and compressing a megabyte there would hold up every other task's commit for
//! milliseconds. So the caller packs. Packed values travel beside the command that refers to them, and the
//! writer finds a value by its content. So packing and deciding need not agree on event indices: an event
//! that a rule adds or drops cannot make a task refer to a neighbour's body. A body that the caller did not
//! pack is packed by the writer itself, which is slower and equally right.

use bytes::Bytes;
use ops_core::{
    Append, Approval, Json, Next, RunAction, RunCommand, TaskAction, TaskCommand,
    event::{Resolution, TaskEvent},
    ports::{ApprovalAction, ApprovalDecision, Blob, NewTask, Snapshot, StoreError},
    rules::approval::is_edited,
};

use crate::sqlite::values::blob::{Chunk, Digest, INLINE, Packed, check_size, parse_digest};

/// More than this much work is done on a thread that may block.
const BLOCKING: usize = 64 << 10;

/// Values that are stored outside the rows that refer to them.
#[derive(Debug, Default)]
pub(crate) struct Values {
    packed: Vec<Packed>,
    /// The values that rows may refer to by their content.
    large: Vec<(Plain, Digest)>,
}

/// The content of a packed value.
#[derive(Debug)]
enum Plain {
    Bytes(Bytes),
    Json(Json),
}

impl Plain {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Json(json) => json.as_str().as_bytes(),
        }
    }
}

impl Values {
    /// Every packed value.
    pub(crate) fn packed(&self) -> &[Packed] {
        &self.packed
    }

    /// The digest of a value with this content, if it was packed.
    pub(crate) fn find(&self, content: &[u8]) -> Option<Digest> {
        let is_it = |plain: &Plain| {
            let known = plain.as_slice();
            // The same bytes as a rule; what a decision wrote again is equal to what was packed.
            std::ptr::eq(known, content) || known == content
        };
        let found = self.large.iter().find(|(plain, _)| is_it(plain));
        found.map(|(_, digest)| *digest)
    }

    fn add(&mut self, plain: &[u8]) -> Digest {
        let packed = Packed::new(plain);
        let digest = packed.digest;
        self.packed.push(packed);
        digest
    }

    /// Packs a value if it is too large for a row.
    fn take(&mut self, plain: Plain) {
        if plain.as_slice().len() > INLINE {
            let digest = self.add(plain.as_slice());
            self.large.push((plain, digest));
        }
    }
}

/// A snapshot, packed.
#[derive(Debug)]
pub(crate) struct PackedSnapshot {
    pub(crate) seq: u64,
    pub(crate) version: u32,
    pub(crate) body: Chunk,
}

/// Runs work of a size where it does not hold up the runtime.
async fn work<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    if size <= BLOCKING {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(StoreError::Unavailable(format!(
                "packing a large value failed: {error}"
            )))
        })
}

/// Packs values of so many bytes, if any of them is large.
async fn pack(size: usize, plain: Vec<Plain>) -> Result<Values, StoreError> {
    if size == 0 {
        return Ok(Values::default());
    }
    work(size, move || {
        let mut values = Values::default();
        plain.into_iter().for_each(|plain| values.take(plain));
        Ok(values)
    })
    .await
}

pub(crate) async fn task(new: &NewTask, cap: u64) -> Result<Values, StoreError> {
    let input = &new.task.input;
    let size = large(input.as_str().len(), cap)?;
    pack(size, vec![Plain::Json(input.clone())]).await
}

/// A command for a task becomes an event; a large event is encoded here once, in the form that the writer
/// will store.
pub(crate) async fn command(command: &TaskCommand, cap: u64) -> Result<Values, StoreError> {
    let (size, event) = match &command.action {
        TaskAction::Signal { name, payload } => {
            let size = large(payload.to_string().len(), cap)?;
            let event = || TaskEvent::Signalled {
                name: name.clone(),
                payload: payload.clone(),
            };
            (size, (size > 0).then(event))
        }
        TaskAction::Resolve {
            step,
            resolution,
            by,
        } => {
            let size = large(size_of(resolution), cap)?;
            let event = || TaskEvent::Resolved {
                step: *step,
                resolution: resolution.clone(),
                by: by.clone(),
            };
            (size, (size > 0).then(event))
        }
        TaskAction::Cancel | TaskAction::Pause | TaskAction::Resume | TaskAction::Limit(_) => {
            (0, None)
        }
    };
    let actor = command.actor.clone();
    let body = event.map(|event| event.envelope_by(Some(&actor)).body);
    pack(size, body.into_iter().map(Plain::Bytes).collect()).await
}

fn size_of(resolution: &Resolution) -> usize {
    match resolution {
        Resolution::Done { output } => output.to_string().len(),
        Resolution::Failed { message } => message.len(),
        Resolution::Retry => 0,
    }
}

/// Packs the append of a lease holder, and the values that its events refer to.
pub(crate) async fn run(
    command: &RunCommand,
    blobs: Vec<Blob>,
    cap: u64,
) -> Result<Values, StoreError> {
    let RunAction::Append(append) = &command.action else {
        return Ok(Values::default());
    };
    let mut size = 0;
    for blob in &blobs {
        check_size(blob.bytes.len(), cap)?;
        size += blob.bytes.len();
    }
    let Append {
        events,
        children,
        approvals,
        next,
        expected_seq: _,
        budget: _,
        provider: _,
        limits: _,
    } = append;
    let mut plain = Vec::new();
    for event in events {
        size += large(event.body.len(), cap)?;
        plain.push(Plain::Bytes(event.body.clone()));
    }
    for child in children {
        size += large(child.input.as_str().len(), cap)?;
        plain.push(Plain::Json(child.input.clone()));
    }
    for approval in approvals {
        check_size(approval.input.to_string().len(), cap)?;
    }
    match next {
        Next::Complete { result } => {
            size += large(result.as_str().len(), cap)?;
            plain.push(Plain::Json(result.clone()));
        }
        Next::Fail { error, .. } => check_size(error.message.len(), cap)?,
        Next::Continue | Next::Wait(_) | Next::Cancelled => {}
    }
    if size == 0 && blobs.is_empty() {
        return Ok(Values::default());
    }
    work(size, move || {
        let mut values = Values::default();
        for blob in &blobs {
            let digest = values.add(&blob.bytes);
            if parse_digest(&blob.digest) != Some(digest) {
                return Err(StoreError::Unavailable(format!(
                    "the digest of a blob is not the SHA-256 of its {} bytes; this is a defect of \
                     the worker that sent it",
                    blob.bytes.len()
                )));
            }
        }
        plain.into_iter().for_each(|plain| values.take(plain));
        Ok(values)
    })
    .await
}

/// Packs the values that a decision about a step makes large. `open` is the present approval: approving an
/// edited step hands the approval's arguments on.
pub(crate) async fn decision(
    decision: &ApprovalDecision,
    open: Option<Approval>,
    cap: u64,
) -> Result<Values, StoreError> {
    let (step, by) = (decision.step, decision.by.clone());
    let edited = open.filter(is_edited);
    let (input, event) = match (&decision.action, edited) {
        (ApprovalAction::Edit { input, .. }, _) => {
            let input = input.clone();
            (input.to_string(), TaskEvent::Edited { step, input, by })
        }
        (ApprovalAction::Approve, Some(open)) => {
            let text = open.request.input.to_string();
            let input = Some(open.request.input);
            (text, TaskEvent::Approved { step, input, by })
        }
        (ApprovalAction::Approve, None) | (ApprovalAction::Deny { .. }, _) => {
            return Ok(Values::default());
        }
    };
    let size = large(input.len(), cap)?;
    let body = event.envelope_by(Some(&decision.actor)).body;
    pack(size, vec![Plain::Bytes(body)]).await
}

/// The size of a value if the value is to be packed; otherwise 0.
fn large(size: usize, cap: u64) -> Result<usize, StoreError> {
    check_size(size, cap)?;
    Ok(if size > INLINE { size } else { 0 })
}

pub(crate) async fn snapshot(snapshot: Snapshot, cap: u64) -> Result<PackedSnapshot, StoreError> {
    let size = snapshot.body.len();
    check_size(size, cap)?;
    work(size, move || {
        Ok(PackedSnapshot {
            seq: snapshot.seq,
            version: snapshot.version,
            body: Chunk::pack(&snapshot.body),
        })
    })
    .await
}

#[cfg(test)]
mod tests;
