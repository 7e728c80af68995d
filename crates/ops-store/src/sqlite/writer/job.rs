//! Work for the writer that needs no request of its own: every verb but the most frequent ones.

use std::fmt;

use ops_core::ports::StoreError;

use crate::sqlite::{
    error::Fault,
    writer::{batch::Batch, request::Reply},
};

/// What the writer does for one caller.
pub(crate) struct Job(Box<dyn Work>);

/// Work, its verdict once it is done, and whom that is for.
trait Work: Send {
    fn perform(&mut self, batch: &mut Batch<'_>) -> Option<rusqlite::Error>;
    fn answer(self: Box<Self>);
    fn fail(self: Box<Self>, error: StoreError);
}

struct Typed<T, F> {
    work: Option<F>,
    verdict: Option<Result<T, StoreError>>,
    reply: Reply<T>,
}

impl Job {
    /// Work whose verdict goes to `reply`. Work that is refused must have written nothing.
    pub(crate) fn new<T, F>(work: F, reply: Reply<T>) -> Self
    where
        T: Send + 'static,
        F: FnOnce(&mut Batch<'_>) -> Result<T, Fault> + Send + 'static,
    {
        Self(Box::new(Typed {
            work: Some(work),
            verdict: None,
            reply,
        }))
    }

    /// Does it; with the error if storage failed, which fails the whole group.
    pub(crate) fn perform(&mut self, batch: &mut Batch<'_>) -> Option<rusqlite::Error> {
        self.0.perform(batch)
    }

    /// Answers after the commit.
    pub(crate) fn answer(self) {
        self.0.answer();
    }

    /// Answers that nothing was written.
    pub(crate) fn fail(self, error: StoreError) {
        self.0.fail(error);
    }
}

impl<T, F> Work for Typed<T, F>
where
    T: Send,
    F: FnOnce(&mut Batch<'_>) -> Result<T, Fault> + Send,
{
    fn perform(&mut self, batch: &mut Batch<'_>) -> Option<rusqlite::Error> {
        let (verdict, broken) = match self.work.take()?(batch) {
            Ok(value) => (Ok(value), None),
            Err(Fault::Refused(error)) => (Err(error), None),
            Err(Fault::Broken(error)) => {
                (Err(StoreError::Unavailable(error.to_string())), Some(error))
            }
        };
        self.verdict = Some(verdict);
        broken
    }

    fn answer(self: Box<Self>) {
        if let Some(verdict) = self.verdict {
            // A caller that went away is none of the writer's business.
            drop(self.reply.send(verdict));
        }
    }

    fn fail(self: Box<Self>, error: StoreError) {
        drop(self.reply.send(Err(error)));
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}
