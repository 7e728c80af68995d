//! How far a provider's count of a call is believed.
//!
//! A count settles what a call has reserved, and only this module bounds a count: one absurd figure of a server that errs
//! would use up a run's limits, and a budget without a window for good. So a count that the call cannot have had is
//! replaced by the worst case of the call, as if its answer had been lost, and the log keeps the provider's figure.

use super::{Driver, budget::most_prompt_tokens, model_call::Call};
use crate::{
    event::Usage,
    model::{Model, Request, Response},
};

/// Counts are believed up to so many times the bound of the call: servers exceed an answer's ceiling by their
/// thoughts, and count prompts in ways of their own.
const FACTOR: u64 = 2;
/// Tokens beyond that, for additions of providers to a prompt, and an answer whose ceiling is very small.
const ALLOWANCE_TOKENS: u64 = 10_000;
/// More tokens than the answer of a model has of which no bound is known.
const MAX_ANSWER_TOKENS: u64 = 1_000_000;
/// A higher price than any model's, in micro-USD for a token.
const MAX_PRICE: u64 = 1_000;
/// Fees of a request beside its tokens, in micro-USD: providers charge some for searches.
const ALLOWANCE_MICROS: u64 = 100_000;

/// Upper bounds of one call.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    prompt: u64,
    /// The most that an answer has.
    answer: u64,
    /// The tokens that an answer without a believable count is charged.
    charged_answer: u64,
}

impl Driver<'_> {
    /// Replaces impossible figures in the usage of an answer. Returns the provider's figures, if any figure was
    /// replaced.
    pub(super) fn check_usage(
        &self,
        model: &dyn Model,
        call: &Call,
        request: &Request,
        response: &mut Response,
    ) -> Option<Usage> {
        // A script says what it wants to be counted.
        if !model.is_llm() {
            return None;
        }
        let claimed = response.usage;
        let is_reserved = claimed.total_tokens() <= call.reserved_tokens
            && claimed.cost_micros <= call.reserved_cost_micros;
        if is_reserved && is_consistent(claimed) {
            return None;
        }
        let prompt = most_prompt_tokens(request);
        let pinned = self.run.pinned_model();
        let longest = pinned.and_then(|model| model.max_output_tokens.or(model.context_tokens));
        let ceiling = call.max_output_tokens.or(longest);
        let bounds = Bounds {
            prompt,
            answer: ceiling.unwrap_or(MAX_ANSWER_TOKENS),
            charged_answer: self.run.answer_ceiling(prompt, call.max_output_tokens),
        };
        let worst = |prompt, answer| self.run.worst_cost_micros(prompt, answer);
        let believed = believed(claimed, bounds, worst);
        if believed == claimed {
            return None;
        }
        tracing::warn!(
            model = model.name(),
            claimed_input_tokens = claimed.input_tokens,
            claimed_output_tokens = claimed.output_tokens,
            claimed_cost_micros = claimed.cost_micros,
            "the provider counts more than the call can have used; its worst case is charged"
        );
        response.usage = believed;
        Some(claimed)
    }
}

fn is_consistent(usage: Usage) -> bool {
    usage.cached_tokens <= usage.input_tokens && usage.reasoning_tokens <= usage.output_tokens
}

/// The usage to charge for a claim. `worst` is the highest price of a prompt and an answer; `None` or 0 where no price is
/// known.
fn believed(claimed: Usage, bounds: Bounds, worst: impl Fn(u64, u64) -> Option<u64>) -> Usage {
    let most = |bound: u64| {
        bound
            .saturating_mul(FACTOR)
            .saturating_add(ALLOWANCE_TOKENS)
    };
    let within = |count: u64, bound: u64, charged: u64| match count <= most(bound) {
        true => count,
        false if units::mutant!("agentkit.any_count_is_believed") => count,
        false => charged,
    };
    let mut usage = Usage {
        input_tokens: within(claimed.input_tokens, bounds.prompt, bounds.prompt),
        output_tokens: within(claimed.output_tokens, bounds.answer, bounds.charged_answer),
        ..claimed
    };
    usage.cached_tokens = usage.cached_tokens.min(usage.input_tokens);
    usage.reasoning_tokens = usage.reasoning_tokens.min(usage.output_tokens);
    let price = |input, output| worst(input, output).filter(|price| *price > 0);
    let (most_cost, charged) = match price(most(usage.input_tokens), most(usage.output_tokens)) {
        Some(most) => {
            let charged = price(usage.input_tokens, usage.output_tokens);
            (most.saturating_add(ALLOWANCE_MICROS), charged.unwrap_or(0))
        }
        None => {
            let most = usage.total_tokens().saturating_mul(MAX_PRICE);
            let most = most.saturating_add(ALLOWANCE_MICROS);
            (most, most)
        }
    };
    // A price that was computed from a count which is not believed is that of no call.
    let is_computed = usage.total_tokens() < claimed.total_tokens();
    if claimed.cost_micros > most_cost || is_computed && claimed.cost_micros > charged {
        usage.cost_micros = charged;
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        prompt: 1_000,
        answer: 500,
        charged_answer: 400,
    };

    fn usage(input: u64, output: u64, cost: u64) -> Usage {
        Usage {
            input_tokens: input,
            output_tokens: output,
            cost_micros: cost,
            ..Usage::default()
        }
    }

    /// A micro-USD for a token.
    fn priced(prompt: u64, answer: u64) -> Option<u64> {
        Some(prompt + answer)
    }

    #[test]
    fn what_a_call_can_have_used_is_believed() {
        for fine in [
            usage(0, 0, 0),
            usage(900, 500, 1_400),
            // Thoughts beyond the ceiling, a prompt of the provider's own, a fee for a search.
            usage(900, 10_900, 11_800),
            usage(11_900, 20, 11_920),
            usage(900, 500, 90_000),
        ] {
            assert_eq!(believed(fine, BOUNDS, priced), fine);
        }
        // Free models, and models whose price is not known.
        let fine = usage(900, 500, 900_000);
        assert_eq!(believed(fine, BOUNDS, |_, _| None), fine);
        assert_eq!(believed(fine, BOUNDS, |_, _| Some(0)), fine);
    }

    #[test]
    fn what_no_call_of_the_size_can_have_used_costs_the_worst_case() {
        let million = 1_000_000_000_000;
        for (claimed, wanted) in [
            (usage(million, 20, million), usage(1_000, 20, 1_020)),
            (usage(12_001, 20, 12_021), usage(1_000, 20, 1_020)),
            (usage(900, 11_001, 11_901), usage(900, 400, 1_300)),
            (
                usage(u64::MAX, u64::MAX, u64::MAX),
                usage(1_000, 400, 1_400),
            ),
            (usage(900, 20, million), usage(900, 20, 920)),
        ] {
            assert_eq!(believed(claimed, BOUNDS, priced), wanted, "{claimed:?}");
        }
        let unpriced = believed(usage(900, 100, u64::MAX), BOUNDS, |_, _| None);
        assert_eq!(unpriced.cost_micros, 1_000 * MAX_PRICE + ALLOWANCE_MICROS);
        // Parts are not larger than the whole.
        let parts = Usage {
            cached_tokens: u64::MAX,
            reasoning_tokens: 5_000_000_000,
            ..usage(100, 9, 0)
        };
        let parts = believed(parts, BOUNDS, priced);
        assert_eq!((parts.cached_tokens, parts.reasoning_tokens), (100, 9));
    }
}
