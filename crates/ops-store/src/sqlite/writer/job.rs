//! Jobs for the writer. All jobs are of this one kind.

use std::fmt;

use ops_core::ports::StoreError;
use tokio::sync::oneshot;

use crate::sqlite::{error::WriteError, writer::batch::Batch};

/// The work of one caller.
pub(crate) struct Job {
    work: Box<dyn Work>,
    is_deletion: bool,
}

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
    /// Work, and a use of its outcome once the group is committed or has failed. Refused work must not have
    /// written.
    pub(crate) fn new<T, W, A>(work: W, answer: A) -> Self
    where
        T: Send + 'static,
        W: FnOnce(&mut Batch<'_>) -> Result<T, WriteError> + Send + 'static,
        A: FnOnce(Result<T, StoreError>) + Send + 'static,
    {
        Self {
            work: Box::new(Typed {
                work: Some(work),
                outcome: None,
                answer,
            }),
            is_deletion: false,
        }
    }

    /// The same work as a deletion, which may use the space that is set aside.
    pub(crate) fn deletion(self) -> Self {
        Self {
            is_deletion: true,
            ..self
        }
    }

    pub(crate) fn is_deletion(&self) -> bool {
        self.is_deletion
    }

    /// Work whose outcome is sent to a waiting caller. The writer ignores a caller that went away.
    pub(crate) fn replying<T, W>(work: W, reply: oneshot::Sender<Result<T, StoreError>>) -> Self
    where
        T: Send + 'static,
        W: FnOnce(&mut Batch<'_>) -> Result<T, WriteError> + Send + 'static,
    {
        Self::new(work, move |outcome| drop(reply.send(outcome)))
    }

    /// Does the work; with the error if storage failed, which fails the whole group.
    pub(crate) fn perform(&mut self, batch: &mut Batch<'_>) -> Option<rusqlite::Error> {
        self.work.perform(batch)
    }

    /// Answers after the commit.
    pub(crate) fn answer(self) {
        self.work.answer();
    }

    /// Answers that the job has not written.
    pub(crate) fn fail(self, error: StoreError) {
        self.work.fail(error);
    }
}

impl<T, W, A> Work for Typed<T, W, A>
where
    T: Send,
    W: FnOnce(&mut Batch<'_>) -> Result<T, WriteError> + Send,
    A: FnOnce(Result<T, StoreError>) + Send,
{
    fn perform(&mut self, batch: &mut Batch<'_>) -> Option<rusqlite::Error> {
        let (outcome, broken) = match self.work.take()?(batch) {
            Ok(value) => (Ok(value), None),
            Err(WriteError::Refused(error)) => (Err(error), None),
            Err(WriteError::Broken(error)) => {
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
