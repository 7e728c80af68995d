//! What a run does, told on standard error while it is done.

use serde_json::Value;

use crate::{
    client::StreamEvent,
    output::{self, say},
};

/// Tells on stderr what the agent does.
#[derive(Default)]
pub(in crate::commands) struct Progress {
    spinner: Option<indicatif::ProgressBar>,
}

impl Progress {
    /// Tells what an event says.
    pub(in crate::commands) fn see(&mut self, event: &StreamEvent) {
        let body = &event.data["data"];
        let line = match event.kind.as_str() {
            "model.started" => {
                self.wait_for(body["name"].as_str().unwrap_or("the model"));
                None
            }
            // The last answer is the result, which goes to stdout.
            "model.completed" if body["refused"].is_object() => Some(format!(
                "asking again: the answer {}",
                text(&body["refused"]["message"])
            )),
            "model.completed" if body["calls"] == 0 => None,
            "model.completed" => body["output"]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(first_line),
            "model.failed" => Some(format!("model failed: {}", text(&body["error"]["message"]))),
            "tool.called" => Some(format!(
                "{}({})",
                text(&body["name"]),
                output::arguments(&body["input"], 120)
            )),
            "tool.completed" => Some(format!("  -> {}", short(&body["output"]))),
            "tool.failed" => Some(format!("  failed: {}", text(&body["error"]["message"]))),
            "plan.updated" => Some(plan(body)),
            "task.lease_lost" => Some("the worker was lost; resuming".to_owned()),
            "task.retry_scheduled" => Some(format!(
                "attempt failed, another follows: {}",
                text(&body["error"]["message"])
            )),
            "task.waiting" => Some("waiting".to_owned()),
            _ => None,
        };
        if let Some(line) = line {
            if let Some(spinner) = self.spinner.take() {
                spinner.finish_and_clear();
            }
            say!("{line}");
        }
    }

    fn wait_for(&mut self, name: &str) {
        if self.spinner.is_none() {
            self.spinner = output::spinner(format!("{name} is thinking"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

/// What a plan says now: why a step failed, or the step that is being worked on.
fn plan(body: &Value) -> String {
    if let Some(message) = body["error"]["message"].as_str() {
        return format!("plan: {message}");
    }
    let items = body["output"].as_array().map_or(&[][..], Vec::as_slice);
    let at = items.iter().position(|item| item["status"] == "active");
    match at {
        Some(at) => format!(
            "plan: step {} of {}: {}",
            at + 1,
            items.len(),
            text(&items[at]["title"])
        ),
        None => "plan: every step is done".to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn first_line(text: &str) -> String {
    output::cut(text.lines().next().unwrap_or_default(), 160)
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    output::cut(&text.replace('\n', "\\n"), 120)
}
