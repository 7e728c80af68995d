//! New tasks.

use std::collections::BTreeSet;

use super::{
    rows::{Key, Rows},
    write::Write,
};
use crate::{
    AgentDigest, AgentName, NewEvent, State,
    event::TaskEvent,
    ports::{Fork, LeftOut, NewTask, StoreError, Submitted, TaskRecord},
    rules::{
        fork,
        submit::{self as rule, Birth, Pin},
    },
};

impl<R: Rows> Write<'_, R> {
    /// Stores a task, or finds the task that its idempotency key has made.
    ///
    /// # Errors
    /// [`StoreError::IdempotencyMismatch`] if the key belongs to another request, [`StoreError::NotFound`]
    /// if the task that it goes on from is not there.
    pub fn submit(&mut self, new: NewTask) -> Result<Submitted, StoreError> {
        let (tenant, task) = (new.task.tenant, new.task.id);
        let key = new.idempotency.as_ref();
        let key = key.map(|of| (of.key.stored().into_owned(), of.digest));
        if let Some((text, digest)) = &key
            && let Some((known, made)) = self.rows.idempotency(tenant, text)?
        {
            if known != *digest {
                return Err(StoreError::IdempotencyMismatch);
            }
            // A key outlives its task only until retention has taken both away; then it is free again.
            if let Some(record) = self.rows.record((tenant, made))? {
                return Ok(Submitted {
                    record,
                    existing: true,
                });
            }
        }
        let record = self.insert(new)?;
        if let Some((text, digest)) = key {
            self.rows.put_idempotency(tenant, &text, digest, task)?;
        }
        Ok(Submitted {
            record,
            existing: false,
        })
    }

    /// Stores a task that is new.
    pub(super) fn insert(&mut self, mut new: NewTask) -> Result<TaskRecord, StoreError> {
        let key: Key = (new.task.tenant, new.task.id);
        new.task.agent_digest = self.pinned(&new)?;
        let events = match &new.fork {
            Some(fork) => self.taken_over(key, fork)?,
            None => Vec::new(),
        };
        if self.rows.life(key)?.is_some() {
            let message = format!("there is a task {} already; ids must be fresh", key.1);
            return Err(StoreError::Unavailable(message));
        }
        let Birth { life, event, .. } = rule::submit(&new, events.len() as u64, self.now);
        let from = new.fork.as_ref().map(|fork| (key.0, fork.from));
        let redrives = new.fork.as_ref().is_some_and(|fork| fork.redrives);
        let record = TaskRecord {
            task: new.task,
            life,
            result: None,
            in_force: None,
            left_out: LeftOut::default(),
        };
        self.rows.insert_task(&record)?;
        if let Some(from) = from {
            self.rows.share_values(from, key)?;
            if redrives {
                self.rows.mark_redriven(from)?;
            }
        }
        self.done.work.submits += 1;
        let events = std::iter::once(event).chain(events);
        for (seq, event) in (1..).zip(events) {
            self.event(key, &record.life, seq, event)?;
        }
        let ready = matches!(record.life.state, State::Pending);
        self.notice(key, &record.life, ready);
        Ok(record)
    }

    /// Which version of its agent a new task is pinned to.
    fn pinned(&mut self, new: &NewTask) -> Result<Option<AgentDigest>, StoreError> {
        let tenant = new.task.tenant;
        Ok(match rule::pin(new) {
            Pin::Version(digest) => Some(digest),
            Pin::AsTask(task) => {
                let other = self.rows.record((tenant, task))?;
                other.and_then(|other| other.task.agent_digest)
            }
            Pin::Current(name) => match name.parse::<AgentName>() {
                Ok(name) => {
                    let agent = self.rows.agent(tenant, &name)?;
                    agent.map(|agent| agent.version.spec.digest)
                }
                Err(_) => None,
            },
            Pin::Nothing => None,
        })
    }

    /// The events that a fork has behind its first event: copied events, and events of the fork.
    fn taken_over(&mut self, key: Key, fork: &Fork) -> Result<Vec<NewEvent>, StoreError> {
        let from = (key.0, fork.from);
        self.life(from)?;
        let log = self.rows.log(from)?;
        let rows = log
            .iter()
            .map(|event| (event.seq, event.event.kind.as_str()));
        let taken: BTreeSet<u64> = fork::taken(fork, rows).collect();
        let copied = log
            .iter()
            .filter(|event| taken.contains(&event.seq))
            .map(|event| fork::copied(&event.event));
        let own = fork::own_events(fork);
        Ok(copied.chain(own.iter().map(TaskEvent::envelope)).collect())
    }
}
