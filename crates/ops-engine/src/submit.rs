//! Accepting a task.

use std::collections::BTreeMap;

use ops_core::{
    Code, Json, Micros, Task, TaskId, TenantId,
    ports::{Fork, Idempotency, NewTask, Submitted},
    retry::RetryPolicy,
    task::TaskLimits,
    time::SECOND,
};
use serde::{Deserialize, Serialize};

use crate::{Engine, Error, error::FieldError};

/// The queue of tasks that name none.
pub const DEFAULT_QUEUE: &str = "default";
/// The latest start that is taken: a hundred years from now is a typing error.
const LATEST_START: i64 = 100 * 366 * 24 * 3_600 * SECOND;
const MAX_NAME_BYTES: usize = 256;
/// An input up to this size is looked at at once, unless something in it is costly.
const SMALL: usize = 64 << 10;
const MAX_KEY_BYTES: usize = 255;
const MAX_LABELS: usize = 64;

/// A wish for a task. Stored as the template of a schedule, without what belongs to one task only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Submit {
    /// Selects the worker's handler.
    pub task_type: String,
    /// The input, a JSON object.
    pub input: Json,
    /// A name for people.
    pub name: Option<String>,
    /// The agent that is to run.
    pub agent_id: Option<String>,
    /// 0 to 9; higher goes first.
    pub priority: u8,
    /// Labels to find it by.
    pub labels: BTreeMap<String, String>,
    /// What its run may use up.
    pub limits: TaskLimits,
    /// How retryable failures are answered; none for the configured policy.
    pub retry: Option<RetryPolicy>,
    /// When it may start.
    #[serde(skip)]
    pub run_at: Option<Micros>,
    /// The client's key, and the SHA-256 of its request.
    #[serde(skip)]
    pub idempotency: Option<(String, [u8; 32])>,
    /// The task that it does again.
    #[serde(skip)]
    pub retry_of: Option<TaskId>,
    /// Tasks with the same key run one after the other.
    pub concurrency_key: Option<String>,
    /// The queue that it waits in.
    pub queue: String,
    /// What its log begins with, if it goes on from another task's.
    #[serde(skip)]
    pub fork: Option<Fork>,
}

impl Default for Submit {
    fn default() -> Self {
        Self::new(String::new(), Json::null())
    }
}

impl Submit {
    /// A task of this type with this input, and nothing else.
    #[must_use]
    pub fn new(task_type: String, input: Json) -> Self {
        Self {
            task_type,
            input,
            name: None,
            agent_id: None,
            priority: 0,
            labels: BTreeMap::new(),
            limits: TaskLimits::default(),
            retry: None,
            run_at: None,
            idempotency: None,
            retry_of: None,
            concurrency_key: None,
            queue: DEFAULT_QUEUE.to_owned(),
            fork: None,
        }
    }
}

/// What a check of a task's input found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputCheck {
    /// Parts for which the task is refused.
    pub wrong: Vec<FieldError>,
    /// Parts that the client should know of, though the task is accepted.
    pub warnings: Vec<FieldError>,
}

/// A task that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The task.
    pub submitted: Submitted,
    /// What its client should know.
    pub warnings: Vec<FieldError>,
}

impl Engine {
    /// Accepts a task; it is on disk when this returns.
    ///
    /// # Errors
    /// `invalid_body`, `unknown_task_type`, `unknown_agent`, `body_too_large`,
    /// `idempotency_mismatch`, or a code of the storage.
    pub async fn submit(&self, tenant: TenantId, request: Submit) -> Result<Accepted, Error> {
        let InputCheck { wrong, warnings } = self.check_input(&request).await;
        let new = self.new_task(tenant, request, wrong, self.clock.now())?;
        self.check_agent(tenant, new.task.agent_id.as_deref())
            .await?;
        let submitted = self.store.submit(new).await?;
        Ok(Accepted {
            submitted,
            warnings,
        })
    }

    /// Accepts tasks, each on its own account: one that is refused fails no other. What was accepted
    /// is on disk when this returns.
    ///
    /// # Errors
    /// Those of [`Engine::submit`], for each.
    pub async fn submit_all(
        &self,
        tenant: TenantId,
        requests: Vec<Submit>,
    ) -> Vec<Result<Accepted, Error>> {
        let mut accepted = Vec::with_capacity(requests.len());
        let mut checked = Vec::with_capacity(requests.len());
        for request in requests {
            let InputCheck { wrong, warnings } = self.check_input(&request).await;
            checked.push(
                match self.new_task(tenant, request, wrong, self.clock.now()) {
                    Ok(new) => {
                        let agent = new.task.agent_id.as_deref();
                        let known = self.check_agent(tenant, agent).await;
                        known.map(|()| {
                            accepted.push(new);
                            warnings
                        })
                    }
                    Err(error) => Err(error),
                },
            );
        }
        let mut stored = self.store.submit_all(accepted).await.into_iter();
        let outcomes = checked.into_iter().map(|checked| {
            let warnings = checked?;
            let stored = stored.next();
            let submitted = stored.expect("the store answers for each task")?;
            Ok(Accepted {
                submitted,
                warnings,
            })
        });
        outcomes.collect()
    }

