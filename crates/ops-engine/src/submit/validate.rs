//! Validation of a request.

use ops_core::{Code, Micros, task::TaskLimits, time::SECOND};

use super::{EngineLabels, Order};
use crate::{Engine, Error, FieldError};

/// The latest start that is taken: a hundred years from now is a typing error.
const LATEST_START: i64 = 100 * 366 * 24 * 3_600 * SECOND;
const MAX_NAME_BYTES: usize = 256;
const MAX_KEY_BYTES: usize = 255;
const MAX_LABELS: usize = 64;
/// The longest delay before a second attempt: 30 days.
const MAX_BACKOFF: i64 = 30 * 24 * 3_600 * SECOND;

impl Engine {
    pub(crate) fn validate(
        &self,
        order: &Order,
        wrong_input: Vec<FieldError>,
        now: Micros,
    ) -> Result<(), Error> {
        let submit = &order.submit;
        if !self.settings.task_types.contains(&submit.task_type) {
            let known: Vec<_> = self
                .settings
                .task_types
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let message = format!(
                "no worker knows the task type `{}`; known are {}",
                submit.task_type.chars().take(80).collect::<String>(),
                known.join(", ")
            );
            let fields = vec![FieldError::new(
                &["task_type"],
                "unknown_task_type",
                message.clone(),
            )];
            return Err(Error {
                code: Code::UnknownTaskType,
                message,
                fields,
            });
        }
        if !self.knows(&submit.queue) {
            let queues = self.known_queues();
            let known: Vec<_> = queues.iter().map(|name| format!("`{name}`")).collect();
            let message = format!(
                "no worker serves the queue `{}`; known are {}",
                submit.queue.chars().take(80).collect::<String>(),
                known.join(", ")
            );
            return Err(Error {
                code: Code::UnknownQueue,
                fields: vec![FieldError::new(
                    &["queue"],
                    "unknown_queue",
                    message.clone(),
                )],
                message,
            });
        }
        let size = submit.input.as_str().len();
        let most = self.settings.max_input_bytes;
        if size > most {
            return Err(Error::new(
                Code::BodyTooLarge,
                format!("the input has {size} bytes, more than the limit of {most}"),
            ));
        }
        let mut fields = Vec::new();
        let mut check = |holds: bool, path: &[&str], message: &str| {
            if !holds {
                fields.push(FieldError::new(path, "value_error", message));
            }
        };
        check(
            submit.input.as_str().starts_with('{'),
            &["input"],
            "must be an object",
        );
        check(
            submit.priority <= 9,
            &["priority"],
            "must be 0 to 9; 9 goes first",
        );
        let name_fits = submit
            .name
            .as_ref()
            .is_none_or(|name| name.len() <= MAX_NAME_BYTES);
        check(name_fits, &["name"], "must have 256 bytes at most");
        let agent_fits = submit
            .agent_id
            .as_ref()
            .is_none_or(|name| name.len() <= MAX_NAME_BYTES);
        check(agent_fits, &["agent_id"], "must have 256 bytes at most");
        let labels_fit = submit.labels.len() <= MAX_LABELS
            && submit.labels.iter().all(|(key, value)| {
                !key.is_empty() && key.len() <= MAX_NAME_BYTES && value.len() <= MAX_NAME_BYTES
            });
        check(
            labels_fit,
            &["labels"],
            "must be 64 labels at most, of 256 bytes at most each",
        );
        for key in submit.labels.keys().filter(|_| !order.is_inherited) {
            // A filter is `key=value`.
            let message = "the key of a label has no `=`, which ends it in a filter";
            check(!key.contains('='), &["labels", key], message);
            let message = "this label is the engine's own; choose another key";
            let own = EngineLabels::KEYS.contains(&key.as_str());
            check(!own, &["labels", key], message);
        }
        let key = order.client_key();
        let key_fits = key.is_none_or(|key| !key.is_empty() && key.len() <= MAX_KEY_BYTES);
        check(key_fits, &["idempotency_key"], "must have 1 to 255 bytes");
        // The keys of the engine's own begin with one.
        let key_is_text = key.is_none_or(|key| !key.contains(char::is_control));
        check(
            key_is_text,
            &["idempotency_key"],
            "must have no control characters",
        );
        let key_fits = submit
            .concurrency_key
            .as_ref()
            .is_none_or(|key| !key.is_empty() && key.len() <= MAX_KEY_BYTES);
        check(key_fits, &["concurrency_key"], "must have 1 to 255 bytes");
        let start_fits = submit
            .run_at
            .is_none_or(|at| at.0 <= now.0.saturating_add(LATEST_START));
        check(start_fits, &["run_at"], "is more than a hundred years away");
        if let Some(retry) = &submit.retry {
            let retry = retry.over(self.settings.retry);
            let attempts = (1..=1_000).contains(&retry.max_attempts);
            check(attempts, &["retry", "max_attempts"], "must be 1 to 1000");
            let delays = retry.initial_micros >= 0 && retry.max_micros >= 0;
            check(delays, &["retry", "backoff"], "must not be negative");
            let short = order.is_inherited || retry.initial_micros <= MAX_BACKOFF;
            check(short, &["retry", "backoff"], "must be 30 days at most");
        }
        fields.extend(wrong_input);
        fields.extend(wrong_limits(&submit.limits, &["limits"]));
        if fields.is_empty() {
            Ok(())
        } else {
            Err(Error::invalid(fields))
        }
    }
}

/// The mistakes in limits; `path` is the location of the limits in the request.
pub(crate) fn wrong_limits(limits: &TaskLimits, path: &[&str]) -> Vec<FieldError> {
    let parts = [
        (
            limits.max_steps != Some(0),
            "max_steps",
            "must be at least 1",
        ),
        (
            limits.max_tokens != Some(0),
            "max_tokens",
            "must be at least 1",
        ),
        (
            limits.max_cost_micros != Some(0),
            "max_cost",
            "must be at least 0.000001",
        ),
        (
            limits.timeout_micros.is_none_or(|micros| micros > 0),
            "timeout",
            "must be more than 0",
        ),
        (
            limits.queue_timeout_micros.is_none_or(|micros| micros > 0),
            "queue_timeout",
            "must be more than 0",
        ),
    ];
    let wrong = parts.into_iter().filter(|(holds, _, _)| !holds);
    wrong
        .map(|(_, name, message)| {
            FieldError::new(&[path, &[name]].concat(), "value_error", message)
        })
        .collect()
}
