//! Budgets: which tasks a budget is about, the windows of a period, and the ledger of a window.
//!
//! A reservation counts as used at once, in the transaction that records the intent of the call. An outcome replaces the
//! reservation by the usage. So a process that is killed during a call leaves the ledger right: the call may have been
//! answered, and its worst case stays. No clean-up has to find such calls, and the tasks of other processes see at each
//! moment no more than what is certainly left.
//!
//! Beside the ledger stands which calls are under way, each with the lease that it was reserved under. A call whose lease
//! is over is lost, and its worst case is used: that too needs no clean-up. A task without room waits if it would have
//! room without the calls under way, and is woken when a call settles. Only used-up windows fail tasks.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    budget::{Amount, Budget, BudgetCall, BudgetEntry, Most, Period, Waiter, Window},
    command::Rejection,
    id::TaskId,
    task::Task,
    time::Micros,
};

const DAY: i64 = 86_400_000_000;

/// How long the windows of a budget are kept after their beginning, in microseconds: 400 days.
pub const KEPT_MICROS: i64 = 400 * DAY;

/// Whether a budget is about a task.
#[must_use]
pub fn applies(budget: &Budget, task: &Task) -> bool {
    let is_agent = budget
        .agent
        .as_ref()
        .is_none_or(|agent| task.agent_id.as_ref() == Some(agent));
    let has = |(key, value): (&String, &String)| task.labels.get(key) == Some(value);
    is_agent && budget.labels.iter().all(has)
}

/// The beginning of the window of a time.
#[must_use]
pub fn since(period: Period, at: Micros) -> Micros {
    let day = at.0.div_euclid(DAY);
    match period {
        Period::Day => Micros(day * DAY),
        Period::Month => Micros(first_day(month_of(day)) * DAY),
        Period::Total => Micros(0),
    }
}

/// The end of the window of a time; `None` for a window without an end.
#[must_use]
pub fn until(period: Period, at: Micros) -> Option<Micros> {
    let day = at.0.div_euclid(DAY);
    match period {
        Period::Day => Some(Micros((day + 1) * DAY)),
        Period::Month => Some(Micros(first_day(month_of(day) + 1) * DAY)),
        Period::Total => None,
    }
}

/// The window of a budget at a time.
#[must_use]
pub fn window(budget: &str, period: Period, at: Micros) -> Window {
    Window {
        budget: budget.to_owned(),
        since: since(period, at),
    }
}

/// A question about a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// How much is used, with the worst cases of calls under way.
    Used,
    /// The worst cases of calls under way: calls whose task still has the lease that they were reserved under.
    UnderWay,
}

/// The effects of an append's entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The ledgers after the entries.
    pub ledgers: BTreeMap<Window, Amount>,
    /// The calls of the task after the entries, in place of all earlier calls; `None` if the append has no entry.
    pub calls: Option<Vec<BudgetCall>>,
    /// Windows whose waiting tasks may have room now: see [`turns`].
    pub look_for_waiters: BTreeSet<Window>,
}

