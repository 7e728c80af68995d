//! One model call: intent, call, outcome, and the gate's decisions about the answer's calls.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tracing::Instrument as _;

use super::{
    DriveError, Driver, RecordError, Stop,
    prompt::{ParsedReply, unchecked},
};
use crate::{
    event::{
        Event, Failure, FinishReason, GateDecision, ModelCompleted, ModelFailed, ModelStarted,
        PlanUpdated, Purpose, SegmentChange, SegmentOpened, StepId, Usage, Wait,
    },
    model::{DeltaSink, MAX_RETRY_AFTER, Model, ModelError, ModelErrorKind, NoDeltas, Response},
    planner::Reading,
    run::{self, Exhaustion, Limits, Next, Outcome, Stage, Unsettled},
    telemetry,
    tool::Admission,
};

/// A delay up to this long is slept through; a longer one suspends the run and frees its worker.
const MAX_SLEEP: Duration = Duration::from_millis(100);
/// The delay after the first failed try, unless the provider asks for another; the delay doubles.
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// The longest delay, unless the provider asks for a longer delay.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// The most calls that one answer may ask for.
const MAX_CALLS: usize = 128;
/// The code of a call whose arguments cannot be used.
const INVALID_ARGUMENTS: &str = "invalid_arguments";

/// A model call that is next.
pub(super) struct Call {
    pub(super) step: StepId,
    pub(super) attempt: u32,
    pub(super) reserved_tokens: u64,
    pub(super) reserved_cost_micros: u64,
    pub(super) max_output_tokens: Option<u64>,
    pub(super) purpose: Purpose,
}

/// What the log is told about a call beside its answer.
struct Told {
    /// Tools that the request was sent without.
    left_out: Vec<String>,
    /// The provider's count, if it is not believed.
    claimed: Option<Usage>,
}

