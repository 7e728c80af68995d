//! Answers that wait for the commit of their group.

use std::sync::{Arc, mpsc};

use ops_core::{
    Lifecycle,
    ports::{More, StoreError},
};

use crate::sqlite::{
    schema::rows::Sparse,
    verbs::{claim::Claimed, submit::Found},
    writer::{
        inbox::Inbox,
        job::Job,
        request::{Reply, Request},
    },
};

/// A verdict and whom it is for.
#[derive(Debug)]
pub(crate) enum Answer {
    Submit(Reply<Found>, Result<Box<Found>, StoreError>),
    Claim(Reply<Claimed>, Result<(Vec<Sparse>, More), StoreError>),
    Apply(Option<Reply<Lifecycle>>, Result<Lifecycle, StoreError>),
    Voided(
        mpsc::Sender<Result<u32, StoreError>>,
        Result<u32, StoreError>,
    ),
    /// It holds its verdict itself.
    Job(Job),
    /// A job that was not done.
    NoJob(Job, StoreError),
}

impl Answer {
    /// The answer to a request that was not looked at, because the group failed before it.
    pub(crate) fn refused(request: Request, error: StoreError) -> Self {
        match request {
            Request::Submit(_, reply) => Self::Submit(reply, Err(error)),
            Request::Claim(_, reply) => Self::Claim(reply, Err(error)),
            Request::Apply(_, reply) => Self::Apply(reply, Err(error)),
            Request::VoidLeases(reply) => Self::Voided(reply, Err(error)),
            Request::Job(job) => Self::NoJob(job, error),
        }
    }

    /// Answers after the commit. Callers that went away are none of the writer's business.
    pub(crate) fn send(self, inbox: &Arc<Inbox<Request>>) {
        match self {
            Self::Submit(reply, verdict) => drop(reply.send(verdict.map(|found| *found))),
            Self::Claim(reply, verdict) => {
                drop(reply.send(verdict.map(|taken| Claimed::new(taken, Arc::clone(inbox)))));
            }
            Self::Apply(Some(reply), verdict) => drop(reply.send(verdict)),
            Self::Apply(None, verdict) => {
                if let Err(error) = verdict {
                    tracing::debug!(%error, "a command that nobody waits for was refused");
                }
            }
            Self::Voided(reply, verdict) => drop(reply.send(verdict)),
            Self::Job(job) => job.answer(),
            Self::NoJob(job, error) => job.fail(error),
        }
    }

    /// Answers that the group was rolled back.
    pub(crate) fn fail(self, error: StoreError) {
        match self {
            Self::Submit(reply, _) => drop(reply.send(Err(error))),
            Self::Claim(reply, _) => drop(reply.send(Err(error))),
            Self::Apply(Some(reply), _) => drop(reply.send(Err(error))),
            Self::Apply(None, _) => {}
            Self::Voided(reply, _) => drop(reply.send(Err(error))),
            Self::Job(job) | Self::NoJob(job, _) => job.fail(error),
        }
    }
}
