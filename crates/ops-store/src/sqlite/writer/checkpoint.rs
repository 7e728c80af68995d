//! Checkpoints: the writer moves a long WAL into the database itself, once all callers are answered. (A
//! background thread let the WAL grow to 220 MB and cost 30 %.) While no caller writes, the writer empties
//! the WAL: a bit that flips in a database costs one row, in a WAL all later commits.

use std::{cell::Cell, time::Duration};

use rusqlite::{Connection, ErrorCode, hooks::Wal};

use crate::sqlite::folder::open::BUSY;

/// Pages in the WAL after which the writer checkpoints: 64 MB. Callers wait for a checkpoint, so
/// checkpoints have to be rarer than the slowest hundredth of writes; at 4,000 pages they were not.
const LONG: i32 = 16_000;
/// Bytes of a page.
const PAGE_BYTES: u64 = 4_096;
/// Pages in the WAL after which a checkpoint waits for the readers, so that it begins anew.
const ENDLESS: i32 = 40_000;
/// The writer empties the WAL after so long a time without callers.
pub(crate) const IDLE: Duration = Duration::from_secs(5);
/// How long a checkpoint waits for readers. A checkpoint does not wait for a long reader, such as a backup,
/// because all writers would wait with the checkpoint.
const MAX_WAIT: Duration = Duration::from_millis(50);

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

    /// Has the WAL checkpointed at so many bytes, if they are fewer than usual; 0 for the usual length.
    pub(crate) fn keep_within(&mut self, bytes: u64) {
        let pages = i32::try_from(bytes / PAGE_BYTES).unwrap_or(i32::MAX);
        (self.long, self.endless) = match pages {
            0 => (LONG, ENDLESS),
            pages => (pages.min(LONG), pages.saturating_mul(2).min(ENDLESS)),
        };
    }

    /// Checkpoints a long WAL; tells whether the checkpoint ran.
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

    /// Whether the WAL has frames that a checkpoint while idle would move.
    pub(crate) fn is_dirty(&self) -> bool {
        PAGES.get() > 0
    }

    /// Moves all frames into the database and empties the WAL; tells whether the WAL is empty. A reader may
    /// prevent that.
    pub(crate) fn empty(&mut self) -> bool {
        let emptied = self.conn.busy_timeout(MAX_WAIT).and_then(|()| {
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
            // Without space, the writer says that writes fail.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => false,
            Err(error) => {
                tracing::warn!(%error, "the WAL could not be emptied");
                false
            }
        }
    }

    /// Has the WAL begin anew, unless a reader keeps it.
    fn restart(&mut self, pages: i32) -> rusqlite::Result<()> {
        self.conn.busy_timeout(MAX_WAIT)?;
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
            begun.elapsed() < Duration::from_secs(30),
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
