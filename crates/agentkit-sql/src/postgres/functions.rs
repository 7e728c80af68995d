//! Which functions a statement leads to, also by way of views, of row security and of functions, and whether they only read.
//!
//! READ ONLY keeps a function from writing tables. A function may still take locks, end sessions, write to the log or
//! reach other servers, and a view may call such a function where no statement names the function. The catalogs know: each function
//! that a statement calls stands as a name in the statement's text, or in the text of a view, a policy or a function that the text
//! names. So names are followed from text to text. A name that stands for several functions or views stands for all of them.
//!
//! PostgreSQL says of each function whether the function may have effects (VOLATILE). A VOLATILE function of the server's own has to
//! be on the list of harmless functions; every other function has to be STABLE or IMMUTABLE, and PostgreSQL holds the statements of the
//! function to that label.

use std::collections::BTreeSet;

use agentkit::event::Failure;
use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use crate::answer::refused;

/// How often names are followed: a statement, its views, their functions, ...
const MAX_ROUNDS: usize = 12;
/// The most names, and bytes of definitions, that are followed.
const MAX_NAMES: usize = 20_000;
const MAX_TEXT: usize = 4 << 20;
/// Bytes of a name, signs of an operator, and characters of a quoted name that are looked at.
const MAX_NAME: usize = 63;
const MAX_SIGNS: usize = 8;
const MAX_QUOTED: usize = 256;
/// The first object that is not of the server's own.
const FIRST_OWN: u32 = 16_384;

/// Functions that change the server although the transaction only reads, or hold up other sessions: they write to the log or to
/// large objects, take locks or end sessions; and functions that run a text as SQL, in which a name can be put together.
const REFUSED_FUNCTIONS: &[&str] = &[
    "pg_logical_",
    "pg_replication_",
    "pg_create_",
    "pg_drop_",
    "pg_switch_wal",
    "pg_notify",
    "pg_advisory_",
    "pg_try_advisory_",
    "pg_cancel_backend",
    "pg_terminate_backend",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_export_snapshot",
    "lo_from_bytea",
    "lo_put",
    "lo_creat",
    "lo_import",
    "lo_export",
    "lo_truncate",
    "lo_unlink",
    "lo_open",
    "lowrite",
    "query_to_xml",
    "cursor_to_xml",
    "table_to_xml",
    "schema_to_xml",
    "database_to_xml",
    "ts_stat",
    "dblink",
];
/// VOLATILE functions of the server that change no data, hold up no session for longer than the statement and run no text.
const HARMLESS: &[&str] = &[
    "bernoulli",
    "clock_timestamp",
    "currval",
    "gen_random_uuid",
    "lastval",
    "lo_get",
    "pg_blocking_pids",
    "pg_collation_actual_version",
    "pg_current_wal_flush_lsn",
    "pg_current_wal_insert_lsn",
    "pg_current_wal_lsn",
    "pg_database_collation_actual_version",
    "pg_database_size",
    "pg_get_backend_memory_contexts",
    "pg_get_multixact_members",
    "pg_get_shmem_allocations",
    "pg_get_wal_replay_pause_state",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_is_wal_replay_paused",
    "pg_jit_available",
    "pg_last_committed_xact",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_xact_replay_timestamp",
    "pg_lock_status",
    "pg_notification_queue_usage",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_prepared_xact",
    "pg_relation_size",
    "pg_safe_snapshot_blocking_pids",
    "pg_sequence_last_value",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_stat_have_stats",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_total_relation_size",
    "pg_xact_commit_timestamp",
    "pg_xact_commit_timestamp_origin",
    "pg_xact_status",
    "random",
    "random_normal",
    "setseed",
    "system",
    "timeofday",
    "txid_status",
    "uuidv4",
    "uuidv7",
];
/// Beginning of the names of functions that read statistics.
const STATISTICS: &str = "pg_stat_get_";

/// Functions with these names: as calls, or as `row.name`, which calls a function of the row.
const FUNCTIONS: &str = "
    SELECT DISTINCT n.nspname::text || '.' || p.proname::text, p.proname::text,
        p.oid::pg_catalog.int8 >= $3, p.provolatile::text, l.lanname::text,
        CASE WHEN l.lanname IN ('c', 'internal') THEN '' ELSE
            COALESCE(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) END
    FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        LEFT JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
    WHERE p.proname::text = ANY ($1)
        OR (p.proname::text = ANY ($2) AND p.pronargs = 1 AND t.typtype IN ('c', 'p')
            AND p.oid::pg_catalog.int8 >= $3)
    UNION ALL
    SELECT n.nspname::text || '.' || p.proname::text, p.proname::text,
        p.oid::pg_catalog.int8 >= $3, p.provolatile::text, l.lanname::text,
        CASE WHEN l.lanname IN ('c', 'internal') THEN '' ELSE
            COALESCE(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) END
    FROM pg_catalog.pg_operator o
        JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE o.oprname::text = ANY ($4) AND o.oid::pg_catalog.int8 >= $3";
