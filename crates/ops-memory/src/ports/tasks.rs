//! The verbs of surfaces.

use ops_core::{
    Approval, Json, Lifecycle, StoredEvent, TaskCommand, TaskId, TenantId,
    ports::{
        ApprovalAction, ApprovalDecision, ApprovalFilter, Counts, Fut, LIST_BYTES, LeftOut, Listed,
        NewTask, StoreError, Submitted, TaskFilter, TaskRecord, TaskStore,
    },
    rules::links::MAX_INLINE_BYTES,
    stats::Stats,
    verbs::size,
};

use crate::{
    data::Data,
    filter::fitting,
    store::{MemoryStore, ready},
};

impl TaskStore for MemoryStore {
    fn submit(&self, new: NewTask) -> Fut<'_, Result<Submitted, StoreError>> {
        let fits = size::task(&new, self.cap);
        ready(fits.and_then(|()| self.write(|write| write.submit(new))))
    }

    fn submit_all(&self, new: Vec<NewTask>) -> Fut<'_, Vec<Result<Submitted, StoreError>>> {
        Box::pin(async move {
            let mut submitted = Vec::with_capacity(new.len());
            for task in new {
                submitted.push(self.submit(task).await);
            }
            submitted
        })
    }

    fn command(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: TaskCommand,
    ) -> Fut<'_, Result<Lifecycle, StoreError>> {
        let fits = size::command(&command, self.cap);
        ready(fits.and_then(|()| self.write(|write| write.command((tenant, task), command))))
    }

    fn decide_approval(
        &self,
        tenant: TenantId,
        task: TaskId,
        decision: ApprovalDecision,
    ) -> Fut<'_, Result<Approval, StoreError>> {
        let fits = match &decision.action {
            ApprovalAction::Edit { input, .. } => size::size(input.to_string().len(), self.cap),
            ApprovalAction::Approve | ApprovalAction::Deny { .. } => Ok(()),
        };
        ready(
            fits.and_then(|()| self.write(|write| write.decide_approval((tenant, task), decision))),
        )
    }

    fn approval(
        &self,
        tenant: TenantId,
        task: TaskId,
        step: u32,
    ) -> Fut<'_, Result<Approval, StoreError>> {
        let now = self.clock.now();
        let found = self.read(|data| {
            let (_, found) = data.approval_of((tenant, task), step)?;
            let status = found.standing(now);
            Some(Approval {
                status,
                ..found.clone()
            })
        });
        ready(found.ok_or(StoreError::NoApproval(step)))
    }

    fn approvals(
        &self,
        tenant: TenantId,
        filter: ApprovalFilter,
    ) -> Fut<'_, Result<Listed<(u64, Approval)>, StoreError>> {
        let now = self.clock.now();
        ready(Ok(self.read(|data| {
            let (mut found, mut bytes) = (Vec::new(), 0);
            for (number, (owner, approval)) in data.approvals.iter().rev() {
                let status = approval.standing(now);
                let fits = *owner == tenant
                    && filter
                        .before
                        .is_none_or(|before| number.unsigned_abs() < before)
                    && filter.status.is_none_or(|wanted| wanted == status)
                    && filter.task.is_none_or(|task| approval.task == task);
                if !fits {
                    continue;
                }
                let request = &approval.request;
                bytes += request.input.to_string().len() + request.input_schema.to_string().len();
                if found.len() >= filter.limit as usize || (bytes > LIST_BYTES && !found.is_empty())
                {
                    break;
                }
                let approval = Approval {
                    status,
                    ..approval.clone()
                };
                found.push((number.unsigned_abs(), approval));
            }
            found.into()
        })))
    }

    fn task(&self, tenant: TenantId, task: TaskId) -> Fut<'_, Result<TaskRecord, StoreError>> {
        ready(self.read(|data| Ok(data.row((tenant, task))?.record.clone())))
    }

    fn tasks(
        &self,
        tenant: TenantId,
        filter: TaskFilter,
    ) -> Fut<'_, Result<Listed<TaskRecord>, StoreError>> {
        ready(Ok(self.read(|data| page(data, tenant, &filter).into())))
    }

    fn count(&self, tenant: TenantId, filter: TaskFilter) -> Fut<'_, Result<u64, StoreError>> {
        ready(Ok(
            self.read(|data| fitting(data, tenant, &filter).count() as u64)
        ))
    }

    fn counts(&self, tenant: TenantId) -> Fut<'_, Result<Counts, StoreError>> {
        ready(Ok(self.read(|data| {
            let mut counts = Counts::new();
            for (_, row) in fitting(data, tenant, &TaskFilter::default()) {
                *counts.entry(row.record.life.state.name()).or_default() += 1;
            }
            counts
        })))
    }

    fn life(&self, tenant: TenantId, task: TaskId) -> Fut<'_, Result<Lifecycle, StoreError>> {
        ready(self.read(|data| Ok(data.row((tenant, task))?.record.life.clone())))
    }

    fn events(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Fut<'_, Result<Vec<StoredEvent>, StoreError>> {
        ready(self.read(|data| data.events((tenant, task), after, limit)))
    }

    fn turn_start(
        &self,
        tenant: TenantId,
        task: TaskId,
        seq: u64,
    ) -> Fut<'_, Result<u64, StoreError>> {
        ready(self.read(|data| data.turn_start((tenant, task), seq)))
    }

    fn blob<'a>(
        &'a self,
        tenant: TenantId,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> Fut<'a, Result<Vec<u8>, StoreError>> {
        ready(self.read(|data| data.slice(tenant, digest, offset, len)))
    }

    fn stats(&self) -> Stats {
        Stats {
            work: self.read(|data| data.work),
            metrics: Vec::new(),
        }
    }
}

fn page(data: &Data, tenant: TenantId, filter: &TaskFilter) -> Vec<TaskRecord> {
    let older = |id: TaskId| filter.before.is_none_or(|before| id < before);
    let found = fitting(data, tenant, filter).filter(|(key, _)| older(key.1));
    let records = found.map(|(_, row)| match filter.without_large {
        true => without_large(&row.record),
        false => row.record.clone(),
    });
    records.take(filter.limit as usize).collect()
}

fn without_large(record: &TaskRecord) -> TaskRecord {
    let size = |json: &Json| {
        let bytes = json.as_str().len();
        (bytes > MAX_INLINE_BYTES).then_some(bytes as u64)
    };
    let mut record = record.clone();
    record.left_out = LeftOut {
        input: size(&record.task.input),
        result: record.result.as_ref().and_then(size),
    };
    if record.left_out.input.is_some() {
        record.task.input = Json::null();
    }
    record.result = record.result.filter(|_| record.left_out.result.is_none());
    record
}
