//! The verbs of a lease holder.

use ops_core::{
    AgentDigest, Json, Lifecycle, RunCommand, SessionId, StoredEvent, TaskId, TenantId,
    ports::{Blob, ClaimRequest, Claimed, Fut, HeartbeatReply, RunStore, Snapshot, StoreError},
    verbs::{Rows as _, Write, size},
};

use crate::{
    data::Data,
    store::{MemoryStore, ready},
};

impl RunStore for MemoryStore {
    fn open_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>> {
        let boot = self.clock.boot_micros();
        ready(self.write(|write| write.rows.sessions.open(session, boot)))
    }

    fn heartbeat(&self, session: SessionId) -> Fut<'_, Result<HeartbeatReply, StoreError>> {
        let boot = self.clock.boot_micros();
        ready(self.write(|write| write.rows.sessions.heartbeat(session, boot)))
    }

    fn interrupted(&self, session: SessionId) -> Fut<'_, ()> {
        let stop_notify = self.read(|data| data.sessions.stop_notify(session));
        Box::pin(async move {
            match stop_notify {
                Some(stop_notify) => stop_notify.notified().await,
                None => std::future::pending().await,
            }
        })
    }

    fn close_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>> {
        ready(self.write(|write| {
            if write.rows.sessions.end(session) {
                end_session(write, session)?;
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
        let fits = size::run(&command, &blobs, self.cap, Data::digest);
        ready(fits.and_then(|()| self.write(|write| write.record((tenant, task), command, blobs))))
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
        let fits = size::size(snapshot.body.len(), self.cap);
        let key = (tenant, task);
        ready(fits.and_then(|()| self.write(|write| write.put_snapshot(key, epoch, snapshot))))
    }

    fn definition(
        &self,
        tenant: TenantId,
        digest: AgentDigest,
    ) -> Fut<'_, Result<Json, StoreError>> {
        let found = self.read(|data| {
            let version = data.version_of(tenant, digest);
            version.map(|version| version.spec.definition.clone())
        });
        ready(found.ok_or(StoreError::NotFound))
    }
}

/// Takes the leases of a session back, then forgets the session.
pub(super) fn end_session(
    write: &mut Write<'_, Data>,
    session: SessionId,
) -> Result<(), StoreError> {
    write.end_session(session)?;
    write.rows.sessions.forget(session);
    Ok(())
}
