//! Accepting a task.

mod key;
mod order;
mod validate;

use std::{collections::BTreeMap, sync::Arc};

use ops_core::{
    Caller, Json, Micros, Task, TaskId,
    ports::{Idempotency, IdempotencyKey, InputCheck, NewTask, StoreError, Submitted, TaskInput},
    retry::RetryPolicy,
    task::TaskLimits,
};
use serde::{Deserialize, Serialize};

pub use self::key::ClientKey;
pub(crate) use self::{
    key::{of_rerun, of_retry},
    order::{EngineLabels, Order, OrderKey},
    validate::wrong_limits,
};
use crate::{Engine, Error, error::FieldError};

/// The queue of tasks that name no queue.
pub const DEFAULT_QUEUE: &str = "default";
/// The engine checks an input up to this size at once, unless a part of the input is costly.
const INLINE_LIMIT: usize = 64 << 10;

/// A client's request for a task. Stored as the template of a schedule, without the fields of one task
/// only.
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
    /// Labels for filters.
    pub labels: BTreeMap<String, String>,
    /// Limits of the task's run.
    pub limits: TaskLimits,
    /// Retry policy for retryable failures; `None` for the configured policy.
    pub retry: Option<RetryRequest>,
    /// Earliest start.
    #[serde(skip)]
    pub run_at: Option<Micros>,
    /// Makes a repeated request find the same task.
    #[serde(skip)]
    pub key: Option<ClientKey>,
    /// Tasks with the same key run one after the other.
    pub concurrency_key: Option<String>,
    /// The queue that it waits in.
    pub queue: String,
    /// How much later than its date a run of a schedule may start, in microseconds: only in the template
    /// of a schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_micros: Option<i64>,
}

/// How retryable failures are answered, as far as a request says. The rest is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryRequest {
    /// Attempts in all, the first one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// The delay before the second attempt, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_micros: Option<i64>,
    /// The longest delay, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_micros: Option<i64>,
    /// Lost leases in a row without a recorded outcome after which the task is dead-lettered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lease_losses: Option<u32>,
}

impl RetryRequest {
    /// The policy, with missing fields from `base`.
    #[must_use]
    pub fn over(self, base: RetryPolicy) -> RetryPolicy {
        let initial_micros = self.initial_micros.unwrap_or(base.initial_micros);
        RetryPolicy {
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts),
            initial_micros,
            // The longest delay is never shorter than the first.
            max_micros: self
                .max_micros
                .unwrap_or(base.max_micros)
                .max(initial_micros),
            max_lease_losses: self.max_lease_losses.unwrap_or(base.max_lease_losses),
        }
    }
}

impl From<RetryPolicy> for RetryRequest {
    fn from(policy: RetryPolicy) -> Self {
        let RetryPolicy {
            max_attempts,
            initial_micros,
            max_micros,
            max_lease_losses,
        } = policy;
        Self {
            max_attempts: Some(max_attempts),
            initial_micros: Some(initial_micros),
            max_micros: Some(max_micros),
            max_lease_losses: Some(max_lease_losses),
        }
    }
}

impl Default for Submit {
    fn default() -> Self {
        Self::new(String::new(), Json::null())
    }
}

impl Submit {
    /// A task of this type with this input, and default terms.
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
            key: None,
            concurrency_key: None,
            queue: DEFAULT_QUEUE.to_owned(),
            jitter_micros: None,
        }
    }
}

/// A task that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The task.
    pub submitted: Submitted,
    /// Warnings for the client.
    pub warnings: Vec<FieldError>,
}

/// A task that was checked, to be stored.
struct Checked {
    new: NewTask,
    warnings: Vec<FieldError>,
    /// The digest that an older release may have stored with the key.
    former: Option<[u8; 32]>,
}

impl Checked {
    /// The same task under the digest of an older release, if an older release may have stored the key.
    /// Cheap: the input is shared.
    fn as_before(&self) -> Option<NewTask> {
        let former = self.former?;
        let mut new = self.new.clone();
        new.idempotency.as_mut()?.digest = former;
        Some(new)
    }
}

impl Engine {
    /// Accepts a task; the task is on disk on return.
    ///
    /// # Errors
    /// `invalid_body`, `unknown_task_type`, `unknown_agent`, `provider_not_configured`, `body_too_large`,
    /// `idempotency_mismatch`, or a code of the storage.
    pub async fn submit(&self, caller: &Caller, request: Submit) -> Result<Accepted, Error> {
        self.accept(caller, Order::of(request)).await
    }

    /// Accepts a task of a client or of the engine itself.
    pub(crate) async fn accept(&self, caller: &Caller, order: Order) -> Result<Accepted, Error> {
        let checked = self.checked(caller, order).await?;
        let before = checked.as_before();
        let stored = match (self.store.submit(checked.new).await, before) {
            (Err(StoreError::IdempotencyMismatch), Some(before)) => self.store.submit(before).await,
            (stored, _) => stored,
        };
        Ok(Accepted {
            submitted: stored?,
            warnings: checked.warnings,
        })
    }

