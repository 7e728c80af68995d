//! A PostgreSQL server: one statement in a transaction that only reads.
//!
//! READ ONLY keeps a statement from writing tables, and no more. A superuser reads and writes the server's files and
//! runs programs from any SELECT, some roles do parts of that, and `set_config('role', ..)` lets a member act as such
//! a role. So the roles that the session's user is a member of are looked at first. The transaction is rolled back
//! whatever happens: notifications and settings go with it.
//!
//! Values are made texts by the server, which knows every type, also those of extensions. The query becomes a
//! subquery whose columns get names of ours, since its own names may occur twice.
//!
//! Two walls stand before the functions of a statement: names in the statement's text, and the catalogs ([`functions`]). Answers of
//! the server are bounded by the bytes that are read of the connection ([`counted`]), be they rows, plans or notices.

mod counted;
mod functions;
mod tls;

use std::{fmt::Write as _, time::Duration};

use agentkit::event::Failure;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio_postgres::{
    Client, Config, NoTls, Row, Statement,
    error::SqlState,
    types::{FromSql, Type},
};

use crate::answer::{self, Answer, Bounds, MAX_CELL, MAX_COLUMNS, refused};
use counted::{ByteAllowance, Endpoint};
use functions::Refusal;
use tls::Tls;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(8);
/// How long the server may take beyond its own limit of a statement.
const GRACE: Duration = Duration::from_secs(4);

/// Roles that reach beyond the tables that they were granted.
const REFUSED_ROLES: &str = "
    SELECT r.rolname::text, CASE
        WHEN r.rolsuper THEN 'is a superuser'
        WHEN r.rolbypassrls THEN 'passes over row security'
        WHEN r.rolreplication THEN 'may replicate'
        ELSE 'reaches files, programs or sessions of the server' END
    FROM pg_catalog.pg_roles r
    WHERE pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
        AND (r.rolsuper OR r.rolbypassrls OR r.rolreplication OR r.rolname IN ('pg_read_server_files',
            'pg_write_server_files', 'pg_execute_server_program', 'pg_signal_backend', 'pg_create_subscription'))
    ORDER BY r.rolname = session_user DESC, r.rolsuper DESC, r.rolname LIMIT 1";

/// Bytes of a connection before the statement is run: login, roles, and the functions and views of the statement's names.
const BEFORE: usize = 16 << 20;
/// Bytes of a result beside the values.
const BESIDE: usize = 1 << 20;

/// Whether two URLs name one database. The URLs may differ in user, password and options.
pub(crate) fn is_one_database(one: &str, other: &str) -> bool {
    let place = |url: &str| {
        let config = config(&url.replacen("postgresql+asyncpg://", "postgresql://", 1)).ok()?;
        let name = config.get_dbname().or_else(|| config.get_user());
        let name = name.map(str::to_owned);
        let port = config.get_ports().first().copied().unwrap_or(5_432);
        Some((config.get_hosts().to_vec(), port, name))
    };
    place(one).is_some_and(|one| Some(one) == place(other))
}

/// Runs one statement.
pub(crate) async fn query(
    url: &str,
    sql: &str,
    bounds: Bounds,
    timeout: Duration,
) -> Result<Answer, Failure> {
    functions::check_names(sql)?;
    let session = Session::open(url).await?;
    let asked = tokio::time::timeout(timeout + GRACE, session.ask(sql, bounds, timeout));
    let answer = asked.await.unwrap_or_else(|_| Err(late(timeout)));
    session.close().await;
    answer
}

/// A connection for one statement.
struct Session {
    client: Client,
    tls: Tls,
    place: Endpoint,
    allowance: ByteAllowance,
    /// Whether the server may still be at work.
    is_open: bool,
}

impl Session {
    async fn open(url: &str) -> Result<Self, Failure> {
        let config = config(url)?;
        let tls = Tls::new().map_err(|why| unavailable(&why))?;
        let allowance = ByteAllowance::default();
        let mut last = unavailable("the URL names no host");
        for place in Endpoint::all(&config) {
            allowance.allow(BEFORE);
            let connected = connect(&config, &place, &allowance, tls.clone());
            match tokio::time::timeout(CONNECT, connected).await {
                Ok(Ok(client)) => {
                    return Ok(Self {
                        client,
                        tls,
                        place,
                        allowance,
                        is_open: true,
                    });
                }
                Ok(Err(why)) => last = unavailable(&why),
                Err(_) => last = unavailable("it does not answer"),
            }
        }
        Err(last)
    }