/// The effects of the entries of an append, which is at this time: all of the entries, or no entry. `look` answers questions
/// about stored windows, and is asked about calls under way only if a reservation has no room.
///
/// # Errors
/// [`Rejection::Budget`] if a window has no room for a reservation, and the errors of `look`. Of several windows without
/// room, a window that stays without room when the calls under way settle is named first.
pub fn changes<E: From<Rejection>>(
    entries: &[BudgetEntry],
    at: Micros,
    mut look: impl FnMut(&Window, Look) -> Result<Amount, E>,
) -> Result<Changes, E> {
    let mut after: BTreeMap<Window, Amount> = BTreeMap::new();
    let mut settled: BTreeMap<Window, Amount> = BTreeMap::new();
    let mut calls: Vec<BudgetCall> = Vec::new();
    let mut look_for_waiters = BTreeSet::new();
    let mut busy = None;
    for entry in entries {
        let of = match entry {
            BudgetEntry::Reserve { budget, period, .. }
            | BudgetEntry::Wait { budget, period, .. } => window(budget, *period, at),
            BudgetEntry::Settle { window, .. } => window.clone(),
        };
        let before = match after.get(&of) {
            Some(known) => *known,
            None => look(&of, Look::Used)?,
        };
        let now = match entry {
            BudgetEntry::Reserve {
                budget,
                period,
                most,
                amount,
            } => match reserve(before, *amount, *most) {
                Ok(now) => {
                    calls.push(BudgetCall {
                        window: of.clone(),
                        amount: *amount,
                        waits: None,
                    });
                    now
                }
                Err(full) => {
                    // A call that this append settles is no longer under way, though its row still says so.
                    let own = settled.get(&of).copied().unwrap_or_default();
                    let under_way = less(look(&of, Look::UnderWay)?, own);
                    let refusal = full.refusal(Refused {
                        budget,
                        asked: *amount,
                        used: before,
                        under_way,
                        most: *most,
                        until: until(*period, at),
                    });
                    if !is_busy(&refusal) {
                        return Err(refusal.into());
                    }
                    busy.get_or_insert(refusal);
                    before
                }
            },
            BudgetEntry::Settle { reserved, used, .. } => {
                let own = settled.entry(of.clone()).or_default();
                *own = more(*own, *reserved);
                calls.retain(|call| call.window != of);
                if less(*reserved, *used) != Amount::default() {
                    look_for_waiters.insert(of.clone());
                }
                settle(before, *reserved, *used)
            }
            BudgetEntry::Wait { most, amount, .. } => {
                calls.push(BudgetCall {
                    window: of.clone(),
                    amount: *amount,
                    waits: Some(*most),
                });
                // The calls may have settled since the reservation was refused.
                look_for_waiters.insert(of.clone());
                before
            }
        };
        after.insert(of, now);
    }
    match busy {
        Some(refusal) => Err(refusal.into()),
        None => Ok(Changes {
            ledgers: after,
            calls: (!entries.is_empty()).then_some(calls),
            look_for_waiters,
        }),
    }
}

/// Whether a refused call would have room if the calls under way used nothing: they are worth waiting for. Otherwise the
/// window is used up.
#[must_use]
pub fn is_busy(refusal: &Rejection) -> bool {
    match refusal {
        Rejection::Budget {
            asked,
            used,
            under_way,
            most,
            ..
        } => {
            used.saturating_sub(*under_way).saturating_add(*asked) <= *most
                && !units::mutant!("ops-core.reservations_fail_tasks")
        }
        Rejection::Terminal(_)
        | Rejection::WrongState(_)
        | Rejection::StaleEpoch { .. }
        | Rejection::WrongSeq { .. }
        | Rejection::Cancelling
        | Rejection::NotInDoubt(_)
        | Rejection::NotDue
        | Rejection::Tree { .. }
        | Rejection::Child { .. }
        | Rejection::ProviderLimit { .. } => false,
    }
}

/// The most waiting tasks that one append wakes.
pub const MAX_WOKEN: u32 = 16;

/// The waiting tasks of a window that have room now, of waiters in the order of their ids: the oldest first. A waiter
/// without room keeps later waiters back, as it would otherwise wait for ever for room that smaller calls take.
#[must_use]
pub fn turns(waiters: impl IntoIterator<Item = Waiter>, used: Amount) -> Vec<TaskId> {
    let mut room = used;
    let mut tasks = Vec::new();
    for waiter in waiters.into_iter().take(MAX_WOKEN as usize) {
        let Ok(after) = reserve(room, waiter.amount, waiter.most) else {
            break;
        };
        room = after;
        tasks.push(waiter.task);
    }
    tasks
}

/// What a limit of a window is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Tokens.
    Tokens,
    /// Money.
    Cost,
}

