//! A SQLite file, read-only.
//!
//! Each call opens the file anew, so that no call finds settings, temporary tables or attached files of another one.
//! Three things keep a statement from writing, each of which would do: the file is opened read-only, `query_only` is
//! on, and the authorizer refuses every action but reading when a statement is compiled. The authorizer alone also
//! keeps other files away (ATTACH, VACUUM INTO) and settings as they are (PRAGMA).

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use agentkit::event::Failure;
use rusqlite::{
    Connection, Error, ErrorCode, OpenFlags,
    config::DbConfig,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
    types::ValueRef,
};
use serde_json::Value;

use crate::answer::{self, Answer, Bounds, refused};

/// Virtual machine steps between two looks at the clock.
const STEPS: i32 = 1_000;
/// How long a statement waits for a writer of the file.
const BUSY: Duration = Duration::from_secs(2);
/// The most bytes of one value while a statement runs, which bounds its memory.
const MAX_VALUE: i32 = 4 << 20;
/// Functions that reach beyond the file, where a build has them.
const REFUSED_FUNCTIONS: &[&str] = &[
    "edit",
    "fts3_tokenizer",
    "load_extension",
    "readfile",
    "writefile",
];

/// Bounds of a statement.
pub(crate) struct Within {
    pub(crate) bounds: Bounds,
    pub(crate) timeout: Duration,
    /// Set once nobody waits for the result any more.
    pub(crate) abandoned: Arc<AtomicBool>,
}

/// Runs one statement. Blocks.
pub(crate) fn query(path: &Path, sql: &str, within: &Within) -> Result<Answer, Failure> {
    let deadline = Instant::now() + within.timeout;
    let denied = Arc::new(Mutex::new(None));
    let told = |error: &Error| failure(error, within, deadline, &denied);
    let connection = open(path).map_err(|error| unavailable(&error))?;
    let abandoned = Arc::clone(&within.abandoned);
    let is_over = move || abandoned.load(Ordering::Relaxed) || Instant::now() >= deadline;
    let guarded = connection
        .progress_handler(STEPS, Some(is_over))
        .and_then(|()| connection.authorizer(Some(authorizer(Arc::clone(&denied)))));
    guarded.map_err(|error| unavailable(&error))?;
    let mut statement = connection.prepare(sql).map_err(|error| told(&error))?;
    if !statement.readonly() {
        return Err(refused("the statement would write; only queries are run"));
    }
    if statement.parameter_count() > 0 {
        return Err(refused(
            "the statement has parameters; write the values into the query",
        ));
    }
    let columns = statement.column_names();
    let columns = columns.into_iter().map(str::to_owned).collect();
    let mut answer = Answer::new(columns, within.bounds)?;
    let mut rows = statement.query([]).map_err(|error| told(&error))?;
    while let Some(row) = rows.next().map_err(|error| told(&error))? {
        let value = |index| row.get_ref(index).map(shown);
        let values: Result<Vec<Value>, Error> = (0..answer.columns()).map(value).collect();
        if !answer.push(values.map_err(|error| told(&error))?)? {
            break;
        }
    }
    Ok(answer)
}

fn open(path: &Path) -> Result<Connection, Error> {
    // A link in the place of the file, or of a folder above it, is not followed: the path had none when it was granted.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    for (config, is_on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
    ] {
        connection.set_db_config(config, is_on)?;
    }
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 << 10),
        (
            Limit::SQLITE_LIMIT_COLUMN,
            i32::try_from(answer::MAX_COLUMNS).unwrap_or(i32::MAX),
        ),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
        (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, most)?;
    }
    Ok(connection)
}

/// Allows reading, and remembers the first action that was refused.
fn authorizer(
    denied: Arc<Mutex<Option<String>>>,
) -> impl for<'r> FnMut(AuthContext<'r>) -> Authorization + Send + 'static {
    move |context| {
        let action = context.action;
        if is_reading(&action) {
            return Authorization::Allow;
        }
        let mut denied = denied.lock().unwrap_or_else(PoisonError::into_inner);
        denied.get_or_insert_with(|| named(&action));
        Authorization::Deny
    }
}

fn is_reading(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        // Full-text tables look at this number, which tells whether another connection wrote.
        AuthAction::Pragma {
            pragma_name,
            pragma_value: None,
        } => *pragma_name == "data_version",
        AuthAction::Function { function_name } => {
            let mut refused = REFUSED_FUNCTIONS.iter();
            !refused.any(|name| name.eq_ignore_ascii_case(function_name))
        }
        _ => false,
    }
}

fn named(action: &AuthAction<'_>) -> String {
    match action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
            "other databases cannot be attached".to_owned()
        }
        AuthAction::Pragma { pragma_name, .. } => format!(
            "PRAGMA {pragma_name} cannot be used; `SELECT name, sql FROM sqlite_schema` shows tables and columns"
        ),
        AuthAction::Function { function_name } => {
            format!("the function {function_name} cannot be used")
        }
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
            "each query is a transaction of its own".to_owned()
        }
        _ => "the statement would write; only queries are run".to_owned(),
    }
}

fn shown(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => answer::whole(number),
        ValueRef::Real(number) => answer::real(number),
        ValueRef::Text(text) => {
            // No more is copied than is shown: a row may have hundreds of such values.
            let shown = &text[..text.len().min(answer::MAX_CELL + 8)];
            answer::text(String::from_utf8_lossy(shown).into_owned())
        }
        ValueRef::Blob(bytes) => answer::blob(bytes),
    }
}

/// The reason of a failure; the model knows its query.
fn reason(error: &Error) -> String {
    match error {
        Error::SqlInputError { msg, offset, .. } if *offset >= 0 => {
            format!("{msg} at byte {offset}")
        }
        Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

fn unavailable(error: &Error) -> Failure {
    Failure::passing(
        "database_unavailable",
        format!("the database file cannot be opened to read: {error}"),
    )
}

fn failure(
    error: &Error,
    within: &Within,
    deadline: Instant,
    denied: &Mutex<Option<String>>,
) -> Failure {
    let why = denied.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(why) = why {
        return refused(&why);
    }
    let code = match error {
        Error::MultipleStatement => {
            return refused("there is more than one statement; send one at a time");
        }
        Error::SqlInputError { error, .. } => Some(error.code),
        other => other.sqlite_error_code(),
    };
    match code {
        Some(ErrorCode::OperationInterrupted) if Instant::now() >= deadline => Failure::last(
            "query_timeout",
            format!(
                "the query took longer than {} s; narrow it, or ask for less at a time",
                within.timeout.as_secs_f64()
            ),
        ),
        Some(ErrorCode::OperationInterrupted) => {
            Failure::passing("cancelled", "nobody waits for the query any more")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::passing(
            "database_busy",
            "another program is writing the database; ask again later",
        ),
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::NotADatabase
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::SystemIoFailure
            | ErrorCode::PermissionDenied,
        ) => unavailable(error),
        Some(_) | None => Failure::last("query_failed", reason(error)),
    }
}
