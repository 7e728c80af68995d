//! Cursors: where the next page begins. Opaque to clients; the first letter keeps a cursor of one
//! list from being used for another.

use ops_core::TaskId;

use crate::query::Query;

const WRONG: &str = "is not a cursor of this list; take it from `next_cursor`";

/// After this task.
pub(crate) fn of_task(task: TaskId) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(33);
    text.push('t');
    for byte in task.as_bytes() {
        write!(text, "{byte:02x}").expect("writing to memory does not fail");
    }
    text
}

/// The task of a `cursor` parameter.
pub(crate) fn task(query: &mut Query) -> Option<TaskId> {
    let text = query.get("cursor")?;
    let id = text
        .strip_prefix('t')
        .filter(|hex| hex.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|hex| u128::from_str_radix(hex, 16).ok())
        .map(|number| TaskId::from_bytes(number.to_be_bytes()));
    if id.is_none() {
        query.fail("cursor", "value_error", WRONG);
    }
    id
}

/// After this number of a log; `list` is `e` for events and `s` for steps.
pub(crate) fn of_seq(list: char, seq: u64) -> String {
    format!("{list}{seq:x}")
}

/// Where a page of a log begins: the `cursor` or the `after` parameter, else its start.
pub(crate) fn seq(list: char, query: &mut Query) -> u64 {
    let after = query.number("after", 0..=u64::MAX);
    let Some(text) = query.get("cursor") else {
        return after.unwrap_or(0);
    };
    if after.is_some() {
        query.fail("cursor", "value_error", "goes without `after`");
        return 0;
    }
    let seq = text
        .strip_prefix(list)
        .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|hex| u64::from_str_radix(hex, 16).ok());
    seq.unwrap_or_else(|| {
        query.fail("cursor", "value_error", WRONG);
        0
    })
}

#[cfg(test)]
mod tests {
    use ops_core::Micros;

    use super::*;

    fn query(cursor: &str) -> Query {
        let text = format!("cursor={cursor}");
        Query::parse(Some(&text), &["cursor", "after"], &[])
    }

    #[test]
    fn cursors_round_trip_and_are_not_mixed_up() {
        let id = TaskId::new(Micros(1_744_452_000_000_000), [7; 10]);
        let mut right = query(&of_task(id));
        assert_eq!(task(&mut right), Some(id));
        assert!(right.check().is_ok());
        for wrong in ["t1", "e5", "x", &of_task(id)[1..]] {
            let mut wrong = query(wrong);
            assert_eq!(task(&mut wrong), None);
            assert!(wrong.check().is_err());
        }
        assert_eq!(seq('e', &mut query(&of_seq('e', u64::MAX))), u64::MAX);
        for wrong in ["s5", "e", "e+5", "e99999999999999999", "5"] {
            let mut wrong = query(wrong);
            seq('e', &mut wrong);
            assert!(wrong.check().is_err());
        }
    }
}
