//! Within one process.

mod hints;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ops_core::{
    TaskId, TenantId,
    ports::{Delta, Follow, Fut, Hint, Hints, Live, LogUpdate, Queue, Wakeup},
};
use tokio::sync::{Notify, broadcast};

/// Pieces of answers that a follower may be behind before it loses some.
const BACKLOG: usize = 64;

/// Wakes the workers of this process. Wake-ups that nobody has taken yet are one.
#[derive(Debug, Default)]
pub struct LocalQueue {
    notifiers: Mutex<HashMap<String, Arc<Notify>>>,
}

impl LocalQueue {
    fn notifier(&self, queue: &str) -> Arc<Notify> {
        let mut notifiers = lock(&self.notifiers);
        if let Some(notifier) = notifiers.get(queue) {
            return Arc::clone(notifier);
        }
        Arc::clone(notifiers.entry(queue.to_owned()).or_default())
    }
}

impl Queue for LocalQueue {
    fn wake(&self, queue: &str) {
        self.notifier(queue).notify_one();
    }

    fn wait<'a>(&'a self, queue: &'a str) -> Fut<'a, Wakeup> {
        let notifier = self.notifier(queue);
        Box::pin(async move {
            notifier.notified().await;
            Wakeup::default()
        })
    }
}

/// Wakes the readers of this process.
#[derive(Debug, Default)]
pub struct LocalLive {
    topics: Arc<Mutex<Topics>>,
    readers: Arc<hints::Readers>,
}

type Topics = HashMap<(TenantId, TaskId), broadcast::Sender<LogUpdate>>;

impl LocalLive {
    /// How many tasks are followed.
    #[must_use]
    pub fn followed(&self) -> usize {
        lock(&self.topics).len()
    }

    fn send(&self, tenant: TenantId, task: TaskId, next_update: LogUpdate) {
        if let Some(topic) = lock(&self.topics).get(&(tenant, task)) {
            // No receiver is no error: the last follower is just leaving.
            let _ = topic.send(next_update);
        }
    }
}

impl Live for LocalLive {
    fn hint(&self, hint: Hint) {
        self.send(hint.tenant, hint.task, LogUpdate::Log);
        self.readers.tell(hint);
    }

    fn delta(&self, tenant: TenantId, task: TaskId, delta: Delta) {
        self.send(tenant, task, LogUpdate::Delta(delta));
    }

    fn follow(&self, tenant: TenantId, task: TaskId) -> Box<dyn Follow> {
        let key = (tenant, task);
        let receiver = lock(&self.topics)
            .entry(key)
            .or_insert_with(|| broadcast::channel(BACKLOG).0)
            .subscribe();
        Box::new(Follower {
            receiver: Some(receiver),
            key,
            topics: Arc::clone(&self.topics),
        })
    }

    fn hints(&self, tenant: TenantId) -> Box<dyn Hints> {
        Box::new(self.readers.listen(tenant))
    }
}

struct Follower {
    receiver: Option<broadcast::Receiver<LogUpdate>>,
    key: (TenantId, TaskId),
    topics: Arc<Mutex<Topics>>,
}

impl Follow for Follower {
    fn next(&mut self) -> Fut<'_, LogUpdate> {
        Box::pin(async move {
            let Some(receiver) = &mut self.receiver else {
                return std::future::pending().await;
            };
            match receiver.recv().await {
                Ok(next_update) => next_update,
                // Whatever was missed, the log has it.
                Err(broadcast::error::RecvError::Lagged(_)) => LogUpdate::Log,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.receiver = None;
        let mut topics = lock(&self.topics);
        if topics
            .get(&self.key)
            .is_some_and(|topic| topic.receiver_count() == 0)
        {
            topics.remove(&self.key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use ops_core::{Micros, task::StateName};

    use super::*;

    fn task() -> TaskId {
        TaskId::new(Micros(1), [3; 10])
    }

    #[tokio::test]
    async fn a_wake_up_before_the_wait_is_not_lost() {
        let queue = LocalQueue::default();
        queue.wake("default");
        queue.wake("default");
        queue.wait("default").await;
        let second =
            tokio::time::timeout(std::time::Duration::from_millis(20), queue.wait("default"));
        assert!(
            second.await.is_err(),
            "wake-ups are one until somebody takes them"
        );
    }

    #[tokio::test]
    async fn followers_hear_their_task_and_leave_nothing_behind() {
        let live = LocalLive::default();
        let hint = Hint {
            tenant: TenantId::DEFAULT,
            task: task(),
            seq: 3,
            state: StateName::Running,
        };
        live.hint(hint);
        let mut follower = live.follow(TenantId::DEFAULT, task());
        let _other = live.follow(TenantId(2), task());
        live.hint(hint);
        assert_eq!(follower.next().await, LogUpdate::Log);
        for offset in 0..100 {
            let delta = Delta {
                step: 1,
                attempt: 1,
                offset,
                text: "x".into(),
            };
            live.delta(TenantId::DEFAULT, task(), delta);
        }
        assert_eq!(
            follower.next().await,
            LogUpdate::Log,
            "one that falls behind reads the log"
        );
        drop(follower);
        assert_eq!(lock(&live.topics).len(), 1);
    }
}
