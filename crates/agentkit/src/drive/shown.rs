//! The prompt of a model call: what the driver sends, made again without a call.

use std::sync::Arc;

use serde_json::{Value, json};

use super::prompt::prepare;
use crate::{
    Agent,
    event::ModelStarted,
    memory::Context,
    model::{Message, ResponseSchema},
    run::Run,
    tool::ToolSpec,
};

/// The most bytes of one text that are shown.
const MAX_TEXT: usize = 64 << 10;
/// The most bytes of all texts that are shown: later messages are left out.
const MAX_ALL: usize = 4 << 20;

/// What a model call is sent: the conversation, the tools and what the answer has to look like.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The messages, oldest first, with the instructions in front.
    pub messages: Vec<Arc<Message>>,
    /// The tools that the model may call. Where the call describes tools in words, there are none.
    pub tools: Vec<Arc<ToolSpec>>,
    /// The schema that the model is held to.
    pub response_schema: Option<ResponseSchema>,
}

/// The prompt of a call that the log intends. `run` is the fold of the log up to that intent, without it, and `agent` is
/// the agent that the run is pinned to. None if the agent has no model.
#[must_use]
pub fn prompt(agent: &Agent, run: &Run, intent: &ModelStarted) -> Option<Prompt> {
    let named = agent
        .models
        .iter()
        .find(|model| model.name() == intent.name);
    let model = named.or_else(|| agent.models.first())?;
    let context = &mut Context::default();
    let request = prepare(agent, run, context, &**model, &intent.purpose, None).request;
    Some(Prompt {
        messages: request.messages,
        tools: request.tools,
        response_schema: request.response_schema,
    })
}

impl Prompt {
    /// The prompt for people: each text with 64 KiB at most and all with 4 MiB; images by their type and size. A text
    /// that is cut has its whole size beside it, and messages that are left out are counted.
    #[must_use]
    pub fn shown(&self) -> Value {
        let mut room = MAX_ALL;
        let mut messages = Vec::new();
        for message in &self.messages {
            if room == 0 {
                break;
            }
            messages.push(shown(message, &mut room));
        }
        let left_out = self.messages.len() - messages.len();
        let tools: Vec<Value> = self
            .tools
            .iter()
            .map(|tool| json!({"name": tool.name, "description": tool.description}))
            .collect();
        let mut shown = json!({"messages": messages, "tools": tools});
        if left_out > 0 {
            shown["messages_left_out"] = left_out.into();
        }
        shown["response_schema"] = match &self.response_schema {
            Some(schema) => schema.schema.clone(),
            None => Value::Null,
        };
        shown
    }
}

fn shown(message: &Message, room: &mut usize) -> Value {
    let mut shown = match message {
        Message::System { content } => with_text(json!({"role": "system"}), content, room),
        Message::User { content, images } => {
            let mut shown = with_text(json!({"role": "user"}), content, room);
            if !images.is_empty() {
                shown["images"] = images.len().into();
            }
            shown
        }
        Message::Assistant {
            content,
            calls,
            parts: _,
        } => {
            let mut shown = with_text(json!({"role": "assistant"}), content, room);
            let calls: Vec<Value> = calls
                .iter()
                .map(|call| {
                    let call_of = json!({"step": call.step, "name": call.name});
                    with(call_of, "arguments", &text_of(&call.arguments), room)
                })
                .collect();
            if !calls.is_empty() {
                shown["calls"] = calls.into();
            }
            shown
        }
        Message::Tool {
            step,
            name,
            content,
            is_error,
            images,
            provider_id: _,
        } => {
            let of = json!({"role": "tool", "step": step, "name": name, "is_error": is_error});
            let mut shown = with_text(of, content, room);
            if !images.is_empty() {
                shown["images"] = images.len().into();
            }
            shown
        }
    };
    if let Some(object) = shown.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    shown
}

fn text_of(arguments: &Value) -> String {
    match arguments {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn with_text(shown: Value, text: &str, room: &mut usize) -> Value {
    with(shown, "content", text, room)
}

/// The object with a text, as far as there is room; `bytes` has the whole size of one that is cut.
fn with(mut shown: Value, key: &str, text: &str, room: &mut usize) -> Value {
    let end = text.floor_char_boundary(text.len().min(MAX_TEXT).min(*room));
    *room -= end;
    shown[key] = text[..end].into();
    if end < text.len() {
        shown[format!("{key}_bytes")] = text.len().into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StepId;

    fn prompt(messages: Vec<Message>) -> Value {
        let prompt = Prompt {
            messages: messages.into_iter().map(Arc::new).collect(),
            tools: Vec::new(),
            response_schema: None,
        };
        prompt.shown()
    }

    #[test]
    fn long_texts_are_cut_at_a_character_and_say_their_size() {
        let long = "\u{e4}".repeat(MAX_TEXT);
        let shown = prompt(vec![Message::user(long.clone())]);
        let first = &shown["messages"][0];
        assert_eq!(first["content"].as_str().unwrap().len(), MAX_TEXT);
        assert_eq!(first["content_bytes"], long.len());
        assert_eq!(shown.get("messages_left_out"), None);
    }

    #[test]
    fn a_long_conversation_has_an_end() {
        let tool = Message::Tool {
            step: StepId(2),
            provider_id: "c".to_owned(),
            name: "read_file".to_owned(),
            content: "x".repeat(MAX_TEXT),
            is_error: false,
            images: Vec::new(),
        };
        let count = MAX_ALL / MAX_TEXT;
        let shown = prompt(vec![tool; count + 3]);
        assert_eq!(shown["messages"].as_array().unwrap().len(), count);
        assert_eq!(shown["messages_left_out"], 3);
        assert!(shown.to_string().len() < MAX_ALL + (1 << 20));
    }
}
