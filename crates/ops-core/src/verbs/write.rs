//! Transitions, and the worklist of their consequences.

use std::collections::VecDeque;

use super::rows::{Key, Rows};
use crate::{
    ChildSpec, Json, Lifecycle, Micros, NewApproval, NewEvent, Rejection, SessionId, StoredEvent,
    event::StoredResult,
    ports::{Blob, Hint, NewTask, Notice, StoreError},
    rules::{
        Cause, Outcome, Transition, approval, decide, lease, limits,
        links::{self, Follow, Lapse, MAX_INLINE_BYTES},
        submit,
    },
    stats::Work,
};

/// Verbs on the rows of one transaction.
#[derive(Debug)]
pub struct Write<'r, R> {
    /// The rows.
    pub rows: &'r mut R,
    /// The time of the verb.
    pub now: Micros,
    /// The most tasks of a task, its children and theirs together.
    pub max_tree_tasks: u64,
    pub(super) done: Done,
}

/// The effects of a verb beside its answer: they count once the transaction is committed.
#[derive(Debug, Default)]
pub struct Done {
    /// For the followers and the queues.
    pub notices: Vec<Notice>,
    /// Tasks that their sessions are to stop now, or no more, as [`lease::stop`] says.
    pub stops: Vec<(Key, Option<lease::Stop>, Option<lease::Stop>)>,
    /// Work that was done for tasks.
    pub work: Work,
}

impl<'r, R: Rows> Write<'r, R> {
    /// Verbs at a time.
    pub fn new(rows: &'r mut R, now: Micros, max_tree_tasks: u64) -> Self {
        Self {
            rows,
            now,
            max_tree_tasks,
            done: Done::default(),
        }
    }

    /// The effects to announce once the transaction is committed.
    pub fn finish(self) -> Done {
        self.done
    }

    /// Where a task stands.
    pub(super) fn life(&mut self, key: Key) -> Result<Lifecycle, StoreError> {
        self.rows.life(key)?.ok_or(StoreError::NotFound)
    }

    /// Writes a transition and its consequences.
    pub(super) fn carry_out(
        &mut self,
        key: Key,
        before: Lifecycle,
        transition: Transition,
        blobs: Vec<Blob>,
    ) -> Result<Lifecycle, StoreError> {
        let (after, follows) = self.transition(key, before, transition, blobs)?;
        let mut work: VecDeque<(Key, Follow)> =
            follows.into_iter().map(|next| (key, next)).collect();
        while let Some((key, follow)) = work.pop_front() {
            for target in self.targets(key, &follow)? {
                let Some(cause) = follow.clone().cause() else {
                    continue;
                };
                // A linked task that is gone, that refuses or that cannot be read is left as it is.
                let life = match self.rows.life(target) {
                    Ok(Some(life)) => life,
                    Ok(None) | Err(StoreError::Unreadable(_)) => continue,
                    Err(error) => return Err(error),
                };
                let Ok(transition) = decide(&life, cause, self.now) else {
                    continue;
                };
                let (_, follows) = self.transition(target, life, transition, Vec::new())?;
                work.extend(follows.into_iter().map(|next| (target, next)));
            }
        }
        Ok(after)
    }

    /// Applies a cause of the store's own; says whether the cause applied.
    pub(super) fn apply(&mut self, key: Key, cause: Cause) -> Result<bool, StoreError> {
        let Some(life) = self.rows.life(key)? else {
            return Ok(false);
        };
        let Ok(transition) = decide(&life, cause, self.now) else {
            return Ok(false);
        };
        self.carry_out(key, life, transition, Vec::new())?;
        Ok(true)
    }

    fn transition(
        &mut self,
        key: Key,
        before: Lifecycle,
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
        // What may be refused comes before what writes.
        let children = self.children(key, &before, children)?;
        let stored = stored_result::<R>(outcome.as_ref());
        let follows = links::follow(&before, &after, outcome.as_ref(), stored);
        for blob in blobs {
            self.rows.put_value(key, blob)?;
        }
        for (seq, event) in (before.seq + 1..).zip(events) {
            self.event(key, &after, seq, event)?;
        }
        self.rows.put_life(key, &before, &after, outcome)?;
        self.moved(key, &before, &after);
        for child in children {
            // The append stands without a child whose id an earlier one of it took.
            if self.rows.life((key.0, child.task.id))?.is_none() {
                self.insert(child)?;
            }
        }
        for asked in approvals {
            self.ask_approval(key, asked)?;
        }
        Ok((after, follows))
    }

