//! What wakes workers: RabbitMQ where one is configured, else the database.

use std::sync::Arc;

#[cfg(feature = "rabbit")]
use anyhow::Context as _;
use anyhow::Result;
use ops_core::ports::Queue;
#[cfg(feature = "rabbit")]
use ops_core::stats::{Metric, Value};
use ops_queue::LocalQueue;
use ops_server::Part;

use crate::{
    config::Config,
    exit::{self, Exit},
};

/// The queue of a process, and its parts.
pub(crate) struct Broker {
    queue: Arc<dyn Queue>,
    #[cfg(feature = "rabbit")]
    rabbit: Option<Arc<ops_queue::RabbitQueue>>,
}

impl Broker {
    /// The queue that is configured. A process that has its tasks to itself needs no broker.
    ///
    /// # Errors
    /// If the URL names no broker, or this build has no RabbitMQ.
    pub(crate) fn start(config: &Config, shared: bool) -> Result<Self> {
        let url = config.optional("queue.url");
        match url {
            Some(_) if !shared => {
                // The variable of version 1 may stand in the environment of a laptop.
                tracing::info!(
                    "`queue.url` is not used: the tasks are in SQLite, which one process has to itself"
                );
                Ok(Self::local())
            }
            Some(url) => rabbit(url),
            None => Ok(Self::local()),
        }
    }

    fn local() -> Self {
        Self {
            queue: Arc::new(LocalQueue::default()),
            #[cfg(feature = "rabbit")]
            rabbit: None,
        }
    }

    /// The queue.
    pub(crate) fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.queue)
    }

    /// The broker as a part of the server.
    #[cfg(feature = "rabbit")]
    pub(crate) fn part(&self) -> Option<Arc<dyn Part>> {
        let rabbit = self.rabbit.clone()?;
        Some(Arc::new(BrokerPart(rabbit)))
    }

    /// The broker as a part of the server.
    #[cfg(not(feature = "rabbit"))]
    pub(crate) fn part(&self) -> Option<Arc<dyn Part>> {
        None
    }

    /// Closes the connections of a broker. Blocks.
    pub(crate) fn close(&self) {
        #[cfg(feature = "rabbit")]
        if let Some(rabbit) = &self.rabbit {
            rabbit.close();
        }
    }
}

#[cfg(feature = "rabbit")]
fn address(url: &str) -> Result<ops_queue::rabbit::Address> {
    url.parse().map_err(|error: ops_queue::rabbit::UrlError| {
        exit::error(
            Exit::Usage,
            format!("{error}; see the setting `queue.url` (OPSPAWN_QUEUE_URL, or RABBITMQ_URL of version 1)"),
        )
    })
}

#[cfg(feature = "rabbit")]
fn rabbit(url: &str) -> Result<Broker> {
    let options = ops_queue::rabbit::Options::new(address(url)?);
    let queue = ops_queue::RabbitQueue::start(options, &crate::system::SystemRandom)
        .context("the thread of the broker cannot be started")?;
    let rabbit = Arc::new(queue);
    Ok(Broker {
        queue: Arc::clone(&rabbit) as _,
        rabbit: Some(rabbit),
    })
}

#[cfg(not(feature = "rabbit"))]
fn rabbit(_: &str) -> Result<Broker> {
    Err(without())
}

#[cfg(not(feature = "rabbit"))]
fn without() -> anyhow::Error {
    exit::error(
        Exit::Usage,
        "the setting `queue.url` (OPSPAWN_QUEUE_URL, RABBITMQ_URL) names a RabbitMQ broker, but this binary was built \
         without RabbitMQ; build it with `--features rabbit`, or with `full`, or leave the setting out",
    )
}

/// Looks at the broker, for `opspawn doctor`.
#[cfg(feature = "rabbit")]
pub(crate) async fn check(url: &str, queues: &[String]) -> Result<String, Vec<String>> {
    let address = address(url).map_err(|error| vec![format!("{error:#}")])?;
    ops_queue::rabbit::check(&address, queues).await
}

/// Looks at the broker, for `opspawn doctor`.
#[cfg(not(feature = "rabbit"))]
pub(crate) async fn check(_: &str, _: &[String]) -> Result<String, Vec<String>> {
    Err(vec![format!("{:#}", without())])
}

/// The broker in `/ready` and `/metrics`. It is degraded at the worst: work goes on without it.
#[cfg(feature = "rabbit")]
struct BrokerPart(Arc<ops_queue::RabbitQueue>);

#[cfg(feature = "rabbit")]
impl Part for BrokerPart {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn state(&self) -> String {
        self.0.health().state
    }

    fn warning(&self) -> Option<String> {
        let warnings = self.0.health().warnings;
        (!warnings.is_empty()).then(|| warnings.join("; "))
    }

    fn metrics(&self) -> Vec<Metric> {
        let counts = self.0.counts();
        let counter = |name, help, count| Metric {
            name,
            help,
            value: Value::Counter(count),
        };
        vec![
            Metric {
                name: "opspawn_queue_connected",
                help: "Connections to the broker, of two: for publishing and for consuming",
                value: Value::Gauge(counts.connected),
            },
            counter(
                "opspawn_queue_connections",
                "Connections to the broker that were made",
                counts.connections,
            ),
            counter(
                "opspawn_queue_rung",
                "Wake-ups that the broker has confirmed",
                counts.rung,
            ),
            counter(
                "opspawn_queue_unconfirmed",
                "Wake-ups that the broker did not confirm; they are sent again",
                counts.unconfirmed,
            ),
            counter(
                "opspawn_queue_returned",
                "Wake-ups that came back, as the broker's queue was missing",
                counts.returned,
            ),
            counter(
                "opspawn_queue_received",
                "Wake-ups that arrived",
                counts.received,
            ),
            counter(
                "opspawn_queue_passed_on",
                "Wake-ups that no worker of this process could take, and that went to others",
                counts.passed_on,
            ),
        ]
    }
}
