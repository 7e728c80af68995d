//! The machine's decision about the next effect.

use serde_json::Value;
use units::money;

use super::{
    CallState, Exhaustion, Outcome, Progress, Run, RunConfig,
    phase::{FailedCall, Phase},
    segment::{DEFAULT_ANSWER_TOKENS, DEFAULT_CONTEXT_TOKENS},
};
use crate::{
    event::{CallPurpose, Failure, Purpose, SegmentOpened, StepId, ToolEscalated, Wait},
    memory::estimate_tokens,
    model::catalog,
    planner::{self, PlanStep, Planner},
    tool::Effect,
};

/// The next work of the driver.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Record `run.started`.
    Start,
    /// Record `model.started` and make the call.
    CallModel {
        /// The step.
        step: StepId,
        /// The try, from 1.
        attempt: u32,
        /// Tokens to reserve.
        reserved_tokens: u64,
        /// Micro-USD to reserve; 0 where no price is known.
        reserved_cost_micros: u64,
        /// The most tokens of the answer, if a limit applies.
        max_output_tokens: Option<u64>,
        /// Purpose of the call.
        purpose: Purpose,
    },
    /// Record `segment.opened`: the conversation is made smaller.
    OpenSegment(SegmentOpened),
    /// Record the missing intents, and run the calls at once.
    CallTools {
        /// The calls.
        steps: Vec<StepId>,
    },
    /// Have the gate judge these calls of a fork, and record its word.
    Recheck {
        /// The calls.
        steps: Vec<StepId>,
    },
    /// Make the call that the reviewer of this call is shown.
    Preview {
        /// The call that waits for approval.
        step: StepId,
    },
    /// Make a call to long-term memory.
    Recollect {
        /// [`CallPurpose::Recall`] or [`CallPurpose::Remember`].
        purpose: CallPurpose,
        /// The tool.
        tool: &'static str,
        /// Its arguments.
        input: Value,
    },
    /// Record `tool.escalated`.
    Escalate(ToolEscalated),
    /// Record the outcome of a call that waited, or whose approval expired.
    Settle {
        /// The call.
        step: StepId,
        /// The result.
        result: Result<Value, Failure>,
    },
    /// Record `wait.started`, and stand still.
    Wait(Wait),
    /// The run has ended, or has to end like this.
    Done(Outcome),
}

impl Run {
    /// Calls with a recorded intent and no recorded outcome. In a run that is loaded, a crash has left
    /// these calls.
    pub fn in_flight(&self) -> impl Iterator<Item = &CallState> {
        self.calls().iter().filter(|state| state.is_under_way())
    }

    /// Calls in flight that must not run again: after a crash their outcome is in doubt. A driver that
    /// takes the run over settles them by their probes, or parks the run.
    #[must_use]
    pub fn in_doubt(&self) -> Vec<StepId> {
        self.in_flight()
            .filter(|state| state.call.effect == Effect::Write)
            .filter(|_| !units::mutant!("agentkit.write_runs_again"))
            .map(|state| state.call.step)
            .collect()
    }

