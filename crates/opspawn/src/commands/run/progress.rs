//! What a run does, told on standard error while it is done.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    client::StreamEvent,
    output::{self, status},
};

/// Tells on stderr what the agent does.
#[derive(Default)]
pub(in crate::commands) struct Progress {
    /// Names of the calls that have no outcome yet, by step.
    calls: BTreeMap<u64, String>,
    /// Whether calls of one answer overlap, so that outcomes need their names.
    several: bool,
    spinner: Option<indicatif::ProgressBar>,
}

impl Progress {
    /// Tells what an event says.
    pub(in crate::commands) fn see(&mut self, event: &StreamEvent) {
        let body = &event.data["data"];
        let name = self.follow(event);
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
            "tool.called" => {
                let call = format!(
                    "{}({})",
                    text(&body["name"]),
                    output::arguments(&body["input"], 120)
                );
                Some(match body["error"]["message"].as_str() {
                    Some(why) => format!("{call} refused: {why}"),
                    None => call,
                })
            }
            "tool.completed" => Some(format!("  -> {name}{}", short(&body["output"]))),
            "tool.failed" => {
                let why = text(&body["error"]["message"]);
                Some(format!("  failed: {name}{why}"))
            }
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
            status!("{line}");
        }
    }

    /// Keeps the calls that have no outcome yet. The name of the call whose outcome the event is, if outcomes need names.
    fn follow(&mut self, event: &StreamEvent) -> String {
        let body = &event.data["data"];
        let step = [&event.data["step"], &body["step"]]
            .into_iter()
            .find_map(Value::as_u64);
        let Some(step) = step else {
            return String::new();
        };
        match event.kind.as_str() {
            "tool.called" if !body["error"].is_object() => {
                self.calls.insert(step, text(&body["name"]).to_owned());
                self.several |= self.calls.len() > 1;
                String::new()
            }
            "tool.completed" | "tool.failed" => {
                let name = self.calls.remove(&step).filter(|_| self.several);
                self.several &= !self.calls.is_empty();
                name.map_or_else(String::new, |name| format!("{name}: "))
            }
            _ => String::new(),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outcomes_of_calls_that_overlap_have_names() {
        let mut progress = Progress::default();
        let mut follow = |kind: &str, step: u64, body: Value| {
            let data = json!({"step": step, "data": body});
            let kind = kind.to_owned();
            progress.follow(&StreamEvent { kind, data })
        };
        let called = |name: &str| json!({"name": name, "input": {}});
        assert_eq!(follow("tool.called", 2, called("a")), "");
        assert_eq!(follow("tool.completed", 2, json!({})), "");
        follow("tool.called", 4, called("a"));
        follow("tool.called", 5, called("b"));
        // A refused call has no other outcome.
        follow(
            "tool.called",
            6,
            json!({"name": "c", "error": {"message": "no"}}),
        );
        assert_eq!(follow("tool.failed", 5, json!({})), "b: ");
        assert_eq!(follow("tool.completed", 4, json!({})), "a: ");
        follow("tool.called", 8, called("d"));
        assert_eq!(follow("tool.completed", 8, json!({})), "");
    }
}
