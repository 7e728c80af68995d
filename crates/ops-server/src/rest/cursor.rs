//! Cursors: where the next page begins. Opaque to clients. A cursor carries a check of the list, the
//! tenant and the filter that it was made for, so that one from elsewhere is refused rather than
//! answered with a page of something else. The check is no secret: a page shows only what its filter and
//! its tenant let through, whatever the cursor.

use std::{fmt::Display, str::FromStr};

use ops_core::{TaskId, TenantId};
use sha2::{Digest as _, Sha256};

use crate::query::Query;

const WRONG: &str = "is not a cursor of this list with this filter; take it from `next_cursor`";
const CHECK: usize = 8;
/// The largest number that an event can have.
pub(crate) const LAST_SEQ: u64 = i64::MAX as u64;

/// The list that a cursor belongs to.
#[derive(Debug, Clone)]
pub(crate) struct List(Sha256);

impl List {
    /// A list of a tenant, narrowed by something: a filter, or the task whose log it is.
    pub(crate) fn new(name: &str, tenant: TenantId, narrowed: &str) -> Self {
        let mut digest = Sha256::new();
        for part in [name, &tenant.0.to_string(), narrowed] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Self(digest)
    }

    /// After this task.
    pub(crate) fn after_task(&self, task: TaskId) -> String {
        self.cursor(task.as_bytes())
    }

    /// The task of a `cursor` parameter.
    pub(crate) fn task(&self, query: &mut Query) -> Option<TaskId> {
        self.place(query).map(TaskId::from_bytes)
    }

    /// After this name, in a list that is ordered by names.
    pub(crate) fn after_name(&self, name: &impl Display) -> String {
        self.cursor(name.to_string().as_bytes())
    }

    /// The name of a `cursor` parameter.
    pub(crate) fn name<T: FromStr>(&self, query: &mut Query) -> Option<T> {
        self.read(query, |place| std::str::from_utf8(place).ok()?.parse().ok())
    }

    /// Before this row, in a list that is ordered by rows.
    pub(crate) fn before_row(&self, row: u64) -> String {
        self.cursor(&row.to_be_bytes())
    }

    /// The row of a `cursor` parameter.
    pub(crate) fn row(&self, query: &mut Query) -> Option<u64> {
        self.place(query).map(u64::from_be_bytes)
    }

    /// After this number of a log.
    pub(crate) fn after_seq(&self, seq: u64) -> String {
        self.cursor(&seq.to_be_bytes())
    }

    /// Where a page of a log begins: the `cursor` or the `after` parameter, else its start.
    pub(crate) fn seq(&self, query: &mut Query) -> u64 {
        let after = query.number("after", 0..=LAST_SEQ);
        if after.is_some() && query.get("cursor").is_some() {
            query.fail("cursor", "value_error", "goes without `after`");
        }
        let cursor = self.place(query).map(u64::from_be_bytes);
        cursor.or(after).unwrap_or(0)
    }

    fn cursor(&self, place: &[u8]) -> String {
        units::hex::encode([place, &self.check(place)].concat())
    }

    fn place<const N: usize>(&self, query: &mut Query) -> Option<[u8; N]> {
        self.read(query, |place| place.try_into().ok())
    }

    fn read<T>(&self, query: &mut Query, place: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let bytes = units::hex::decode(query.get("cursor")?);
        let place = bytes.as_ref().and_then(|bytes| {
            let (at, check) = bytes.split_last_chunk::<CHECK>()?;
            (*check == self.check(at)).then(|| place(at)).flatten()
        });
        if place.is_none() {
            query.fail("cursor", "value_error", WRONG);
        }
        place
    }

    fn check(&self, place: &[u8]) -> [u8; CHECK] {
        let digest = self.0.clone().chain_update(place).finalize();
        std::array::from_fn(|index| digest[index])
    }
}

#[cfg(test)]
mod tests {
    use ops_core::{AgentName, Micros};

    use super::*;

    fn query(cursor: &str) -> Query {
        let text = format!("cursor={cursor}");
        Query::parse(Some(&text), &["cursor", "after"], &[])
    }

    fn list(name: &str, tenant: u32, narrowed: &str) -> List {
        List::new(name, TenantId(tenant), narrowed)
    }

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        let id = TaskId::new(Micros(1_744_452_000_000_000), [7; 10]);
        let tasks = list("tasks", 1, "x");
        let mut right = query(&tasks.after_task(id));
        assert_eq!(tasks.task(&mut right), Some(id));
        assert!(right.check().is_ok());
        let events = list("events", 1, "x");
        for seq in [0, 7, u64::MAX] {
            assert_eq!(events.seq(&mut query(&events.after_seq(seq))), seq);
        }
    }

    #[test]
    fn names_and_rows_come_back_as_well() {
        let agents = list("agents", 1, "");
        let name: AgentName = "clerk-2".parse().unwrap();
        let mut right = query(&agents.after_name(&name));
        assert_eq!(agents.name(&mut right), Some(name.clone()));
        assert!(right.check().is_ok());
        let approvals = list("approvals", 1, "pending");
        let mut right = query(&approvals.before_row(7));
        assert_eq!(approvals.row(&mut right), Some(7));
        assert!(right.check().is_ok());
        for elsewhere in [
            list("schedules", 1, "").after_name(&name),
            list("agents", 2, "").after_name(&name),
            agents.after_name(&"No Name"),
            "nclerk-2".to_owned(),
        ] {
            let mut wrong = query(&elsewhere);
            assert_eq!(agents.name::<AgentName>(&mut wrong), None);
            assert!(wrong.check().is_err(), "{elsewhere}");
        }
    }

    #[test]
    fn a_cursor_from_elsewhere_is_refused() {
        let here = list("events", 1, "x");
        let good = here.after_seq(5);
        let mut changed = good.clone().into_bytes();
        changed[15] = b'6';
        for wrong in [
            list("steps", 1, "x").after_seq(5),
            list("events", 2, "x").after_seq(5),
            list("events", 1, "y").after_seq(5),
            String::from_utf8(changed).unwrap(),
            good[..30].to_owned(),
            format!("{good}00"),
            "x".repeat(32),
            "e5".to_owned(),
        ] {
            let mut wrong = query(&wrong);
            here.seq(&mut wrong);
            assert!(wrong.check().is_err());
        }
    }
}