    /// The next work at this time (UTC microseconds). Pure.
    #[must_use]
    pub fn next(&self, planner: &dyn Planner, now_micros: i64) -> Next {
        if let Some(outcome) = self.outcome() {
            return Next::Done(outcome.clone());
        }
        let Some(config) = &self.config else {
            return Next::Start;
        };
        if config
            .limits
            .deadline_micros
            .is_some_and(|end| end <= now_micros)
        {
            let message = "the run did not end by its deadline; raise `limits.timeout`";
            return self.exhausted("timeout", "timeout", message.to_owned());
        }
        let next = match &self.phase {
            Phase::Calling(_) => self.next_of_turn(now_micros),
            Phase::Asking(lost) => {
                Some(self.call_model(lost.step, lost.attempt + 1, lost.purpose.clone()))
            }
            Phase::Retrying(failed) => Some(self.retry(failed, config, now_micros)),
            Phase::Deciding { .. } | Phase::Ended(_) => None,
        };
        if let Some(next) = next {
            return next;
        }
        if let Some(recall) = self.recall_due() {
            return recall;
        }
        if let Some(opened) = self.summarised() {
            return Next::OpenSegment(opened);
        }
        if self.conversation.repairs > config.limits.max_repairs {
            if self.conversation.cut {
                return Next::Done(Outcome::Failed(planner::answer_cut()));
            }
            return failed(
                "model_unusable",
                format!(
                    "the model's last {} answers were empty or held only calls that were refused; see \
                 the refusals in the run's steps, or use another model",
                    self.conversation.repairs
                ),
            );
        }
        if let Some(failure) = planner::too_many_refusals(self) {
            return Next::Done(Outcome::Failed(failure));
        }
        match planner.plan(self) {
            PlanStep::CallModel => self
                .make_room()
                .unwrap_or_else(|| self.call_model(StepId(self.last_step + 1), 1, Purpose::Turn)),
            PlanStep::FinalAnswer { output } => self
                .remember_due(&output)
                .unwrap_or(Next::Done(Outcome::Completed(output))),
            PlanStep::Error { error } => Next::Done(Outcome::Failed(error)),
        }
    }

    /// The next work of a turn whose calls are not settled; `None` once they are.
    fn next_of_turn(&self, now_micros: i64) -> Option<Next> {
        let reset: Vec<StepId> = self
            .calls()
            .iter()
            .filter(|state| state.progress == Progress::Reset)
            .map(|state| state.call.step)
            .collect();
        if !reset.is_empty() {
            return Some(Next::Recheck { steps: reset });
        }
        let is_doubted = |state: &&CallState| matches!(state.progress, Progress::Doubted { .. });
        let steps = self.calls().iter().filter(is_doubted);
        let steps: Vec<StepId> = steps.map(|state| state.call.step).collect();
        if !steps.is_empty() {
            return Some(Next::Wait(Wait::InDoubt { steps }));
        }
        let in_flight: Vec<StepId> = self.in_flight().map(|state| state.call.step).collect();
        if !in_flight.is_empty() {
            return Some(Next::CallTools { steps: in_flight });
        }
        if let Some(step) = self.resumable() {
            return Some(Next::CallTools { steps: vec![step] });
        }
        if let Some(escalated) = self.escalation_due(now_micros) {
            return Some(Next::Escalate(escalated));
        }
        if let Some((step, result)) = self.due(now_micros) {
            return Some(Next::Settle { step, result });
        }
        // The reviewer waits for the preview, so it comes before the other calls of the turn.
        if let Some(step) = self.preview_due() {
            return Some(Next::Preview { step });
        }
        let batch = self.may_begin();
        if !batch.is_empty() {
            return Some(self.call_tools(batch));
        }
        self.wait().map(Next::Wait)
    }

    /// A model call that failed is made again, with a smaller conversation if need be, and not before
    /// its provider wants it.
    fn retry(&self, failed: &FailedCall, config: &RunConfig, now_micros: i64) -> Next {
        let call = &failed.call;
        let again = || self.call_model(call.step, call.attempt + 1, call.purpose.clone());
        let next = match call.purpose {
            Purpose::Summary { .. } => again(),
            Purpose::Turn | Purpose::Plan | Purpose::Execute | Purpose::Answer => {
                self.make_room().unwrap_or_else(again)
            }
        };
        // The task's next attempt may begin before the provider wants it.
        let early = failed.retry_at_micros.filter(|at| *at > now_micros);
        match (early, next) {
            (Some(at), Next::CallModel { .. }) => {
                let end = config.limits.deadline_micros.unwrap_or(i64::MAX);
                let until_micros = at.min(end);
                Next::Wait(Wait::Timer { until_micros })
            }
            (_, next) => next,
        }
    }

