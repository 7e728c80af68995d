//! Rules of a claim: which tasks are taken, blocked, or passed over.
//!
//! A task that lost its worker again and again is a *crash-loop suspect*: the task may kill its workers.
//! One suspect runs at a time, after the other tasks, so that few neighbours lose a lease with the suspect.
//! An innocent suspect gets to an outcome, which clears the suspicion.
//!
//! Higher priorities go first, so tasks of a high priority that never cease to come would keep the others waiting for
//! ever. In one slice of time of [`AGED_SHARE`] a claim therefore takes the tasks first that have been ready for
//! [`AGED_AFTER`], oldest first, whatever their priority. The oldest such task is the next in each of these slices, so
//! each task has its turn, and the rest of the time belongs to the priorities. The slices are drawn from the time alone,
//! not counted: a claim writes no state for it, and all processes of a database agree. They come at irregular times, as
//! a worker whose tasks all take as long as a period of regular ones would never claim in the right slice.
//!
//! Tenants with ready tasks in a queue take turns, regardless of the number and the priorities of their tasks, which count
//! within a tenant. A worker's claim begins with the tenant after that of its last task; each worker goes
//! round by itself, and no state is stored. A claim of many tasks takes one task of each tenant at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cause, Transition, decide};
use crate::{
    command::Rejection,
    id::{SessionId, TenantId},
    ports::{ClaimRequest, More},
    rate::Rate,
    task::{Lifecycle, Task},
    time::{Micros, SECOND},
};

/// So many lost leases in a row make a task a suspect.
pub const CRASH_LOOP_LOSSES: u32 = 2;
/// The most tasks in one claim.
pub const MAX_TASKS: u32 = 1_000;
/// A task that has been ready for so many microseconds may go before tasks of higher priorities.
pub const AGED_AFTER: i64 = 60 * SECOND;
/// One slice of so many belongs to aged tasks.
pub const AGED_SHARE: u64 = 8;
/// Length of a slice in microseconds.
const SLICE: i64 = SECOND;
/// The highest priority; the lowest is 0.
pub const MAX_PRIORITY: u8 = 9;
/// About how many tasks one claim blocks at the most: further tasks wait for the next claim, and other
/// requests come between.
pub const MAX_BLOCKED: usize = 256;

/// Whether a task may kill its workers.
#[must_use]
pub fn is_crash_loop_suspect(life: &Lifecycle) -> bool {
    life.lease_losses >= CRASH_LOOP_LOSSES
}

/// Whether claims take aged tasks first at this time.
#[must_use]
pub fn serves_aged(now: Micros) -> bool {
    if units::mutant!("ops-core.priorities_never_age") {
        return false;
    }
    // The finaliser of SplitMix64: neighbouring numbers get unrelated ones.
    let mut mixed = now.0.div_euclid(SLICE).cast_unsigned();
    mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).is_multiple_of(AGED_SHARE)
}

/// Since when a task that has not started waits for a worker: since its submit, or since its requested start. Later events
/// make the task no younger. A task that waited for a concurrency key has just been readied when its turn comes; were
/// that its age, a task of a higher priority that is submitted meanwhile would take the key, and the next one as well.
#[must_use]
pub fn waits_since(created_at: Micros, run_at: Option<Micros>, updated_at: Micros) -> Micros {
    if units::mutant!("ops-core.a_readied_waiter_is_young") {
        return updated_at;
    }
    // A time that a wrong clock made is later than the last event, which was corrected.
    updated_at.min(run_at.map_or(created_at, |run_at| run_at.max(created_at)))
}

/// Whether a task that has waited since a time has waited long enough to go before higher priorities.
#[must_use]
pub fn is_aged(since: Micros, now: Micros) -> bool {
    since.plus(AGED_AFTER) <= now
}

/// The concurrency key that the task would begin under. A started task holds its key already.
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
    CrashLoopSuspect,
}

/// The order of candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Highest priority first, then oldest.
    Priority,
    /// Oldest first.
    Age,
}

/// Rows that a claim needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// At most `limit` ready tasks of a class.
    Candidates {
        /// The class.
        class: Class,
        /// The order.
        order: Order,
        /// How many.
        limit: u32,
    },
    /// Whether a session holds a suspect: see [`Claim::crash_loop_suspect_is_leased`].
    LeasedCrashLoopSuspect,
}

/// The tenants whose turn it is in a claim of at most `limit` tasks, of the tenants with ready tasks in ascending order:
/// the tenants after `after`, then the tenants from the first on.
#[must_use]
pub fn turns_of_tenants(
    ready: impl IntoIterator<Item = TenantId>,
    after: Option<TenantId>,
    limit: u32,
) -> Vec<TenantId> {
    let (later, mut first): (Vec<TenantId>, Vec<TenantId>) = ready
        .into_iter()
        .partition(|tenant| after.is_none_or(|after| *tenant > after));
    let mut tenants = later;
    tenants.append(&mut first);
    tenants.truncate(limit as usize);
    tenants
}

/// How many candidates a claim of at most `limit` tasks looks at of each tenant.
#[must_use]
pub fn share(limit: u32, tenants: usize) -> u32 {
    let tenants = u32::try_from(tenants).unwrap_or(u32::MAX).max(1);
    limit.div_ceil(tenants)
}

