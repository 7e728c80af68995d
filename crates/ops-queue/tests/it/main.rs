//! Queues against the broker that they are for.

#![cfg_attr(
    feature = "rabbit",
    expect(clippy::unwrap_used, reason = "the helpers of a test are a test")
)]

#[cfg(all(test, feature = "rabbit"))]
mod rabbitmq;