    /// The calls of a batch that are within the limit on steps. Where a used-up limit is to fail the
    /// run, the gate has refused the others already.
    fn call_tools(&self, mut steps: Vec<StepId>) -> Next {
        let limits = self.config.as_ref().map(|config| &config.limits);
        if let Some(limits) = limits
            && limits.on_exhausted == Exhaustion::Wait
        {
            steps.retain(|step| self.counted_step(*step) <= limits.max_steps);
        }
        match steps.is_empty() {
            true => self.out_of_steps(),
            false => Next::CallTools { steps },
        }
    }

    fn out_of_steps(&self) -> Next {
        let limits = self.config.as_ref().map(|config| &config.limits);
        let message = format!(
            "the run used its {} steps without an answer; raise `limits.max_steps`",
            limits.map_or(0, |limits| limits.max_steps)
        );
        self.exhausted("max_steps", "step_limit", message)
    }

    /// A limit is used up: the run fails with this code, or waits until a client raises the limit.
    fn exhausted(&self, limit: &str, code: &str, message: String) -> Next {
        let limits = self.config.as_ref().map(|config| &config.limits);
        match limits.map(|limits| limits.on_exhausted).unwrap_or_default() {
            Exhaustion::Fail => failed(code, message),
            Exhaustion::Wait => Next::Wait(Wait::Budget {
                limit: limit.to_owned(),
                message,
                until_micros: limits
                    .and_then(|limits| limits.deadline_micros)
                    .filter(|_| limit != "timeout"),
            }),
        }
    }

    /// The calls that may begin beside the calls under way, within the run's limits.
    pub(crate) fn more_calls(&self, now_micros: i64) -> Vec<StepId> {
        let Some(config) = &self.config else {
            return Vec::new();
        };
        let limits = &config.limits;
        if limits.deadline_micros.is_some_and(|end| end <= now_micros) {
            return Vec::new();
        }
        let Next::CallTools { steps } = self.call_tools(self.may_begin()) else {
            return Vec::new();
        };
        steps
    }

    pub(super) fn call_model(&self, step: StepId, attempt: u32, purpose: Purpose) -> Next {
        let Some(config) = &self.config else {
            return Next::Start;
        };
        let limits = &config.limits;
        if self.counted_step(step) > limits.max_steps && !units::mutant!("agentkit.step_limit") {
            return self.out_of_steps();
        }
        let used = self.ledger.spent_and_reserved().tokens;
        let prompt = match purpose {
            Purpose::Turn | Purpose::Plan | Purpose::Execute | Purpose::Answer => {
                self.prompt_tokens()
            }
            Purpose::Summary { keep_from } => {
                let messages = self.summary_request(keep_from);
                let estimated = messages
                    .iter()
                    .map(|message| estimate_tokens(message))
                    .sum();
                self.counted(estimated)
            }
        };
        let left = limits
            .max_tokens
            .map(|most| most.saturating_sub(used.saturating_add(prompt)));
        if left == Some(0) {
            let message = format!(
                "the next model call needs about {prompt} tokens, and {used} of {} are used; raise \
                 `limits.max_tokens`",
                limits.max_tokens.unwrap_or(0)
            );
            return self.exhausted("max_tokens", "token_limit", message);
        }
        let affordable = match self.affordable_answer(prompt) {
            Ok(affordable) => affordable,
            Err(next) => return next,
        };
        let budget = left.into_iter().chain(affordable).min();
        let (max_output_tokens, answer) = self.answer_tokens(prompt, budget);
        let reserved_tokens = prompt.saturating_add(answer);
        let prices = self.pinned_model().map_or(&[][..], |model| &model.prices);
        let worst = catalog::worst_cost_micros(prices, prompt, answer);
        Next::CallModel {
            step,
            attempt,
            reserved_tokens,
            reserved_cost_micros: worst.unwrap_or(0),
            max_output_tokens,
            purpose,
        }
    }

