//! The verbs of surfaces.

use ops_core::{
    Approval, Lifecycle, StoredEvent, TaskAction, TaskCommand, TaskId, TenantId,
    ports::{
        ApprovalAction, ApprovalDecision, ApprovalFilter, Counts, Fut, LIST_BYTES, Listed, NewTask,
        StoreError, Submitted, TaskFilter, TaskRecord, TaskStore,
    },
    rules::{Cause, approval, decide, limits},
    stats::Stats,
};

use crate::{
    check,
    data::Data,
    filter::fitting,
    store::{MemoryStore, ready},
    write::Write,
};

impl TaskStore for MemoryStore {
    fn submit(&self, new: NewTask) -> Fut<'_, Result<Submitted, StoreError>> {
        let size = check::task(&new, self.cap);
        ready(size.and_then(|()| self.write(|write| write.submit(new))))
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
        let size = check::command(&command, self.cap);
        ready(size.and_then(|()| {
            self.write(|write| {
                let key = (tenant, task);
                let mut given = None;
                if let TaskAction::Limit(limits) = &command.action {
                    given = Some(*limits);
                }
                let life = write.data.life(key)?;
                let transition = decide(life, Cause::Task(command), write.now)?;
                let after = write.carry_out(key, transition, Vec::new())?;
                if let (Some(given), Some(row)) = (given, write.data.tasks.get_mut(&key)) {
                    let asked = &mut row.record.task.limits;
                    *asked = limits::lay_over(given, *asked);
                    let in_force = &mut row.record.in_force;
                    *in_force = in_force.map(|below| limits::lay_over(given, below));
                }
                Ok(after)
            })
        }))
    }

    fn judge(
        &self,
        tenant: TenantId,
        task: TaskId,
        decision: ApprovalDecision,
    ) -> Fut<'_, Result<Approval, StoreError>> {
        let size = match &decision.action {
            ApprovalAction::Edit { input, .. } => check::size(input.to_string().len(), self.cap),
            ApprovalAction::Approve | ApprovalAction::Deny { .. } => Ok(()),
        };
        ready(size.and_then(|()| self.write(|write| judge(write, (tenant, task), decision))))
    }

    fn approval(
        &self,
        tenant: TenantId,
        task: TaskId,
        step: u32,
    ) -> Fut<'_, Result<Approval, StoreError>> {
        let now = self.clock.now();
        let found = self.read(|data| {
            let (_, found) = data.approval((tenant, task), step)?;
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
                    && filter.before.is_none_or(|before| *number < before)
                    && filter.status.is_none_or(|wanted| wanted == status)
                    && filter.task.is_none_or(|task| approval.task == task);
                if !fits {
                    continue;
                }
                let asked = &approval.asked;
                bytes += asked.input.to_string().len() + asked.input_schema.to_string().len();
                if found.len() >= filter.limit as usize || (bytes > LIST_BYTES && !found.is_empty())
                {
                    break;
                }
                let approval = Approval {
                    status,
                    ..approval.clone()
                };
                found.push((*number, approval));
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
        ready(self.read(|data| data.life((tenant, task)).cloned()))
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
    let records = found.map(|(_, row)| row.record.clone());
    records.take(filter.limit as usize).collect()
}

fn judge(
    write: &mut Write<'_>,
    key: (TenantId, TaskId),
    decision: ApprovalDecision,
) -> Result<Approval, StoreError> {
    let step = decision.step;
    let life = write.data.life(key)?;
    let found = write.data.approval(key, step);
    let (number, open) = found.ok_or(StoreError::NoApproval(step))?;
    let (approval, transition) = approval::judge(open, life, decision, write.now)?;
    write.carry_out(key, transition, Vec::new())?;
    if let Some((_, stored)) = write.data.approvals.get_mut(&number) {
        // The date may have been corrected with the task's clock just now.
        let expires_at = stored.asked.expires_at;
        *stored = approval.clone();
        stored.asked.expires_at = expires_at;
    }
    Ok(approval)
}
