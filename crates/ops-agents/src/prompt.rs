//! The prompts of model calls, made again from the log.

use std::sync::Arc;

use ops_core::{
    Json,
    ports::{Fut, PromptError, Prompts, RunStore, TaskRecord},
};
use ops_worker::{Job, LoadError, at_model_call};
use tokio::sync::Semaphore;

use crate::{current::Current, worker};

/// How many logs are folded at once.
const AT_ONCE: usize = 2;

/// Shows the prompts of tasks whose agents the present factory can make.
pub struct PromptReader {
    current: Arc<Current>,
    store: Arc<dyn RunStore>,
    turn: Semaphore,
}

impl PromptReader {
    /// A reader of the logs of a store.
    #[must_use]
    pub fn new(current: Arc<Current>, store: Arc<dyn RunStore>) -> Self {
        Self {
            current,
            store,
            turn: Semaphore::new(AT_ONCE),
        }
    }

    async fn read(&self, record: &TaskRecord, step: u32) -> Result<Json, PromptError> {
        let _turn = self.turn.acquire().await;
        let task = &record.task;
        let factory = self.current.factory();
        let definition = match task.agent_digest {
            None => None,
            Some(digest) => Some(self.store.definition(task.tenant, digest).await?),
        };
        let job = Job {
            task,
            started: record.life.started_at.unwrap_or(task.created_at),
            definition: definition.as_ref(),
        };
        let limits = ops_worker::Agents::limits(&*factory, &job);
        let found = at_model_call(&*self.store, record, &limits, step).await;
        let found = found.map_err(|error| match error {
            LoadError::Store(error) => PromptError::Store(error),
            other => PromptError::Unavailable(other.to_string()),
        })?;
        let (run, intent) = found.ok_or(PromptError::NoCall)?;
        let config = run.config().ok_or(PromptError::NoCall)?;
        let definition = worker::definition(definition.as_ref());
        let digest = task.agent_digest.map(|digest| digest.to_string());
        let agent = definition
            .and_then(|of| factory.again(task.tenant, of.as_ref(), digest, config, ""))
            .map_err(|failure| PromptError::Unavailable(failure.message))?;
        let prompt = agentkit::drive::prompt(&agent, &run, &intent);
        let prompt = prompt.ok_or_else(|| {
            PromptError::Unavailable("the agent of the task has no model".to_owned())
        })?;
        let mut shown = prompt.shown();
        shown["step"] = step.into();
        shown["attempt"] = intent.attempt.into();
        shown["model"] = intent.name.into();
        Json::from_value(&shown).map_err(|error| PromptError::Unavailable(error.to_string()))
    }
}

impl Prompts for PromptReader {
    fn prompt<'a>(
        &'a self,
        record: &'a TaskRecord,
        step: u32,
    ) -> Fut<'a, Result<Json, PromptError>> {
        Box::pin(self.read(record, step))
    }
}
