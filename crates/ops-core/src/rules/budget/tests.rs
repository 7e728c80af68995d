use proptest::{collection::vec, prelude::*};

use super::*;

fn at(day: i64, micros: i64) -> Micros {
    Micros(day * DAY + micros)
}

#[test]
fn windows_begin_and_end_with_days_and_months_of_utc() {
    // 2024-02-29, the last day of a leap February, is day 19,782.
    let leap = at(19_782, 5);
    assert_eq!(since(Period::Day, leap), at(19_782, 0));
    assert_eq!(until(Period::Day, leap), Some(at(19_783, 0)));
    assert_eq!(since(Period::Month, leap), at(19_754, 0));
    assert_eq!(until(Period::Month, leap), Some(at(19_783, 0)));
    assert_eq!(since(Period::Total, leap), Micros(0));
    assert_eq!(until(Period::Total, leap), None);
    // 1999-12-31, 2000-01-01, and 1969-12-31.
    assert_eq!(until(Period::Month, at(10_956, 0)), Some(at(10_957, 0)));
    assert_eq!(since(Period::Month, at(10_957, 1)), at(10_957, 0));
    assert_eq!(since(Period::Month, at(-1, 7)), at(-31, 0));
}

#[test]
fn a_budget_is_about_the_tasks_that_it_names() {
    let budget = |agent: Option<&str>, labels: &[(&str, &str)]| Budget {
        name: "b".to_owned(),
        period: Period::Day,
        most: Most::default(),
        agent: agent.map(str::to_owned),
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let mut task = crate::rules::fixtures::new_task(1).task;
    task.agent_id = Some("writer".to_owned());
    task.labels = [("team".to_owned(), "blue".to_owned())].into();
    for (of, expected) in [
        (budget(None, &[]), true),
        (budget(Some("writer"), &[("team", "blue")]), true),
        (budget(Some("reader"), &[]), false),
        (budget(None, &[("team", "red")]), false),
        (budget(None, &[("team", "blue"), ("x", "y")]), false),
    ] {
        assert_eq!(applies(&of, &task), expected, "{of:?}");
    }
}

/// A call of a worker: what it reserves, and what becomes of it.
#[derive(Debug, Clone)]
enum Call {
    /// The share of the reservation that it uses, in 16ths.
    Answered(Amount, u64),
    Killed(Amount),
}

fn amount() -> impl Strategy<Value = Amount> {
    (0..400_u64, 0..400_u64).prop_map(|(tokens, cost_micros)| Amount {
        tokens,
        cost_micros,
    })
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => (amount(), 0..=16_u64).prop_map(|(of, share)| Call::Answered(of, share)),
        1 => amount().prop_map(Call::Killed),
    ]
}

proptest! {
    /// The days of months follow one another without a gap.
    #[test]
    fn each_day_is_in_one_month(day in -400_000..400_000_i64) {
        let month = month_of(day);
        prop_assert!(first_day(month) <= day && day < first_day(month + 1));
        prop_assert!((28..=31).contains(&(first_day(month + 1) - first_day(month))));
        prop_assert_eq!(month_of(first_day(month)), month);
    }

    /// Whatever calls are made, answered and lost, in whatever order: a window never holds more than its most, no call is
    /// refused for good while the usage and its own worst case fit, and in the end the window holds exactly the usage of
    /// the answered calls and the worst cases of the lost ones.
    #[test]
    fn a_ledger_is_exact_and_never_overdrawn(
        calls in vec((call(), 0..3_usize), 1..60),
        tokens in proptest::option::of(0..3_000_u64),
        cost_micros in proptest::option::of(0..3_000_u64),
    ) {
        let most = Most { tokens, cost_micros };
        let mut used = Amount::default();
        let mut exact = Amount::default();
        let mut open: Vec<(Amount, Amount)> = Vec::new();
        let now = at(20_000, 0);
        let add = |to: &mut Amount, of: Amount| {
            to.tokens += of.tokens;
            to.cost_micros += of.cost_micros;
        };
        let fits = |used: Amount, asked: Amount| {
            tokens.is_none_or(|most| used.tokens + asked.tokens <= most)
                && cost_micros.is_none_or(|most| used.cost_micros + asked.cost_micros <= most)
        };
        let run = |used: &mut Amount, open: &[(Amount, Amount)], entries: &[BudgetEntry]| {
            let found = *used;
            let changes = changes::<Rejection>(entries, now, |_, look| Ok(match look {
                Look::Used => found,
                Look::UnderWay => open.iter().fold(Amount::default(), |sum, (reserved, _)| more(sum, *reserved)),
            }))?;
            *used = *changes.ledgers.values().next().unwrap_or(used);
            Ok::<Changes, Rejection>(changes)
        };
        let settle = |reserved, used| BudgetEntry::Settle {
            window: window("b", Period::Day, now),
            reserved,
            used,
        };
        for (call, settled) in calls {
            for _ in 0..settled.min(open.len()) {
                let (reserved, spent) = open.remove(0);
                let done = run(&mut used, &open, &[settle(reserved, spent)]).unwrap();
                prop_assert_eq!(done.calls, Some(Vec::new()));
                prop_assert_eq!(done.look_for_waiters.is_empty(), reserved == spent);
                add(&mut exact, spent);
            }
            let (Call::Answered(amount, _) | Call::Killed(amount)) = call;
            let reserve = BudgetEntry::Reserve {
                budget: "b".to_owned(),
                period: Period::Day,
                most,
                amount,
            };
            let before = used;
            match run(&mut used, &open, &[reserve]) {
                Ok(_) => match call {
                    Call::Answered(_, share) => open.push((amount, Amount {
                        tokens: amount.tokens * share / 16,
                        cost_micros: amount.cost_micros * share / 16,
                    })),
                    Call::Killed(_) => add(&mut exact, amount),
                },
                Err(refusal) => {
                    prop_assert_eq!(is_busy(&refusal), fits(exact, amount), "{}", refusal);
                    let Rejection::Budget { kind, asked, used: known, most, .. } = refusal else {
                        return Err(TestCaseError::fail(refusal.to_string()));
                    };
                    prop_assert!(known + asked > most);
                    prop_assert_eq!(known, kind.of(before));
                    prop_assert_eq!(used, before);
                }
            }
            prop_assert!(fits(used, Amount::default()));
        }
        while let Some((reserved, spent)) = open.pop() {
            run(&mut used, &open, &[settle(reserved, spent)]).unwrap();
            add(&mut exact, spent);
        }
        prop_assert_eq!(used, exact);
    }

    /// The woken tasks have room together, are the oldest, and the next one has none.
    #[test]
    fn the_oldest_waiters_with_room_are_woken(
        asked in vec(0..400_u64, 0..30),
        used in 0..1_000_u64,
    ) {
        let most = Most { tokens: Some(1_000), cost_micros: None };
        let tokens = |tokens| Amount { tokens, cost_micros: 0 };
        let waiters: Vec<Waiter> = (0_u8..).zip(&asked).map(|(number, asked)| Waiter {
            task: crate::TaskId::from_bytes([number; 16]),
            amount: tokens(*asked),
            most,
        }).collect();
        let woken = turns(waiters.iter().copied(), tokens(used));
        let first: Vec<_> = waiters.iter().map(|waiter| waiter.task).take(woken.len()).collect();
        prop_assert_eq!(&woken, &first);
        let sum: u64 = asked.iter().take(woken.len()).sum();
        prop_assert!(woken.is_empty() || used + sum <= 1_000);
        if let Some(next) = asked.get(woken.len()) {
            prop_assert!(woken.len() == MAX_WOKEN as usize || used + sum + next > 1_000);
        }
    }
}

