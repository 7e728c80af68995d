//! The consuming connection: a channel for each queue served by this process.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use lapin::{
    Acker, Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use ops_core::ports::Wakeup;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    link::{Backoff, close, connect, lost, plainly},
    served::Served,
    state::{Link, State, count},
    topology::{self, DeclareError},
};

/// The most unacknowledged messages of a queue in this process.
const PREFETCH: u16 = 1;
/// A queue without a waiting worker is left to other processes after this time.
const IDLE: Duration = Duration::from_millis(100);
/// Delay before a failed channel is opened again.
const CHANNEL_DELAY: Duration = Duration::from_secs(1);
/// How long the last messages of a cancelled consumer may take to arrive.
const LEFT_OVER: Duration = Duration::from_secs(1);

/// Consumes until stopped.
pub(super) async fn run(state: &State, stop: &CancellationToken) {
    while state.served().is_empty() {
        tokio::select! {
            () = state.more_served.notified() => {}
            () = stop.cancelled() => return,
        }
    }
    state.consuming(Link::Connecting);
    let mut backoff = Backoff::new(state.seeds[1]);
    loop {
        let connecting = connect(&state.address, "opspawn consume");
        let connected = tokio::select! {
            connected = connecting => connected,
            () = stop.cancelled() => return,
        };
        let why = match connected {
            Ok(connection) => {
                count(&state.counters.connections);
                let since = Instant::now();
                state.consuming(Link::Connected);
                let why = tokio::select! {
                    why = consume(state, &connection) => why,
                    () = stop.cancelled() => {
                        close(&connection).await;
                        return;
                    }
                };
                backoff.held(since.elapsed());
                close(&connection).await;
                why
            }
            Err(why) => why,
        };
        state.consuming(Link::Away(why));
        // Messages may have been lost, and those of others were not heard.
        state.served().iter().for_each(|served| served.found());
        if !backoff.wait(stop).await {
            return;
        }
    }
}

/// Consumes over a connection until the connection is lost; gives the reason.
async fn consume(state: &State, connection: &Connection) -> String {
    let mut events = pin!(connection.events_listener());
    let mut begun = BTreeSet::new();
    let mut queues = FuturesUnordered::new();
    loop {
        for served in state.served() {
            if begun.insert(served.name.clone()) {
                queues.push(keep(state, connection, served));
            }
        }
        tokio::select! {
            () = state.more_served.notified() => {}
            event = events.next() => if let Some(why) = lost(event) {
                return why;
            },
            Some(why) = queues.next() => return why,
        }
    }
}

/// Serves a queue, on one channel after the other, until the connection is lost.
async fn keep(state: &State, connection: &Connection, served: Arc<Served>) -> String {
    loop {
        let ended = serve(state, connection, &served).await;
        if !connection.status().connected() {
            return ended.to_string();
        }
        let rest = match ended {
            Ended::Refused => state.declare_again,
            Ended::Failed(why) => {
                tracing::warn!(broker = %state.address, queue = served.name, why, "a channel of the broker ended");
                CHANNEL_DELAY
            }
        };
        // A message may be lost with the channel.
        served.found();
        tokio::time::sleep(rest).await;
    }
}

/// Why a channel ended.
enum Ended {
    /// The broker refuses the queue; the state has the reason.
    Refused,
    Failed(String),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "the connection was closed",
            Self::Failed(why) => why,
        })
    }
}

impl From<lapin::Error> for Ended {
    fn from(error: lapin::Error) -> Self {
        Self::Failed(plainly(&error))
    }
}

