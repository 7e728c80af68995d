//! Tool calls: intents, the calls, and their outcomes as they come.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{DriveError, Driver, RecordError};
use crate::{
    event::{Event, Failure, StepId, ToolCompleted, ToolFailed, ToolStarted},
    run::Progress,
    tool::{self, Effect, ToolContext},
};

impl Driver<'_> {
    pub(super) async fn call_tools(&mut self, steps: &[StepId]) -> Result<(), DriveError> {
        self.check_or_save().await?;
        for step in steps {
            let queued = self
                .run
                .call(*step)
                .filter(|state| state.progress == Progress::Queued);
            if let Some(attempt) = queued.map(|state| state.tries + 1) {
                self.push(Event::ToolStarted(ToolStarted {
                    step: *step,
                    attempt,
                }))?;
            }
        }
        fail::fail_point!("run.before_intent");
        self.flush(None).await?;
        fail::fail_point!("run.after_intent");
        self.session.recorder.check()?;

        // Made late, so that a run without tool calls leaves no folder. A tool that needs it says so
        // if it could not be made.
        if let Err(error) = std::fs::create_dir_all(&self.session.workspace) {
            tracing::warn!(%error, "the workspace cannot be made");
        }
        let results = Arc::new(self.run.results().clone());
        let deadline = self
            .run
            .config()
            .and_then(|config| config.limits.deadline_micros);
        let (gate, session) = (&self.agent.gate, self.session);
        let calls = steps.iter().filter_map(|step| {
            let call = &self.run.call(*step)?.call;
            let context = ToolContext {
                step: call.step,
                workspace: session.workspace.clone(),
                cancel: session.cancel.clone(),
                now_micros: session.clock.now_micros(),
                results: Arc::clone(&results),
                blobs: Arc::clone(&session.blobs),
            };
            let (name, input, effect) = (call.name.clone(), call.input.clone(), call.effect);
            Some(async move {
                let late = super::model_call::until(deadline, context.now_micros);
                let step = context.step;
                let outcome = tokio::select! {
                    biased;
                    outcome = gate.run(&name, input, context) => outcome,
                    () = late => Err(past_deadline(&name, effect)),
                };
                (step, outcome)
            })
        });
        let mut calls: FuturesUnordered<_> = calls.collect();
        while let Some((step, outcome)) = calls.next().await {
            // A call that was broken off has no outcome: whoever takes the run over decides by its
            // effect class. One that returned has, whatever became of the run meanwhile.
            let broken_off = matches!(&outcome, Err(failure) if failure.code == "cancelled");
            if broken_off && self.session.cancel.is_cancelled() {
                drop(calls);
                self.events = super::outcomes(&self.events);
                self.flush(None).await?;
                return Err(RecordError::Stopping.into());
            }
            fail::fail_point!("run.after_effect");
            self.settle(step, outcome)?;
            if !calls.is_empty() {
                self.flush(None).await?;
            }
        }
        drop(calls);
        Ok(())
    }

    fn settle(
        &mut self,
        step: StepId,
        outcome: Result<tool::Outcome, Failure>,
    ) -> Result<(), DriveError> {
        let event = match outcome {
            Ok(outcome) => {
                let handle = outcome.handle.map(|(handle, bytes)| {
                    self.blobs.push((handle.digest.clone(), bytes));
                    handle
                });
                let mut files = Vec::with_capacity(outcome.files.len());
                for (delta, bytes) in outcome.files {
                    if let (Some(digest), Some(bytes)) = (&delta.digest, bytes) {
                        self.blobs.push((digest.clone(), bytes));
                    }
                    files.push(delta);
                }
                Event::ToolCompleted(ToolCompleted {
                    step,
                    output: outcome.output,
                    handle,
                    files,
                })
            }
            Err(error) => Event::ToolFailed(ToolFailed { step, error }),
        };
        self.push(event)?;
        Ok(())
    }
}

fn past_deadline(name: &str, effect: Effect) -> Failure {
    let doubt = tool::doubt(effect);
    let message =
        format!("tool `{name}` had not returned at the run's deadline, and was stopped{doubt}");
    Failure::last("tool_timeout", message)
}