/// One window without room refuses all entries: nothing is half reserved.
#[test]
fn all_windows_have_room_or_none_is_changed() {
    let reserve = |budget: &str, tokens| BudgetEntry::Reserve {
        budget: budget.to_owned(),
        period: Period::Total,
        most: Most {
            tokens: Some(tokens),
            cost_micros: None,
        },
        amount: Amount {
            tokens: 10,
            cost_micros: 0,
        },
    };
    let none = |_: &Window, _: Look| Ok::<_, Rejection>(Amount::default());
    let both = [reserve("a", 10), reserve("b", 9)];
    let refused = changes(&both, Micros(1), none).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("`b` has 9 tokens left of 9 tokens"),
        "{refused}"
    );
    let twice = [reserve("a", 20), reserve("a", 20), reserve("b", 10)];
    let after = changes(&twice, Micros(1), none).unwrap().ledgers;
    let tokens: Vec<u64> = after.values().map(|used| used.tokens).collect();
    assert_eq!(tokens, [20, 10]);
}

/// A window that stays without room is named before one that calls under way fill: waiting would not help.
#[test]
fn a_used_up_window_goes_before_a_busy_one() {
    let reserve = |budget: &str| BudgetEntry::Reserve {
        budget: budget.to_owned(),
        period: Period::Total,
        most: Most {
            tokens: Some(100),
            cost_micros: Some(100),
        },
        amount: Amount {
            tokens: 10,
            cost_micros: 10,
        },
    };
    let amount = |tokens, cost_micros| Amount {
        tokens,
        cost_micros,
    };
    // Of `busy` both limits are full, and calls under way hold all of the tokens; of `cost` all tokens and no money.
    let look = |window: &Window, look| {
        Ok::<_, Rejection>(match (window.budget.as_str(), look) {
            ("busy", Look::Used | Look::UnderWay) => amount(95, 95),
            ("cost", Look::UnderWay) => amount(95, 0),
            (_, Look::Used) => amount(95, 95),
            (_, Look::UnderWay) => amount(0, 0),
        })
    };
    let refused = |of: &[&str]| {
        let entries: Vec<BudgetEntry> = of.iter().map(|budget| reserve(budget)).collect();
        let refusal = changes(&entries, Micros(1), look).unwrap_err();
        let Rejection::Budget { budget, kind, .. } = &refusal else {
            panic!("{refusal}");
        };
        (budget.clone(), *kind, is_busy(&refusal))
    };
    assert_eq!(refused(&["busy"]), ("busy".to_owned(), Kind::Tokens, true));
    assert_eq!(refused(&["cost"]), ("cost".to_owned(), Kind::Cost, false));
    let full = ("full".to_owned(), Kind::Tokens, false);
    assert_eq!(refused(&["busy", "full"]), full);
    // The task's own call is settled by the same append: it is not under way any more.
    let own = BudgetEntry::Settle {
        window: window("busy", Period::Total, Micros(1)),
        reserved: amount(4, 4),
        used: amount(4, 4),
    };
    let refusal = changes(&[own, reserve("busy")], Micros(1), look).unwrap_err();
    let Rejection::Budget { under_way, .. } = refusal else {
        panic!("{refusal}");
    };
    assert_eq!(under_way, 91);
}