    /// How many tokens the answer to a prompt may have, if the model needs a limit, and how many are
    /// reserved for the answer. A budget above the model's own limit is not sent: providers refuse a limit
    /// above their longest answer, or above their context.
    fn answer_tokens(&self, prompt: u64, budget: Option<u64>) -> (Option<u64>, u64) {
        let limits = self.config.as_ref().map(|config| &config.limits);
        let configured = limits.and_then(|limits| limits.max_output_tokens);
        let model = self.pinned_model();
        let longest = model.and_then(|model| model.max_output_tokens);
        let context = model.and_then(|model| model.context_tokens);
        let room = context.map(|context| context.saturating_sub(prompt).max(1));
        let most = longest.into_iter().chain(room).min();
        match (configured, budget, most) {
            (None, None, _) => (None, DEFAULT_ANSWER_TOKENS),
            (Some(configured), budget, most) => {
                let bounds = budget.into_iter().chain(most);
                let tokens = bounds.fold(configured, u64::min);
                (Some(tokens), tokens)
            }
            (None, Some(budget), Some(most)) if budget >= most => (None, most),
            (None, Some(budget), None) if budget > DEFAULT_ANSWER_TOKENS => {
                let room = DEFAULT_CONTEXT_TOKENS.saturating_sub(prompt);
                (None, budget.min(room.max(DEFAULT_ANSWER_TOKENS)))
            }
            (None, Some(budget), _) => (Some(budget), budget),
        }
    }

    /// The most tokens of the answer to a prompt, for a call that must have a ceiling. `given` is the ceiling that the
    /// call has already.
    pub(crate) fn answer_ceiling(&self, prompt: u64, given: Option<u64>) -> u64 {
        let model = self.pinned_model();
        let longest = model.and_then(|model| model.max_output_tokens);
        let context = model.and_then(|model| model.context_tokens);
        let room = context.map(|context| context.saturating_sub(prompt).max(DEFAULT_ANSWER_TOKENS));
        let bounds = longest.into_iter().chain(room);
        given.unwrap_or_else(|| bounds.fold(DEFAULT_ANSWER_TOKENS, u64::min))
    }

    /// The most that a call with this prompt and answer may cost, in micro-USD; `None` where no price is known.
    pub(crate) fn worst_cost_micros(&self, prompt: u64, answer: u64) -> Option<u64> {
        let prices = self.pinned_model().map_or(&[][..], |model| &model.prices);
        catalog::worst_cost_micros(prices, prompt, answer)
    }

    /// How many tokens the answer to a prompt may have within the run's money, if that is limited.
    fn affordable_answer(&self, prompt: u64) -> Result<Option<u64>, Next> {
        let limit = self
            .config
            .as_ref()
            .and_then(|config| config.limits.max_cost_micros);
        let Some(limit) = limit else {
            return Ok(None);
        };
        let prices = self.pinned_model().map_or(&[][..], |model| &model.prices);
        let Some(for_prompt) = catalog::worst_cost_micros(prices, prompt, 0) else {
            let name = self.model();
            let message = format!(
                "no price is known for model `{name}`, so a limit on cost cannot be kept; give its \
                 `prices` under `[models.\"{name}\"]` in the configuration file, or leave out \
                 `limits.max_cost_usd`"
            );
            return Err(failed("unknown_price", message));
        };
        let used = self.ledger.spent_and_reserved().cost_micros;
        let left = limit.saturating_sub(used).checked_sub(for_prompt);
        let answer = left.map(|left| catalog::affordable_answer(prices, prompt, left));
        match answer {
            Some(None) => Ok(None),
            Some(Some(tokens @ 1..)) => Ok(Some(tokens)),
            Some(Some(0)) | None => {
                let message = format!(
                    "the next model call costs at least {} USD, and {} of {} are used; raise \
                     `limits.max_cost_usd`",
                    money::show(for_prompt),
                    money::show(used),
                    money::show(limit),
                );
                Err(self.exhausted("max_cost_usd", "cost_limit", message))
            }
        }
    }
}

pub(super) fn failed(code: &str, message: String) -> Next {
    Next::Done(Outcome::Failed(Failure::last(code, message)))
}

#[cfg(test)]
mod tests;
