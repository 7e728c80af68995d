//! What callers do before the writer sees a request: check sizes, hash and compress large values.

use ops_core::{
    Append, Command, Next,
    event::Resolution,
    ports::{Blob, NewTask, Snapshot, StoreError},
};

use super::blob::{Chunk, Digest, INLINE, Packed, check_size, parse_digest};

/// More than this much work is done on a thread that may block.
const BLOCKING: usize = 64 << 10;

/// A command with its large values packed.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) command: Command,
    pub(super) outside: Outside,
}

/// Values that are stored outside the rows that refer to them.
#[derive(Debug, Default)]
pub(super) struct Outside {
    pub(super) packed: Vec<Packed>,
    /// Bodies of appended events, by their place in the append.
    bodies: Vec<(usize, Digest)>,
    /// The result.
    pub(super) result: Option<Digest>,
    /// The large inputs of children, by their place in the append.
    inputs: Vec<Option<Packed>>,
}

impl Outside {
    /// The digest of an event's body, if it is stored outside.
    pub(super) fn body(&self, index: usize) -> Option<Digest> {
        self.bodies
            .iter()
            .find(|(place, _)| *place == index)
            .map(|(_, digest)| *digest)
    }

    /// The large input of each child of the append.
    pub(super) fn inputs(&self) -> impl Iterator<Item = Option<&Packed>> {
        self.inputs
            .iter()
            .map(Option::as_ref)
            .chain(std::iter::repeat(None))
    }

    fn pack(&mut self, plain: &[u8]) -> Digest {
        let packed = Packed::new(plain);
        let digest = packed.digest;
        self.packed.push(packed);
        digest
    }
}

/// A new task with its input packed, if that is large.
#[derive(Debug)]
pub(super) struct PreparedTask {
    pub(super) new: NewTask,
    pub(super) input: Option<Packed>,
}

/// A snapshot, packed.
#[derive(Debug)]
pub(super) struct PreparedSnapshot {
    pub(super) seq: u64,
    pub(super) version: u32,
    pub(super) body: Chunk,
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

pub(super) async fn task(new: NewTask, cap: u64) -> Result<PreparedTask, StoreError> {
    let size = new.task.input.as_str().len();
    check_size(size, cap)?;
    if size <= INLINE {
        return Ok(PreparedTask { new, input: None });
    }
    work(size, move || {
        let input = Some(Packed::new(new.task.input.as_str().as_bytes()));
        Ok(PreparedTask { new, input })
    })
    .await
}

pub(super) async fn command(
    command: Command,
    blobs: Vec<Blob>,
    cap: u64,
) -> Result<Prepared, StoreError> {
    let mut size = 0;
    for blob in &blobs {
        check_size(blob.bytes.len(), cap)?;
        size += blob.bytes.len();
    }
    let (events, next) = match &command {
        Command::Append(Append {
            events,
            children,
            approvals,
            next,
            ..
        }) => {
            for child in children {
                let len = child.task.input.as_str().len();
                check_size(len, cap)?;
                size += len;
            }
            for approval in approvals {
                check_size(approval.input.to_string().len(), cap)?;
            }
            (events.as_slice(), Some(next))
        }
        Command::Signal { payload, .. } => {
            check_size(payload.to_string().len(), cap)?;
            (&[][..], None)
        }
        Command::Resolve { resolution, .. } => {
            check_resolution(resolution, cap)?;
            (&[][..], None)
        }
        Command::Claim { .. }
        | Command::Release { .. }
        | Command::LoseLease
        | Command::Wake
        | Command::Block { .. }
        | Command::Unblock
        | Command::Pause
        | Command::Resume
        | Command::Limit(_)
        | Command::Judge { .. }
        | Command::ChildEnded(_)
        | Command::Cancel => (&[][..], None),
    };
    for event in events {
        check_size(event.body.len(), cap)?;
        if event.body.len() > INLINE {
            size += event.body.len();
        }
    }
    match next {
        Some(Next::Complete { result }) => {
            check_size(result.as_str().len(), cap)?;
            if result.as_str().len() > INLINE {
                size += result.as_str().len();
            }
        }
        Some(Next::Fail { error, .. }) => check_size(error.message.len(), cap)?,
        Some(Next::Continue | Next::Wait(_) | Next::Cancelled) | None => {}
    }
    if size == 0 && blobs.is_empty() {
        return Ok(Prepared {
            command,
            outside: Outside::default(),
        });
    }
    work(size, move || {
        let outside = pack(&command, &blobs)?;
        Ok(Prepared { command, outside })
    })
    .await
}

fn check_resolution(resolution: &Resolution, cap: u64) -> Result<(), StoreError> {
    match resolution {
        Resolution::Done { output } => check_size(output.to_string().len(), cap),
        Resolution::Failed { message } => check_size(message.len(), cap),
        Resolution::Retry => Ok(()),
    }
}

fn pack(command: &Command, blobs: &[Blob]) -> Result<Outside, StoreError> {
    let mut outside = Outside::default();
    for blob in blobs {
        let digest = outside.pack(&blob.bytes);
        if parse_digest(&blob.digest) != Some(digest) {
            return Err(StoreError::Unavailable(format!(
                "the digest of a blob is not the SHA-256 of its {} bytes; this is a defect of the \
                 worker that sent it",
                blob.bytes.len()
            )));
        }
    }
    if let Command::Append(append) = command {
        for (index, event) in append.events.iter().enumerate() {
            if event.body.len() > INLINE {
                let digest = outside.pack(&event.body);
                outside.bodies.push((index, digest));
            }
        }
        outside.inputs = append
            .children
            .iter()
            .map(|child| child.task.input.as_str().as_bytes())
            .map(|input| (input.len() > INLINE).then(|| Packed::new(input)))
            .collect();
        if let Next::Complete { result } = &append.next
            && result.as_str().len() > INLINE
        {
            outside.result = Some(outside.pack(result.as_str().as_bytes()));
        }
    }
    Ok(outside)
}

pub(super) async fn snapshot(snapshot: Snapshot, cap: u64) -> Result<PreparedSnapshot, StoreError> {
    let size = snapshot.body.len();
    check_size(size, cap)?;
    work(size, move || {
        Ok(PreparedSnapshot {
            seq: snapshot.seq,
            version: snapshot.version,
            body: Chunk::pack(&snapshot.body),
        })
    })
    .await
}
