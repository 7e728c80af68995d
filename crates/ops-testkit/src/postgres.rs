//! Databases for tests, on the servers that `cargo xtask test` starts.

mod private;

pub use self::private::Private;

use std::{
    future::Future,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use tokio_postgres::{Client, NoTls, Row};

/// A server that `cargo xtask test` started.
#[derive(Debug, Clone, Copy)]
pub enum Server {
    /// PostgreSQL 15.
    Postgres15,
    /// PostgreSQL 18.
    Postgres18,
    /// A pgbouncer before PostgreSQL 15: it pools transactions, and each database has one connection.
    PgBouncer15,
    /// The same before PostgreSQL 18.
    PgBouncer18,
}

impl Server {
    fn variable(self) -> &'static str {
        match self {
            Self::Postgres15 => "OPSPAWN_TEST_POSTGRES_15",
            Self::Postgres18 => "OPSPAWN_TEST_POSTGRES_18",
            Self::PgBouncer15 => "OPSPAWN_TEST_PGBOUNCER_15",
            Self::PgBouncer18 => "OPSPAWN_TEST_PGBOUNCER_18",
        }
    }

    /// The server itself, without a pooler.
    fn direct(self) -> Self {
        match self {
            Self::Postgres15 | Self::PgBouncer15 => Self::Postgres15,
            Self::Postgres18 | Self::PgBouncer18 => Self::Postgres18,
        }
    }

    /// The URL of the server.
    ///
    /// # Panics
    /// If it was not started.
    pub fn url(self) -> String {
        let name = self.variable();
        std::env::var(name).unwrap_or_else(|_| {
            panic!("{name} is not set: run the tests by `cargo xtask test --install`")
        })
    }
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A database of its own; it is dropped with this.
pub struct Database {
    server: Server,
    /// Its name.
    pub name: String,
}

impl Database {
    /// Creates a database.
    ///
    /// # Panics
    /// If the server refuses, as everything here.
    pub fn create(server: Server) -> Self {
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("t_{}_{number}", std::process::id());
        let database = Self { server, name };
        database.admin(&format!(
            "CREATE DATABASE {} TEMPLATE template0",
            database.name
        ));
        database
    }

    /// The URL of the database, through the pooler of the server.
    pub fn url(&self) -> String {
        named(&self.server.url(), &self.name)
    }

    fn admin(&self, sql: &str) {
        let (url, sql) = (self.server.direct().url(), sql.to_owned());
        on_thread(async move {
            connect(&url)
                .await
                .batch_execute(&sql)
                .await
                .expect("the server takes the statement")
        });
    }

    /// Executes statements in the database, beside the store and without a pooler.
    pub fn run(&self, sql: &str) {
        let url = named(&self.server.direct().url(), &self.name);
        let sql = sql.to_owned();
        on_thread(async move {
            connect(&url)
                .await
                .batch_execute(&sql)
                .await
                .expect("the server takes the statements")
        });
    }

    /// Asks the database, beside the store and without a pooler.
    pub fn query(&self, sql: &str) -> Vec<Row> {
        let url = named(&self.server.direct().url(), &self.name);
        let sql = sql.to_owned();
        on_thread(async move {
            connect(&url)
                .await
                .query(&sql, &[])
                .await
                .expect("the server takes the query")
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::env::var_os("OPSPAWN_TEST_KEEP").is_none() && !std::thread::panicking() {
            self.admin(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
        }
    }
}

/// Sends one query to a database, which may be down.
///
/// # Errors
/// The database cannot be reached, or refuses the statement.
pub async fn ask(url: &str, sql: &str) -> anyhow::Result<Vec<Row>> {
    let (client, driver) = tokio_postgres::connect(url, NoTls).await?;
    let driver = tokio::spawn(driver);
    let rows = client.query(sql, &[]).await;
    driver.abort();
    Ok(rows?)
}

/// The URL of another database of a server.
fn named(url: &str, name: &str) -> String {
    let (server, _) = url
        .rsplit_once('/')
        .expect("the URL of a server names a database");
    format!("{server}/{name}")
}

async fn connect(url: &str) -> Client {
    let (client, driver) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the server can be reached");
    tokio::spawn(driver);
    client
}

/// Waits for a future on a thread that is in no runtime.
fn on_thread<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let wait = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(work)
    };
    std::thread::spawn(wait)
        .join()
        .expect("the thread does not panic")
}
