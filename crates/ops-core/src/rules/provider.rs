//! Limits of providers: when a call may begin, and when the turn of a waiting task comes.
//!
//! Each limit is a generic cell rate (ITU-T I.371), whose state is one time: a call moves the time on by its share of a
//! minute, and a call may begin while the time is not too far ahead of now. A call that may not begin has its task wait. The
//! task is given a turn at the end of a line of turns, and no other call may begin before a waiting task unless its own turn
//! has come. So each task waits once, tasks do not all look again at the same moment, and no task overtakes another.
//!
//! A turn is no right to a call: the rate decides again when the task is back. A task that is back late by less than
//! [`LATE`] keeps its place, and looks again as soon as the rate allows. A later task, for which the workers had no slot,
//! goes to the end of the line if the rate has no room.

use std::collections::BTreeMap;

use crate::{
    command::{Next, Rejection, RunAction, RunCommand},
    provider::{ProviderEntry, ProviderKey, ProviderLimit, ProviderState},
    task::WaitRequest,
    time::{Micros, SECOND},
};

const MINUTE: i64 = 60 * SECOND;
/// How late a task may be for its turn to keep its place, in microseconds.
pub const LATE: i64 = 10 * SECOND;
/// How far a clock may be behind the last change, in microseconds. A clock that is further behind was ahead before, and the
/// times that it made are moved back.
const CLOCK_SLACK: i64 = 10 * SECOND;
/// How far the tokens of earlier calls may be ahead of the minute for a call to begin, in microseconds.
const TOKENS_AHEAD: i64 = SECOND;

/// The effects of an append's entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The states after the entries.
    pub states: BTreeMap<ProviderKey, ProviderState>,
    /// The end of the append's wait: see [`wait_until`].
    pub turn: Option<Micros>,
}

/// The effects of the entries of an append at this time: all of the entries, or no entry. `load` loads a state.
///
/// # Errors
/// [`Rejection::ProviderLimit`] if a call may not begin now, and the errors of `load`.
pub fn changes<E: From<Rejection>>(
    entries: &[ProviderEntry],
    now: Micros,
    mut load: impl FnMut(ProviderKey) -> Result<ProviderState, E>,
) -> Result<Changes, E> {
    let mut changes = Changes::default();
    for entry in entries {
        let limit = entry.limit();
        let before = match changes.states.get(&limit.key) {
            Some(known) => *known,
            None => at_time(load(limit.key)?, now),
        };
        // Transactions of several processes are not in the order of their times.
        let now = now.max(before.changed_at);
        let rates = Rates::of(limit);
        let mut after = match entry {
            ProviderEntry::Call { tokens, turn, .. } => {
                if let Some(kind) = rates.refuses(before, *turn, now) {
                    return Err(refusal(limit, kind).into());
                }
                rates.call(before, *tokens, now)
            }
            ProviderEntry::Settle { reserved, used, .. } => {
                rates.settle(before, *reserved, *used, now)
            }
            ProviderEntry::Wait { tokens, turn, .. } => {
                let (after, turn) = rates.line_up(before, *tokens, *turn, now);
                changes.turn = Some(turn);
                after
            }
        };
        after.changed_at = now;
        changes.states.insert(limit.key, after);
    }
    Ok(changes)
}

/// Has the wait that an append asks for end with the task's turn. A wait that ends before, at the task's deadline, is left
/// as it is.
pub fn wait_until(command: &mut RunCommand, turn: Micros) {
    if let RunAction::Append(append) = &mut command.action
        && let Next::Wait(WaitRequest::Budget { until, .. }) = &mut append.next
    {
        *until = Some(until.map_or(turn, |until| until.min(turn)));
    }
}

/// How long a new call would wait for its turn, in microseconds; 0 if it need not wait.
#[must_use]
pub fn line(limit: &ProviderLimit, state: ProviderState, now: Micros) -> i64 {
    let state = at_time(state, now);
    let free_at = Rates::of(limit).free_at(state).0.max(state.line_at);
    free_at.0.saturating_sub(now.0).max(0)
}

/// The quantity that a limit of a provider is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
}

impl Kind {
    /// The last part of the setting's key.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_minute",
            Self::Tokens => "tokens_per_minute",
        }
    }

    /// The plural of what is limited.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

/// The times of the limits of a provider, in microseconds.
struct Rates {
    /// Between two requests, and how far requests may be ahead.
    request: Option<(i64, i64)>,
    /// Tokens for each minute.
    tokens: Option<i64>,
}

