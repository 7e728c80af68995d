//! Writing: transitions, and the worklist of what follows from them.

use std::collections::VecDeque;

use ops_core::{
    ApprovalStatus, ChildSpec, Lifecycle, Micros, NewApproval, NewEvent, Rejection, StoredEvent,
    event::StoredResult,
    ports::{Blob, Hint, NewTask, Notice, StoreError},
    rules::{
        Cause, Outcome, Transition, approval, decide, lease, limits,
        links::{self, Follow, Lapse, MAX_INLINE_BYTES},
        submit,
    },
};

use crate::{
    data::{Data, Key, digest},
    sessions::Interrupt,
};

/// One verb that writes.
pub(crate) struct Write<'d> {
    pub(crate) data: &'d mut Data,
    pub(crate) now: Micros,
    notices: Vec<Notice>,
    interrupts: Vec<Interrupt>,
}

impl<'d> Write<'d> {
    pub(crate) fn new(data: &'d mut Data, now: Micros) -> Self {
        Self {
            data,
            now,
            notices: Vec::new(),
            interrupts: Vec::new(),
        }
    }

    /// Tells the sessions, and gives what the observer is to be told.
    pub(crate) fn commit(self) -> Vec<Notice> {
        self.data.sessions.note(self.interrupts);
        self.notices
    }

    /// Writes a transition and everything that follows from it.
    pub(crate) fn carry_out(
        &mut self,
        key: Key,
        transition: Transition,
        blobs: Vec<Blob>,
    ) -> Result<Lifecycle, StoreError> {
        let (after, follows) = self.transition(key, transition, blobs)?;
        let mut work: VecDeque<(Key, Follow)> =
            follows.into_iter().map(|next| (key, next)).collect();
        while let Some((key, follow)) = work.pop_front() {
            for target in self.targets(key, &follow) {
                let (Some(cause), Ok(life)) = (follow.clone().cause(), self.data.life(target))
                else {
                    continue;
                };
                let Ok(transition) = decide(life, cause, self.now) else {
                    continue;
                };
                if let Ok((_, follows)) = self.transition(target, transition, Vec::new()) {
                    work.extend(follows.into_iter().map(|next| (target, next)));
                }
            }
        }
        Ok(after)
    }

    /// Applies a cause of the store's own; says whether it applied.
    pub(crate) fn apply(&mut self, key: Key, cause: Cause) -> bool {
        let Ok(life) = self.data.life(key) else {
            return false;
        };
        let Ok(transition) = decide(life, cause, self.now) else {
            return false;
        };
        self.carry_out(key, transition, Vec::new()).is_ok()
    }

    fn transition(
        &mut self,
        key: Key,
        transition: Transition,
        blobs: Vec<Blob>,
    ) -> Result<(Lifecycle, Vec<Follow>), StoreError> {
        let Transition {
            events,
            after,
            outcome,
            children,
            approvals,
            ..
        } = transition;
        if events.is_empty() {
            return Ok((after, Vec::new()));
        }
        let before = self.data.life(key)?.clone();
        let children = self.children(key, children)?;
        let stored = stored_result(outcome.as_ref());
        let follows = links::follow(&before, &after, outcome.as_ref(), stored);
        for blob in blobs {
            self.data.values.insert((key.0, blob.digest), blob.bytes);
        }
        if let Some(Outcome::Result(result)) = &outcome {
            self.keep(key, result.as_str().as_bytes());
        }
        for (seq, event) in (before.seq + 1..).zip(events) {
            self.event(key, &after, seq, event);
        }
        let row = self.data.tasks.get_mut(&key).ok_or(StoreError::NotFound)?;
        row.record.life = after.clone();
        match outcome {
            Some(Outcome::Result(result)) => row.record.result = Some(result),
            Some(Outcome::Error(error)) => row.record.error = Some(error),
            None => {}
        }
        self.moved(key, &before, &after);
        for child in children {
            // The append stands without a child that cannot be stored.
            let _ = self.insert(child);
        }
        for asked in approvals {
            self.ask(key, asked);
        }
        Ok((after, follows))
    }

    /// Writes one event.
    pub(crate) fn event(&mut self, key: Key, after: &Lifecycle, seq: u64, event: NewEvent) {
        self.data.work.event(&event);
        self.keep(key, &event.body);
        let Some(row) = self.data.tasks.get_mut(&key) else {
            return;
        };
        row.values.extend(event.blobs.iter().cloned());
        let at = after.updated_at;
        row.log.push((after.epoch, StoredEvent { seq, at, event }));
    }

