//! The verbs of a lease holder.

use ops_core::{
    AgentDigest, Json, Lifecycle, RunAction, RunCommand, SessionId, StoredEvent, TaskId, TenantId,
    ports::{Blob, ClaimRequest, Claimed, Fut, HeartbeatReply, RunStore, Snapshot, StoreError},
    rules::{
        Cause, decide,
        lease::replaces,
        repeat::{self, Body, Recorded},
    },
};
use sha2::{Digest as _, Sha256};

use crate::{
    check,
    data::{Data, Key},
    store::{MemoryStore, ready},
    write::Write,
};

impl RunStore for MemoryStore {
    fn open_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>> {
        let boot = self.clock.boot_micros();
        ready(self.write(|write| write.data.sessions.open(session, boot)))
    }

    fn heartbeat(&self, session: SessionId) -> Fut<'_, Result<HeartbeatReply, StoreError>> {
        let boot = self.clock.boot_micros();
        ready(self.write(|write| write.data.sessions.heartbeat(session, boot)))
    }

    fn interrupted(&self, session: SessionId) -> Fut<'_, ()> {
        let bell = self.read(|data| data.sessions.bell(session));
        Box::pin(async move {
            match bell {
                Some(bell) => bell.notified().await,
                None => std::future::pending().await,
            }
        })
    }

    fn close_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>> {
        ready(self.write(|write| {
            if write.data.sessions.end(session) {
                write.end_session(session);
            }
            Ok(())
        }))
    }

    fn claim(&self, request: ClaimRequest) -> Fut<'_, Result<Claimed, StoreError>> {
        ready(self.write(|write| write.claim(&request)))
    }

    fn record(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: RunCommand,
        blobs: Vec<Blob>,
    ) -> Fut<'_, Result<Lifecycle, StoreError>> {
        let size = check::run(&command, &blobs, self.cap);
        ready(size.and_then(|()| {
            self.write(|write| {
                let key = (tenant, task);
                let life = write.data.life(key)?;
                if is_repeat(write.data, key, &command)? {
                    return Ok(life.clone());
                }
                let in_force = match &command.action {
                    RunAction::Append(append) => append.limits.clone(),
                    RunAction::Release => None,
                };
                let transition = match decide(life, Cause::Run(command), write.now) {
                    Ok(transition) => transition,
                    Err(rejection) => {
                        write.data.work.stale_writes += u64::from(rejection.is_stale());
                        return Err(rejection.into());
                    }
                };
                let after = write.carry_out(key, transition, blobs)?;
                if let Some(row) = write.data.tasks.get_mut(&key)
                    && let Some(in_force) = in_force
                {
                    row.record.in_force = Some(*in_force);
                }
                Ok(after)
            })
        }))
    }

    fn log(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Fut<'_, Result<Vec<StoredEvent>, StoreError>> {
        ready(self.read(|data| data.events((tenant, task), after, limit)))
    }

    fn value<'a>(
        &'a self,
        tenant: TenantId,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> Fut<'a, Result<Vec<u8>, StoreError>> {
        ready(self.read(|data| data.slice(tenant, digest, offset, len)))
    }

    fn snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
    ) -> Fut<'_, Result<Option<Snapshot>, StoreError>> {
        ready(self.read(|data| Ok(data.row((tenant, task))?.snapshot.clone())))
    }

    fn put_snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
        epoch: u64,
        snapshot: Snapshot,
    ) -> Fut<'_, Result<(), StoreError>> {
        let size = check::size(snapshot.body.len(), self.cap);
        ready(size.and_then(|()| {
            self.write(|write| {
                if let Err(rejection) = write.data.life((tenant, task))?.check_epoch(epoch) {
                    write.data.work.stale_writes += 1;
                    return Err(rejection.into());
                }
                let row = write.data.tasks.get_mut(&(tenant, task));
                let row = row.ok_or(StoreError::NotFound)?;
                let number = |of: &Snapshot| (of.version, of.seq);
                let old = row.snapshot.as_ref().map(number);
                if old.is_none_or(|old| replaces(number(&snapshot), old)) {
                    row.snapshot = Some(snapshot);
                }
                Ok(())
            })
        }))
    }

    fn definition(
        &self,
        tenant: TenantId,
        digest: AgentDigest,
    ) -> Fut<'_, Result<Json, StoreError>> {
        let found = self.read(|data| {
            let version = data.version(tenant, digest);
            version.map(|version| version.spec.definition.clone())
        });
        ready(found.ok_or(StoreError::NotFound))
    }
}

impl Write<'_> {
    /// Takes the leases of a session back, then forgets it.
    pub(crate) fn end_session(&mut self, session: SessionId) {
        for key in self.data.held_by(session) {
            self.apply(key, Cause::LoseLease);
        }
        self.data.sessions.forget(session);
    }
}

/// Whether an append was committed before.
fn is_repeat(data: &Data, key: Key, command: &RunCommand) -> Result<bool, StoreError> {
    let row = data.row(key)?;
    let RunAction::Append(append) = &command.action else {
        return Ok(false);
    };
    let Some(range) = repeat::candidates(&row.record.life, append) else {
        return Ok(false);
    };
    let stored = row.log.iter().filter(|(_, of)| range.contains(&of.seq));
    let stored: Vec<_> = stored
        .map(|(epoch, of)| Recorded {
            epoch: *epoch,
            kind: &of.event.kind,
            step: of.event.step,
            body: Body::Inline(&of.event.body),
        })
        .collect();
    let result = row.record.result.as_ref();
    let result = result.map(|result| Body::Inline(result.as_str().as_bytes()));
    let digest = |bytes: &[u8]| Sha256::digest(bytes).into();
    let command = (command.epoch, append);
    Ok(repeat::is_repeat(command, &stored, result, digest))
}
