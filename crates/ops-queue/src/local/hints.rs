//! The hints of a tenant's tasks, for readers of any pace.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use ops_core::{
    TaskId, TenantId,
    ports::{Fut, Hint, HintUpdate, Hints},
};
use tokio::sync::Notify;

use super::lock;

/// Hints that a reader may be behind before it loses the oldest.
const BACKLOG: usize = 1_024;

/// Everybody who listens.
#[derive(Debug, Default)]
pub(super) struct Readers {
    of: Mutex<HashMap<TenantId, Vec<Arc<Inbox>>>>,
}

impl Readers {
    /// Tells the readers of the task's tenant.
    pub(super) fn tell(&self, hint: Hint) {
        for inbox in lock(&self.of).get(&hint.tenant).into_iter().flatten() {
            lock(&inbox.waiting).add(hint);
            inbox.arrived.notify_one();
        }
    }

    /// A reader that hears what is told from now on.
    pub(super) fn listen(self: &Arc<Self>, tenant: TenantId) -> Reader {
        let inbox = Arc::<Inbox>::default();
        let mut of = lock(&self.of);
        of.entry(tenant).or_default().push(Arc::clone(&inbox));
        Reader {
            inbox,
            tenant,
            readers: Arc::clone(self),
        }
    }
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

/// Hints that were not taken yet, oldest first.
#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Hint>,
    /// The number of the first hint in the queue, counted from the first that ever came.
    first: u64,
    /// The number of each task's last hint in the queue.
    newest: HashMap<TaskId, u64>,
    missed: u64,
}

impl Waiting {
    /// Adds a hint. Where the task's last one told of the same state, it takes that one's place: a
    /// task that works is one hint, however many steps a second it records.
    fn add(&mut self, hint: Hint) {
        let newest = self
            .newest
            .get(&hint.task)
            .map(|number| number - self.first);
        let newest = newest.and_then(|index| self.queue.get_mut(usize::try_from(index).ok()?));
        if let Some(newest) = newest.filter(|newest| newest.state == hint.state) {
            *newest = hint;
            return;
        }
        if self.queue.len() == BACKLOG && self.take_hint().is_some() {
            self.missed += 1;
        }
        let number = self.first + self.queue.len() as u64;
        self.newest.insert(hint.task, number);
        self.queue.push_back(hint);
    }

    fn take(&mut self) -> Option<HintUpdate> {
        match std::mem::take(&mut self.missed) {
            0 => self.take_hint().map(HintUpdate::Hint),
            missed => Some(HintUpdate::Missed(missed)),
        }
    }

    fn take_hint(&mut self) -> Option<Hint> {
        let hint = self.queue.pop_front()?;
        if self.newest.get(&hint.task) == Some(&self.first) {
            self.newest.remove(&hint.task);
        }
        self.first += 1;
        Some(hint)
    }
}

/// One who listens.
pub(super) struct Reader {
    inbox: Arc<Inbox>,
    tenant: TenantId,
    readers: Arc<Readers>,
}

impl Hints for Reader {
    fn next(&mut self) -> Fut<'_, HintUpdate> {
        Box::pin(async move {
            loop {
                let next_update = lock(&self.inbox.waiting).take();
                match next_update {
                    Some(next_update) => return next_update,
                    None => self.inbox.arrived.notified().await,
                }
            }
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut of = lock(&self.readers.of);
        if let Some(inboxes) = of.get_mut(&self.tenant) {
            inboxes.retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
            if inboxes.is_empty() {
                of.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ops_core::{Micros, task::StateName};

    use super::*;

    fn hint(task: u16, seq: u64, state: StateName) -> Hint {
        let mut random = [0; 10];
        random[8..].copy_from_slice(&task.to_be_bytes());
        Hint {
            tenant: TenantId::DEFAULT,
            task: TaskId::new(Micros(1), random),
            seq,
            state,
        }
    }

    async fn next_update(reader: &mut Reader) -> Option<HintUpdate> {
        let next = tokio::time::timeout(Duration::from_millis(20), reader.next());
        next.await.ok()
    }

    #[tokio::test]
    async fn each_state_is_told_and_a_growing_log_is_one_hint() {
        use StateName::{Completed, Running, Waiting};
        let readers = Arc::<Readers>::default();
        readers.tell(hint(1, 1, Running));
        let mut reader = readers.listen(TenantId::DEFAULT);
        let mut other = readers.listen(TenantId(2));
        for seq in 2..5_000 {
            readers.tell(hint(1, seq, Running));
            readers.tell(hint(2, seq, Running));
        }
        for (seq, state) in [(5_000, Waiting), (5_001, Running), (5_002, Completed)] {
            readers.tell(hint(1, seq, state));
        }
        for expected in [
            hint(1, 4_999, Running),
            hint(2, 4_999, Running),
            hint(1, 5_000, Waiting),
            hint(1, 5_001, Running),
            hint(1, 5_002, Completed),
        ] {
            assert_eq!(
                next_update(&mut reader).await,
                Some(HintUpdate::Hint(expected))
            );
        }
        assert_eq!(next_update(&mut reader).await, None);
        assert_eq!(next_update(&mut other).await, None, "another tenant's");
        // What was taken is no longer there to be replaced.
        readers.tell(hint(2, 5_000, Running));
        let last = HintUpdate::Hint(hint(2, 5_000, Running));
        assert_eq!(next_update(&mut reader).await, Some(last));
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_it_missed() {
        let readers = Arc::<Readers>::default();
        let mut slow = readers.listen(TenantId::DEFAULT);
        let mut quick = readers.listen(TenantId::DEFAULT);
        let all = u16::try_from(BACKLOG).unwrap() + 6;
        for task in 0..all {
            let hint = hint(task, 1, StateName::Pending);
            readers.tell(hint);
            assert_eq!(next_update(&mut quick).await, Some(HintUpdate::Hint(hint)));
        }
        assert_eq!(next_update(&mut slow).await, Some(HintUpdate::Missed(6)));
        for task in 6..all {
            let hint = hint(task, 1, StateName::Pending);
            assert_eq!(next_update(&mut slow).await, Some(HintUpdate::Hint(hint)));
        }
        assert_eq!(next_update(&mut slow).await, None);
        assert!(lock(&slow.inbox.waiting).newest.is_empty());
        drop((slow, quick));
        assert!(lock(&readers.of).is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn one_that_waits_is_woken() {
        let readers = Arc::<Readers>::default();
        let mut reader = readers.listen(TenantId::DEFAULT);
        let waiting = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        let hint = hint(1, 1, StateName::Pending);
        readers.tell(hint);
        assert_eq!(waiting.await.unwrap(), HintUpdate::Hint(hint));
    }
}
