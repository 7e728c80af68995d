//! `opspawn task step`: what a model was asked with.

use serde_json::Value;

use crate::output::{self, field, show};

pub(super) fn show(prompt: &Value, json: bool) {
    if json {
        output::json(prompt);
        return;
    }
    show!("model     {}", field(prompt, "model"));
    show!("attempt   {}", field(prompt, "attempt"));
    let tools: Vec<&str> = items(&prompt["tools"])
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    if !tools.is_empty() {
        show!("tools     {}", output::one_line(&tools.join(", ")));
    }
    if !prompt["response_schema"].is_null() {
        show!(
            "schema    {}",
            output::clean_json(&prompt["response_schema"].to_string())
        );
    }
    for message in items(&prompt["messages"]) {
        show!("\n--- {}", heading(message));
        text(message, "content");
        for call in items(&message["calls"]) {
            show!("call {} of step {}:", field(call, "name"), call["step"]);
            text(call, "arguments");
        }
    }
    if let Some(count) = prompt["messages_left_out"].as_u64() {
        show!("\n--- {count} later messages are not shown");
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn heading(message: &Value) -> String {
    let mut heading = field(message, "role");
    if let Some(step) = message["step"].as_u64() {
        heading += &format!(", {} of step {step}", field(message, "name"));
    }
    if message["is_error"] == true {
        heading += ", failed";
    }
    if let Some(images) = message["images"].as_u64() {
        heading += &format!(", with {images} images");
    }
    heading
}

/// A text of several lines, and how long it is if that is not all of it.
fn text(of: &Value, key: &str) {
    let text = of[key].as_str().unwrap_or_default();
    if !text.is_empty() {
        show!("{}", output::clean(text));
    }
    if let Some(bytes) = of[format!("{key}_bytes")].as_u64() {
        show!("[cut: it has {bytes} bytes]");
    }
}
