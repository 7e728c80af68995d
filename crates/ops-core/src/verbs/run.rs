//! Requests of the holder of a lease.

use super::{
    rows::{Key, Rows},
    write::Write,
};
use crate::{
    Lifecycle, RunAction, RunCommand, SessionId,
    ports::{Blob, Snapshot, StoreError},
    rules::{
        Cause,
        budget::{self, Changes, Look},
        decide,
        deduplicate::{self, Body, Recorded},
        lease::replaces,
        provider,
    },
};

impl<R: Rows> Write<'_, R> {
    /// Commits a request of the holder of a lease, with the values that its events refer to. An append that
    /// was committed before, by the same epoch, succeeds again.
    ///
    /// # Errors
    /// A rejection, which counts as a stale write where the lease is over.
    pub fn record(
        &mut self,
        key: Key,
        command: RunCommand,
        blobs: Vec<Blob>,
    ) -> Result<Lifecycle, StoreError> {
        let life = self.life(key)?;
        if self.is_duplicate(key, &life, &command)? {
            return Ok(life);
        }
        let (in_force, budget, provider) = match &command.action {
            RunAction::Append(append) => (
                append.limits.clone(),
                append.budget.clone(),
                append.provider.clone(),
            ),
            RunAction::Release => (None, Vec::new(), Vec::new()),
        };
        let again = (!provider.is_empty()).then(|| command.clone());
        let mut transition = match decide(&life, Cause::Run(command), self.now) {
            Ok(transition) => transition,
            Err(rejection) => {
                self.done.work.stale_writes += u64::from(rejection.is_stale());
                return Err(rejection.into());
            }
        };
        // A provider that takes no call refuses the append before anything is written.
        let providers = provider::changes(&provider, self.now, |key| self.rows.provider(key))?;
        if let (Some(turn), Some(mut command)) = (providers.turn, again) {
            provider::wait_until(&mut command, turn);
            transition = decide(&life, Cause::Run(command), self.now)?;
            self.done.work.provider_waits += 1;
        }
        let at = transition.after.updated_at;
        // A window without room refuses the append before anything is written.
        let changes = budget::changes(&budget, at, |window, look| match look {
            Look::Used => self.rows.ledger(key.0, window),
            Look::UnderWay => self.rows.under_way(key.0, window),
        })?;
        let after = self.carry_out(key, life, transition, blobs)?;
        for (key, state) in &providers.states {
            self.rows.put_provider(*key, state)?;
        }
        self.put_budgets(key, &after, changes)?;
        if let Some(in_force) = in_force {
            self.rows.put_limits(key, None, Some(*in_force))?;
        }
        Ok(after)
    }

    /// Writes the changes of ledgers by an append, and wakes the tasks that have room by them.
    fn put_budgets(
        &mut self,
        key: Key,
        after: &Lifecycle,
        changes: Changes,
    ) -> Result<(), StoreError> {
        let kept_from = after.updated_at.plus(-budget::KEPT_MICROS);
        for (window, used) in &changes.ledgers {
            self.rows.put_ledger(key.0, window, *used, kept_from)?;
        }
        if let Some(calls) = &changes.calls {
            self.rows.put_budget_calls(key, after.epoch, calls)?;
        }
        for window in changes.look_for_waiters {
            let used = changes.ledgers.get(&window).copied().unwrap_or_default();
            let waiters = self
                .rows
                .budget_waiters(key.0, &window, budget::MAX_WOKEN)?;
            for task in budget::turns(waiters, used) {
                self.apply((key.0, task), Cause::BudgetSettled)?;
            }
        }
        Ok(())
    }

    /// Keeps a snapshot in place of an older snapshot, under the lease of this epoch.
    ///
    /// # Errors
    /// A rejection if the lease is over.
    pub fn put_snapshot(
        &mut self,
        key: Key,
        epoch: u64,
        snapshot: Snapshot,
    ) -> Result<(), StoreError> {
        if let Err(rejection) = self.life(key)?.check_epoch(epoch) {
            self.done.work.stale_writes += 1;
            return Err(rejection.into());
        }
        let old = self.rows.snapshot_number(key)?;
        if old.is_none_or(|old| replaces((snapshot.version, snapshot.seq), old)) {
            self.rows.put_snapshot(key, snapshot)?;
        }
        Ok(())
    }

    /// Takes the leases of a session back.
    ///
    /// # Errors
    /// Storage failed.
    pub fn end_session(&mut self, session: SessionId) -> Result<(), StoreError> {
        for key in self.rows.held_by(session)? {
            self.apply(key, Cause::LoseLease)?;
        }
        Ok(())
    }

    /// Whether an append was committed before.
    fn is_duplicate(
        &mut self,
        key: Key,
        life: &Lifecycle,
        command: &RunCommand,
    ) -> Result<bool, StoreError> {
        let RunAction::Append(append) = &command.action else {
            return Ok(false);
        };
        let Some(range) = deduplicate::candidates(life, append) else {
            return Ok(false);
        };
        let stored = self.rows.recorded(key, range)?;
        let result = self.rows.result(key)?;
        let stored: Vec<_> = stored
            .iter()
            .map(|(epoch, of)| Recorded {
                epoch: *epoch,
                kind: &of.event.kind,
                step: of.event.step,
                body: Body::Inline(&of.event.body),
            })
            .collect();
        let result = result.as_ref();
        let result = result.map(|result| Body::Inline(result.as_str().as_bytes()));
        let command = (command.epoch, append);
        Ok(deduplicate::is_duplicate(
            command,
            &stored,
            result,
            R::digest,
        ))
    }
}
