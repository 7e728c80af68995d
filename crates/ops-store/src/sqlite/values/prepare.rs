//! What callers do before the writer sees a request: check sizes, hash and compress large values.

use ops_core::{
    Append, Approval, Command, Next,
    event::{Resolution, TaskEvent},
    ports::{Blob, Decision, NewTask, Snapshot, StoreError, Verdict},
};

use crate::sqlite::values::blob::{Chunk, Digest, INLINE, Packed, check_size, parse_digest};

/// More than this much work is done on a thread that may block.
const BLOCKING: usize = 64 << 10;

/// A command with its large values packed.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) command: Command,
    pub(crate) outside: Outside,
}

/// Values that are stored outside the rows that refer to them.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    pub(crate) packed: Vec<Packed>,
    /// Bodies of appended events, by their place in the append.
    bodies: Vec<(usize, Digest)>,
    /// The body of the event that a command from outside becomes, if that is large.
    told: Option<(Vec<u8>, Digest)>,
    /// The result.
    pub(crate) result: Option<Digest>,
    /// The large inputs of children, by their place in the append.
    inputs: Vec<Option<Packed>>,
}

impl Outside {
    /// The digest of an event's body, if it is stored outside.
    pub(crate) fn body(&self, index: usize) -> Option<Digest> {
        self.bodies
            .iter()
            .find(|(place, _)| *place == index)
            .map(|(_, digest)| *digest)
    }

    /// The same of an event that was decided about: the one at this place, with this body.
    pub(crate) fn decided(&self, index: usize, body: &[u8]) -> Option<Digest> {
        let told = || {
            let (known, digest) = self.told.as_ref()?;
            (known == body).then_some(*digest)
        };
        self.body(index).or_else(told)
    }

    /// With the body of an event that the writer is going to decide about.
    fn with(mut self, event: &TaskEvent) -> Self {
        let body = event.envelope().body;
        if body.len() > INLINE {
            let digest = self.pack(&body);
            self.told = Some((body, digest));
        }
        self
    }

