//! Tasks of the first Opspawn: read from its table, and stored as ended tasks with their ids and times.
//!
//! The table is never written to. Each task goes through the verbs of a store whose clock shows the times of the task:
//! submit, lease, end. So its log is made by the rules, as each log is. A task that was brought over before is
//! compared and left as it is.

mod bring;
mod file;
mod plan;
#[cfg(feature = "postgres")]
mod server;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
};

use ops_core::{Micros, ports::Clock};

#[cfg(feature = "postgres")]
pub use self::server::read_server;
pub use self::{bring::bring, file::read_file};

/// The queue of tasks that were brought over.
pub const QUEUE: &str = "version-1";

/// The names that the table may have.
const TABLES: [&str; 2] = ["task", "tasks"];
/// Columns without which a table is another program's.
const NEEDED: [&str; 5] = ["task_id", "task_type", "status", "created_at", "input_data"];

/// A row of the first Opspawn. Times are UTC microseconds, `input` and `result` JSON texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the columns")]
pub struct OldTask {
    pub task_id: String,
    pub task_type: String,
    pub name: Option<String>,
    pub status: String,
    pub input_data: Option<String>,
    pub result: Option<String>,
    pub error_message: Option<String>,
    pub agent_id: Option<String>,
    pub workflow_id: Option<String>,
    pub created_at: Option<i64>,
    pub updated_at: Option<i64>,
    pub scheduled_at: Option<i64>,
    pub started_at: Option<i64>,
    pub completed_at: Option<i64>,
}

/// The columns of text, and the columns of times, in the order of [`OldTask`].
const TEXTS: [&str; 9] = [
    "task_id",
    "task_type",
    "name",
    "status",
    "input_data",
    "result",
    "error_message",
    "agent_id",
    "workflow_id",
];
const TIMES: [&str; 5] = [
    "created_at",
    "updated_at",
    "scheduled_at",
    "started_at",
    "completed_at",
];

impl OldTask {
    /// A row whose columns are [`TEXTS`] and [`TIMES`].
    fn new(mut texts: [Option<String>; 9], times: [Option<i64>; 5]) -> Self {
        let mut text = |column: usize| texts[column].take();
        Self {
            task_id: text(0).unwrap_or_default(),
            task_type: text(1).unwrap_or_default(),
            name: text(2),
            status: text(3).unwrap_or_default().to_ascii_lowercase(),
            input_data: text(4),
            result: text(5),
            error_message: text(6),
            agent_id: text(7),
            workflow_id: text(8),
            created_at: times[0],
            updated_at: times[1],
            scheduled_at: times[2],
            started_at: times[3],
            completed_at: times[4],
        }
    }
}

/// What became of the tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brought {
    /// Rows of the table.
    pub found: u64,
    /// Tasks that are new here; each was read again and compared.
    pub imported: u64,
    /// Tasks that an earlier run brought over, and that are the same.
    pub already: u64,
    /// Tasks that were left out, each with its reason.
    pub left_out: Vec<Note>,
    /// Tasks that were brought over with a change, each with the change.
    pub changed: Vec<Note>,
}

/// A sentence about a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The id as the first Opspawn has it.
    pub task_id: String,
    /// The sentence.
    pub why: String,
}

/// The tasks cannot be brought over.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BringError {
    /// There is no file.
    #[error("there is no file {}", .0.display())]
    NoFile(PathBuf),
    /// The source has no table of the first Opspawn.
    #[error(
        "{0} has no table of the first Opspawn: a table `task` with the columns task_id, task_type, status, \
         created_at and input_data"
    )]
    NoTable(String),
    /// Several tables could be meant.
    #[error(
        "{0} has several tables that may be the first Opspawn's: {1}; leave only one of them visible to the role"
    )]
    SeveralTables(String, String),
    /// The source cannot be read.
    #[error("the tasks of the first Opspawn in {0} cannot be read: {1}")]
    Source(String, String),
    /// The store failed.
    #[error(
        "the tasks cannot be stored: {0}; what was stored stays, and another run goes on from there"
    )]
    Store(#[from] ops_core::ports::StoreError),
}

/// A clock that shows what it is set to.
#[derive(Debug)]
pub struct SetClock(AtomicI64);

impl SetClock {
    /// A clock at a time.
    #[must_use]
    pub fn new(at: Micros) -> Self {
        Self(AtomicI64::new(at.0))
    }

    fn set(&self, at: Micros) {
        self.0.store(at.0, Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Micros {
        Micros(self.0.load(Relaxed))
    }

    fn boot_micros(&self) -> i64 {
        self.0.load(Relaxed)
    }
}