/// Serves a queue on one channel.
///
/// A consumer exists only while a worker waits. A message sent to a process without free slots would stay there for
/// the length of a run, while workers of other processes are idle.
async fn serve(state: &State, connection: &Connection, served: &Served) -> Ended {
    match topology::declare(connection, &served.name).await {
        Ok(()) => state.accept(&served.name),
        Err(DeclareError::Refused(why)) => {
            state.refuse(&served.name, why);
            return Ended::Refused;
        }
        Err(DeclareError::Failed(error)) => return error.into(),
    }
    let channel = match open(connection).await {
        Ok(channel) => channel,
        Err(error) => return error.into(),
    };
    let _live = served.live();
    let (acknowledge, acknowledged) = mpsc::unbounded_channel();
    let mut line = Line {
        state,
        served,
        channel,
        acknowledge,
        acknowledged,
        is_out: false,
    };
    loop {
        if let Err(ended) = line.wait_and_consume().await {
            return ended;
        }
    }
}

async fn open(connection: &Connection) -> Result<Channel, lapin::Error> {
    let channel = connection.create_channel().await?;
    // Before the consumer: quorum queues apply it to new ones alone.
    channel
        .basic_qos(PREFETCH, BasicQosOptions::default())
        .await?;
    Ok(channel)
}

struct Line<'a> {
    state: &'a State,
    served: &'a Served,
    channel: Channel,
    acknowledge: mpsc::UnboundedSender<Acker>,
    /// Messages to acknowledge: their claims are over.
    acknowledged: mpsc::UnboundedReceiver<Acker>,
    /// Whether a message is not acknowledged yet.
    is_out: bool,
}

impl Line<'_> {
    /// Waits for a waiting worker, and consumes until no worker waits.
    async fn wait_and_consume(&mut self) -> Result<(), Ended> {
        loop {
            tokio::select! {
                () = self.served.waited_for() => break,
                Some(acker) = self.acknowledged.recv() => self.finish(acker).await?,
            }
        }
        let name = topology::name(&self.served.name).unwrap_or_default();
        let options = BasicConsumeOptions::default();
        let mut consumer = self
            .channel
            .basic_consume(name.into(), "".into(), options, FieldTable::default())
            .await?;
        loop {
            // While a worker has a message, no other comes.
            let may_leave = !self.is_out || self.served.has_offer();
            tokio::select! {
                delivery = consumer.next() => self.receive(delivery)?,
                Some(acker) = self.acknowledged.recv() => self.finish(acker).await?,
                () = self.served.idle_for(IDLE), if may_leave => {
                    if !self.is_out || self.served.has_offer() {
                        return self.leave(consumer).await;
                    }
                }
            }
        }
    }

    fn receive(&mut self, delivery: Option<Result<Delivery, lapin::Error>>) -> Result<(), Ended> {
        let Some(delivery) = delivery else {
            return Err(Ended::Failed("the broker ended the consumer".to_owned()));
        };
        let acker = delivery?.acker;
        count(&self.state.counters.received);
        self.is_out = true;
        let acknowledge = self.acknowledge.clone();
        self.served.offer(Wakeup::new(move || {
            // A message of a channel that has ended comes again, to whoever: no harm.
            let _ = acknowledge.send(acker);
        }));
        Ok(())
    }

    async fn finish(&mut self, acker: Acker) -> Result<(), Ended> {
        self.is_out = false;
        acker.ack(BasicAckOptions::default()).await?;
        Ok(())
    }

    /// Ends the consumer. Messages not taken by a worker go to other processes.
    async fn leave(&mut self, mut consumer: Consumer) -> Result<(), Ended> {
        let tag = consumer.tag();
        self.channel
            .basic_cancel(tag, BasicCancelOptions::default())
            .await?;
        let mut pass_on = self.served.withdraw().is_some();
        while let Ok(Some(delivery)) = tokio::time::timeout(LEFT_OVER, consumer.next()).await {
            delivery?.acker.ack(BasicAckOptions::default()).await?;
            pass_on = true;
        }
        if pass_on && self.served.is_live.load(SeqCst) {
            count(&self.state.counters.passed_on);
            self.state.ring(&self.served.name);
        }
        Ok(())
    }
}
