//! Claims.

use ops_core::{
    Micros, State,
    ports::{ClaimRequest, Claimed, StoreError, TaskRecord},
    rules::claim::{Claim, Class, Look, Wanted, is_suspect, key_needed},
};

use crate::{
    data::{Data, Key, in_turn},
    write::Write,
};

impl Write<'_> {
    /// Leases ready tasks to the session of a claim.
    pub(crate) fn claim(&mut self, request: &ClaimRequest) -> Result<Claimed, StoreError> {
        if !self.data.sessions.is_open(request.session) {
            return Err(StoreError::SessionOver);
        }
        let known = self.data.rates.get(&request.queue).copied();
        let mut claim = Claim::new(request, known.unwrap_or(Micros(0)), self.now);
        let mut tasks = Vec::new();
        while let Some(wanted) = claim.wanted() {
            match wanted {
                Wanted::Candidates { class, limit } => {
                    for key in ready(self.data, &request.queue, class, limit) {
                        tasks.extend(self.look(&mut claim, key)?);
                    }
                }
                Wanted::LeasedSuspect => {
                    let leased = suspect_is_leased(self.data);
                    claim.suspect_is_leased(leased);
                }
            }
        }
        let (more, moved) = claim.finish();
        if let Some(expected) = moved.filter(|_| request.rate.is_some()) {
            self.data.rates.insert(request.queue.clone(), expected);
        }
        Ok(Claimed { tasks, more })
    }

    /// Takes or blocks a candidate; gives it if it was taken.
    fn look(&mut self, claim: &mut Claim, key: Key) -> Result<Option<TaskRecord>, StoreError> {
        let record = &self.data.row(key)?.record;
        let needed = key_needed(&record.task, &record.life);
        let held = needed.filter(|needed| self.data.key_is_held(key.0, needed));
        let waited = self.now.0.saturating_sub(record.life.updated_at.0);
        let (look, transition) = claim.look(&record.life, held.map(str::to_owned))?;
        self.carry_out(key, transition, Vec::new())?;
        claim.written(look);
        if look == Look::Blocked {
            return Ok(None);
        }
        let waited = u64::try_from(waited).unwrap_or(0);
        self.data.work.queue_wait.add(waited);
        Ok(Some(self.data.row(key)?.record.clone()))
    }
}

/// The next tasks of a class.
fn ready(data: &Data, queue: &str, class: Class, limit: u32) -> Vec<Key> {
    let mut found: Vec<_> = data
        .tasks
        .iter()
        .filter(|(_, row)| {
            let record = &row.record;
            record.task.queue == queue
                && matches!(record.life.state, State::Pending { .. })
                && is_suspect(&record.life) == (class == Class::Suspect)
        })
        .map(|(key, row)| (in_turn(&row.record, key.1), *key))
        .collect();
    found.sort_unstable();
    let keys = found.into_iter().map(|(_, key)| key);
    keys.take(limit as usize).collect()
}

/// Whether a session holds a suspect.
fn suspect_is_leased(data: &Data) -> bool {
    data.tasks.values().any(|row| {
        let life = &row.record.life;
        let session = life.state.session();
        session.is_some_and(|session| data.sessions.is_known(session)) && is_suspect(life)
    })
}
