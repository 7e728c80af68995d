//! The prompt of a model call, and the parsing of its reply.

use std::sync::Arc;

use super::{Driver, RecordError};
use crate::{
    Agent,
    event::{Failure, FinishReason, Purpose},
    memory::Context,
    model::{Message, Model, Request, Response, ResponseSchema, client},
    planner::{self, Dialect, Parsed, Reading},
    run::Run,
};

/// A request, with the conversation to put back after the call.
pub(super) struct PreparedPrompt {
    pub(super) request: Request,
    pub(super) purpose: Purpose,
    pub(super) dialect: Dialect,
    /// The conversation, where the request has another conversation.
    conversation: Option<Vec<Arc<Message>>>,
}

impl PreparedPrompt {
    /// The conversation as it was taken.
    pub(super) fn messages(self) -> Vec<Arc<Message>> {
        self.conversation.unwrap_or(self.request.messages)
    }
}

/// An answer and its reading.
pub(super) struct ParsedReply {
    pub(super) response: Response,
    /// `None` for calls, and for an answer that is empty or cut.
    pub(super) reading: Option<Reading>,
}

/// What a model is sent in a run that is so far, with the messages that `context` keeps.
pub(super) fn prepare(
    agent: &Agent,
    run: &Run,
    context: &mut Context,
    model: &dyn Model,
    purpose: &Purpose,
    max_output_tokens: Option<u64>,
) -> PreparedPrompt {
    let temperature = run.config().and_then(|config| config.temperature);
    if let Purpose::Summary { keep_from } = purpose {
        return PreparedPrompt {
            request: Request {
                purpose: purpose.clone(),
                messages: run.summary_request(*keep_from),
                max_output_tokens,
                temperature,
                ..Request::default()
            },
            purpose: purpose.clone(),
            dialect: Dialect::Native,
            conversation: None,
        };
    }
    let prompt = agent.planner.prompt(run);
    let tools = agent.gate.registry().specs();
    let messages = context.take(run.memory());
    let info = model.info();
    let has_tools = info.is_none_or(|info| info.tools != Some(false));
    let dialect = match agent.planner.dialect() {
        Dialect::Native if has_tools => Dialect::Native,
        Dialect::Native | Dialect::Text if tools.is_empty() => Dialect::Native,
        Dialect::Native | Dialect::Text => Dialect::Text,
    };
    // Providers do not have to keep to a schema beside tools that are text.
    let is_held = |schema: &ResponseSchema| {
        let held = |info| client::is_held(model.name(), info, &schema.schema, !tools.is_empty());
        dialect == Dialect::Native && info.is_some_and(held)
    };
    let mut closing = Vec::new();
    if let (Some(refused), Some(refusal)) = (run.refused(), planner::refusal(run)) {
        closing.push(Message::Assistant {
            content: refused.text.clone(),
            calls: Vec::new(),
            parts: None,
        });
        closing.push(Message::user(refusal));
    }
    closing.extend(prompt.closing_message.map(Message::user));
    let schema = prompt.schema.as_ref().filter(|schema| !is_held(schema));
    let rules = schema.map(planner::as_instructions);
    let mut request = Request {
        purpose: prompt.purpose.clone(),
        messages,
        tools,
        max_output_tokens,
        temperature,
        response_schema: prompt.schema.filter(|_| dialect == Dialect::Native),
        answers: Some(run.answers()),
        message_tokens: Some(run.memory().tokens()),
        prompt_tokens: Some(run.prompt_tokens()),
        images: Arc::default(),
    };
    let mut conversation = None;
    if dialect == Dialect::Text || !closing.is_empty() || rules.is_some() {
        let mut written = match dialect {
            Dialect::Native => request.messages.clone(),
            Dialect::Text => planner::rewrite(&request.messages, &request.tools),
        };
        if dialect == Dialect::Text {
            request.tools.clear();
        }
        if let Some(content) = rules {
            let is_system = |message: &&Arc<Message>| matches!(***message, Message::System { .. });
            let lead = written.iter().take_while(is_system).count();
            written.insert(lead, Arc::new(Message::System { content }));
        }
        written.extend(closing.into_iter().map(Arc::new));
        request.message_tokens = None;
        conversation = Some(std::mem::replace(&mut request.messages, written));
    }
    PreparedPrompt {
        request,
        purpose: prompt.purpose,
        dialect,
        conversation,
    }
}

impl Driver<'_> {
    /// The request to the model.
    pub(super) fn prompt(
        &mut self,
        model: &dyn Model,
        purpose: &Purpose,
        max_output_tokens: Option<u64>,
    ) -> PreparedPrompt {
        let context = &mut self.context;
        prepare(
            self.agent,
            self.run,
            context,
            model,
            purpose,
            max_output_tokens,
        )
    }

    /// Parses an answer. The reading is recorded, and never computed again.
    pub(super) async fn parse_reply(
        &self,
        mut response: Response,
        dialect: Dialect,
    ) -> Result<ParsedReply, RecordError> {
        let is_whole = matches!(
            response.finish,
            FinishReason::Stop | FinishReason::ToolCalls
        );
        // Some servers find calls in the text themselves.
        if !response.calls.is_empty() || !is_whole || response.content.trim().is_empty() {
            return Ok(ParsedReply {
                response,
                reading: None,
            });
        }
        let answer = match dialect {
            Dialect::Native => None,
            Dialect::Text => {
                let tools = self.agent.gate.registry().specs();
                match planner::parse_reply(&response.content, &tools) {
                    Ok(Parsed::Calls { prose, calls }) => {
                        response = Response {
                            content: prose,
                            calls,
                            parts: None,
                            ..response
                        };
                        return Ok(ParsedReply {
                            response,
                            reading: None,
                        });
                    }
                    Ok(Parsed::Answer(answer)) => Some(answer),
                    Err(error) => {
                        return Ok(ParsedReply {
                            response,
                            reading: Some(Reading::Refused(error)),
                        });
                    }
                }
            }
        };
        let text = answer.as_deref().unwrap_or(&response.content);
        let reading = self.agent.planner.read(self.run, text);
        let held = self.in_time(planner::held(self.run, reading)).await?;
        let reading = held.unwrap_or_else(|| Reading::Refused(unchecked("answer")));
        Ok(ParsedReply {
            response,
            reading: Some(reading),
        })
    }
}

/// The failure of a text that was not checked in time.
pub(super) fn unchecked(what: &str) -> Failure {
    let message = format!("the {what} had not been checked at the run's deadline");
    Failure::last("timeout", message)
}

#[cfg(test)]
mod tests;