/// Definitions of views and of policies on tables with these names.
const DEFINITIONS: &str = "
    SELECT pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c
    WHERE c.relname::text = ANY ($1) AND c.relkind IN ('v', 'm')
    UNION ALL
    SELECT pg_catalog.pg_get_expr(p.polqual, p.polrelid) FROM pg_catalog.pg_policy p
        JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
    WHERE c.relname::text = ANY ($1) AND p.polqual IS NOT NULL";

/// Refuses a statement that names a function of [`REFUSED_FUNCTIONS`], at any place in the text.
pub(super) fn check_names(sql: &str) -> Result<(), Failure> {
    let text = sql.to_ascii_lowercase();
    if text.contains("u&\"") || text.contains("u&'") {
        return Err(refused("write names and texts without `U&` escapes"));
    }
    let has = |name: &&&str| {
        let mut found = text.match_indices(**name);
        found.any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    if let Some(found) = REFUSED_FUNCTIONS.iter().find(has) {
        let why = format!(
            "`{found}` is of functions that change something, lock something or run a text; leave it out, also in texts \
             and comments"
        );
        return Err(refused(&why));
    }
    Ok(())
}

/// Names of a text of SQL.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    /// All words.
    words: BTreeSet<String>,
    /// Words before a bracket.
    calls: BTreeSet<String>,
    /// Words after a point.
    members: BTreeSet<String>,
    /// Signs of operators.
    operators: BTreeSet<String>,
}

impl Names {
    fn len(&self) -> usize {
        self.words.len() + self.operators.len()
    }

    /// Takes the names of a text in. Words of string literals and comments count as names as well: a function may run a text.
    fn read(&mut self, text: &str) {
        let is_sign = |c: char| "+-*/<>=~!@#%^&|`?".contains(c);
        let bytes: Vec<char> = text.chars().collect();
        let (mut at, mut after_point) = (0, false);
        while at < bytes.len() {
            let c = bytes[at];
            let begin = at;
            let (word, end) = if c == '"' {
                // The words within count one by one as well: the quote may stand in a text or a comment.
                at += 1;
                quoted(&bytes[begin + 1..], begin + 1)
            } else if c.is_alphabetic() || c == '_' {
                while at < bytes.len()
                    && (bytes[at].is_alphanumeric() || bytes[at] == '_' || bytes[at] == '$')
                {
                    at += 1;
                }
                let word: String = bytes[begin..at].iter().collect();
                (cut(word.to_lowercase()), Some(at))
            } else if is_sign(c) {
                while at < bytes.len() && is_sign(bytes[at]) {
                    at += 1;
                }
                // Each part of a run: signs may stand close together.
                for start in begin..at {
                    for end in start + 1..=at.min(start + MAX_SIGNS) {
                        self.operators.insert(bytes[start..end].iter().collect());
                    }
                }
                after_point = false;
                continue;
            } else {
                after_point = c == '.' || after_point && c.is_whitespace();
                at += 1;
                continue;
            };
            if end.is_none_or(|end| is_call(&bytes, end)) {
                self.calls.insert(word.clone());
            }
            if std::mem::take(&mut after_point) {
                self.members.insert(word.clone());
            }
            self.words.insert(word);
        }
    }

    /// The names that are not among others.
    fn without(&self, known: &Self) -> Self {
        let new = |own: &BTreeSet<String>, known: &BTreeSet<String>| {
            own.difference(known).cloned().collect::<BTreeSet<_>>()
        };
        Self {
            words: new(&self.words, &known.words),
            calls: new(&self.calls, &known.calls),
            members: new(&self.members, &known.members),
            operators: new(&self.operators, &known.operators),
        }
    }
}

/// The name of a quoted identifier, and the end of the identifier; `None` for an identifier longer than names may be.
fn quoted(text: &[char], begin: usize) -> (String, Option<usize>) {
    let (mut name, mut at) = (String::new(), 0);
    while at < text.len().min(MAX_QUOTED) {
        match (text[at], text.get(at + 1)) {
            ('"', Some('"')) => {
                name.push('"');
                at += 1;
            }
            ('"', _) => return (cut(name), Some(begin + at + 1)),
            (other, _) => name.push(other),
        }
        at += 1;
    }
    (cut(name), None)
}