    async fn ask(&self, sql: &str, bounds: Bounds, timeout: Duration) -> Result<Answer, Failure> {
        let wrong = |error: &tokio_postgres::Error| failure(error, timeout);
        let millis = timeout.as_millis().max(1);
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {millis}; \
             SET LOCAL lock_timeout = {millis}; SET LOCAL idle_in_transaction_session_timeout = {}; \
             SET LOCAL client_encoding = 'UTF8'",
            (timeout + GRACE).as_millis()
        );
        let begun = self.client.batch_execute(&begin).await;
        begun.map_err(|error| wrong(&error))?;
        // The first query of the transaction: from here on the server refuses to make it one that writes.
        let roles = self.client.query_typed(REFUSED_ROLES, &[]).await;
        if let Some(role) = roles.map_err(|error| wrong(&error))?.first() {
            return Err(role_refused(role));
        }
        let asked = self.client.prepare(sql).await;
        let asked = asked.map_err(|error| wrong(&error))?;
        if !asked.params().is_empty() {
            return Err(refused(
                "the statement has parameters; write the values into the query",
            ));
        }
        let names = asked.columns().iter().map(|one| one.name().to_owned());
        let mut answer = Answer::new(names.collect(), bounds)?;
        let types: Vec<Type> = asked
            .columns()
            .iter()
            .map(|one| one.type_().clone())
            .collect();
        match functions::check(&self.client, sql).await {
            Ok(()) => {}
            Err(Refusal::Refused(failure)) => return Err(failure),
            Err(Refusal::Server(error)) => return Err(wrong(&error)),
        }
        let statement = match first_word(sql).as_str() {
            "select" | "with" | "values" | "table" => {
                drop(asked);
                let as_texts = as_texts(sql, types.len(), bounds.rows);
                let prepared = self.client.prepare(&as_texts).await;
                prepared.map_err(|error| match error.code() {
                    // The statement alone was right: as a subquery it changes data, or has more after its end.
                    Some(code)
                        if [SqlState::SYNTAX_ERROR, SqlState::FEATURE_NOT_SUPPORTED]
                            .contains(code) =>
                    {
                        refused(
                            "write the query as one SELECT that changes nothing, without INTO and without anything \
                             after its end",
                        )
                    }
                    _ => wrong(&error),
                })?
            }
            "explain" | "show" => asked,
            _ => {
                return Err(refused(
                    "only SELECT, WITH, VALUES, TABLE, EXPLAIN and SHOW are run",
                ));
            }
        };
        // The bytes that a result may have, with as many around them: each value has its length before it.
        self.allowance.allow(2 * bounds.bytes + BESIDE);
        match self.rows(&statement, &types, &mut answer).await {
            Ok(()) => Ok(answer),
            Err(RowError::Answer(failure)) => Err(failure),
            Err(RowError::Server(_)) if self.allowance.is_over() => {
                answer.break_off()?;
                Ok(answer)
            }
            Err(RowError::Server(error)) => Err(wrong(&error)),
        }
    }

    async fn rows(
        &self,
        statement: &Statement,
        types: &[Type],
        answer: &mut Answer,
    ) -> Result<(), RowError> {
        let none: [&str; 0] = [];
        let rows = self.client.query_raw(statement, none).await;
        let mut rows = std::pin::pin!(rows.map_err(RowError::Server)?);
        while let Some(row) = rows.next().await {
            let row = row.map_err(RowError::Server)?;
            let value = |(index, kind): (usize, &Type)| {
                let text: Option<Text<'_>> = row.try_get(index)?;
                Ok(text.map_or(Value::Null, |text| shown(text.0, kind)))
            };
            let values: Result<Vec<Value>, tokio_postgres::Error> =
                types.iter().enumerate().map(value).collect();
            let values = values.map_err(RowError::Server)?;
            if !answer.push(values).map_err(RowError::Answer)? {
                break;
            }
        }
        Ok(())
    }

    /// Ends the transaction. A pooler gives the server's connection to others, so that locks of the session, which no
    /// transaction holds, are given back as well.
    async fn close(mut self) {
        let end = "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()";
        let ended = tokio::time::timeout(GRACE, self.client.batch_execute(end)).await;
        self.is_open = !matches!(ended, Ok(Ok(())));
    }
}

