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

    /// Whatever calls are made, answered and lost, in whatever order: a window never holds more than its most, and in the
    /// end holds exactly the usage of the answered calls and the worst cases of the lost ones.
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
        let run = |used: &mut Amount, entries: &[BudgetEntry]| {
            let found = *used;
            let after = ledgers::<Rejection>(entries, now, |_| Ok(found))?;
            *used = *after.values().next().unwrap_or(used);
            Ok::<(), Rejection>(())
        };
        for (call, settled) in calls {
            for _ in 0..settled.min(open.len()) {
                let (reserved, spent) = open.remove(0);
                let settle = BudgetEntry::Settle {
                    window: window("b", Period::Day, now),
                    reserved,
                    used: spent,
                };
                run(&mut used, &[settle]).unwrap();
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
            match run(&mut used, &[reserve]) {
                Ok(()) => match call {
                    Call::Answered(_, share) => open.push((amount, Amount {
                        tokens: amount.tokens * share / 16,
                        cost_micros: amount.cost_micros * share / 16,
                    })),
                    Call::Killed(_) => add(&mut exact, amount),
                },
                Err(Rejection::Budget { kind, asked, used: known, most, .. }) => {
                    prop_assert!(known + asked > most);
                    prop_assert_eq!(known, kind.of(before));
                    prop_assert_eq!(used, before);
                }
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            }
            prop_assert!(tokens.is_none_or(|most| used.tokens <= most));
            prop_assert!(cost_micros.is_none_or(|most| used.cost_micros <= most));
        }
        for (reserved, spent) in open {
            let settle = BudgetEntry::Settle {
                window: window("b", Period::Day, now),
                reserved,
                used: spent,
            };
            run(&mut used, &[settle]).unwrap();
            add(&mut exact, spent);
        }
        prop_assert_eq!(used, exact);
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
    let none = |_: &Window| Ok::<_, Rejection>(Amount::default());
    let both = [reserve("a", 10), reserve("b", 9)];
    let refused = ledgers(&both, Micros(1), none).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("`b` has 9 tokens left of 9 tokens"),
        "{refused}"
    );
    let twice = [reserve("a", 20), reserve("a", 20), reserve("b", 10)];
    let after = ledgers(&twice, Micros(1), none).unwrap();
    let tokens: Vec<u64> = after.values().map(|used| used.tokens).collect();
    assert_eq!(tokens, [20, 10]);
}
