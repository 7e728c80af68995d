//! Connections to the broker, and delays between tries.

use std::time::Duration;

use lapin::{Connection, ConnectionProperties, ErrorKind, Event, protocol::AMQPErrorKind};
use tokio_util::sync::CancellationToken;

use super::address::Address;

/// How long a connection may take to be made, and to be closed.
const CONNECT: Duration = Duration::from_secs(5);
const CLOSE: Duration = Duration::from_secs(1);
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// With the jitter, no delay is longer than ten seconds.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(8);
/// A connection counts as good after this time: the delay of the next try is short again.
const GOOD: Duration = Duration::from_secs(30);

/// Connects; the broker shows `name` in its list of connections.
pub(super) async fn connect(address: &Address, name: &str) -> Result<Connection, String> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connecting = Connection::connect_uri(address.uri.clone(), properties);
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(plainly(&error)),
        Err(_) => Err(format!("no answer within {} s", CONNECT.as_secs())),
    }
}

/// Closes a connection, if the broker still answers.
pub(super) async fn close(connection: &Connection) {
    let closing = connection.close(200, "done".into());
    let _ = tokio::time::timeout(CLOSE, closing).await;
}

/// An error in a line.
pub(super) fn plainly(error: &lapin::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(300)
        .collect()
}

/// The reason for the loss of a connection, from an event; `None` for other events.
pub(super) fn lost(event: Option<Event>) -> Option<String> {
    match event {
        // The error of a channel is told here as well: its user deals with the error, and the connection holds.
        Some(Event::Error(error)) if is_of_a_channel(&error) => None,
        Some(Event::Error(error)) => Some(plainly(&error)),
        None => Some("the connection was closed".to_owned()),
        Some(_) => None,
    }
}

fn is_of_a_channel(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(said) if matches!(said.kind(), AMQPErrorKind::Soft(_)))
}

/// Delays between tries: they double, and differ between processes.
pub(super) struct Backoff {
    delay: Duration,
    random: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            delay: RETRY_DELAY,
            random: seed | 1,
        }
    }

    /// The connection held for so long.
    pub(super) fn held(&mut self, time: Duration) {
        if time >= GOOD {
            self.delay = RETRY_DELAY;
        }
    }

    fn next(&mut self) -> Duration {
        // xorshift: good enough to spread processes.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let spread = u32::try_from(self.random % 101).unwrap_or(0);
        let delay = self.delay;
        self.delay = (delay * 2).min(MAX_RETRY_DELAY);
        // Between 0.75 and 1.25.
        delay * (150 + spread) / 200
    }

    /// Waits until the next try; `false` if the process stops.
    pub(super) async fn wait(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = tokio::time::sleep(self.next()) => true,
            () = stop.cancelled() => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_spread_and_never_more_than_ten_seconds_apart() {
        let mut delays = Vec::new();
        for seed in 0..50 {
            let mut backoff = Backoff::new(seed * 7_919);
            for _ in 0..20 {
                delays.push(backoff.next());
            }
            backoff.held(Duration::from_secs(1));
            assert!(
                backoff.next() >= Duration::from_secs(6),
                "a short connection is no good one"
            );
            backoff.held(GOOD);
            assert!(backoff.next() <= Duration::from_millis(250));
        }
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(10)));
        delays.sort_unstable();
        delays.dedup();
        assert!(
            delays.len() > 300,
            "processes try at the same moments: {}",
            delays.len()
        );
    }
}
