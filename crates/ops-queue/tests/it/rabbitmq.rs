//! RabbitMQ. The tests stop and starve the one broker that there is, so that they run one after the other.

mod fault;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, options, types};
use ops_core::ports::{Queue as _, QueueHealth, Random, Wakeup};
use ops_queue::{
    RabbitQueue,
    rabbit::{Address, Options},
};
use ops_testkit::rabbitmq::VirtualHost;

/// Longer than any delay between two tries.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that differ from test to test are of no use here.
struct Fixed;

impl Random for Fixed {
    fn id_bytes(&self) -> [u8; 10] {
        [7; 10]
    }
}

/// A process that uses the broker.
struct Process(Arc<RabbitQueue>);

impl Process {
    fn start(host: &VirtualHost) -> Self {
        Self::with(host, |_| {})
    }

    fn with(host: &VirtualHost, change: impl FnOnce(&mut Options)) -> Self {
        let address: Address = host.url().parse().unwrap();
        let mut options = Options::new(address);
        change(&mut options);
        Self(Arc::new(RabbitQueue::start(options, &Fixed).unwrap()))
    }

    /// Waits for a wake-up, on a task of its own.
    fn wait(&self) -> tokio::task::JoinHandle<Wakeup> {
        let queue = Arc::clone(&self.0);
        tokio::spawn(async move { queue.wait("default").await })
    }

    fn wake(&self) {
        self.0.wake("default");
    }

    fn health(&self) -> QueueHealth {
        self.0.health()
    }

    /// Waits until the broker takes messages.
    async fn rings(&self) {
        until("the broker takes messages", || self.0.rings("default")).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A wake-up that has to come.
async fn woken(waiting: tokio::task::JoinHandle<Wakeup>) -> Wakeup {
    let woken = tokio::time::timeout(PATIENCE, waiting).await;
    woken.expect("nobody was woken").unwrap()
}

/// Another client of the broker.
struct Client {
    _connection: Connection,
    channel: Channel,
}

impl Client {
    async fn connect(host: &VirtualHost) -> Self {
        let url = host.url();
        let connection = Connection::connect(&url, ConnectionProperties::default());
        let connection = connection.await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self {
            _connection: connection,
            channel,
        }
    }

    async fn publish(&self, body: &[u8], properties: BasicProperties) {
        let options = options::BasicPublishOptions::default();
        let name = "opspawn.default".into();
        let sent = self
            .channel
            .basic_publish("".into(), name, options, body, properties);
        sent.await.unwrap().await.unwrap();
    }

    /// Declares a queue as another program would.
    async fn declare_classic(&self, arguments: types::FieldTable) {
        let options = options::QueueDeclareOptions {
            durable: true,
            ..options::QueueDeclareOptions::default()
        };
        let name = "opspawn.default".into();
        self.channel
            .queue_declare(name, options, arguments)
            .await
            .unwrap();
    }
}