impl Driver<'_> {
    pub(super) async fn call_model(&mut self, mut call: Call) -> Result<Option<Stop>, DriveError> {
        self.check_or_save().await?;
        let limits = self
            .run
            .config()
            .map_or_else(Limits::default, |config| config.limits.clone());
        let model = self.model()?;
        let mut asked = self.prompt(&*model, &call.purpose, call.max_output_tokens);
        if let Some(budget) = self.environment.recorder.budget()
            && let Err(failure) = self.bound_call(&*model, &mut call, &mut asked.request, budget)
        {
            return self.finish(Outcome::Failed(failure)).await.map(Some);
        }
        self.push(Event::ModelStarted(ModelStarted {
            step: call.step,
            attempt: call.attempt,
            name: model.name().to_owned(),
            reserved_tokens: call.reserved_tokens,
            reserved_cost_micros: call.reserved_cost_micros,
            purpose: asked.purpose.clone(),
        }))?;
        self.flush(None).await?;
        crash_point!("model.after_intent");
        self.check_or_withdraw_model(&call).await?;
        // Only now are the images of the last turn in the store: they were recorded with this intent.
        self.show_images(&mut asked.request).await;

        let sink: Box<dyn DeltaSink> = match call.purpose {
            Purpose::Summary { .. } => Box::new(NoDeltas),
            Purpose::Turn | Purpose::Plan | Purpose::Execute | Purpose::Answer => {
                self.environment.sink(call.step, call.attempt)
            }
        };
        let content = telemetry::Content::of(self.agent);
        let span = telemetry::chat(
            content,
            model.name(),
            call.step.0,
            call.attempt,
            &asked.request,
        );
        let answer = tokio::select! {
            biased;
            answer = model.call(&asked.request, &*sink).instrument(span.clone()) => answer,
            () = self.environment.cancel.cancelled() => return Err(RecordError::Stopping.into()),
            () = until(
                limits.deadline_micros.filter(|_| !units::mutant!("agentkit.hung_model_call")),
                self.environment.clock.now_micros(),
            ) => Err(deadline()),
        };
        let (answer, claimed) = match answer {
            Ok(mut response) => {
                let claimed = self.check_usage(&*model, &call, &asked.request, &mut response);
                (Ok(response), claimed)
            }
            Err(error) => (Err(error), None),
        };
        telemetry::answered(content, &span, &answer);
        drop(span);
        let (dialect, purpose) = (asked.dialect, asked.purpose.clone());
        let left_out = model.tools_left_out(&asked.request.tools);
        if !call.purpose.is_summary() {
            self.context.put_back(asked.messages());
        }
        crash_point!("model.after_call");
        match answer {
            Ok(response) if self.is_withheld(&response) => {
                let used = (response.usage.total_tokens(), response.usage.cost_micros);
                self.model_failed(&call, &withheld(&response), used).await
            }
            Ok(response) => {
                match call.purpose {
                    Purpose::Summary { .. } => self.summed_up(&call, response, claimed)?,
                    Purpose::Turn | Purpose::Plan | Purpose::Execute | Purpose::Answer => {
                        let parsed = self.parse_reply(response, dialect).await?;
                        let told = Told { left_out, claimed };
                        self.answered(call.step, purpose, parsed, told).await?;
                    }
                }
                Ok(None)
            }
            Err(error) if error.maybe_charged => {
                let reserved = (call.reserved_tokens, call.reserved_cost_micros);
                self.model_failed(&call, &error, reserved).await
            }
            Err(error) => self.model_failed(&call, &error, (0, 0)).await,
        }
    }

    /// The agent's model that the run goes on with.
    ///
    /// # Errors
    /// [`DriveError::NoModel`] if the agent has no model of its name.
    fn model(&self) -> Result<Arc<dyn Model>, DriveError> {
        let (name, models) = (self.run.model(), &self.agent.models);
        let at_index = models.get(self.run.model_index());
        let found = at_index
            .filter(|model| model.name() == name)
            .or_else(|| models.iter().find(|model| model.name() == name));
        found.cloned().ok_or_else(|| DriveError::NoModel {
            name: name.to_owned(),
            known: models.iter().map(|model| model.name().to_owned()).collect(),
        })
    }

    /// Goes on only if the call may begin whose intent was just recorded. If not, the log says that
    /// it was not made: without an outcome its budget would count as used.
    async fn check_or_withdraw_model(&mut self, call: &Call) -> Result<(), DriveError> {
        let Err(refusal) = self.environment.recorder.check() else {
            return Ok(());
        };
        let message =
            "the run was told to stop before this call was made; it is made when the run goes on";
        self.push(Event::ModelFailed(ModelFailed {
            step: call.step,
            attempt: call.attempt,
            error: Failure::passing(ModelFailed::NOT_CALLED, message),
            charged_tokens: 0,
            charged_cost_micros: 0,
            fallback: None,
            fallback_index: None,
            retry_at_micros: None,
        }))?;
        Ok(self.save_before(refusal).await?)
    }

    /// Whether the provider withheld the answer, so that this call has failed: where another model may
    /// give an answer, and where the answer asks for calls. Calls of a withheld answer must not run.
    fn is_withheld(&self, response: &Response) -> bool {
        response.finish == FinishReason::ContentFilter
            && (self.run.next_model().is_some() || !response.calls.is_empty())
    }

    /// Takes an answer in: the gate admits its calls, and the calls that may begin have their intent in the
    /// same append.
    async fn answered(
        &mut self,
        step: StepId,
        purpose: Purpose,
        parsed: ParsedReply,
        told: Told,
    ) -> Result<(), DriveError> {
        let ParsedReply { response, reading } = parsed;
        let context = self.policy_context();
        let limits = self.run.config().map(|config| &config.limits);
        let max_steps = limits.map_or(u32::MAX, |limits| limits.max_steps);
        let waits = limits.is_some_and(|limits| limits.on_exhausted == Exhaustion::Wait);
        let asked = response.calls.len();
        let mut admitted: Vec<(StepId, String, String, Admission)> = Vec::new();
        for (index, call) in response.calls.into_iter().take(MAX_CALLS).enumerate() {
            let step = StepId(step.0 + 1 + u32::try_from(index).unwrap_or(u32::MAX));
            let admit = self.agent.gate.admit(&call.name, &call.arguments, &context);
            let mut admission = match self.in_time(admit).await? {
                Some(admission) => admission,
                None => self
                    .agent
                    .gate
                    .unread(&call.name, &call.arguments, unchecked("call")),
            };
            let is_cut = response.finish == FinishReason::Length && is_beginning(&call.arguments);
            let is_unread = |error: &mut Failure| is_cut && error.code == INVALID_ARGUMENTS;
            // The gate saw arguments that are no JSON. The model has to know why they are none.
            let _ = admission.error.take_if(is_unread);
            let refusal = if self.run.counted_step(step) > max_steps && !waits {
                let message = format!("the run's {max_steps} steps are used up; answer now");
                Some(Failure::last("step_limit", message))
            } else if is_cut {
                Some(cut_off())
            } else if index + 1 == MAX_CALLS && asked > MAX_CALLS {
                Some(too_many(asked))
            } else {
                None
            };
            if let Some(refusal) = refusal {
                admission.error.get_or_insert(refusal);
                admission.approval = None;
                admission.resources = None;
            }
            // Most providers refuse a conversation in which two calls have one id; without one, a
            // call has ours. Parts hold ids as they came.
            let is_taken = || {
                self.context.has_call(&call.provider_id)
                    || admitted.iter().any(|(_, id, ..)| *id == call.provider_id)
            };
            let provider_id = match response.parts.is_none() && is_taken() {
                true => String::new(),
                false => call.provider_id,
            };
            admitted.push((step, provider_id, call.name, admission));
        }
        let unsettled: Vec<Unsettled<'_>> = admitted
            .iter()
            .filter(|(step, _, _, admission)| {
                admission.error.is_none() && self.run.counted_step(*step) <= max_steps
            })
            .map(|(step, _, _, admission)| Unsettled {
                step: *step,
                effect: admission.effect,
                resources: admission.resources.as_ref(),
                stage: match admission.approval {
                    Some(_) => Stage::Held,
                    None => Stage::Ready,
                },
            })
            .collect();
        let first = run::may_begin(&unsettled);
        let (mut answer, mut refused, mut plan) = (None, None, None);
        match reading {
            // The words themselves need not be recorded twice.
            Some(Reading::Answer(Value::String(text))) if text == response.content => {}
            Some(Reading::Answer(value)) => answer = Some(value),
            Some(Reading::Refused(error)) => refused = Some(error),
            Some(Reading::Plan(new)) => plan = Some(new),
            None => {}
        }
        self.push(Event::ModelCompleted(ModelCompleted {
            step,
            name: response.model,
            output: response.content,
            calls: u32::try_from(admitted.len()).unwrap_or(u32::MAX),
            usage: response.usage,
            finish: response.finish,
            // Parts stand for the whole answer: with calls left out they would not be true.
            parts: response.parts.filter(|_| asked <= MAX_CALLS),
            request_id: response.request_id,
            purpose,
            answer,
            refused,
            tools_left_out: told.left_out,
            claimed_usage: told.claimed,
        }))?;
        if let Some(plan) = plan {
            self.push(Event::PlanUpdated(PlanUpdated { step, plan }))?;
        }
        for (step, provider_id, name, admission) in admitted {
            let begins = match first.contains(&step) {
                true => GateDecision::Start,
                false => GateDecision::Queue,
            };
            self.call(step, provider_id, name, admission, begins)?;
        }
        Ok(())
    }

    /// Takes a summary in. The request offered no tools, so calls in the answer have no meaning.
    fn summed_up(
        &mut self,
        call: &Call,
        response: Response,
        claimed: Option<Usage>,
    ) -> Result<(), DriveError> {
        self.push(Event::ModelCompleted(ModelCompleted {
            step: call.step,
            name: response.model,
            output: response.content,
            calls: 0,
            usage: response.usage,
            finish: response.finish,
            parts: None,
            request_id: response.request_id,
            purpose: call.purpose.clone(),
            answer: None,
            refused: None,
            tools_left_out: Vec::new(),
            claimed_usage: claimed,
        }))?;
        Ok(())
    }

    /// A failed try, and the tokens and micro-USD to charge for it: the next one follows at once,
    /// after a wait, with the task's next attempt, or never.
    async fn model_failed(
        &mut self,
        call: &Call,
        error: &ModelError,
        (charged_tokens, charged_cost_micros): (u64, u64),
    ) -> Result<Option<Stop>, DriveError> {
        let failure = error.failure();
        let asked = error.retry_after.map(|asked| asked.min(MAX_RETRY_AFTER));
        let failures = self.run.model_failures() + 1;
        let used_up = failures.is_multiple_of(self.agent.model_tries);
        let fallback = self.run.next_model().map(str::to_owned);
        let fallback = fallback.filter(|_| used_up || !error.kind.is_retryable());
        // A conversation that was too large is made smaller once before that.
        let shrinks = !call.purpose.is_summary()
            && error.kind == ModelErrorKind::ContextOverflow
            && self.run.shrinks_after_overflow();
        let fallback = fallback.filter(|_| !shrinks);
        let falls_back = fallback.is_some();
        let next_index = u32::try_from(self.run.model_index() + 1).ok();
        let retry_at_micros = asked.filter(|delay| !delay.is_zero());
        let retry_at_micros = retry_at_micros.map(|delay| self.after(delay));
        self.push(Event::ModelFailed(ModelFailed {
            step: call.step,
            attempt: call.attempt,
            error: failure.clone(),
            charged_tokens,
            charged_cost_micros,
            fallback,
            fallback_index: next_index.filter(|_| falls_back),
            retry_at_micros,
        }))?;
        if let Purpose::Summary { keep_from } = call.purpose
            && !falls_back
            && is_hopeless(error.kind, used_up)
        {
            // Better to go on without what came before than not at all.
            let opened = SegmentOpened::new(keep_from, SegmentChange::Dropped);
            self.push(Event::SegmentOpened(opened))?;
            return Ok(None);
        }
        if !falls_back && !shrinks && !error.kind.is_retryable() {
            return self.finish(Outcome::Failed(failure)).await.map(Some);
        }
        // The budget and the deadline come before another try.
        let now = self.environment.clock.now_micros();
        let next = self.run.next(&*self.agent.planner, now);
        if let Next::Done(outcome) = next {
            return self.finish(outcome).await.map(Some);
        } else if let Next::Wait(wait @ Wait::Budget { .. }) = next {
            return self.wait(wait).await.map(Some);
        }
        if falls_back || shrinks {
            self.flush(None).await?;
            return Ok(None);
        }
        if used_up {
            let stop = Stop::Failed(gave_up(&failure, failures));
            self.flush(Some(&stop)).await?;
            return Ok(Some(stop));
        }
        let [luck, ..] = self.environment.random.bytes();
        let delay = delay(failures, asked, luck);
        if delay <= MAX_SLEEP {
            self.flush(None).await?;
            tokio::time::sleep(delay).await;
            return Ok(None);
        }
        let until_micros = self.after(delay);
        // A run whose time is over by then learns it at its deadline.
        let config = self.run.config();
        let deadline = config.and_then(|config| config.limits.deadline_micros);
        let until_micros = until_micros.min(deadline.unwrap_or(i64::MAX));
        self.wait(Wait::Timer { until_micros }).await.map(Some)
    }

    /// So long from now, in UTC microseconds.
    fn after(&self, delay: Duration) -> i64 {
        let micros = i64::try_from(delay.as_micros()).unwrap_or(i64::MAX);
        self.environment.clock.now_micros().saturating_add(micros)
    }
}