    /// The large input of each child of the append.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = Option<&Packed>> {
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
pub(crate) struct PreparedTask {
    pub(crate) new: NewTask,
    pub(crate) input: Option<Packed>,
}

/// A snapshot, packed.
#[derive(Debug)]
pub(crate) struct PreparedSnapshot {
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

pub(crate) async fn task(new: NewTask, cap: u64) -> Result<PreparedTask, StoreError> {
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

pub(crate) async fn command(
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
            size += large(payload.to_string().len(), cap)?;
            (&[][..], None)
        }
        Command::Resolve { resolution, .. } => {
            size += large(size_of(resolution), cap)?;
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
        size += large(event.body.len(), cap)?;
    }
    match next {
        Some(Next::Complete { result }) => size += large(result.as_str().len(), cap)?,
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

fn size_of(resolution: &Resolution) -> usize {
    match resolution {
        Resolution::Done { output } => output.to_string().len(),
        Resolution::Failed { message } => message.len(),
        Resolution::Retry => 0,
    }
}

/// The size of a value that is packed; 0 of one that is not.
fn large(size: usize, cap: u64) -> Result<usize, StoreError> {
    check_size(size, cap)?;
    Ok(if size > INLINE { size } else { 0 })
}

/// The event that a command from outside becomes, if it may be large.
fn told(command: &Command) -> Option<TaskEvent> {
    match command {
        Command::Signal { name, payload } => Some(TaskEvent::Signalled {
            name: name.clone(),
            payload: payload.clone(),
        }),
        Command::Resolve { step, resolution } => Some(TaskEvent::Resolved {
            step: *step,
            resolution: resolution.clone(),
        }),
        Command::Claim { .. }
        | Command::Append(_)
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
        | Command::Cancel => None,
    }
}

/// Packs what a decision about a step makes large. `open` is the approval as it stands, whose
/// arguments an approval hands on once they were edited.
pub(crate) async fn verdict(
    verdict: &Verdict,
    open: Option<Approval>,
    cap: u64,
) -> Result<Outside, StoreError> {
    let (step, by) = (verdict.step, verdict.by.clone());
    let edited = open.filter(|open| open.revision > 1);
    let (input, event) = match (&verdict.decision, edited) {
        (Decision::Edit { input, .. }, _) => {
            let input = input.clone();
            (input.to_string(), TaskEvent::Edited { step, input, by })
        }
        (Decision::Approve, Some(open)) => {
            let text = open.asked.input.to_string();
            let input = Some(open.asked.input);
            (text, TaskEvent::Approved { step, input, by })
        }
        (Decision::Approve, None) | (Decision::Deny { .. }, _) => return Ok(Outside::default()),
    };
    match large(input.len(), cap)? {
        0 => Ok(Outside::default()),
        size => work(size, move || Ok(Outside::default().with(&event))).await,
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
    Ok(match told(command) {
        Some(event) => outside.with(&event),
        None => outside,
    })
}

pub(crate) async fn snapshot(snapshot: Snapshot, cap: u64) -> Result<PreparedSnapshot, StoreError> {
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

#[cfg(test)]
mod tests {
    use ops_core::{
        Lifecycle, Micros, SessionId, State, TaskId, Wait, approval::NewApproval, decide,
        event::Usage, retry::RetryPolicy, task::Ties,
    };
    use serde_json::{Value, json};

    use super::*;

    fn life(state: State) -> Lifecycle {
        Lifecycle {
            id: TaskId::new(Micros(1), [1; 10]),
            state,
            attempt: 1,
            retry: RetryPolicy::default(),
            epoch: 1,
            seq: 2,
            lease_losses: 0,
            run_started: true,
            paused: false,
            heard: false,
            ties: Ties::default(),
            usage: Usage::default(),
            children_usage: Usage::default(),
            started_at: None,
            updated_at: Micros(1),
            completed_at: None,
        }
    }

    /// Whether the writer finds each large body packed that a command leads to.
    fn is_ready(life: &Lifecycle, prepared: Prepared) -> bool {
        let Prepared { command, outside } = prepared;
        let decision = decide(life, command, Micros(2)).unwrap();
        let mut large = decision.events.iter().enumerate();
        assert!(large.any(|(_, event)| event.body.len() > INLINE));
        let mut events = decision.events.iter().enumerate();
        events.all(|(index, event)| {
            event.body.len() <= INLINE || outside.decided(index, &event.body).is_some()
        })
    }

    #[tokio::test]
    async fn what_comes_from_outside_is_packed_before_the_writer_sees_it() {
        let large = || Value::from("x".repeat(1 << 20));
        let session = SessionId::new(Micros(1), [2; 10]);
        let signal = Command::Signal {
            name: "news".into(),
            payload: large(),
        };
        let prepared = command(signal, Vec::new(), 1 << 30).await.unwrap();
        assert!(is_ready(&life(State::Running { session }), prepared));
        for resolution in [
            Resolution::Done { output: large() },
            Resolution::Failed {
                message: "x".repeat(1 << 20),
            },
        ] {
            let resolve = Command::Resolve {
                step: 2,
                resolution,
            };
            let prepared = command(resolve, Vec::new(), 1 << 30).await.unwrap();
            let in_doubt = State::Waiting(Wait::InDoubt { steps: vec![2] });
            assert!(is_ready(&life(in_doubt), prepared));
        }
    }

    #[tokio::test]
    async fn edited_arguments_are_packed_before_the_writer_sees_them() {
        let input = json!({"text": "x".repeat(1 << 20)});
        let open = Approval {
            task: TaskId::new(Micros(1), [1; 10]),
            asked: NewApproval {
                step: 2,
                tool: "send".into(),
                tool_digest: String::new(),
                agent_digest: String::new(),
                input: input.clone(),
                input_digest: String::new(),
                input_schema: json!({}),
                reason: String::new(),
                expires_at: None,
            },
            revision: 2,
            status: ops_core::ApprovalStatus::Pending,
            asked_at: Micros(1),
            decided_at: None,
            decided_by: None,
            note: None,
        };
        for (decision, judgement) in [
            (
                Decision::Edit {
                    input: input.clone(),
                    digest: String::new(),
                },
                ops_core::Judgement::Edit {
                    input: input.clone(),
                },
            ),
            (
                Decision::Approve,
                ops_core::Judgement::Approve { input: Some(input) },
            ),
        ] {
            let asked = Verdict {
                step: 2,
                decision,
                revision: None,
                by: Some("ann".into()),
            };
            let outside = verdict(&asked, Some(open.clone()), 1 << 30).await.unwrap();
            let command = Command::Judge {
                step: 2,
                judgement,
                by: asked.by,
            };
            let waiting = State::Waiting(Wait::Approval {
                steps: vec![2],
                until: None,
            });
            assert!(is_ready(&life(waiting), Prepared { command, outside }));
        }
    }
}