    /// Checks the input of a request. A large or costly one is read on the pool, where it holds up no
    /// other request.
    pub(crate) async fn check_input(&self, request: &Submit) -> InputCheck {
        let check = self.settings.check_input;
        let is_costly = self.settings.is_costly_input;
        let is_small = request.input.as_str().len() <= SMALL;
        if is_small && !is_costly(&request.task_type, &request.input) {
            return check(&request.task_type, &request.input);
        }
        let (task_type, input) = (request.task_type.clone(), request.input.clone());
        bounded::pool::run(move |_| check(&task_type, &input)).await
    }

    /// The task of a wish, if nothing is wrong with its input nor with anything else.
    pub(crate) fn new_task(
        &self,
        tenant: TenantId,
        wish: Submit,
        wrong_input: Vec<FieldError>,
        now: Micros,
    ) -> Result<NewTask, Error> {
        self.validate(&wish, wrong_input, now)?;
        let id = TaskId::new(now, self.random.id_bytes());
        let task = Task {
            id,
            tenant,
            task_type: wish.task_type,
            name: wish.name,
            agent_id: wish.agent_id,
            agent_digest: None,
            input: wish.input,
            labels: wish.labels,
            limits: wish.limits,
            priority: wish.priority,
            queue: wish.queue,
            concurrency_key: wish.concurrency_key,
            retry_of: wish.retry_of,
            parent: None,
            created_at: now,
            run_at: wish.run_at,
        };
        let retry = wish.retry.unwrap_or(self.settings.retry);
        let idempotency = wish
            .idempotency
            .map(|(key, digest)| Idempotency { key, digest });
        Ok(NewTask {
            task,
            retry,
            idempotency,
            fork: wish.fork,
        })
    }

    pub(crate) fn validate(
        &self,
        wish: &Submit,
        wrong_input: Vec<FieldError>,
        now: Micros,
    ) -> Result<(), Error> {
        if !self.settings.task_types.contains(&wish.task_type) {
            let known: Vec<_> = self
                .settings
                .task_types
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let message = format!(
                "no worker knows the task type `{}`; known are {}",
                wish.task_type.chars().take(80).collect::<String>(),
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
        if !self.settings.queues.contains(&wish.queue) {
            let known: Vec<_> = self
                .settings
                .queues
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let message = format!(
                "no worker serves the queue `{}`; known are {}",
                wish.queue.chars().take(80).collect::<String>(),
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
        let size = wish.input.as_str().len();
        let most = self.settings.max_input_bytes;
        if size > most {
            return Err(Error::new(
                Code::BodyTooLarge,
                format!("`input_data` has {size} bytes, more than the limit of {most}"),
            ));
        }
        let mut fields = Vec::new();
        let mut check = |holds: bool, path: &[&str], message: &str| {
            if !holds {
                fields.push(FieldError::new(path, "value_error", message));
            }
        };
        check(
            wish.input.as_str().starts_with('{'),
            &["input_data"],
            "must be an object",
        );
        check(
            wish.priority <= 9,
            &["priority"],
            "must be 0 to 9; 9 goes first",
        );
        let name_fits = wish
            .name
            .as_ref()
            .is_none_or(|name| name.len() <= MAX_NAME_BYTES);
        check(name_fits, &["name"], "must have 256 bytes at most");
        let agent_fits = wish
            .agent_id
            .as_ref()
            .is_none_or(|name| name.len() <= MAX_NAME_BYTES);
        check(agent_fits, &["agent_id"], "must have 256 bytes at most");
        let labels_fit = wish.labels.len() <= MAX_LABELS
            && wish.labels.iter().all(|(key, value)| {
                !key.is_empty() && key.len() <= MAX_NAME_BYTES && value.len() <= MAX_NAME_BYTES
            });
        check(
            labels_fit,
            &["labels"],
            "must be 64 labels at most, of 256 bytes at most each",
        );
        let key_fits = wish
            .idempotency
            .as_ref()
            .is_none_or(|(key, _)| !key.is_empty() && key.len() <= MAX_KEY_BYTES);
        check(key_fits, &["Idempotency-Key"], "must have 1 to 255 bytes");
        let key_fits = wish
            .concurrency_key
            .as_ref()
            .is_none_or(|key| !key.is_empty() && key.len() <= MAX_KEY_BYTES);
        check(key_fits, &["concurrency_key"], "must have 1 to 255 bytes");
        let start_fits = wish
            .run_at
            .is_none_or(|at| at.0 <= now.0.saturating_add(LATEST_START));
        check(start_fits, &["run_at"], "is more than a hundred years away");
        if let Some(retry) = &wish.retry {
            let attempts = (1..=1_000).contains(&retry.max_attempts);
            check(attempts, &["retry", "max_attempts"], "must be 1 to 1000");
            let delays = retry.initial_micros >= 0 && retry.max_micros >= 0;
            check(delays, &["retry", "backoff"], "must not be negative");
        }
        fields.extend(wrong_input);
        fields.extend(wrong_limits(&wish.limits, &["limits"]));
        if fields.is_empty() {
            Ok(())
        } else {
            Err(Error::invalid(fields))
        }
    }
}

/// What is wrong with limits; `path` is where they stand in the request.
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
            "max_cost_usd",
            "must be at least 0.000001",
        ),
        (
            limits.timeout_micros.is_none_or(|micros| micros > 0),
            "timeout",
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
