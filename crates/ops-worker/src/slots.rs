//! The runs that a worker may have at once, in all and of one queue.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// The slots of a queue: each is a slot of the worker, and a slot of the queue if the queue has a number of
/// its own.
pub(crate) struct Slots {
    all: Arc<Semaphore>,
    own: Option<Arc<Semaphore>>,
}

/// A slot, free again when it is dropped.
pub(crate) struct Slot {
    _all: OwnedSemaphorePermit,
    _own: Option<OwnedSemaphorePermit>,
}

impl Slots {
    pub(crate) fn new(all: &Arc<Semaphore>, own: Option<usize>) -> Self {
        Self {
            all: Arc::clone(all),
            own: own.map(|most| Arc::new(Semaphore::new(most.max(1)))),
        }
    }

    /// Waits for a free slot and takes the slot, with further free slots, up to `most`.
    pub(crate) async fn free(&self, most: usize) -> Result<Vec<Slot>, AcquireError> {
        // The queue's own first: who waits for that holds none that another queue could use.
        let own = match &self.own {
            Some(own) => Some(Arc::clone(own).acquire_owned().await?),
            None => None,
        };
        let mut slots = vec![Slot {
            _all: Arc::clone(&self.all).acquire_owned().await?,
            _own: own,
        }];
        while slots.len() < most
            && let Ok(slot) = self.try_one()
        {
            slots.push(slot);
        }
        Ok(slots)
    }

    fn try_one(&self) -> Result<Slot, TryAcquireError> {
        let own = self
            .own
            .as_ref()
            .map(|own| Arc::clone(own).try_acquire_owned());
        Ok(Slot {
            _own: own.transpose()?,
            _all: Arc::clone(&self.all).try_acquire_owned()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_queue_has_no_more_than_its_own_and_leaves_the_rest() {
        let all = Arc::new(Semaphore::new(5));
        let (few, many) = (Slots::new(&all, Some(2)), Slots::new(&all, None));
        let two = few.free(64).await.unwrap();
        assert_eq!(two.len(), 2);
        let three = many.free(64).await.unwrap();
        assert_eq!(three.len(), 3);
        drop(two);
        assert_eq!(few.free(1).await.unwrap().len(), 1);
        assert_eq!(all.available_permits(), 2);
    }
}