impl Drop for Session {
    /// A statement whose caller is gone is cancelled: the server would notice only once it has rows to send.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.is_open {
            let (token, tls) = (self.client.cancel_token(), self.tls.clone());
            let place = self.place.clone();
            runtime.spawn(async move {
                let cancelled = async {
                    let allowance = ByteAllowance::default();
                    allowance.allow(BEFORE);
                    let stream = place
                        .dial(&allowance)
                        .await
                        .map_err(|error| error.to_string())?;
                    let cancelled = match place.tls(tls)? {
                        Some(handshake) => token.cancel_query_raw(stream, handshake).await,
                        None => token.cancel_query_raw(stream, NoTls).await,
                    };
                    cancelled.map_err(|error| told(&error))
                };
                let cancelled = tokio::time::timeout(CONNECT, cancelled).await;
                tracing::debug!(?cancelled, "a query was cancelled");
            });
        }
    }
}

/// Connects to an endpoint, and logs in.
async fn connect(
    config: &Config,
    place: &Endpoint,
    allowance: &ByteAllowance,
    tls: Tls,
) -> Result<Client, String> {
    let stream = place.dial(allowance).await;
    let stream = stream.map_err(|error| error.to_string())?;
    match place.tls(tls)? {
        Some(handshake) => {
            let connected = config.connect_raw(stream, handshake).await;
            connected.map(|(client, driver)| driven(client, driver))
        }
        None => {
            let connected = config.connect_raw(stream, NoTls).await;
            connected.map(|(client, driver)| driven(client, driver))
        }
    }
    .map_err(|error| told(&error))
}

/// Drives a connection for as long as the client lives.
fn driven<D>(client: Client, driver: D) -> Client
where
    D: Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = driver.await {
            tracing::debug!(%error, "a connection of `sql_query` ended");
        }
    });
    client
}

enum RowError {
    Server(tokio_postgres::Error),
    Answer(Failure),
}

/// The text of a value, as the server writes it.
struct Text<'a>(&'a str);

impl<'a> FromSql<'a> for Text<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(std::str::from_utf8(raw)?))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn config(url: &str) -> Result<Config, Failure> {
    // The system's certificates and the name in the URL are always looked at.
    let url = url
        .trim()
        .replace("sslmode=verify-full", "sslmode=require")
        .replace("sslmode=verify-ca", "sslmode=require");
    let is_url = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    // The reason would show parts of the URL, and so perhaps of the password.
    let parsed: Option<Config> = url.parse().ok().filter(|_| is_url);
    let mut config = parsed.ok_or_else(|| {
        Failure::last(
            "database_unavailable",
            "the secret holds no URL like postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=require; \
             write `%40` for an @ in the password",
        )
    })?;
    config
        .application_name("opspawn sql_query")
        .connect_timeout(CONNECT);
    Ok(config)
}

/// The statement with its columns as texts, each of a bounded length.
fn as_texts(sql: &str, columns: usize, rows: usize) -> String {
    let sql = sql.trim_end();
    let sql = sql.strip_suffix(';').unwrap_or(sql);
    let (mut values, mut names) = (String::new(), String::new());
    for index in 0..columns.min(MAX_COLUMNS) {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(
            values,
            "{comma}pg_catalog.left(q.c{index}::text, {})",
            MAX_CELL + 1
        );
        let _ = write!(names, "{comma}c{index}");
    }
    // The line break ends a comment at the statement's end.
    format!(
        "SELECT {values} FROM (\n{sql}\n) AS q({names}) LIMIT {}",
        rows + 1
    )
}

/// The first word of a statement, in lower case, without the comments and brackets before it.
fn first_word(sql: &str) -> String {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = after_comment(comment);
        } else {
            let end = rest
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(rest.len());
            return rest[..end].to_ascii_lowercase();
        }
    }
}

/// The rest after a comment, in which comments may be nested.
fn after_comment(mut rest: &str) -> &str {
    let mut depth = 1_u32;
    while depth > 0 {
        let (open, close) = (rest.find("/*"), rest.find("*/"));
        match (open, close) {
            (_, None) => return "",
            (Some(open), Some(close)) if open < close => {
                depth += 1;
                rest = &rest[open + 2..];
            }
            (_, Some(close)) => {
                depth -= 1;
                rest = &rest[close + 2..];
            }
        }
    }
    rest
}

