//! New tasks.

use std::collections::BTreeSet;

use ops_core::{
    AgentName, NewEvent, State,
    event::TaskEvent,
    ports::{NewTask, StoreError, Submitted, TaskRecord},
    rules::{
        fork,
        submit::{self as rule, Birth, Pin},
    },
};

use crate::{
    data::{Key, Row},
    write::Write,
};

impl Write<'_> {
    /// Stores a task, or finds the one that its idempotency key has made.
    pub(crate) fn submit(&mut self, new: NewTask) -> Result<Submitted, StoreError> {
        let tenant = new.task.tenant;
        let key = new.idempotency.as_ref().map(|idempotency| {
            let text = idempotency.key.stored().into_owned();
            ((tenant, text), idempotency.digest)
        });
        if let Some((key, digest)) = &key
            && let Some((known, task)) = self.data.idempotency.get(key)
        {
            if known != digest {
                return Err(StoreError::IdempotencyMismatch);
            }
            if let Some(row) = self.data.tasks.get(&(tenant, *task)) {
                return Ok(Submitted {
                    record: row.record.clone(),
                    existing: true,
                });
            }
        }
        let task = new.task.id;
        let record = self.insert(new)?;
        if let Some((key, digest)) = key {
            self.data.idempotency.insert(key, (digest, task));
        }
        Ok(Submitted {
            record,
            existing: false,
        })
    }

    /// Stores a task that is new.
    pub(crate) fn insert(&mut self, mut new: NewTask) -> Result<TaskRecord, StoreError> {
        let key: Key = (new.task.tenant, new.task.id);
        new.task.agent_digest = match rule::pin(&new) {
            Pin::Version(digest) => Some(digest),
            Pin::AsTask(task) => {
                let other = self.data.tasks.get(&(key.0, task));
                other.and_then(|row| row.record.task.agent_digest)
            }
            Pin::Current(name) => name.parse::<AgentName>().ok().and_then(|name| {
                let agent = self.data.agents.get(&(key.0, name))?;
                Some(agent.version.spec.digest)
            }),
            Pin::Nothing => None,
        };
        let TakenOver { events, values } = self.taken_over(&new)?;
        if self.data.tasks.contains_key(&key) {
            let message = format!("there is a task {} already; ids must be fresh", key.1);
            return Err(StoreError::Unavailable(message));
        }
        let Birth { life, event, .. } = rule::submit(&new, events.len() as u64, self.now);
        if let Some(fork) = new.fork.as_ref().filter(|fork| fork.redrives)
            && let Some(from) = self.data.tasks.get_mut(&(key.0, fork.from))
        {
            from.redriven = true;
        }
        let record = TaskRecord {
            task: new.task,
            life: life.clone(),
            result: None,
            error: None,
            in_force: None,
        };
        self.data.numbered += 1;
        self.data.work.submits += 1;
        let row = Row {
            number: self.data.numbered,
            record: record.clone(),
            log: Vec::new(),
            snapshot: None,
            redriven: false,
            values,
        };
        self.data.tasks.insert(key, row);
        self.keep(key, record.task.input.as_str().as_bytes());
        let events = std::iter::once(event).chain(events);
        for (seq, event) in (1..).zip(events) {
            self.event(key, &life, seq, event);
        }
        let ready = matches!(life.state, State::Pending { .. });
        self.notice(key, &life, ready);
        Ok(record)
    }

    /// What a new task takes over of another one, if it is a fork.
    fn taken_over(&self, new: &NewTask) -> Result<TakenOver, StoreError> {
        let Some(fork) = &new.fork else {
            return Ok(TakenOver::default());
        };
        let from = self.data.row((new.task.tenant, fork.from))?;
        let events = from.log.iter().map(|(_, event)| event);
        let rows = events
            .clone()
            .map(|event| (event.seq, event.event.kind.as_str()));
        let taken: BTreeSet<u64> = fork::taken(fork, rows).collect();
        let copied = events
            .filter(|event| taken.contains(&event.seq))
            .map(|event| fork::copied(&event.event));
        let own = fork::own_events(fork);
        Ok(TakenOver {
            events: copied.chain(own.iter().map(TaskEvent::envelope)).collect(),
            values: from.values.clone(),
        })
    }
}

/// What a fork begins with.
#[derive(Default)]
struct TakenOver {
    /// The events behind the first.
    events: Vec<NewEvent>,
    /// The values that they refer to.
    values: BTreeSet<String>,
}
