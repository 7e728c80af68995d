use std::sync::Arc;

use proptest::{collection::vec, prelude::*};

use super::*;

fn limit(requests: Option<u32>, tokens: Option<u32>) -> Arc<ProviderLimit> {
    Arc::new(ProviderLimit {
        provider: "openai".to_owned(),
        key: ProviderKey([7; 32]),
        requests,
        tokens,
    })
}

fn apply(
    state: &mut ProviderState,
    entry: ProviderEntry,
    now: i64,
) -> Result<Option<Micros>, Rejection> {
    let found = *state;
    let changes = changes::<Rejection>(&[entry], Micros(now), |_| Ok(found))?;
    *state = changes.states.into_values().next().unwrap_or(found);
    Ok(changes.turn)
}

/// A task that calls when it may, waits for its turns, and is back a while after them.
struct Task {
    back_at: i64,
    turn: Option<Micros>,
    waits: u32,
}

/// Runs tasks of one call each, which come at these times and are late for their turns by this; gives the times and tokens
/// of the calls, in the order of the calls, and how often the tasks waited.
fn run(
    limit: &Arc<ProviderLimit>,
    tasks: &[(i64, i64, u64, u64)],
) -> (Vec<(i64, u64, usize)>, Vec<u32>) {
    let mut state = ProviderState::default();
    let mut open: Vec<Task> = tasks
        .iter()
        .map(|(at, ..)| Task {
            back_at: *at,
            turn: None,
            waits: 0,
        })
        .collect();
    let mut calls = Vec::new();
    let mut waits = vec![0; tasks.len()];
    let mut left: Vec<usize> = (0..tasks.len()).collect();
    while !left.is_empty() {
        left.sort_by_key(|index| (open[*index].back_at, *index));
        let index = left[0];
        let (_, late, reserved, used) = tasks[index];
        let (now, turn) = (open[index].back_at, open[index].turn);
        let call = ProviderEntry::Call {
            limit: Arc::clone(limit),
            tokens: reserved,
            turn,
        };
        match apply(&mut state, call, now) {
            Ok(_) => {
                calls.push((now, used, index));
                let settle = ProviderEntry::Settle {
                    limit: Arc::clone(limit),
                    reserved,
                    used,
                };
                apply(&mut state, settle, now).unwrap();
                waits[index] = open[index].waits;
                left.remove(0);
            }
            Err(Rejection::ProviderLimit { .. }) => {
                let wait = ProviderEntry::Wait {
                    limit: Arc::clone(limit),
                    tokens: reserved,
                    turn,
                };
                let turn = apply(&mut state, wait, now).unwrap().unwrap();
                assert!(turn.0 > now, "a task would look again at once");
                let task = &mut open[index];
                (task.turn, task.back_at) = (Some(turn), turn.0 + late);
                task.waits += 1;
                assert!(task.waits < 50, "a task waits for ever");
            }
            Err(other) => panic!("{other}"),
        }
    }
    (calls, waits)
}

fn most_in_a_minute(calls: &[(i64, u64, usize)], of: impl Fn(&(i64, u64, usize)) -> u64) -> u64 {
    let from = |start: &(i64, u64, usize)| {
        let in_minute = |call: &&(i64, u64, usize)| start.0 <= call.0 && call.0 < start.0 + MINUTE;
        calls.iter().filter(in_minute).map(&of).sum()
    };
    calls.iter().map(from).max().unwrap_or(0)
}

fn tasks() -> impl Strategy<Value = Vec<(i64, i64, u64, u64)>> {
    let task = (
        0..100 * SECOND,
        prop_oneof![4 => 0..SECOND / 5, 1 => 0..30 * SECOND],
        1..2_000_u64,
        0..=16_u64,
    );
    let task =
        task.prop_map(|(at, late, reserved, share)| (at, late, reserved, reserved * share / 16));
    vec(task, 1..80)
}

proptest! {
    /// Whenever tasks come, and however late they are for their turns: no minute has more requests than the limit.
    #[test]
    fn no_minute_has_more_requests(tasks in tasks(), requests in 1..90_u32) {
        let (calls, _) = run(&limit(Some(requests), None), &tasks);
        prop_assert_eq!(calls.len(), tasks.len());
        prop_assert!(most_in_a_minute(&calls, |_| 1) <= u64::from(requests));
    }

    /// No minute has more tokens than the limit, the tokens of a second and those of one call.
    #[test]
    fn no_minute_has_more_tokens(tasks in tasks(), tokens in 500..30_000_u32, requests in proptest::option::of(1..90_u32)) {
        let (calls, _) = run(&limit(requests, Some(tokens)), &tasks);
        prop_assert_eq!(calls.len(), tasks.len());
        let of_calls = most_in_a_minute(&calls, |call| call.1);
        let largest = calls.iter().map(|call| call.1).max().unwrap_or(0);
        prop_assert!(of_calls <= u64::from(tokens) + u64::from(tokens) / 60 + 1 + largest, "{}", of_calls);
    }
}