/// A value of a type, from its text.
fn shown(text: &str, kind: &Type) -> Value {
    let whole = text.len() <= MAX_CELL;
    match *kind {
        Type::BOOL => matches!(text, "t" | "true").into(),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => match text.parse() {
            Ok(number) => answer::whole(number),
            Err(_) => answer::text(text.to_owned()),
        },
        Type::FLOAT4 | Type::FLOAT8 => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => answer::real(number),
            Ok(_) | Err(_) => answer::text(text.to_owned()),
        },
        Type::JSON | Type::JSONB if whole => {
            serde_json::from_str(text).unwrap_or_else(|_| answer::text(text.to_owned()))
        }
        _ => answer::text(text.to_owned()),
    }
}

fn role_refused(role: &Row) -> Failure {
    let text = |index| role.try_get::<_, String>(index).unwrap_or_default();
    Failure::last(
        "role_refused",
        format!(
            "the database's user acts as the role `{}`, which {}; put the URL of a user into the secret that may only \
             SELECT: CREATE ROLE reader LOGIN PASSWORD '...'; GRANT SELECT ON ... TO reader",
            text(0),
            text(1)
        ),
    )
}

fn unavailable(why: &str) -> Failure {
    Failure::passing(
        "database_unavailable",
        format!("the database cannot be reached: {why}"),
    )
}

fn late(timeout: Duration) -> Failure {
    Failure::last(
        "query_timeout",
        format!(
            "the query took longer than {} s; narrow it, or ask for less at a time",
            timeout.as_secs_f64()
        ),
    )
}

/// The reason of an error with its cause: the driver tells each alone.
fn told(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn failure(error: &tokio_postgres::Error, timeout: Duration) -> Failure {
    let Some(reason) = error.as_db_error() else {
        return unavailable(&told(error));
    };
    let code = reason.code();
    if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE {
        return late(timeout);
    }
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return refused(&format!("{}; only queries are run", reason.message()));
    }
    let is_several =
        *code == SqlState::SYNTAX_ERROR && reason.message().contains("multiple commands");
    if is_several {
        return refused("there is more than one statement; send one at a time");
    }
    let hint = reason
        .hint()
        .map_or_else(String::new, |hint| format!(" ({hint})"));
    Failure::last(
        "query_failed",
        format!("{}{hint} [SQLSTATE {}]", reason.message(), code.code()),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_word_stands_after_comments_and_brackets() {
        for (sql, word) in [
            ("SELECT 1", "select"),
            (" \n(( select 1))", "select"),
            ("-- a comment\n WITH x AS (SELECT 1) TABLE x", "with"),
            ("/* a /* nested */ one */ explain select 1", "explain"),
            ("/* open", ""),
            ("-- open", ""),
            ("", ""),
            ("1", ""),
        ] {
            assert_eq!(first_word(sql), word, "{sql}");
        }
    }

    #[test]
    fn a_statement_becomes_one_with_texts() {
        assert_eq!(
            as_texts("SELECT a, a FROM t; ", 2, 10),
            "SELECT pg_catalog.left(q.c0::text, 65537), pg_catalog.left(q.c1::text, 65537) FROM (\n\
             SELECT a, a FROM t\n) AS q(c0, c1) LIMIT 11"
        );
    }

    #[test]
    fn values_have_the_kinds_of_json_where_nothing_is_lost() {
        for (text, kind, value) in [
            ("true", Type::BOOL, json!(true)),
            ("f", Type::BOOL, json!(false)),
            ("-7", Type::INT4, json!(-7)),
            (
                "9223372036854775807",
                Type::INT8,
                json!("9223372036854775807"),
            ),
            ("0.5", Type::FLOAT8, json!(0.5)),
            ("NaN", Type::FLOAT8, json!("NaN")),
            ("0.10", Type::NUMERIC, json!("0.10")),
            ("{\"a\": [1]}", Type::JSONB, json!({"a": [1]})),
            ("{1,2}", Type::INT4_ARRAY, json!("{1,2}")),
        ] {
            assert_eq!(shown(text, &kind), value, "{text}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_read_is_not_shown() {
        for url in [
            "shop",
            "host=x password=hunter2secret",
            "postgres://u:hunter2secret@h:x/d",
            "mysql://u:hunter2secret@h/d",
        ] {
            let failure = config(url).unwrap_err();
            assert_eq!(failure.code, "database_unavailable");
            assert!(
                !failure.message.contains("hunter2secret"),
                "{}",
                failure.message
            );
        }
        config("postgres://u:p%40@h:5432/d?sslmode=verify-full").unwrap();
    }
}