impl Rates {
    fn of(limit: &ProviderLimit) -> Self {
        let request = limit.requests.map(|requests| {
            let requests = i64::from(requests.max(1));
            // Requests that may begin at once: those of a second, and two where tasks could otherwise be late for each other.
            let burst = match requests {
                ..10 => 1,
                10.. => (requests / 60).max(2),
            };
            // In the minute from the first of a burst on, the burst and the requests at the interval are all that there may
            // be: the interval is rounded up.
            let interval = (MINUTE + requests - burst) / (requests - burst + 1);
            (interval, interval * (burst - 1))
        });
        Self {
            request,
            tokens: limit.tokens.map(|tokens| i64::from(tokens.max(1))),
        }
    }

    /// How long a number of tokens takes, rounded up.
    fn lasts(&self, tokens: u64) -> i64 {
        let Some(of_a_minute) = self.tokens else {
            return 0;
        };
        let of_a_minute = i128::from(of_a_minute);
        let micros = (i128::from(tokens) * i128::from(MINUTE) + of_a_minute - 1) / of_a_minute;
        i64::try_from(micros).unwrap_or(i64::MAX)
    }

    /// When the rate has room for a call.
    fn free_at(&self, state: ProviderState) -> (Micros, Kind) {
        let requests = self
            .request
            .map(|(_, ahead)| (state.requests_at.plus(-ahead), Kind::Requests));
        let tokens = self
            .tokens
            .map(|_| (state.tokens_at.plus(-TOKENS_AHEAD), Kind::Tokens));
        let times = requests.into_iter().chain(tokens);
        times
            .max_by_key(|(at, _)| *at)
            .unwrap_or((Micros(i64::MIN), Kind::Requests))
    }

    /// The limit for which a call may not begin, if there is one.
    fn refuses(&self, state: ProviderState, turn: Option<Micros>, now: Micros) -> Option<Kind> {
        let (free_at, kind) = self.free_at(state);
        let has_turn = turn.is_some_and(|turn| turn <= now);
        let others_go_first = !has_turn && state.line_at > now;
        let is_refused = free_at > now || others_go_first;
        (is_refused && !units::mutant!("ops-core.provider_limits_are_ignored")).then_some(kind)
    }

    fn call(&self, before: ProviderState, tokens: u64, now: Micros) -> ProviderState {
        let interval = self.request.map_or(0, |(interval, _)| interval);
        ProviderState {
            requests_at: before.requests_at.max(now).plus(interval),
            tokens_at: before.tokens_at.max(now).plus(self.lasts(tokens)),
            ..before
        }
    }

    fn settle(
        &self,
        before: ProviderState,
        reserved: u64,
        used: u64,
        now: Micros,
    ) -> ProviderState {
        let more = self.lasts(used.saturating_sub(reserved));
        let less = self.lasts(reserved.saturating_sub(used));
        let tokens_at = match more {
            0 => before.tokens_at.plus(-less),
            more => before.tokens_at.max(now).plus(more),
        };
        // The line was made for the reservation.
        let line_at = match before.line_at > now {
            true => before.line_at.plus(-less).max(now),
            false => before.line_at,
        };
        ProviderState {
            tokens_at,
            line_at,
            ..before
        }
    }

    /// The turn of a waiting task.
    fn line_up(
        &self,
        before: ProviderState,
        tokens: u64,
        turn: Option<Micros>,
        now: Micros,
    ) -> (ProviderState, Micros) {
        let free_at = self.free_at(before).0.max(now);
        match turn {
            // Something else woke the task, for instance a raised limit.
            Some(turn) if turn > now => return (before, turn),
            Some(turn) if turn >= now.plus(-LATE) => return (before, free_at),
            Some(_) | None => {}
        }
        let turn = before.line_at.max(free_at);
        let interval = self.request.map_or(0, |(interval, _)| interval);
        let after = ProviderState {
            line_at: turn.plus(interval.max(self.lasts(tokens))),
            ..before
        };
        (after, turn)
    }
}

fn refusal(limit: &ProviderLimit, kind: Kind) -> Rejection {
    Rejection::ProviderLimit {
        provider: limit.provider.clone(),
        kind,
        per_minute: match kind {
            Kind::Requests => limit.requests,
            Kind::Tokens => limit.tokens,
        }
        .unwrap_or(0),
    }
}

/// A state as a clock sees it that may have been set back.
fn at_time(state: ProviderState, now: Micros) -> ProviderState {
    let behind = state.changed_at.0.saturating_sub(now.0);
    if behind <= CLOCK_SLACK {
        return state;
    }
    ProviderState {
        requests_at: state.requests_at.plus(-behind),
        tokens_at: state.tokens_at.plus(-behind),
        line_at: state.line_at.plus(-behind),
        changed_at: now,
    }
}

#[cfg(test)]
mod tests;