/// The message to the model about a call whose arguments are missing or cut.
fn cut_off() -> Failure {
    let message = "the answer was cut at its output limit before the end of this call's arguments, so \
                   the call did not run; call again with smaller arguments, for instance a long text in \
                   several pieces, each in an answer of its own";
    Failure::last(INVALID_ARGUMENTS, message)
}

/// Whether arguments stop before their end.
fn is_beginning(arguments: &str) -> bool {
    let read = serde_json::from_str::<serde::de::IgnoredAny>(arguments);
    read.is_err_and(|error| error.is_eof())
}

/// The message to the model with the last admitted call.
fn too_many(asked: usize) -> Failure {
    let message = format!(
        "the answer asks for {asked} calls, and {MAX_CALLS} is the most: this call and those after \
         it did not run; ask for them in further answers"
    );
    Failure::last("too_many_calls", message)
}

/// Whether there will be no summary, for a reason that is not one against every other call as well.
fn is_hopeless(kind: ModelErrorKind, used_up: bool) -> bool {
    match kind {
        ModelErrorKind::ContextOverflow
        | ModelErrorKind::ContentFilter
        | ModelErrorKind::InvalidRequest
        | ModelErrorKind::ScriptExhausted => true,
        ModelErrorKind::Timeout | ModelErrorKind::MalformedResponse => used_up,
        ModelErrorKind::Unreachable
        | ModelErrorKind::Conflict
        | ModelErrorKind::RateLimited
        | ModelErrorKind::ServerError
        | ModelErrorKind::Unauthorized
        | ModelErrorKind::QuotaExceeded
        | ModelErrorKind::NotFound => false,
    }
}

