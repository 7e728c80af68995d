//! One connection, used by one thread.
//!
//! The thread drives it with a runtime of its own and waits for each answer. So a transaction ends on the
//! thread that began it, whatever becomes of the caller: no dropped future leaves one open. Statements have no
//! names and take one round trip, so that a pooler may give each transaction another server connection.

mod tls;

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::future;
use tokio::{runtime::Runtime, sync::mpsc, time::timeout};
use tokio_postgres::{
    AsyncMessage, Client, Row,
    types::{ToSql, Type},
};

use crate::postgres::{error::Failure, url::Address};

/// A value of a statement with its type.
pub(crate) type Param<'p> = (&'p (dyn ToSql + Sync), Type);

/// A connection.
pub(crate) struct Connection {
    runtime: Arc<Runtime>,
    client: Client,
    deadline: Duration,
    begin: String,
    begin_reading: String,
}

/// A notification.
pub(crate) struct Notification {
    pub(crate) channel: String,
    pub(crate) text: String,
    /// The database's process of the connection that sent the notification.
    pub(crate) pid: i32,
}

/// A runtime for the thread of a connection.
pub(crate) fn runtime() -> std::io::Result<Arc<Runtime>> {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(Arc::new(built))
}

impl Connection {
    /// Connects.
    pub(crate) fn open(
        runtime: &Arc<Runtime>,
        address: &Address,
        statement_timeout: Duration,
    ) -> Result<Self, Failure> {
        Self::with(runtime, address, statement_timeout, |_| {})
    }

    // Connects, and passes on the notifications that the connection hears. Those that find no room are lost. The
    // channel closes with the connection.
    pub(crate) fn listening(
        runtime: &Arc<Runtime>,
        address: &Address,
        statement_timeout: Duration,
        heard: mpsc::Sender<Notification>,
    ) -> Result<Self, Failure> {
        Self::with(runtime, address, statement_timeout, move |news| {
            drop(heard.try_send(news));
        })
    }

    fn with(
        runtime: &Arc<Runtime>,
        address: &Address,
        statement_timeout: Duration,
        receive: impl Fn(Notification) + Send + 'static,
    ) -> Result<Self, Failure> {
        let deadline = statement_timeout + Duration::from_secs(2);
        let tls = tls::Tls::new(address.trust).map_err(Failure::give)?;
        let connect = async {
            let (client, mut driver) = address.config.connect(tls).await?;
            tokio::spawn(async move {
                while let Some(message) = future::poll_fn(|cx| driver.poll_message(cx)).await {
                    match message {
                        Ok(AsyncMessage::Notification(news)) => receive(Notification {
                            channel: news.channel().to_owned(),
                            text: news.payload().to_owned(),
                            pid: news.process_id(),
                        }),
                        Ok(_) => {}
                        Err(error) => {
                            tracing::debug!(%error, "a connection to the database ended");
                            return;
                        }
                    }
                }
            });
            Ok::<_, tokio_postgres::Error>(client)
        };
        // With several hosts, each may take the time to connect.
        let hosts = u32::try_from(address.config.get_hosts().len()).unwrap_or(1);
        let patience = Duration::from_secs(6) * hosts.max(1);
        let client = runtime
            .block_on(async { timeout(patience, connect).await })
            .map_err(|_| Failure::late(patience))??;
        // Timeouts go with each transaction: as options of the start a pooler refuses or forgets them. The
        // isolation level is ours, whatever the database was told to use.
        let millis = statement_timeout.as_millis();
        let limits = format!(
            "SET LOCAL search_path = opspawn; SET LOCAL statement_timeout = {millis}; SET LOCAL lock_timeout = {millis}; \
             SET LOCAL idle_in_transaction_session_timeout = {}",
            deadline.as_millis()
        );
        Ok(Self {
            runtime: Arc::clone(runtime),
            client,
            deadline,
            begin: format!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {limits}"),
            begin_reading: format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {limits}"),
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Waits for an answer, for as long as it may take.
    fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let answered = self
            .runtime
            .block_on(async { timeout(self.deadline, answer).await });
        Ok(answered.map_err(|_| Failure::late(self.deadline))??)
    }

    /// Begins a transaction that writes, and asks the first questions of it in the same round trip.
    pub(crate) fn begin_with(
        &self,
        first: (&str, &[Param<'_>]),
        second: (&str, &[Param<'_>]),
    ) -> Result<(Vec<Row>, Vec<Row>), Failure> {
        self.wait(async {
            let begun = self.client.batch_execute(&self.begin);
            let first = self.client.query_typed(first.0, first.1);
            let second = self.client.query_typed(second.0, second.1);
            let ((), first, second) = future::try_join3(begun, first, second).await?;
            Ok((first, second))
        })
    }

    /// Begins a transaction that reads one state of the database.
    pub(crate) fn begin_reading(&self) -> Result<(), Failure> {
        self.execute_all(&self.begin_reading)
    }

    pub(crate) fn commit(&self) -> Result<(), Failure> {
        self.execute_all("COMMIT")
    }

    pub(crate) fn rollback(&self) -> Result<(), Failure> {
        self.execute_all("ROLLBACK")
    }

    /// Executes statements without values.
    pub(crate) fn execute_all(&self, sql: &str) -> Result<(), Failure> {
        self.wait(self.client.batch_execute(sql))
    }

    pub(crate) fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failure> {
        self.wait(self.client.query_typed(sql, params))
    }

    pub(crate) fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Failure> {
        self.wait(self.client.execute_typed(sql, params))
    }

    /// Executes statements in their order, in one round trip; says how many rows each has changed.
    pub(crate) fn execute_each(
        &self,
        statements: &[(String, Vec<Param<'_>>)],
    ) -> Result<Vec<u64>, Failure> {
        let sent = statements
            .iter()
            .map(|(sql, params)| self.client.execute_typed(sql, params));
        self.wait(future::try_join_all(sent))
    }
}
