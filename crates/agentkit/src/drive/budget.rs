//! Model calls under a budget that runs share: a ceiling on the answer, and an upper bound of the prompt.
//!
//! A run's own limits go by an estimate of the prompt, and the next call sees what the last call has used. A budget has
//! calls of many runs under way at once, so that each call must reserve at least as much as it can use.

use super::{Driver, model_call::Call};
use crate::{
    event::Failure,
    model::{Message, Model, Request},
};

/// More tokens than a provider counts for an image.
const IMAGE_TOKENS: u64 = 50_000;
/// More tokens than a provider adds to a message, or to a tool.
const FRAME_TOKENS: u64 = 64;

/// What budgets ask of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallBudget {
    /// Whether a budget limits money: a model without a known price is refused.
    pub money: bool,
}

impl Driver<'_> {
    /// Gives a call a ceiling, and has it reserve its worst case.
    ///
    /// # Errors
    /// The price of the model is not known, and a budget limits money.
    pub(super) fn bound_call(
        &self,
        model: &dyn Model,
        call: &mut Call,
        request: &mut Request,
        budget: CallBudget,
    ) -> Result<(), Failure> {
        let prompt = most_prompt_tokens(request);
        let ceiling = self.run.answer_ceiling(prompt, call.max_output_tokens);
        request.max_output_tokens = Some(ceiling);
        call.max_output_tokens = Some(ceiling);
        call.reserved_tokens = call.reserved_tokens.max(prompt.saturating_add(ceiling));
        let worst = match model.is_llm() {
            true => self.run.worst_cost_micros(prompt, ceiling),
            // A script costs nothing.
            false => Some(0),
        };
        match worst {
            Some(worst) => {
                call.reserved_cost_micros = call.reserved_cost_micros.max(worst);
                Ok(())
            }
            None if budget.money => {
                let name = model.name();
                let message = format!(
                    "no price is known for model `{name}`, and a budget that limits money is about this task; give the \
                     model's `prices` under `[models.\"{name}\"]` in the configuration file (0 for a model of your own), \
                     or leave out the budget's `cost_usd`"
                );
                Err(Failure::last("unknown_price", message))
            }
            None => Ok(()),
        }
    }
}

/// More tokens than the prompt of a request can have: a token stands for at least one byte.
pub(super) fn most_prompt_tokens(request: &Request) -> u64 {
    let json = |length: Option<usize>| length.unwrap_or(0) as u64 + FRAME_TOKENS;
    let messages = request.messages.iter().map(|message| {
        let images = match &**message {
            Message::User { images, .. } => images.len(),
            Message::Tool { images, .. } => images.len(),
            Message::System { .. } | Message::Assistant { .. } => 0,
        };
        let bytes = match &**message {
            // The bytes of an image are no tokens.
            Message::User { content, .. } => content.len() as u64 + FRAME_TOKENS,
            message => json(serde_json::to_vec(message).ok().map(|text| text.len())),
        };
        bytes.saturating_add(images as u64 * IMAGE_TOKENS)
    });
    let tools = request.tools.iter().map(|tool| {
        let schema = tool.input_schema.to_string().len();
        json(Some(schema + tool.name.len() + tool.description.len()))
    });
    let schema = request
        .response_schema
        .as_ref()
        .map(|schema| json(Some(schema.schema.to_string().len() + schema.name.len())));
    messages.chain(tools).chain(schema).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Image;

    #[test]
    fn a_prompt_has_no_more_tokens_than_bytes_and_frames() {
        let request = |messages: Vec<Message>| Request {
            messages: messages.into_iter().map(Arc::new).collect(),
            ..Request::default()
        };
        let text = "ü".repeat(500);
        let plain = most_prompt_tokens(&request(vec![Message::user(text.clone())]));
        assert_eq!(plain, 1_000 + FRAME_TOKENS);
        let image = Image::from_bytes(b"\x89PNG\r\n\x1a\n0000").ok();
        let shown = Message::User {
            content: text,
            images: image.into_iter().collect(),
        };
        let count = match &shown {
            Message::User { images, .. } => images.len() as u64,
            _ => 0,
        };
        assert_eq!(
            most_prompt_tokens(&request(vec![shown])),
            plain + count * IMAGE_TOKENS
        );
        let said = Message::Assistant {
            content: "x".repeat(100),
            calls: Vec::new(),
            parts: None,
        };
        assert!(most_prompt_tokens(&request(vec![said])) >= 100 + FRAME_TOKENS);
    }
}
