//! Checkpoints: the writer moves the WAL into the database itself, once it is long and everybody
//! has been answered. (A background one let the WAL grow to 220 MB and cost 30 %.) While nobody asks for
//! anything it empties the WAL: a bit that flips in a database costs one row, in a WAL all later commits.

use std::{cell::Cell, time::Duration};

use rusqlite::{Connection, hooks::Wal};

use crate::sqlite::folder::open::BUSY;

/// Pages in the WAL after which it is checkpointed: 64 MB. Who writes waits for a checkpoint, so they
/// have to be rarer than the slowest hundredth of what is written; at 4,000 pages they were not.
const LONG: i32 = 16_000;
/// Pages in the WAL after which a checkpoint waits for the readers, so that it begins anew.
const ENDLESS: i32 = 40_000;
/// The WAL is emptied once nobody has asked for anything for so long.
pub(crate) const IDLE: Duration = Duration::from_secs(5);
/// How long it waits for them. A long reader, such as a backup, is not waited for: it would hold up
/// whoever writes.
const PATIENCE: Duration = Duration::from_millis(50);

thread_local! {
    /// How many pages the WAL has, as the last commit of this thread left it.
    static PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Follows the length of the WAL of this thread's connection.
pub(crate) struct WriteAheadLog<'c> {
    conn: &'c Connection,
    long: i32,
    endless: i32,
    /// How many pages it had at the last checkpoint.
    seen: i32,
    /// How many pages it had when a checkpoint last waited in vain for the readers.
    in_vain: i32,
}

impl<'c> WriteAheadLog<'c> {
    pub(crate) fn follow(conn: &'c Connection) -> Self {
        Self::with_lengths(conn, LONG, ENDLESS)
    }

    fn with_lengths(conn: &'c Connection, long: i32, endless: i32) -> Self {
        // What a killed process left is emptied as well.
        PAGES.set(1);
        conn.wal_hook(Some(|_: &Wal, pages| {
            PAGES.set(pages);
            Ok(())
        }));
        Self {
            conn,
            long,
            endless,
            seen: 0,
            in_vain: 0,
        }
    }

    /// Checkpoints if it is time to; says whether it did.
    pub(crate) fn checkpoint_if_long(&mut self) -> bool {
        let pages = PAGES.get();
        if pages < self.seen {
            // It began anew.
            (self.seen, self.in_vain) = (0, 0);
        }
        // A reader may keep it from beginning anew for a while; then each commit finds it long.
        if pages < self.long || pages - self.seen < self.long / 4 {
            return false;
        }
        self.seen = pages;
        let done = if pages < self.endless || pages - self.in_vain < self.long {
            self.checkpoint("PASSIVE").map(drop)
        } else {
            self.restart(pages)
        };
        if let Err(error) = &done {
            tracing::warn!(%error, "the WAL could not be checkpointed");
        }
        done.is_ok()
    }

    /// Whether there is anything in the WAL that a checkpoint while idle would move.
    pub(crate) fn is_dirty(&self) -> bool {
        PAGES.get() > 0
    }

    /// Moves everything into the database and empties the WAL; says whether it did. A reader may keep it
    /// from that.
    pub(crate) fn empty(&mut self) -> bool {
        let emptied = self.conn.busy_timeout(PATIENCE).and_then(|()| {
            let busy = self.checkpoint("TRUNCATE");
            self.conn.busy_timeout(BUSY)?;
            busy
        });
        match emptied {
            Ok(true) => false,
            Ok(false) => {
                PAGES.set(0);
                (self.seen, self.in_vain) = (0, 0);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the WAL could not be emptied");
                false
            }
        }
    }

    /// Has the WAL begin anew, unless a reader keeps it.
    fn restart(&mut self, pages: i32) -> rusqlite::Result<()> {
        self.conn.busy_timeout(PATIENCE)?;
        let busy = self.checkpoint("RESTART");
        self.conn.busy_timeout(BUSY)?;
        if busy? {
            self.in_vain = pages;
        }
        Ok(())
    }

    /// Says whether a reader was in the way.
    fn checkpoint(&self, mode: &str) -> rusqlite::Result<bool> {
        self.conn
            .prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?
            .query_row((), |row| row.get(0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_long_reader_holds_up_nobody_who_writes() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Connection::open(dir.path().join("db")).unwrap();
        let conn = open();
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 0; \
             CREATE TABLE t (x);",
        )
        .unwrap();
        conn.busy_timeout(BUSY).unwrap();
        let mut wal = WriteAheadLog::with_lengths(&conn, 40, 100);
        let reader = open();
        let look = "SELECT count(*) FROM t";
        reader.execute_batch("BEGIN").unwrap();
        reader
            .query_row(look, (), |row| row.get::<_, i64>(0))
            .unwrap();

        let write = || {
            conn.execute("INSERT INTO t VALUES (zeroblob(20000))", ())
                .unwrap();
        };
        let begun = Instant::now();
        let mut checkpoints = 0;
        while PAGES.get() < 400 {
            write();
            checkpoints += u32::from(wal.checkpoint_if_long());
        }
        assert!(checkpoints > 20, "{checkpoints}");
        // Eight of them waited, each a little.
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );

        // Once the reader is gone the WAL begins anew.
        reader.execute_batch("COMMIT").unwrap();
        let longest = PAGES.get();
        for _ in 0..20 {
            write();
            wal.checkpoint_if_long();
        }
        assert!(PAGES.get() < longest, "{} pages", PAGES.get());
    }
}
