//! How fast the tasks of a queue are taken up, by all workers together and over restarts.

use ops_core::{Micros, ports::ClaimRequest, rate::Rate};
use rusqlite::OptionalExtension as _;

use crate::sqlite::writer::batch::Batch;

/// The rate of a claim, with where it stands.
pub(crate) struct Pace {
    rate: Rate,
    expected: Micros,
}

impl Pace {
    /// Where the rate of a claim stands; none if it has none.
    pub(crate) fn load(
        batch: &Batch<'_>,
        request: &ClaimRequest,
    ) -> rusqlite::Result<Option<Self>> {
        let Some(rate) = request.rate else {
            return Ok(None);
        };
        let expected = batch
            .conn
            .prepare_cached("SELECT expected FROM queue_rates WHERE queue = ?")?
            .query_row([&request.queue], |row| row.get(0).map(Micros))
            .optional()?;
        let expected = expected.unwrap_or(Micros(0));
        Ok(Some(Self { rate, expected }))
    }

    /// How many tasks may be taken up now.
    pub(crate) fn allows(&self, now: Micros) -> u32 {
        self.rate.allows(self.expected, now)
    }

    /// When one more may be taken up.
    pub(crate) fn next(&self, now: Micros) -> Micros {
        self.rate.next(self.expected, now)
    }

    /// Counts what was taken up.
    pub(crate) fn take(
        &mut self,
        batch: &mut Batch<'_>,
        queue: &str,
        taken: u32,
    ) -> rusqlite::Result<()> {
        if taken == 0 {
            return Ok(());
        }
        self.expected = self.rate.after(self.expected, batch.now, taken);
        batch
            .conn
            .prepare_cached(
                "INSERT INTO queue_rates (queue, expected) VALUES (?, ?) \
                 ON CONFLICT DO UPDATE SET expected = excluded.expected",
            )?
            .execute((queue, self.expected.0))?;
        batch.changes.written = true;
        Ok(())
    }
}