/// Candidates in the order in which a claim looks at them: the first of each tenant, then the second of each tenant, and so on.
#[must_use]
pub fn in_turn<T>(candidates: Vec<T>, tenant: impl Fn(&T) -> TenantId) -> Vec<T> {
    let mut seen: BTreeMap<TenantId, u32> = BTreeMap::new();
    let mut ranked: Vec<(u32, T)> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let rank = seen.entry(tenant(&candidate)).or_default();
        ranked.push((*rank, candidate));
        *rank += u32::from(!units::mutant!("ops-core.tenants_take_no_turns"));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Decision about a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The session has it.
    Taken,
    /// Another task holds its concurrency key; the candidate leaves the queue until the key is free.
    Blocked,
}

/// A claim under way. The store calls [`Claim::wanted`] until the claim is over.
#[derive(Debug)]
pub struct Claim {
    session: SessionId,
    left: u32,
    taken: u32,
    blocked: usize,
    rate: Option<(Rate, Micros)>,
    stage: Stage,
    now: Micros,
    after: Option<TenantId>,
    /// The tenants of the candidates of the last round.
    tenants: BTreeSet<TenantId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The aged tasks come first.
    Aged,
    /// Looking at aged tasks.
    LookingAtAged,
    /// Looking at usual tasks; of the last round, `new` tasks were blocked, and `taken` tasks were taken.
    Usual {
        first: bool,
        new: usize,
        taken: usize,
    },
    /// A leased suspect is asked about.
    Asking,
    CrashLoopSuspects,
    Done,
}

impl Stage {
    const FIRST: Self = Self::Usual {
        first: true,
        new: 0,
        taken: 0,
    };
}

impl Claim {
    /// A claim at this time. `expected` is the state of the queue's rate limit.
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
            stage: match serves_aged(now) {
                true => Stage::Aged,
                false => Stage::FIRST,
            },
            now,
            after: request.after,
            tenants: BTreeSet::new(),
        }
    }

    /// The rows that the claim needs next; `None` once the claim is over.
    pub fn wanted(&mut self) -> Option<Wanted> {
        if self.left == 0 {
            self.stage = Stage::Done;
        }
        if self.stage == Stage::Aged {
            self.stage = Stage::LookingAtAged;
            return Some(Wanted::Candidates {
                class: Class::Usual,
                order: Order::Age,
                limit: self.left,
            });
        }
        if self.stage == Stage::LookingAtAged {
            self.stage = Stage::FIRST;
        }
        if let Stage::Usual { first, new, taken } = self.stage {
            // Tasks whose key is held have left the queue, so that those behind them are seen. Of several tenants one may
            // have had fewer tasks than its share, and another may have more.
            let shared = taken > 0 && self.tenants.len() > 1;
            if first || ((new > 0 || shared) && self.blocked < MAX_BLOCKED) {
                self.tenants.clear();
                self.stage = Stage::Usual {
                    first: false,
                    new: 0,
                    taken: 0,
                };
                return Some(Wanted::Candidates {
                    class: Class::Usual,
                    order: Order::Priority,
                    limit: self.left,
                });
            }
            self.stage = Stage::Asking;
            return Some(Wanted::LeasedCrashLoopSuspect);
        }
        if self.stage == Stage::CrashLoopSuspects {
            self.stage = Stage::Done;
            return Some(Wanted::Candidates {
                class: Class::CrashLoopSuspect,
                order: Order::Priority,
                limit: 1,
            });
        }
        None
    }

    /// Tells the claim whether a session holds a suspect; while a suspect is leased, no other suspect is
    /// taken.
    pub fn crash_loop_suspect_is_leased(&mut self, leased: bool) {
        self.stage = match leased {
            true => Stage::Done,
            false => Stage::CrashLoopSuspects,
        };
    }

    /// The tenant whose turn is over: candidates begin with the next one.
    #[must_use]
    pub fn after(&self) -> Option<TenantId> {
        self.after
    }

    /// Whether the claim looks at this candidate now: a task that is not aged waits for its priority's turn, and a claim
    /// that has all of its tasks looks at no more.
    #[must_use]
    pub fn considers(&mut self, task: &Task, life: &Lifecycle) -> bool {
        self.tenants.insert(task.tenant);
        if self.left == 0 {
            return false;
        }
        let since = match life.started_at {
            None => waits_since(task.created_at, task.run_at, life.updated_at),
            Some(_) => life.updated_at,
        };
        self.stage != Stage::LookingAtAged || is_aged(since, self.now)
    }

    /// Decides about a candidate. `held` is its concurrency key, if the candidate needs a key that another
    /// task holds.
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

    /// The store has written the decision about a candidate of a tenant.
    pub fn written(&mut self, look: Look, tenant: TenantId) {
        match look {
            Look::Taken => {
                self.left = self.left.saturating_sub(1);
                self.taken += 1;
                self.after = Some(tenant);
                if let Stage::Usual { taken, .. } = &mut self.stage {
                    *taken += 1;
                }
            }
            Look::Blocked => {
                self.blocked += 1;
                if let Stage::Usual { new, .. } = &mut self.stage {
                    *new += 1;
                }
            }
        }
    }

    /// When another claim is worth its cost, and the new state of the queue's rate limit, if that changed.
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
