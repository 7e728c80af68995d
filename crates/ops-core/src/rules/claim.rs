//! Who may be taken by a claim, who is blocked, and who has to wait for others.
//!
//! A task that lost its worker again and again is a *suspect*: it may be what kills its workers. One
//! suspect runs at a time, after the others, so that it has few neighbours that lose a lease with it, and
//! an innocent one gets to an outcome, which clears it.

use super::{Cause, Transition, decide};
use crate::{
    command::Rejection,
    id::SessionId,
    ports::{ClaimRequest, More},
    rate::Rate,
    task::{Lifecycle, Task},
    time::Micros,
};

/// So many lost leases in a row make a task a suspect.
pub const SUSPECT_LOSSES: u32 = 2;
/// The most tasks in one claim.
pub const MAX_TASKS: u32 = 1_000;
/// About how many tasks one claim blocks at the most: what is behind more of them waits for the next
/// claim, and other requests come between.
pub const MAX_BLOCKED: usize = 256;

/// Whether a task may be what kills its workers.
#[must_use]
pub fn is_suspect(life: &Lifecycle) -> bool {
    life.lease_losses >= SUSPECT_LOSSES
}

/// The concurrency key that the task would begin under. One that has started holds its key already.
#[must_use]
pub fn key_needed<'t>(task: &'t Task, life: &Lifecycle) -> Option<&'t str> {
    let key = task.concurrency_key.as_deref();
    key.filter(|_| life.started_at.is_none())
}

/// Which tasks a claim looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// All but the suspects.
    Usual,
    /// The suspects.
    Suspect,
}

/// What a claim needs to know next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// At most `limit` ready tasks of a class: highest priority first, then oldest.
    Candidates {
        /// The class.
        class: Class,
        /// How many.
        limit: u32,
    },
    /// Whether a session holds a suspect: see [`Claim::suspect_is_leased`].
    LeasedSuspect,
}

/// What a claim does with a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The session has it.
    Taken,
    /// Another task holds its concurrency key; it leaves the queue until the key is free.
    Blocked,
}

/// A claim under way. The store asks for [`Claim::wanted`] until there is nothing more.
#[derive(Debug)]
pub struct Claim {
    session: SessionId,
    left: u32,
    taken: u32,
    blocked: usize,
    rate: Option<(Rate, Micros)>,
    stage: Stage,
    now: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Looking at usual tasks; `new` of those of the last round were blocked.
    Usual {
        first: bool,
        new: usize,
    },
    /// A leased suspect is asked about.
    Asking,
    Suspects,
    Done,
}

impl Claim {
    /// A claim at this time. `expected` is where the rate of the queue stands, if it has one.
    #[must_use]
    pub fn new(request: &ClaimRequest, expected: Micros, now: Micros) -> Self {
        let allowed = request
            .rate
            .map_or(MAX_TASKS, |rate| rate.allows(expected, now));
        Self {
            session: request.session,
            left: request.max.min(MAX_TASKS).min(allowed),
            taken: 0,
            blocked: 0,
            rate: request.rate.map(|rate| (rate, expected)),
            stage: Stage::Usual {
                first: true,
                new: 0,
            },
            now,
        }
    }

    /// What has to be known next; none once the claim is over.
    pub fn wanted(&mut self) -> Option<Wanted> {
        if self.left == 0 {
            self.stage = Stage::Done;
        }
        if let Stage::Usual { first, new } = self.stage {
            // Tasks whose key is held have left the queue, so that those behind them are seen.
            if first || (new > 0 && self.blocked < MAX_BLOCKED) {
                self.stage = Stage::Usual {
                    first: false,
                    new: 0,
                };
                return Some(Wanted::Candidates {
                    class: Class::Usual,
                    limit: self.left,
                });
            }
            self.stage = Stage::Asking;
            return Some(Wanted::LeasedSuspect);
        }
        if self.stage == Stage::Suspects {
            self.stage = Stage::Done;
            return Some(Wanted::Candidates {
                class: Class::Suspect,
                limit: 1,
            });
        }
        None
    }

    /// Whether a session holds a suspect: then no other one is taken.
    pub fn suspect_is_leased(&mut self, leased: bool) {
        self.stage = match leased {
            true => Stage::Done,
            false => Stage::Suspects,
        };
    }

    /// Decides about a candidate. `held` is its concurrency key, if it needs one and another task
    /// holds it.
    ///
    /// # Errors
    /// A [`Rejection`] if the candidate is not ready.
    pub fn look(
        &self,
        life: &Lifecycle,
        held: Option<String>,
    ) -> Result<(Look, Transition), Rejection> {
        let session = self.session;
        let (look, cause) = match held {
            Some(key) => (Look::Blocked, Cause::Block { key }),
            None => (Look::Taken, Cause::Claim { session }),
        };
        Ok((look, decide(life, cause, self.now)?))
    }

    /// What was decided about a candidate is written.
    pub fn written(&mut self, look: Look) {
        match look {
            Look::Taken => {
                self.left = self.left.saturating_sub(1);
                self.taken += 1;
            }
            Look::Blocked => {
                self.blocked += 1;
                if let Stage::Usual { new, .. } = &mut self.stage {
                    *new += 1;
                }
            }
        }
    }

    /// When it is worth claiming again, and where the rate of the queue stands now, if that changed.
    #[must_use]
    pub fn finish(self) -> (More, Option<Micros>) {
        let full = self.left == 0;
        let after = self
            .rate
            .map(|(rate, expected)| (rate, rate.after(expected, self.now, self.taken)));
        let changed = after
            .map(|(_, expected)| expected)
            .filter(|_| self.taken > 0);
        if let Some((rate, expected)) = after
            && full
            && rate.allows(expected, self.now) == 0
        {
            return (More::At(rate.next(expected, self.now)), changed);
        }
        let more = match full || self.blocked >= MAX_BLOCKED {
            true => More::Now,
            false => More::Rung,
        };
        (more, changed)
    }
}

#[cfg(test)]
mod tests;
