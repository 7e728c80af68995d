//! Claims.

use super::{rows::Rows, write::Write};
use crate::{
    Micros,
    ports::{ClaimRequest, Claimed, StoreError, TaskRecord},
    rules::claim::{Claim, Look, Wanted, in_turn, key_needed},
};

impl<R: Rows> Write<'_, R> {
    /// Leases ready tasks to the session of a claim.
    ///
    /// # Errors
    /// [`StoreError::SessionOver`] if the session is not known or has ended.
    pub fn claim(&mut self, request: &ClaimRequest) -> Result<Claimed, StoreError> {
        if !self.rows.session_is_open(request.session)? {
            return Err(StoreError::SessionOver);
        }
        let known = match request.rate {
            Some(_) => self.rows.rate(&request.queue)?,
            None => None,
        };
        let mut claim = Claim::new(request, known.unwrap_or(Micros(0)), self.now);
        let mut tasks = Vec::new();
        while let Some(wanted) = claim.wanted() {
            match wanted {
                Wanted::Candidates {
                    class,
                    order,
                    limit,
                } => {
                    let of = (class, order);
                    let candidates = self.rows.ready(&request.queue, of, claim.after(), limit)?;
                    for candidate in in_turn(candidates, |candidate| candidate.task.tenant) {
                        if !claim.considers(&candidate.task, &candidate.life) {
                            continue;
                        }
                        tasks.extend(self.look(&mut claim, candidate)?);
                    }
                }
                Wanted::LeasedCrashLoopSuspect => {
                    let leased = self.rows.crash_loop_suspect_is_leased()?;
                    claim.crash_loop_suspect_is_leased(leased);
                }
            }
        }
        let (more, moved) = claim.finish();
        if let Some(expected) = moved.filter(|_| request.rate.is_some()) {
            self.rows.put_rate(&request.queue, expected)?;
        }
        Ok(Claimed { tasks, more })
    }

    /// Takes or blocks a candidate; gives the taken candidate back.
    fn look(
        &mut self,
        claim: &mut Claim,
        mut candidate: TaskRecord,
    ) -> Result<Option<TaskRecord>, StoreError> {
        let key = (candidate.task.tenant, candidate.task.id);
        let needed = key_needed(&candidate.task, &candidate.life).map(str::to_owned);
        let held = match needed {
            Some(needed) if self.rows.key_is_held(key.0, &needed)? => Some(needed),
            Some(_) | None => None,
        };
        let waited = self.now.0.saturating_sub(candidate.life.updated_at.0);
        let (look, transition) = claim.look(&candidate.life, held)?;
        let after = self.carry_out(key, candidate.life.clone(), transition, Vec::new())?;
        claim.written(look, key.0);
        if look == Look::Blocked {
            return Ok(None);
        }
        let waited = u64::try_from(waited).unwrap_or(0);
        self.done.work.queue_wait.add(waited);
        candidate.life = after;
        Ok(Some(candidate))
    }
}
