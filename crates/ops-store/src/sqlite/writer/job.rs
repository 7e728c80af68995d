//! Jobs: what callers ask of the writer. All of them are of this one kind.

use std::fmt;

use ops_core::ports::StoreError;
use tokio::sync::oneshot;

use crate::sqlite::{error::Fault, writer::batch::Batch};

/// What the writer does for one caller.
pub(crate) struct Job(Box<dyn Work>);

/// Work, its outcome once it is done, and whom to tell.
trait Work: Send {
    fn perform(&mut self, batch: &mut Batch<'_>) -> Option<rusqlite::Error>;
    fn answer(self: Box<Self>);
    fn fail(self: Box<Self>, error: StoreError);
}

struct Typed<T, W, A> {
    work: Option<W>,
    outcome: Option<Result<T, StoreError>>,
    answer: A,
}

impl Job {
    /// Work, and what to do with its outcome once the group is committed or has failed. Work that is
    /// refused must have written nothing.
    pub(crate) fn new<T, W, A>(work: W, answer: A) -> Self
    where
        T: Send + 'static,
        W: FnOnce(&mut Batch<'_>) -> Result<T, Fault> + Send + 'static,
        A: FnOnce(Result<T, StoreError>) + Send + 'static,
    {
        Self(Box::new(Typed {
            work: Some(work),
            outcome: None,
            answer,
        }))
    }

    /// Work whose outcome is sent to a caller who waits for it. A caller that went away is none of the
    /// writer's business.
    pub(crate) fn replying<T, W>(work: W, reply: oneshot::Sender<Result<T, StoreError>>) -> Self
    where
        T: Send + 'static,
        W: FnOnce(&mut Batch<'_>) -> Result<T, Fault> + Send + 'static,
    {
        Self::new(work, move |outcome| drop(reply.send(outcome)))
    }

    /// Does the work; with the error if storage failed, which fails the whole group.
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

impl<T, W, A> Work for Typed<T, W, A>
where
    T: Send,
    W: FnOnce(&mut Batch<'_>) -> Result<T, Fault> + Send,
    A: FnOnce(Result<T, StoreError>) + Send,
{
    fn perform(&mut self, batch: &mut Batch<'_>) -> Option<rusqlite::Error> {
        let (outcome, broken) = match self.work.take()?(batch) {
            Ok(value) => (Ok(value), None),
            Err(Fault::Refused(error)) => (Err(error), None),
            Err(Fault::Broken(error)) => {
                (Err(StoreError::Unavailable(error.to_string())), Some(error))
            }
        };
        self.outcome = Some(outcome);
        broken
    }

    fn answer(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            (self.answer)(outcome);
        }
    }

    fn fail(self: Box<Self>, error: StoreError) {
        (self.answer)(Err(error));
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}