/// A name as the server keeps it.
fn cut(mut name: String) -> String {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

/// Whether a bracket follows, or a comment that may stand before one.
fn is_call(text: &[char], mut at: usize) -> bool {
    while text.get(at).is_some_and(|c| c.is_whitespace()) {
        at += 1;
    }
    let comment = |two: [char; 2]| text.get(at..at + 2) == Some(&two);
    text.get(at) == Some(&'(') || comment(['/', '*']) || comment(['-', '-'])
}

/// Why a statement is not run.
pub(super) enum Refusal {
    /// A function, or too many names.
    Refused(Failure),
    /// The catalogs could not be read.
    Server(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Refusal {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

/// Refuses a statement that leads to a function which does more than read.
pub(super) async fn check(client: &Client, sql: &str) -> Result<(), Refusal> {
    let too_many = || {
        Refusal::Refused(refused(
            "the statement leads to more views and functions than are followed; ask for less at once",
        ))
    };
    let (mut known, mut text) = (Names::default(), sql.len());
    let mut new = Names::default();
    new.read(sql);
    for _ in 0..MAX_ROUNDS {
        if new.len() == 0 && new.calls.is_empty() && new.members.is_empty() {
            return Ok(());
        }
        if known.len() + new.len() > MAX_NAMES || text > MAX_TEXT {
            return Err(too_many());
        }
        let mut found = Names::default();
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
        let (calls, members) = (list(&new.calls), list(&new.members));
        let (words, operators) = (list(&new.words), list(&new.operators));
        let first = i64::from(FIRST_OWN);
        let functions = client
            .query_typed(
                FUNCTIONS,
                &[
                    (&calls, Type::TEXT_ARRAY),
                    (&members, Type::TEXT_ARRAY),
                    (&first, Type::INT8),
                    (&operators, Type::TEXT_ARRAY),
                ],
            )
            .await?;
        for row in functions {
            let (shown, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let (is_own, volatile): (bool, String) = (row.try_get(2)?, row.try_get(3)?);
            let (language, body): (String, String) = (row.try_get(4)?, row.try_get(5)?);
            judge(&shown, &name, is_own, &volatile).map_err(Refusal::Refused)?;
            if is_own && !body.is_empty() {
                let why =
                    |why: &str| Refusal::Refused(refused(&format!("the function `{shown}` {why}")));
                check_names(&body)
                    .map_err(|failure| why(&format!("is not run: {}", failure.message)))?;
                let runs_texts = language != "sql" && has_word(&body, "execute");
                if runs_texts {
                    return Err(why(
                        "runs texts as SQL (EXECUTE), which nobody can look at before",
                    ));
                }
            }
            text += body.len();
            // The server's own functions are known; their bodies are of SQL alone.
            if is_own {
                found.read(&body);
            }
        }
        let named: [(&(dyn ToSql + Sync), Type); 1] = [(&words, Type::TEXT_ARRAY)];
        for row in client.query_typed(DEFINITIONS, &named).await? {
            let definition: Option<String> = row.try_get(0)?;
            let definition = definition.unwrap_or_default();
            text += definition.len();
            found.read(&definition);
        }
        known.words.append(&mut new.words);
        known.calls.append(&mut new.calls);
        known.members.append(&mut new.members);
        known.operators.append(&mut new.operators);
        new = found.without(&known);
    }
    Err(too_many())
}

/// Whether a function of these properties may be called.
fn judge(shown: &str, name: &str, is_own: bool, volatile: &str) -> Result<(), Failure> {
    let is_volatile = volatile == "v";
    if !is_volatile || !is_own && (HARMLESS.contains(&name) || name.starts_with(STATISTICS)) {
        return Ok(());
    }
    let why = match is_own {
        true => format!(
            "the function `{shown}` is VOLATILE, so it may change something; if it only reads, its owner says so with ALTER \
             FUNCTION ... STABLE"
        ),
        false => format!(
            "the function `{shown}` changes something, locks something or runs a text; leave it out"
        ),
    };
    Err(refused(&why))
}

fn has_word(text: &str, word: &str) -> bool {
    let text = text.to_lowercase();
    let is_inside = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = text.match_indices(word);
    found.any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !before.ends_with(is_inside) && !after.starts_with(is_inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Names {
        let mut names = Names::default();
        names.read(text);
        names
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_of_calls_are_found_however_they_are_written() {
        for text in [
            "SELECT lo_put(1)",
            "select LO_PUT  (1)",
            "SELECT pg_catalog.\"lo_put\"(1)",
            "SELECT lo_put/* x */(1)",
            "SELECT lo_put -- x\n(1)",
            "SELECT 'it''s \" ' || lo_put(1)",
            "-- a quote \" here\nSELECT lo_put(1)",
        ] {
            let names = read(text);
            assert!(names.calls.contains("lo_put"), "{text}: {names:?}");
        }
        let names = read("SELECT o.total, (o).more FROM orders o WHERE a ->> 'x' @@ b AND c<-1");
        assert!(names.calls.is_empty(), "{names:?}");
        assert_eq!(names.members, set(&["total", "more"]));
        for sign in ["->>", "@@", "<", "<-"] {
            assert!(names.operators.contains(sign), "{sign}: {names:?}");
        }
        assert!(read("SELECT \"a\"\"b\" (1)").calls.contains("a\"b"));
    }

    #[test]
    fn only_functions_that_read_are_called() {
        for (name, is_own, volatile, may) in [
            ("now", false, "s", true),
            ("random", false, "v", true),
            ("pg_stat_get_io", false, "v", true),
            ("pg_advisory_lock", false, "v", false),
            ("a_function_of_a_later_release", false, "v", false),
            ("total", true, "s", true),
            ("total", true, "v", false),
            // A name of the server's does not make it one.
            ("random", true, "v", false),
        ] {
            let judged = judge(name, name, is_own, volatile);
            assert_eq!(judged.is_ok(), may, "{name} {is_own} {volatile}");
        }
        assert!(has_word("BEGIN EXECUTE 'x'; END", "execute"));
        assert!(!has_word("executed re_execute", "execute"));
    }
}
