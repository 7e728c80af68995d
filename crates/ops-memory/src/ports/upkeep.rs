//! The verbs of the engine's loops.

use std::collections::BTreeSet;

use ops_core::{
    Lifecycle, Micros, State,
    ports::{Due, Fut, StoreError, UpkeepStore},
    rules::{Cause, clock, limits},
};

use crate::{
    data::{Data, Key},
    store::{MemoryStore, ready},
    write::Write,
};

impl UpkeepStore for MemoryStore {
    fn expire_sessions(&self) -> Fut<'_, Result<u32, StoreError>> {
        let boot = self.clock.boot_micros();
        ready(self.write(|write| {
            let expired = write.data.sessions.expired(boot);
            for session in &expired {
                write.end_session(*session);
            }
            Ok(u32::try_from(expired.len()).unwrap_or(u32::MAX))
        }))
    }

    fn wake_due(&self, limit: u32) -> Fut<'_, Result<Due, StoreError>> {
        ready(self.write(|write| {
            let ended = move_on(write, limits::expires, &Cause::Expire, limit);
            let due = |life: &Lifecycle| life.state.due();
            let woken = move_on(write, due, &Cause::Wake, limit - ended.woken);
            Ok(Due {
                woken: ended.woken + woken.woken,
                next: ended.next.into_iter().chain(woken.next).min(),
            })
        }))
    }

    fn correct_clocks(&self, limit: u32) -> Fut<'_, Result<u32, StoreError>> {
        ready(self.write(|write| {
            let is_found = |life: &Lifecycle| {
                let has_date = life.state.due().is_some() || limits::expires(life).is_some();
                (has_date || life.state.session().is_some()) && clock::was_ahead(life, write.now)
            };
            let rows = write.data.tasks.iter();
            let mut ahead: Vec<(u64, Key)> = rows
                .filter(|(_, row)| is_found(&row.record.life))
                .map(|(key, row)| (row.number, *key))
                .collect();
            ahead.sort_unstable();
            let mut corrected = 0;
            for (_, key) in ahead {
                if corrected == limit {
                    break;
                }
                corrected += u32::from(write.apply(key, Cause::CorrectClock));
            }
            Ok(corrected)
        }))
    }

    fn ready_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>> {
        let queues: BTreeSet<String> = self.read(|data| {
            let rows = data.tasks.values().map(|row| &row.record);
            let ready = rows.filter(|row| matches!(row.life.state, State::Pending { .. }));
            ready.map(|row| row.task.queue.clone()).collect()
        });
        ready(Ok(queues.into_iter().collect()))
    }
}

/// Applies a cause to the tasks whose time has come, in the order of their times.
fn move_on(
    write: &mut Write<'_>,
    time: impl Fn(&Lifecycle) -> Option<Micros>,
    cause: &Cause,
    limit: u32,
) -> Due {
    let mut woken = 0;
    let mut after = (Micros(i64::MIN), 0);
    for (due, number, key) in in_time(write.data, &time) {
        if woken == limit || due > write.now {
            break;
        }
        after = (due, number);
        woken += u32::from(write.apply(key, cause.clone()));
    }
    let later = in_time(write.data, &time).into_iter();
    let mut later = later.filter(|(due, number, _)| (*due, *number) > after);
    let next = later.next().map(|(due, ..)| due);
    Due { woken, next }
}

/// The tasks that have a time, in its order.
fn in_time(data: &Data, time: &impl Fn(&Lifecycle) -> Option<Micros>) -> Vec<(Micros, u64, Key)> {
    let with_time = data.tasks.iter().filter_map(|(key, row)| {
        let at = time(&row.record.life)?;
        Some((at, row.number, *key))
    });
    let mut found: Vec<_> = with_time.collect();
    found.sort_unstable();
    found
}
