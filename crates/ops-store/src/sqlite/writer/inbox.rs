//! The writer's queue: callers push, the writer takes all items at once.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Locks a mutex whose data stays valid after a panic of a holder.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Items,
    /// The time is over.
    Idle,
    /// The inbox is closed and empty.
    Closed,
}

/// A queue from many callers to one writer.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<Waiting<T>>,
    enough: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<T>,
    /// How many items the writer sleeps for; 0 while the writer is awake.
    wanted: usize,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        let state = Waiting {
            items: VecDeque::new(),
            wanted: 0,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            enough: Condvar::new(),
        }
    }

    /// Adds an item; gives the item back if the writer has stopped.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        self.push_all(Some(item)).map_err(|mut items| {
            let item = items.take();
            item.expect("a refused item is given back")
        })
    }

    /// Adds items side by side, so that one group takes them; gives them back if the writer has
    /// stopped taking any.
    pub(crate) fn push_all<I: IntoIterator<Item = T>>(&self, items: I) -> Result<(), I> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(items);
        }
        state.items.extend(items);
        let wake = state.wanted > 0 && state.items.len() >= state.wanted;
        drop(state);
        if wake {
            self.enough.notify_one();
        }
        Ok(())
    }

    /// Refuses further items; the writer still takes the queued items.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.enough.notify_all();
    }

    /// Closes, and drops the queued items.
    pub(crate) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let dropped = std::mem::take(&mut state.items);
        drop(state);
        drop(dropped);
    }

    /// Sleeps until there is an item, or, with a limit, until that is over.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Waited {
        let mut state = lock(&self.state);
        let mut idle = false;
        while state.items.is_empty() && !state.closed && !idle {
            state.wanted = 1;
            (state, idle) = match limit {
                Some(limit) => {
                    let waited = self.enough.wait_timeout(state, limit);
                    let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    (state, timeout.timed_out())
                }
                None => {
                    let waited = self.enough.wait(state);
                    (waited.unwrap_or_else(PoisonError::into_inner), false)
                }
            };
        }
        state.wanted = 0;
        match (state.items.is_empty(), state.closed) {
            (false, _) => Waited::Items,
            (true, true) => Waited::Closed,
            (true, false) => Waited::Idle,
        }
    }

    /// Sleeps until there are so many items, or the time is over.
    pub(crate) fn commit_delay(&self, wanted: usize, limit: Duration) {
        let mut state = lock(&self.state);
        state.wanted = wanted;
        let (mut state, _) = self
            .enough
            .wait_timeout_while(state, limit, |state| {
                state.items.len() < wanted && !state.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.wanted = 0;
    }

    /// Moves at most `max` items into `batch`.
    pub(crate) fn take(&self, max: usize, batch: &mut Vec<T>) {
        let mut state = lock(&self.state);
        let count = state.items.len().min(max);
        batch.extend(state.items.drain(..count));
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.state).items.len()
    }
}