/// The delay before the next try: at least the provider's request; otherwise double the last. `luck` is
/// uniform in 0..=255 and adds up to a quarter, so that clients do not come back together.
fn delay(failures: u32, retry_after: Option<Duration>, luck: u8) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let retry_after = retry_after.filter(|_| !units::mutant!("agentkit.retry_after"));
    let base = retry_after.unwrap_or_else(|| doubled.min(MAX_DELAY));
    base.saturating_add(base / 1_020 * u32::from(luck))
}

fn gave_up(failure: &Failure, failures: u32) -> Failure {
    Failure::passing(
        &failure.code,
        format!(
            "{} (the model call failed {failures} times in a row)",
            failure.message
        ),
    )
}

fn withheld(response: &Response) -> ModelError {
    let mut error = ModelError::new(
        ModelErrorKind::ContentFilter,
        "the provider withheld the answer; rephrase the goal, or name a model to fall back on",
    );
    error.request_id.clone_from(&response.request_id);
    error
}

fn deadline() -> ModelError {
    let mut error = ModelError::new(
        ModelErrorKind::Timeout,
        "the model had not answered at the run's deadline; raise `limits.timeout`",
    );
    error.maybe_charged = true;
    error
}

/// Returns at the deadline, or never.
pub(super) async fn until(deadline_micros: Option<i64>, now_micros: i64) {
    match deadline_micros {
        Some(end) => {
            let left = u64::try_from(end.saturating_sub(now_micros)).unwrap_or(0);
            tokio::time::sleep(Duration::from_micros(left)).await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_decides_the_delay_and_jitter_only_adds() {
        let asked = Some(Duration::from_secs(2));
        assert_eq!(delay(1, asked, 0), Duration::from_secs(2));
        let most = delay(1, asked, 255);
        assert!(most > Duration::from_millis(2_499) && most <= Duration::from_millis(2_500));
        assert_eq!(delay(1, None, 0), Duration::from_millis(500));
        assert_eq!(delay(3, None, 0), Duration::from_secs(2));
        assert_eq!(delay(u32::MAX, None, 0), Duration::from_secs(60));
        assert!(delay(1, Some(Duration::MAX), 255) >= delay(1, asked, 0));
    }
}
