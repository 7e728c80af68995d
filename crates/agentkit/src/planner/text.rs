//! Tool calls as text, for models that have no tool calling: how a conversation is written for
//! them, and how their words are understood.

mod parse;

use std::sync::Arc;

use serde_json::Value;

pub(crate) use self::parse::{Parsed, parse_reply};
use crate::{model::Message, tool::ToolSpec};

/// The conversation for a model that knows no tools: those there are stand in a message of the
/// system after the instructions, calls stand in the model's words, and results are words of the
/// user. Opaque parts stay out: they stand for calls that the model never made.
pub(crate) fn rewrite(messages: &[Arc<Message>], tools: &[Arc<ToolSpec>]) -> Vec<Arc<Message>> {
    let is_system = |message: &&Arc<Message>| matches!(***message, Message::System { .. });
    let lead = messages.iter().take_while(is_system).count();
    let mut written: Vec<Arc<Message>> = messages[..lead].to_vec();
    let content = instructions(tools);
    written.push(Arc::new(Message::System { content }));
    let mut observations = String::new();
    for message in &messages[lead..] {
        if let Message::Tool {
            name,
            content,
            is_error,
            ..
        } = &**message
        {
            let error = if *is_error { "error: " } else { "" };
            observations.push_str(&format!("Observation ({name}): {error}{content}\n"));
            continue;
        }
        flush(&mut observations, &mut written);
        written.push(match &**message {
            Message::Assistant { content, calls, .. } => {
                let mut content = content.clone();
                // Another model may have made them natively.
                if !content.contains("Action") {
                    for call in calls {
                        let (name, arguments) = (&call.name, raw(&call.arguments));
                        content.push_str(&format!("\nAction: {name}\nAction Input: {arguments}"));
                    }
                }
                Arc::new(Message::Assistant {
                    content,
                    calls: Vec::new(),
                    parts: None,
                })
            }
            Message::System { .. } | Message::User { .. } | Message::Tool { .. } => {
                Arc::clone(message)
            }
        });
    }
    flush(&mut observations, &mut written);
    written
}

fn flush(observations: &mut String, written: &mut Vec<Arc<Message>>) {
    if !observations.is_empty() {
        let text = std::mem::take(observations);
        written.push(Arc::new(Message::user(text.trim_end())));
    }
}

/// Arguments as they were written.
fn raw(arguments: &Value) -> String {
    match arguments {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn instructions(tools: &[Arc<ToolSpec>]) -> String {
    let mut text = "You can use these tools:\n".to_owned();
    for tool in tools {
        let description = tool.description.replace('\n', " ");
        text.push_str(&format!(
            "- {}: {description} Input, as JSON Schema: {}\n",
            tool.name, tool.input_schema
        ));
    }
    text.push_str(
        "\nTo use one, answer in exactly this form, and stop after it:\n\
         Thought: what you need to know or do next\n\
         Action: the name of one tool\n\
         Action Input: its input, as one JSON object\n\
         \n\
         You are then told the result as an Observation; never write one yourself. Use tools as \
         often as you need. Once you know enough, answer in this form:\n\
         Thought: why you are done\n\
         Final Answer: the answer",
    );
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{event::StepId, model::MessageCall};

    #[test]
    fn calls_and_results_become_words() {
        let tool = |step, content: &str, is_error| Message::Tool {
            step: StepId(step),
            provider_id: "p".into(),
            name: "look".into(),
            content: content.into(),
            is_error,
            images: Vec::new(),
        };
        let said = |content: &str| Message::Assistant {
            content: content.into(),
            calls: vec![MessageCall {
                step: StepId(2),
                provider_id: "p".into(),
                name: "look".into(),
                arguments: json!({"at": "sea"}),
            }],
            parts: Some(json!("opaque")),
        };
        let messages = [
            Message::System {
                content: "be exact".into(),
            },
            Message::user("goal"),
            said("I look."),
            tool(2, "blue", false),
            tool(3, "no such place", true),
            said("Thought: again\nAction: look\nAction Input: {}"),
            tool(5, "green", false),
        ]
        .map(Arc::new);
        let spec = ToolSpec::new("look", "Looks\naround.", json!({"type": "object"}));
        let written = rewrite(&messages, &[Arc::new(spec)]);
        let lines: Vec<(&str, &str)> = written
            .iter()
            .map(|message| match &**message {
                Message::System { content } => ("system", &**content),
                Message::User { content, .. } => ("user", &**content),
                Message::Assistant {
                    content,
                    calls,
                    parts,
                } => {
                    assert!(calls.is_empty() && parts.is_none());
                    ("assistant", &**content)
                }
                Message::Tool { .. } => panic!("a model without tools is sent a result"),
            })
            .collect();
        assert_eq!(lines[0], ("system", "be exact"));
        assert!(
            lines[1]
                .1
                .contains("- look: Looks around. Input, as JSON Schema: {\"type\":\"object\"}\n")
        );
        assert_eq!(
            lines[2..],
            [
                ("user", "goal"),
                (
                    "assistant",
                    "I look.\nAction: look\nAction Input: {\"at\":\"sea\"}"
                ),
                (
                    "user",
                    "Observation (look): blue\nObservation (look): error: no such place"
                ),
                (
                    "assistant",
                    "Thought: again\nAction: look\nAction Input: {}"
                ),
                ("user", "Observation (look): green"),
            ]
        );
    }
}
