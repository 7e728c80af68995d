//! Budgets: which tasks a budget is about, the windows of a period, and the ledger of a window.
//!
//! A reservation counts as used at once, in the transaction that records the intent of the call. An outcome replaces the
//! reservation by the usage. So a process that is killed during a call leaves the ledger right: the call may have been
//! answered, and its worst case stays. No clean-up has to find such calls, and the tasks of other processes see at each
//! moment no more than what is certainly left.

use std::collections::BTreeMap;

use crate::{
    budget::{Amount, Budget, BudgetEntry, Most, Period, Window},
    command::Rejection,
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

/// The ledgers after the entries of an append, which is at this time: all of the entries, or none. `used` loads a ledger.
///
/// # Errors
/// [`Rejection::Budget`] if a window has no room for a reservation, and the errors of `used`.
pub fn ledgers<E: From<Rejection>>(
    entries: &[BudgetEntry],
    at: Micros,
    mut used: impl FnMut(&Window) -> Result<Amount, E>,
) -> Result<BTreeMap<Window, Amount>, E> {
    let mut after: BTreeMap<Window, Amount> = BTreeMap::new();
    for entry in entries {
        let of = match entry {
            BudgetEntry::Reserve { budget, period, .. } => window(budget, *period, at),
            BudgetEntry::Settle { window, .. } => window.clone(),
        };
        let before = match after.get(&of) {
            Some(known) => *known,
            None => used(&of)?,
        };
        let now = match entry {
            BudgetEntry::Reserve {
                budget,
                period,
                most,
                amount,
            } => reserve(before, *amount, *most).map_err(|kind| Rejection::Budget {
                budget: budget.clone(),
                kind,
                asked: kind.of(*amount),
                used: kind.of(before),
                most: kind.most(*most).unwrap_or(0),
                until: until(*period, at),
            })?,
            BudgetEntry::Settle { reserved, used, .. } => settle(before, *reserved, *used),
        };
        after.insert(of, now);
    }
    Ok(after)
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

fn reserve(used: Amount, asked: Amount, most: Most) -> Result<Amount, Kind> {
    let after = Amount {
        tokens: used.tokens.saturating_add(asked.tokens),
        cost_micros: used.cost_micros.saturating_add(asked.cost_micros),
    };
    for kind in [Kind::Tokens, Kind::Cost] {
        if kind.most(most).is_some_and(|most| kind.of(after) > most)
            && !units::mutant!("ops-core.a_budget_is_overdrawn")
        {
            return Err(kind);
        }
    }
    Ok(after)
}

fn settle(before: Amount, reserved: Amount, used: Amount) -> Amount {
    let settled = |before: u64, reserved: u64, used: u64| {
        before.saturating_sub(reserved).saturating_add(used)
    };
    Amount {
        tokens: settled(before.tokens, reserved.tokens, used.tokens),
        cost_micros: settled(before.cost_micros, reserved.cost_micros, used.cost_micros),
    }
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
