//! The words of a model call: what it is asked, and what its answer means.

use std::sync::Arc;

use super::{Driver, RecordError};
use crate::{
    event::{Failure, FinishReason, Purpose},
    model::{Message, Model, Request, Response, ResponseSchema, client},
    planner::{self, Dialect, Reading, Said},
};

/// A request, with the conversation to put back after the call.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) purpose: Purpose,
    pub(super) dialect: Dialect,
    /// The conversation, where the request has another one.
    kept: Option<Vec<Arc<Message>>>,
}

impl Asked {
    /// The conversation as it was taken.
    pub(super) fn messages(self) -> Vec<Arc<Message>> {
        self.kept.unwrap_or(self.request.messages)
    }
}

/// An answer and what it means.
pub(super) struct Heard {
    pub(super) response: Response,
    /// None for calls, and for an answer that is empty or not whole.
    pub(super) reading: Option<Reading>,
}

impl Driver<'_> {
    /// What the model is sent.
    pub(super) fn ask(
        &mut self,
        model: &dyn Model,
        purpose: &Purpose,
        max_output_tokens: Option<u64>,
    ) -> Asked {
        let temperature = self.run.config().and_then(|config| config.temperature);
        if let Purpose::Summary { keep_from } = purpose {
            return Asked {
                request: Request {
                    purpose: purpose.clone(),
                    messages: self.run.summary_request(*keep_from),
                    max_output_tokens,
                    temperature,
                    ..Request::default()
                },
                purpose: purpose.clone(),
                dialect: Dialect::Native,
                kept: None,
            };
        }
        let ask = self.agent.planner.ask(self.run);
        let tools = self.agent.gate.registry().specs();
        let messages = self.context.take(self.run.memory());
        let info = model.info();
        let has_tools = info.is_none_or(|info| info.tools != Some(false));
        let dialect = match self.agent.planner.dialect() {
            Dialect::Native if has_tools => Dialect::Native,
            Dialect::Native | Dialect::Text if tools.is_empty() => Dialect::Native,
            Dialect::Native | Dialect::Text => Dialect::Text,
        };
        // Providers do not have to keep to a schema beside tools that are text.
        let is_held = |schema: &ResponseSchema| {
            let held =
                |info| client::is_held(model.name(), info, &schema.schema, !tools.is_empty());
            dialect == Dialect::Native && info.is_some_and(held)
        };
        let mut said = Vec::new();
        if let (Some(refused), Some(refusal)) = (self.run.refused(), planner::refusal(self.run)) {
            said.push(Message::Assistant {
                content: refused.text.clone(),
                calls: Vec::new(),
                parts: None,
            });
            said.push(Message::user(refusal));
        }
        said.extend(ask.say.map(Message::user));
        let schema = ask.schema.as_ref().filter(|schema| !is_held(schema));
        let rules = schema.map(planner::in_words);
        let mut request = Request {
            purpose: ask.purpose.clone(),
            messages,
            tools,
            max_output_tokens,
            temperature,
            response_schema: ask.schema.filter(|_| dialect == Dialect::Native),
            answers: Some(self.run.answers()),
            message_tokens: Some(self.run.memory().tokens()),
            prompt_tokens: Some(self.run.prompt_tokens()),
            images: Arc::default(),
        };
        let mut kept = None;
        if dialect == Dialect::Text || !said.is_empty() || rules.is_some() {
            let mut written = match dialect {
                Dialect::Native => request.messages.clone(),
                Dialect::Text => planner::rewrite(&request.messages, &request.tools),
            };
            if dialect == Dialect::Text {
                request.tools.clear();
            }
            if let Some(content) = rules {
                let is_system =
                    |message: &&Arc<Message>| matches!(***message, Message::System { .. });
                let lead = written.iter().take_while(is_system).count();
                written.insert(lead, Arc::new(Message::System { content }));
            }
            written.extend(said.into_iter().map(Arc::new));
            request.message_tokens = None;
            kept = Some(std::mem::replace(&mut request.messages, written));
        }
        Asked {
            request,
            purpose: ask.purpose,
            dialect,
            kept,
        }
    }

    /// What an answer means. It is recorded, and never worked out again.
    pub(super) async fn hear(
        &self,
        mut response: Response,
        dialect: Dialect,
    ) -> Result<Heard, RecordError> {
        let is_whole = matches!(
            response.finish,
            FinishReason::Stop | FinishReason::ToolCalls
        );
        // Some servers find calls in the text themselves.
        if !response.calls.is_empty() || !is_whole || response.content.trim().is_empty() {
            return Ok(Heard {
                response,
                reading: None,
            });
        }
        let answer = match dialect {
            Dialect::Native => None,
            Dialect::Text => {
                let tools = self.agent.gate.registry().specs();
                match planner::hear(&response.content, &tools) {
                    Ok(Said::Calls { words, calls }) => {
                        response = Response {
                            content: words,
                            calls,
                            parts: None,
                            ..response
                        };
                        return Ok(Heard {
                            response,
                            reading: None,
                        });
                    }
                    Ok(Said::Answer(answer)) => Some(answer),
                    Err(error) => {
                        return Ok(Heard {
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
        Ok(Heard {
            response,
            reading: Some(reading),
        })
    }
}

/// Why something that the model wrote was not looked at.
pub(super) fn unchecked(what: &str) -> Failure {
    let message = format!("the {what} had not been checked at the run's deadline");
    Failure::last("timeout", message)
}

#[cfg(test)]
mod tests;