#[test]
fn punctual_tasks_wait_once_and_in_the_order_of_their_coming() {
    // 40 tasks come within 40 ms, and each is back 5 to 44 ms after its turn.
    let tasks: Vec<_> = (0..40)
        .map(|number| (number * 1_000, 5_000 + (number * 7 % 40) * 1_000, 1, 1))
        .collect();
    let (calls, waits) = run(&limit(Some(120), None), &tasks);
    assert!(waits.iter().all(|waits| *waits <= 1), "{waits:?}");
    let order: Vec<usize> = calls.iter().map(|call| call.2).collect();
    assert_eq!(order, (0..40).collect::<Vec<_>>());
    let took = calls.last().unwrap().0;
    assert!((18 * SECOND..21 * SECOND).contains(&took), "{took}");
}

/// A task that comes while others wait goes behind them, though a call might begin.
#[test]
fn a_new_task_goes_behind_those_that_wait() {
    let limit = limit(Some(1), None);
    let mut state = ProviderState::default();
    let call = |turn| ProviderEntry::Call {
        limit: Arc::clone(&limit),
        tokens: 0,
        turn,
    };
    let wait = |turn| ProviderEntry::Wait {
        limit: Arc::clone(&limit),
        tokens: 0,
        turn,
    };
    let start = 1_000 * SECOND;
    apply(&mut state, call(None), start).unwrap();
    let refused = apply(&mut state, call(None), start).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("`openai` takes 1 requests a minute (`openai.requests_per_minute`)"),
        "{refused}"
    );
    let first = apply(&mut state, wait(None), start).unwrap().unwrap();
    let second = apply(&mut state, wait(None), start).unwrap().unwrap();
    assert_eq!(
        [first.0, second.0].map(|turn| (turn - start) / MINUTE),
        [1, 2]
    );
    // Woken before its turn, a task keeps it.
    apply(&mut state, call(Some(first)), start + 1).unwrap_err();
    let kept = apply(&mut state, wait(Some(first)), start + 1).unwrap();
    assert_eq!(kept, Some(first));
    // A call may begin, but two wait.
    apply(&mut state, call(None), first.0).unwrap_err();
    apply(&mut state, call(Some(first)), first.0 + 1).unwrap();
    // The next is back on time, before the rate has room, and looks again as soon as it has.
    apply(&mut state, call(Some(second)), second.0).unwrap_err();
    let again = apply(&mut state, wait(Some(second)), second.0)
        .unwrap()
        .unwrap();
    assert_eq!(again.0 - second.0, 1);
    apply(&mut state, call(Some(second)), again.0).unwrap();
}

/// Times of a clock that was an hour ahead do not stop a provider for an hour.
#[test]
fn a_clock_that_was_ahead_is_forgiven() {
    let limit = limit(Some(60), Some(1_000));
    let mut state = ProviderState::default();
    let call = |turn| ProviderEntry::Call {
        limit: Arc::clone(&limit),
        tokens: 100,
        turn,
    };
    let now = 10_000 * SECOND;
    apply(&mut state, call(None), now + 3_600 * SECOND).unwrap();
    // As if that call had been made just now: its tokens are six seconds' worth.
    apply(&mut state, call(None), now).unwrap_err();
    let wait = ProviderEntry::Wait {
        limit: Arc::clone(&limit),
        tokens: 100,
        turn: None,
    };
    let turn = apply(&mut state, wait, now).unwrap().unwrap();
    assert_eq!((turn.0 - now) / SECOND, 5);
    apply(&mut state, call(Some(turn)), turn.0).unwrap();
    // A clock that is a little behind counts as the time of the last change.
    apply(&mut state, call(None), turn.0 - SECOND).unwrap_err();
}

#[test]
fn a_wait_ends_with_the_turn_or_the_deadline() {
    let command = |until| {
        let wait = WaitRequest::Budget {
            limit: "openai.requests_per_minute".to_owned(),
            message: String::new(),
            until,
        };
        RunCommand::append(1, crate::Append::new(1, Vec::new(), Next::Wait(wait)))
    };
    for (until, turn, expected) in [(None, 5, 5), (Some(9), 5, 5), (Some(3), 5, 3)] {
        let mut command = command(until.map(Micros));
        wait_until(&mut command, Micros(turn));
        let RunAction::Append(append) = command.action else {
            panic!("it was an append");
        };
        let Next::Wait(wait) = append.next else {
            panic!("it was a wait");
        };
        assert_eq!(
            crate::Wait::from_request(wait).until(),
            Some(Micros(expected))
        );
    }
}
