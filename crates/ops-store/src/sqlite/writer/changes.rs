//! Changes of a group of writes besides rows: announced after the commit.

use ops_core::{TenantId, ports::Notice, stats::Work, task::StateName};

use crate::sqlite::sessions::Interrupt;

/// Changes of a group, to announce after the commit.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Whether the group has rows to commit.
    pub(crate) written: bool,
    /// Whether a submit is among it.
    pub(crate) submitted: bool,
    pub(crate) events: u64,
    pub(crate) work: Work,
    pub(crate) notices: Vec<Notice>,
    pub(crate) interrupts: Vec<Interrupt>,
    pub(crate) counters: Vec<(TenantId, StateName, i64)>,
}

impl Changes {
    pub(crate) fn clear(&mut self) {
        self.written = false;
        self.submitted = false;
        self.events = 0;
        self.work = Work::default();
        self.notices.clear();
        self.interrupts.clear();
        self.counters.clear();
    }

    pub(crate) fn count(&mut self, tenant: TenantId, state: StateName, n: i64) {
        let known = self
            .counters
            .iter_mut()
            .find(|(t, s, _)| *t == tenant && *s == state);
        match known {
            Some((_, _, sum)) => *sum += n,
            None => self.counters.push((tenant, state, n)),
        }
    }
}
