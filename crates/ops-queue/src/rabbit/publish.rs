//! The publishing connection.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::join_all};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, Event,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio_util::sync::CancellationToken;

use super::{
    link::{Backoff, close, connect, lost, plainly},
    state::{Link, State, count},
    topology::{self, DeclareError},
};

/// How long the broker may take to confirm a message.
const CONFIRM: Duration = Duration::from_secs(5);
/// The least time between two messages of a queue: wake-ups in between are merged into a message.
const COALESCE: Duration = Duration::from_millis(5);

/// Publishes until stopped.
pub(super) async fn run(state: &State, stop: &CancellationToken) {
    let mut backoff = Backoff::new(state.seeds[0]);
    loop {
        let connecting = connect(&state.address, "opspawn publish");
        let connected = tokio::select! {
            connected = connecting => connected,
            () = stop.cancelled() => return,
        };
        let why = match connected {
            Ok(connection) => {
                count(&state.counters.connections);
                let since = Instant::now();
                let why = tokio::select! {
                    why = publish(state, &connection) => why,
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
        state.publishing(Link::Away(why));
        if !backoff.wait(stop).await {
            return;
        }
    }
}

/// Publishes over a connection until the connection is lost; gives the reason.
async fn publish(state: &State, connection: &Connection) -> String {
    let mut events = pin!(connection.events_listener());
    let channel = match open(connection).await {
        Ok(channel) => channel,
        Err(error) => return plainly(&error),
    };
    let line = Line {
        state,
        connection,
        channel,
        declared: RefCell::default(),
    };
    state.publishing(Link::Connected);
    // What was rung while there was no connection was left pending.
    loop {
        let queues = state.take_pending();
        if !queues.is_empty() {
            let rung = join_all(queues.iter().map(|queue| line.ring(queue)));
            // A broker that is short of memory or disk confirms nothing.
            let ended = tokio::select! {
                rung = rung => rung.into_iter().find_map(Result::err),
                blocked = blocked(&mut events) => Some(blocked),
            };
            let Some(ended) = ended else {
                tokio::time::sleep(COALESCE).await;
                continue;
            };
            for queue in &queues {
                count(&state.counters.unconfirmed);
                state.ring(queue);
                // The workers of this process need not wait for the broker.
                state.wake_here(queue);
            }
            if let Err(why) = recover(state, ended, &mut events).await {
                return why;
            }
            continue;
        }
        let ended = tokio::select! {
            () = state.rung.notified() => continue,
            ended = blocked(&mut events) => ended,
        };
        if let Err(why) = recover(state, ended, &mut events).await {
            return why;
        }
    }
}

async fn open(connection: &Connection) -> Result<Channel, lapin::Error> {
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    Ok(channel)
}

/// Why messages are on their way no more.
enum Ended {
    Blocked(String),
    Lost(String),
}

/// Returns once the broker takes no messages, or is lost.
async fn blocked(events: &mut (impl futures_util::Stream<Item = Event> + Unpin)) -> Ended {
    loop {
        match events.next().await {
            Some(Event::ConnectionBlocked(reason)) => return Ended::Blocked(reason),
            event => {
                if let Some(why) = lost(event) {
                    return Ended::Lost(why);
                }
            }
        }
    }
}

/// Waits until the broker takes messages again. The error says why the connection is lost.
async fn recover(
    state: &State,
    ended: Ended,
    events: &mut (impl futures_util::Stream<Item = Event> + Unpin),
) -> Result<(), String> {
    match ended {
        Ended::Blocked(reason) => state.publishing(Link::Blocked(reason)),
        Ended::Lost(why) => return Err(why),
    }
    loop {
        match events.next().await {
            Some(Event::ConnectionUnblocked) => break,
            event => {
                if let Some(why) = lost(event) {
                    return Err(why);
                }
            }
        }
    }
    state.publishing(Link::Connected);
    Ok(())
}

struct Line<'a> {
    state: &'a State,
    connection: &'a Connection,
    channel: Channel,
    /// Queues known to exist in the broker.
    declared: RefCell<BTreeSet<String>>,
}

impl Line<'_> {
    /// Publishes a message for a queue. An error ends the connection.
    async fn ring(&self, queue: &str) -> Result<(), Ended> {
        if self.state.is_refused(queue) {
            self.state.wake_here(queue);
            return Ok(());
        }
        let ringing = self.ring_now(queue);
        match tokio::time::timeout(CONFIRM, ringing).await {
            Ok(rung) => rung,
            Err(_) => Err(Ended::Lost(format!(
                "no message was confirmed within {} s",
                CONFIRM.as_secs()
            ))),
        }
    }

    async fn ring_now(&self, queue: &str) -> Result<(), Ended> {
        // The second try is for a queue that was deleted.
        for _ in 0..2 {
            if !self.declared.borrow().contains(queue) && !self.declare(queue).await? {
                self.state.wake_here(queue);
                return Ok(());
            }
            let Some(name) = topology::name(queue) else {
                return Ok(());
            };
            match self.send(&name).await {
                Ok(Confirmation::Ack(None) | Confirmation::NotRequested) => {
                    count(&self.state.counters.rung);
                    return Ok(());
                }
                Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => {
                    count(&self.state.counters.returned);
                    self.declared.borrow_mut().remove(queue);
                }
                Ok(Confirmation::Nack(None)) => {
                    return Err(Ended::Lost("it did not take a message".to_owned()));
                }
                Err(error) => return Err(Ended::Lost(plainly(&error))),
            }
        }
        self.state.wake_here(queue);
        Ok(())
    }

    /// Declares the queue; `false` if the broker refuses it.
    async fn declare(&self, queue: &str) -> Result<bool, Ended> {
        match topology::declare(self.connection, queue).await {
            Ok(()) => {
                self.state.accept(queue);
                self.declared.borrow_mut().insert(queue.to_owned());
                Ok(true)
            }
            Err(DeclareError::Refused(why)) => {
                self.state.refuse(queue, why);
                Ok(false)
            }
            Err(DeclareError::Failed(error)) => Err(Ended::Lost(plainly(&error))),
        }
    }

    async fn send(&self, name: &str) -> Result<Confirmation, lapin::Error> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirm = self
            .channel
            .basic_publish(
                "".into(),
                name.into(),
                options,
                &[],
                BasicProperties::default(),
            )
            .await?;
        confirm.await
    }
}
