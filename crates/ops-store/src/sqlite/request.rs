//! What is asked of the writer, and which verb does it.

use std::sync::mpsc;

use ops_core::{
    Approval, Lifecycle, SessionId, TaskId, TenantId,
    ports::{ClaimRequest, Due, StoreError, Verdict},
};
use tokio::sync::oneshot;

use super::{
    answer::Answer,
    apply, approvals,
    batch::Batch,
    claim::{self, Claimed},
    error::Fault,
    job::Job,
    leases,
    prepare::{Prepared, PreparedSnapshot, PreparedTask},
    submit::{self, Found},
};

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Request {
    Submit(Box<PreparedTask>, Reply<Found>),
    Claim(ClaimRequest, Reply<Claimed>),
    /// Without a reply if nobody waits for it.
    Apply(Apply, Option<Reply<Lifecycle>>),
    Judge(TenantId, TaskId, Verdict, Reply<Approval>),
    PutSnapshot(TenantId, TaskId, PreparedSnapshot, Reply<()>),
    EndSession(SessionId, Reply<u32>),
    /// At the start, while nobody is in a runtime yet.
    VoidLeases(mpsc::Sender<Result<u32, StoreError>>),
    WakeDue(u32, Reply<Due>),
    Job(Job),
}

/// A command for one task.
#[derive(Debug)]
pub(super) struct Apply {
    pub(super) tenant: TenantId,
    pub(super) task: TaskId,
    pub(super) prepared: Prepared,
}

/// Does one request; with the error if storage failed, which fails the whole group.
pub(super) fn answer(batch: &mut Batch<'_>, request: Request) -> (Answer, Option<rusqlite::Error>) {
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
        Request::Apply(
            Apply {
                tenant,
                task,
                prepared,
            },
            reply,
        ) => {
            let (verdict, broken) = verdict(apply::apply(batch, tenant, task, prepared));
            (Answer::Apply(reply, verdict), broken)
        }
        Request::Judge(tenant, task, judged, reply) => {
            let (verdict, broken) = verdict(approvals::judge(batch, tenant, task, judged));
            (Answer::Judged(reply, verdict.map(Box::new)), broken)
        }
        Request::PutSnapshot(tenant, task, snapshot, reply) => {
            let (verdict, broken) = verdict(apply::put_snapshot(batch, tenant, task, &snapshot));
            (Answer::Done(reply, verdict), broken)
        }
        Request::EndSession(session, reply) => {
            let (verdict, broken) = verdict(leases::end_session(batch, session));
            (Answer::Count(reply, verdict), broken)
        }
        Request::VoidLeases(reply) => {
            let (verdict, broken) = verdict(leases::void_leases(batch));
            (Answer::Voided(reply, verdict), broken)
        }
        Request::WakeDue(limit, reply) => {
            let (verdict, broken) = verdict(leases::wake_due(batch, limit));
            (Answer::Due(reply, verdict), broken)
        }
        Request::Job(mut job) => {
            let broken = job.perform(batch);
            (Answer::Job(job), broken)
        }
    }
}