    /// Keeps a large value of a task by its digest as well.
    pub(crate) fn keep(&mut self, key: Key, bytes: &[u8]) {
        if bytes.len() <= MAX_INLINE_BYTES {
            return;
        }
        let digest = digest(bytes);
        if let Some(row) = self.data.tasks.get_mut(&key) {
            row.values.insert(digest.clone());
        }
        let value = bytes.to_vec().into();
        self.data.values.insert((key.0, digest), value);
    }

    /// The tasks of the children that a run asks for. Nothing is written.
    fn children(&self, key: Key, specs: Vec<ChildSpec>) -> Result<Vec<NewTask>, StoreError> {
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        let tasks = self.data.tree_size(key);
        submit::room(&specs, tasks, self.data.max_tree_tasks)?;
        let parent = &self.data.row(key)?.record;
        let child = |spec: ChildSpec| {
            if self.data.tasks.contains_key(&(key.0, spec.id)) {
                return Err(Rejection::Child {
                    step: spec.step,
                    why: format!("there is a task {} already; ids must be fresh", spec.id),
                });
            }
            submit::child(spec, &parent.task, &parent.life, self.now)
        };
        let made: Result<Vec<_>, _> = specs.into_iter().map(child).collect();
        Ok(made?)
    }

    fn ask(&mut self, key: Key, asked: NewApproval) {
        if self.data.approval(key, asked.step).is_some() {
            return;
        }
        let number = self.data.approvals.keys().last().map_or(1, |last| last + 1);
        let asked = approval::ask(asked, key.1, self.now);
        self.data.approvals.insert(number, (key.0, asked));
    }

    /// The tasks that a follow-up is about. Approvals are no tasks: they are changed here.
    fn targets(&mut self, key: Key, follow: &Follow) -> Vec<Key> {
        match follow {
            Follow::StopChildren => self.data.open_children(key),
            Follow::TellParent(_) => self.data.parent(key).into_iter().collect(),
            Follow::ReleaseKey => self.data.turns_of_key(key),
            Follow::LapseApprovals(lapse) => {
                self.lapse(key, *lapse);
                Vec::new()
            }
            Follow::CorrectApprovals { from, to } => {
                self.correct(key, *from, *to);
                Vec::new()
            }
        }
    }

    fn lapse(&mut self, (tenant, task): Key, lapse: Lapse) {
        for (owner, found) in self.data.approvals.values_mut() {
            if (*owner, found.task) != (tenant, task) {
                continue;
            }
            if let Some(status) = approval::lapse(found, lapse, self.now) {
                found.status = status;
                found.decided_at = Some(self.now);
            }
        }
    }

    /// Moves the dates of the open approvals of a task whose clock was corrected.
    fn correct(&mut self, (tenant, task): Key, from: Micros, to: Micros) {
        for (owner, found) in self.data.approvals.values_mut() {
            if (*owner, found.task) == (tenant, task)
                && found.status == ApprovalStatus::Pending
                && let Some(expires_at) = approval::correct(found, from, to)
            {
                found.asked.expires_at = Some(expires_at);
            }
        }
    }

    /// Takes note of a transition for the followers, the queues and the sessions.
    fn moved(&mut self, key: Key, before: &Lifecycle, after: &Lifecycle) {
        let (was, is) = (lease::stop(before), lease::stop(after));
        if was != is {
            let ended = was.map(|stop| Interrupt::Ended(stop, key));
            let begun = is.map(|stop| Interrupt::Begun(stop, key));
            self.interrupts.extend(ended.into_iter().chain(begun));
        }
        self.notice(key, after, lease::wakes_queue(before, after));
    }

    pub(crate) fn notice(&mut self, key: Key, after: &Lifecycle, wakes_queue: bool) {
        let row = self.data.tasks.get(&key).filter(|_| wakes_queue);
        let ready = row.map(|row| row.record.task.queue.as_str().into());
        self.notices.push(Notice {
            hint: Hint {
                tenant: key.0,
                task: key.1,
                seq: after.seq,
                state: after.state.name(),
            },
            ready,
            due: limits::due(after),
        });
    }
}

/// Where a result is, as the parent of its task is told.
fn stored_result(outcome: Option<&Outcome>) -> Option<StoredResult> {
    match outcome {
        Some(Outcome::Result(result)) if result.as_str().len() > MAX_INLINE_BYTES => {
            Some(StoredResult {
                digest: digest(result.as_str().as_bytes()),
                bytes: result.as_str().len() as u64,
            })
        }
        Some(Outcome::Result(_) | Outcome::Error(_)) | None => None,
    }
}
