//! Checkpoints: the writer moves the WAL into the database itself, once it is long and everybody
//! has been answered. (A background one let the WAL grow to 220 MB and cost 30 %.)

use std::cell::Cell;

use rusqlite::{Connection, hooks::Wal};

/// Pages in the WAL after which it is checkpointed.
const LONG: i32 = 4_000;
/// Pages in the WAL after which a checkpoint waits for the readers, so that it begins anew.
const ENDLESS: i32 = 40_000;

thread_local! {
    /// How many pages the WAL has, as the last commit of this thread left it.
    static PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Follows the length of the WAL of this thread's connection.
pub(super) struct WriteAheadLog<'c> {
    conn: &'c Connection,
    /// How many of its pages the last checkpoint had moved.
    moved: i32,
}

impl<'c> WriteAheadLog<'c> {
    pub(super) fn follow(conn: &'c Connection) -> Self {
        PAGES.set(0);
        conn.wal_hook(Some(|_: &Wal, pages| {
            PAGES.set(pages);
            Ok(())
        }));
        Self { conn, moved: 0 }
    }

    /// Checkpoints if it is time to; says whether it did.
    pub(super) fn checkpoint_if_long(&mut self) -> bool {
        let pages = PAGES.get();
        if pages < self.moved {
            // It began anew.
            self.moved = 0;
        }
        // A reader may keep it from beginning anew for a while; then each commit finds it long.
        if pages < LONG || pages - self.moved < LONG / 4 {
            return false;
        }
        let mode = if pages < ENDLESS {
            "PASSIVE"
        } else {
            "RESTART"
        };
        let moved = self
            .conn
            .prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))
            .and_then(|mut statement| statement.query_row((), |row| row.get(2)));
        match moved {
            Ok(moved) => {
                self.moved = moved;
                true
            }
            Err(error) => {
                self.moved = pages;
                tracing::warn!(%error, "the WAL could not be checkpointed");
                false
            }
        }
    }
}