    /// Accepts tasks independently: a refused task fails no other. Accepted tasks are on disk on return.
    ///
    /// # Errors
    /// The errors of [`Engine::submit`], for each task.
    pub async fn submit_all(
        &self,
        caller: &Caller,
        requests: Vec<Submit>,
    ) -> Vec<Result<Accepted, Error>> {
        let mut accepted = Vec::with_capacity(requests.len());
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut before = Vec::new();
        for request in requests {
            outcomes.push(match self.checked(caller, Order::of(request)).await {
                Ok(checked) => {
                    before.push(checked.as_before());
                    accepted.push(checked.new);
                    Ok(checked.warnings)
                }
                Err(error) => Err(error),
            });
        }
        let mut stored = self.store.submit_all(accepted).await;
        self.submit_as_before(&mut stored, before).await;
        let mut stored = stored.into_iter();
        let outcomes = outcomes.into_iter().map(|outcome| {
            let warnings = outcome?;
            let stored = stored.next();
            let submitted = stored.expect("the store answers for each task")?;
            Ok(Accepted {
                submitted,
                warnings,
            })
        });
        outcomes.collect()
    }

    /// Looks again for the tasks whose key an older release may have stored.
    async fn submit_as_before(
        &self,
        stored: &mut [Result<Submitted, StoreError>],
        before: Vec<Option<NewTask>>,
    ) {
        let mismatched = stored
            .iter_mut()
            .zip(before)
            .filter_map(|(stored, before)| {
                let is_mismatch = matches!(stored, Err(StoreError::IdempotencyMismatch));
                Some((stored, before.filter(|_| is_mismatch)?))
            });
        let (places, again): (Vec<_>, Vec<_>) = mismatched.unzip();
        if again.is_empty() {
            return;
        }
        let again = self.store.submit_all(again).await;
        for (place, again) in places.into_iter().zip(again) {
            *place = again;
        }
    }

    /// The task of an order and warnings for its client, if the engine may accept the task.
    async fn checked(&self, caller: &Caller, order: Order) -> Result<Checked, Error> {
        let agent = match &order.fork {
            // The agent may have been removed since; its versions stay.
            Some(fork) => self.pinned_agent(caller.tenant, fork.from).await,
            None => {
                let name = order.submit.agent_id.as_deref();
                self.named_agent(caller.tenant, name).await
            }
        };
        let definition = agent.as_ref().ok().cloned().flatten();
        let InputCheck {
            wrong,
            warnings,
            refused,
        } = self.check_input(&order.submit, definition).await;
        let former = order.former();
        self.look_for_worker_of(&order.submit.queue).await;
        let new = self.new_task(caller, order, wrong, self.clock.now())?;
        agent?;
        match refused {
            // What goes on from another task's log has its models from there.
            Some((code, message)) if new.fork.is_none() => Err(Error::new(code, message)),
            Some(_) | None => Ok(Checked {
                new,
                warnings,
                former,
            }),
        }
    }

    /// Checks the input of a request. The pool reads a large or costly input, where the work holds up no
    /// other request.
    pub(crate) async fn check_input(
        &self,
        request: &Submit,
        definition: Option<Json>,
    ) -> InputCheck {
        let task = TaskInput {
            task_type: &request.task_type,
            input: &request.input,
            definition: definition.as_ref(),
        };
        let is_small = request.input.as_str().len() <= INLINE_LIMIT;
        if is_small && !self.definitions.is_costly_input(&task) {
            return self.definitions.check_input(&task);
        }
        let (task_type, input) = (request.task_type.clone(), request.input.clone());
        let definitions = Arc::clone(&self.definitions);
        bounded::pool::run(move |_| {
            definitions.check_input(&TaskInput {
                task_type: &task_type,
                input: &input,
                definition: definition.as_ref(),
            })
        })
        .await
    }

    /// The task of an order, if its input and its terms are valid.
    pub(crate) fn new_task(
        &self,
        caller: &Caller,
        order: Order,
        wrong_input: Vec<FieldError>,
        now: Micros,
    ) -> Result<NewTask, Error> {
        self.validate(&order, wrong_input, now)?;
        let Order {
            submit,
            key,
            retry_of,
            fork,
            labels: engine_labels,
            is_inherited: _,
        } = order;
        let idempotency = match key {
            Some(OrderKey::Redrive(task)) => Some(Idempotency {
                key: IdempotencyKey::Redrive(task),
                digest: key::OF_REDRIVE,
            }),
            Some(OrderKey::Client { key, digest }) => Some(Idempotency {
                key: IdempotencyKey::Client(key),
                digest,
            }),
            None => submit.key.as_ref().map(|key| Idempotency {
                key: IdempotencyKey::Client(key.key.clone()),
                digest: key::of_submit(&submit),
            }),
        };
        let id = TaskId::new(now, self.random.id_bytes());
        let mut labels = submit.labels;
        engine_labels.join(&mut labels);
        let task = Task {
            id,
            tenant: caller.tenant,
            task_type: submit.task_type,
            name: submit.name,
            agent_id: submit.agent_id,
            agent_digest: None,
            input: submit.input,
            labels,
            limits: submit.limits,
            priority: submit.priority,
            queue: submit.queue,
            concurrency_key: submit.concurrency_key,
            retry_of,
            parent: None,
            created_at: now,
            run_at: submit.run_at,
        };
        let retry = submit.retry.unwrap_or_default().over(self.settings.retry);
        Ok(NewTask {
            task,
            actor: caller.actor.clone(),
            retry,
            idempotency,
            fork,
        })
    }
}
