// What the verbs that read ask. Each runs in a transaction that sees one state of the database.

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod reads;
pub(crate) mod schedules;
pub(crate) mod search;

use ops_core::ports::{LIST_BYTES, Listed, StoreError};
use tokio_postgres::Row;

use crate::postgres::{error::Failure, schema::rows};

// What a look found, or why what it found cannot be read; the outer error is the database's.
pub(crate) type Found<T> = Result<Result<T, StoreError>, Failure>;

// The rows of a list, until the columns that may be large have more than [`LIST_BYTES`] together; the first
// in any case. One that cannot be read is named and passed over.
fn bounded<T>(
    found: &[Row],
    large: &[usize],
    name: impl Fn(&Row) -> String,
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Listed<T> {
    let (mut listed, mut bytes) = (Listed::default(), 0);
    for row in found {
        for column in large {
            bytes += rows::get::<Option<&str>>(row, *column)
                .ok()
                .flatten()
                .map_or(0, str::len);
        }
        if bytes > LIST_BYTES && !listed.found.is_empty() {
            break;
        }
        match read(row) {
            Ok(entry) => listed.found.push(entry),
            Err(_) => listed.damaged.push(name(row)),
        }
    }
    listed
}

/// A name as it is stored, to tell which row is damaged.
fn shown(row: &Row, column: usize) -> String {
    let bytes: Option<&[u8]> = row.try_get(column).ok();
    bytes.map_or_else(
        || "unknown".to_owned(),
        |bytes| String::from_utf8_lossy(bytes).into_owned(),
    )
}

/// Unwraps an answer that cannot be read, within a function that gives [`Found`].
macro_rules! read {
    ($read:expr) => {
        match $read {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        }
    };
}
use read;
