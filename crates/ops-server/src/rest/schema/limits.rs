//! The shapes of limits, for `/openapi.json`.
#![expect(dead_code, reason = "they are described, never made")]

use serde::Serialize;
use utoipa::ToSchema;

/// Behaviour of a task's run where a limit is used up.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnExhausted {
    /// The task fails.
    Fail,
    /// The task waits until a client raises the limit.
    Wait,
}

/// Limits as submitted or given later; null where the configured one applies.
#[derive(ToSchema)]
pub(crate) struct Limits {
    #[schema(required)]
    max_steps: Option<u32>,
    #[schema(required)]
    max_tokens: Option<u64>,
    /// Money in USD.
    #[schema(required)]
    max_cost_usd: Option<f64>,
    /// Seconds from the first start.
    #[schema(required)]
    timeout: Option<f64>,
    #[schema(required)]
    queue_timeout: Option<f64>,
    #[schema(required)]
    on_exhausted: Option<OnExhausted>,
}
