//! Requests of the engine's loops: causes that the clock brings.

use super::{
    rows::{Rows, Times},
    write::Write,
};
use crate::{
    Micros,
    ports::{Due, StoreError},
    rules::{Cause, clock},
};

impl<R: Rows> Write<'_, R> {
    /// Ends tasks past their deadlines, and moves on due tasks, at most `limit`.
    ///
    /// # Errors
    /// Storage failed.
    pub fn wake_due(&mut self, limit: u32) -> Result<Due, StoreError> {
        let ended = self.move_on(Times::Expiry, &Cause::Expire, limit)?;
        let woken = self.move_on(Times::Due, &Cause::Wake, limit - ended.woken)?;
        Ok(Due {
            woken: ended.woken + woken.woken,
            next: ended.next.into_iter().chain(woken.next).min(),
        })
    }

    /// Corrects the tasks that were written to under a clock that was ahead, at most `limit`.
    ///
    /// # Errors
    /// Storage failed.
    pub fn correct_clocks(&mut self, limit: u32) -> Result<u32, StoreError> {
        let latest = self.now.plus(clock::SLACK);
        let (mut corrected, mut after) = (0, i64::MIN);
        while corrected < limit {
            let ahead = self.rows.written_after(latest, after, limit - corrected)?;
            let Some(last) = ahead.last() else { break };
            after = last.number;
            for found in ahead {
                corrected += u32::from(self.apply(found.key, Cause::CorrectClock)?);
            }
        }
        Ok(corrected)
    }

    /// Applies a cause to the tasks whose time has come, in the order of their times. A task that cannot
    /// be moved on is passed over: the task takes no place from later tasks, and is not the next to be due.
    fn move_on(&mut self, times: Times, cause: &Cause, limit: u32) -> Result<Due, StoreError> {
        let mut woken = 0;
        let mut after = (Micros(i64::MIN), i64::MIN);
        while woken < limit {
            let past = self.rows.past(times, after, self.now, limit - woken)?;
            let Some(last) = past.last() else { break };
            after = (last.at, last.number);
            for found in past {
                woken += u32::from(self.apply(found.key, cause.clone())?);
            }
        }
        let next = self.rows.next(times, after)?;
        Ok(Due { woken, next })
    }
}