impl Kind {
    fn of(self, amount: Amount) -> u64 {
        match self {
            Self::Tokens => amount.tokens,
            Self::Cost => amount.cost_micros,
        }
    }

    fn most(self, most: Most) -> Option<u64> {
        match self {
            Self::Tokens => most.tokens,
            Self::Cost => most.cost_micros,
        }
    }

    /// A number as people read it.
    #[must_use]
    pub fn show(self, number: u64) -> String {
        match self {
            Self::Tokens => format!("{number} tokens"),
            Self::Cost => format!("{} USD", units::money::show(number)),
        }
    }
}

fn reserve(used: Amount, asked: Amount, most: Most) -> Result<Amount, Full> {
    let after = more(used, asked);
    let is_full = |kind: &Kind| kind.most(most).is_some_and(|most| kind.of(after) > most);
    let full: Vec<Kind> = [Kind::Tokens, Kind::Cost]
        .into_iter()
        .filter(is_full)
        .collect();
    match full.is_empty() || units::mutant!("ops-core.a_budget_is_overdrawn") {
        true => Ok(after),
        false => Err(Full(full)),
    }
}

/// The limits that a reservation would exceed.
struct Full(Vec<Kind>);

/// A reservation without room.
struct Refused<'a> {
    budget: &'a str,
    asked: Amount,
    used: Amount,
    under_way: Amount,
    most: Most,
    until: Option<Micros>,
}

impl Full {
    /// The refusal of a reservation. Of two full limits, the refusal names a used-up limit if there is such a limit.
    fn refusal(&self, refused: Refused<'_>) -> Rejection {
        let of = |kind: Kind| Rejection::Budget {
            budget: refused.budget.to_owned(),
            kind,
            asked: kind.of(refused.asked),
            used: kind.of(refused.used),
            under_way: kind.of(refused.under_way),
            most: kind.most(refused.most).unwrap_or(0),
            until: refused.until,
        };
        let mut refusals = self.0.iter().map(|kind| of(*kind));
        let first = refusals.next().unwrap_or_else(|| of(Kind::Tokens));
        match is_busy(&first) {
            true => refusals.find(|other| !is_busy(other)).unwrap_or(first),
            false => first,
        }
    }
}

fn more(amount: Amount, by: Amount) -> Amount {
    Amount {
        tokens: amount.tokens.saturating_add(by.tokens),
        cost_micros: amount.cost_micros.saturating_add(by.cost_micros),
    }
}

fn less(amount: Amount, by: Amount) -> Amount {
    Amount {
        tokens: amount.tokens.saturating_sub(by.tokens),
        cost_micros: amount.cost_micros.saturating_sub(by.cost_micros),
    }
}

fn settle(before: Amount, reserved: Amount, used: Amount) -> Amount {
    more(less(before, reserved), used)
}

/// The month of a day, counted from January 1970. Days are counted from its first.
fn month_of(day: i64) -> i64 {
    // A month has 28 to 31 days, so the guess is close.
    let mut month = day.div_euclid(31);
    while first_day(month + 1) <= day {
        let behind = (day - first_day(month + 1)).div_euclid(31);
        month += 1 + behind;
    }
    while first_day(month) > day {
        month -= 1;
    }
    month
}

/// The first day of a month.
fn first_day(month: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let (year, of_year) = (1970 + month.div_euclid(12), month.rem_euclid(12));
    // Leap days before a year of the Gregorian calendar.
    let leaps = |year: i64| {
        let last = year - 1;
        last.div_euclid(4) - last.div_euclid(100) + last.div_euclid(400)
    };
    let is_leap = leaps(year + 1) > leaps(year);
    let in_year = usize::try_from(of_year).map_or(0, |month| BEFORE[month]);
    (year - 1970) * 365 + leaps(year) - leaps(1970) + in_year + i64::from(is_leap && of_year > 1)
}

#[cfg(test)]
mod tests;