    /// Writes one event.
    pub(super) fn event(
        &mut self,
        key: Key,
        after: &Lifecycle,
        seq: u64,
        event: NewEvent,
    ) -> Result<(), StoreError> {
        self.done.work.event(&event);
        let at = after.updated_at;
        let event = StoredEvent { seq, at, event };
        self.rows.put_event(key, after.epoch, event)
    }

    /// The tasks of the children that a run asks for. The function writes no row.
    fn children(
        &mut self,
        key: Key,
        life: &Lifecycle,
        specs: Vec<ChildSpec>,
    ) -> Result<Vec<NewTask>, StoreError> {
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        let tasks = self.rows.tree_size(key, self.max_tree_tasks)?;
        submit::room(&specs, tasks, self.max_tree_tasks)?;
        let parent = self.rows.record(key)?.ok_or(StoreError::NotFound)?;
        let mut made = Vec::with_capacity(specs.len());
        for spec in specs {
            if self.rows.life((key.0, spec.id))?.is_some() {
                let refused = Rejection::Child {
                    step: spec.step,
                    why: format!("there is a task {} already; ids must be fresh", spec.id),
                };
                return Err(refused.into());
            }
            made.push(submit::child(spec, &parent.task, life, self.now)?);
        }
        Ok(made)
    }

    fn ask_approval(&mut self, key: Key, asked: NewApproval) -> Result<(), StoreError> {
        if let Some((number, open)) = self.rows.approval(key, asked.step)? {
            return match approval::ask_again(&open, asked) {
                Some(after) => self.rows.put_approval(number, key.0, after),
                None => Ok(()),
            };
        }
        let asked = approval::create(asked, key.1, self.now);
        self.rows.insert_approval(key.0, asked)
    }

    /// The tasks that a follow-up is about. Approvals are no tasks: they are changed here.
    fn targets(&mut self, key: Key, follow: &Follow) -> Result<Vec<Key>, StoreError> {
        match follow {
            Follow::StopChildren => self.rows.open_children(key),
            Follow::NotifyParent(_) => Ok(self.rows.parent(key)?.into_iter().collect()),
            Follow::ReleaseKey => self.rows.turns_of_key(key, self.now),
            Follow::LapseApprovals(lapse) => {
                self.lapse(key, *lapse)?;
                Ok(Vec::new())
            }
            Follow::CorrectApprovals { from, to } => {
                self.correct(key, *from, *to)?;
                Ok(Vec::new())
            }
        }
    }

    fn lapse(&mut self, key: Key, lapse: Lapse) -> Result<(), StoreError> {
        for (number, mut found) in self.rows.open_approvals(key)? {
            if let Some(status) = approval::lapse(&found, lapse, self.now) {
                found.status = status;
                found.decided_at = Some(self.now);
                self.rows.put_approval(number, key.0, found)?;
            }
        }
        Ok(())
    }

    /// Moves the dates of the open approvals of a task whose clock was corrected.
    fn correct(&mut self, key: Key, from: Micros, to: Micros) -> Result<(), StoreError> {
        for (number, found) in self.rows.open_approvals(key)? {
            if let Some(right) = approval::correct(&found, from, to) {
                self.rows.put_approval(number, key.0, right)?;
            }
        }
        Ok(())
    }

    /// Takes note of a transition for the followers, the queues and the sessions.
    fn moved(&mut self, key: Key, before: &Lifecycle, after: &Lifecycle) {
        let (was, is) = (lease::stop(before), lease::stop(after));
        if was != is {
            self.done.stops.push((key, was, is));
        }
        self.notice(key, after, lease::wakes_queue(before, after));
    }

    pub(super) fn notice(&mut self, key: Key, after: &Lifecycle, wakes_queue: bool) {
        let ready = match wakes_queue {
            true => self.rows.queue(key),
            false => None,
        };
        self.done.notices.push(Notice {
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
fn stored_result<R: Rows>(outcome: Option<&Outcome>) -> Option<StoredResult> {
    let Some(Outcome::Result(result)) = outcome else {
        return None;
    };
    let text = Json::as_str(result);
    (text.len() > MAX_INLINE_BYTES).then(|| StoredResult {
        digest: units::hex::encode(R::digest(text.as_bytes())),
        bytes: text.len() as u64,
    })
}

impl Done {
    /// Adds the effects of a later verb.
    pub fn add(&mut self, other: Self) {
        self.notices.extend(other.notices);
        self.stops.extend(other.stops);
        self.work.merge(&other.work);
    }

    /// The sessions that have more to stop now than before.
    pub fn interrupted(&self) -> impl Iterator<Item = SessionId> {
        self.stops.iter().filter_map(|(_, _, is)| {
            is.map(|(lease::Stop::Cancel(session) | lease::Stop::Pause(session))| session)
        })
    }
}
