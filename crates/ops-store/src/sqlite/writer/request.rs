//! What is asked of the writer, and which verb does it.

use std::sync::mpsc;

use ops_core::{
    Lifecycle, TaskId, TenantId,
    ports::{ClaimRequest, StoreError},
};
use tokio::sync::oneshot;

use crate::sqlite::{
    error::Fault,
    values::prepare::{Prepared, PreparedTask},
    verbs::{
        apply,
        claim::{self, Claimed},
        leases,
        submit::{self, Found},
    },
    writer::{answer::Answer, batch::Batch, job::Job},
};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is asked of the writer.
#[derive(Debug)]
pub(crate) enum Request {
    Submit(Box<PreparedTask>, Reply<Found>),
    Claim(ClaimRequest, Reply<Claimed>),
    /// Without a reply if nobody waits for it.
    Apply(Box<Apply>, Option<Reply<Lifecycle>>),
    /// At the start, while nobody is in a runtime yet.
    VoidLeases(mpsc::Sender<Result<u32, StoreError>>),
    /// Every other verb.
    Job(Job),
}

/// A command for one task.
#[derive(Debug)]
pub(crate) struct Apply {
    pub(crate) tenant: TenantId,
    pub(crate) task: TaskId,
    pub(crate) prepared: Prepared,
}

/// Does one request; with the error if storage failed, which fails the whole group.
pub(crate) fn answer(batch: &mut Batch<'_>, request: Request) -> (Answer, Option<rusqlite::Error>) {
    fn verdict<T>(done: Result<T, Fault>) -> (Result<T, StoreError>, Option<rusqlite::Error>) {
        match done {
            Ok(value) => (Ok(value), None),
            Err(Fault::Refused(error)) => (Err(error), None),
            Err(Fault::Broken(error)) => {
                (Err(StoreError::Unavailable(error.to_string())), Some(error))
            }
        }
    }
    match request {
        Request::Submit(task, reply) => {
            let (verdict, broken) = verdict(submit::submit(batch, *task));
            (Answer::Submit(reply, verdict.map(Box::new)), broken)
        }
        Request::Claim(request, reply) => {
            let (verdict, broken) = verdict(claim::claim(batch, &request));
            (Answer::Claim(reply, verdict), broken)
        }
        Request::Apply(apply, reply) => {
            let Apply {
                tenant,
                task,
                prepared,
            } = *apply;
            let (verdict, broken) = verdict(apply::apply(batch, tenant, task, prepared));
            (Answer::Apply(reply, verdict), broken)
        }
        Request::VoidLeases(reply) => {
            let (verdict, broken) = verdict(leases::void_leases(batch));
            (Answer::Voided(reply, verdict), broken)
        }
        Request::Job(mut job) => {
            let broken = job.perform(batch);
            (Answer::Job(job), broken)
        }
    }
}
