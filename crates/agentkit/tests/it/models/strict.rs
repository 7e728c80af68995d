//! A server that reads the conversation that it is sent as the strictest of them do, and says what it
//! would refuse with HTTP 400.

use std::collections::HashSet;

use agentkit::model::client::ApiSurface;
use serde_json::Value;

/// What is wrong with a request; nothing if a strict server takes it.
pub(crate) fn refusals(surface: ApiSurface, body: &str) -> Vec<String> {
    let body: Value = match serde_json::from_str(body) {
        Ok(body) => body,
        Err(error) => return vec![format!("the body is no JSON: {error}")],
    };
    let mut server = Server::default();
    match surface {
        ApiSurface::Chat => server.chat(&body),
        ApiSurface::Responses => server.responses(&body),
        ApiSurface::Messages => server.messages(&body),
        ApiSurface::GenerateContent => server.generate_content(&body),
    }
    server.end();
    server.refusals
}

#[derive(Default)]
struct Server {
    /// Ids of calls without a result, in their order.
    open: Vec<String>,
    ids: HashSet<String>,
    refusals: Vec<String>,
}

impl Server {
    fn refuse(&mut self, what: impl Into<String>) {
        self.refusals.push(what.into());
    }

    fn call(&mut self, id: &Value, name: &Value, arguments: Option<&Value>, marks: &str) {
        let id = id.as_str().unwrap_or_default();
        if id.is_empty() || !self.ids.insert(id.to_owned()) {
            self.refuse(format!(
                "the id `{id}` of a call is empty, or there already"
            ));
        }
        self.open.push(id.to_owned());
        let name = name.as_str().unwrap_or_default();
        let takes = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c) || marks.contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(takes) {
            self.refuse(format!("`{name}` is no name of a tool"));
        }
        if !arguments.is_some_and(Value::is_object) {
            self.refuse(format!("the arguments {arguments:?} are no object"));
        }
    }

    fn result(&mut self, id: &Value) {
        let id = id.as_str().unwrap_or_default();
        match self.open.iter().position(|open| open == id) {
            Some(at) => drop(self.open.remove(at)),
            None => self.refuse(format!("`{id}` is the result of no call")),
        }
    }

    /// Something else follows, or nothing.
    fn end(&mut self) {
        for id in std::mem::take(&mut self.open) {
            self.refuse(format!("the call `{id}` has no result"));
        }
    }

    fn chat(&mut self, body: &Value) {
        for message in list(&body["messages"]) {
            if message["role"] == "tool" {
                self.result(&message["tool_call_id"]);
                continue;
            }
            self.end();
            for call in list(&message["tool_calls"]) {
                let function = &call["function"];
                let arguments = parsed(&function["arguments"]);
                self.call(&call["id"], &function["name"], arguments.as_ref(), "");
            }
        }
    }

    fn responses(&mut self, body: &Value) {
        let mut reasoned = false;
        for item in list(&body["input"]) {
            let kind = item["type"].as_str().unwrap_or("message");
            match kind {
                "function_call_output" => self.result(&item["call_id"]),
                "function_call" => {
                    let arguments = parsed(&item["arguments"]);
                    self.call(&item["call_id"], &item["name"], arguments.as_ref(), "");
                }
                _ => {}
            }
            let is_own = item["role"] != "user" && kind != "function_call_output";
            if reasoned && !is_own {
                self.refuse("reasoning stands without the item that follows it");
            }
            reasoned = kind == "reasoning";
        }
    }

    fn messages(&mut self, body: &Value) {
        let mut before = "";
        for message in list(&body["messages"]) {
            let role = message["role"].as_str().unwrap_or_default();
            if role == before {
                self.refuse(format!("two turns of `{role}` follow each other"));
            }
            before = role;
            let blocks = list(&message["content"]);
            if blocks.is_empty() {
                self.refuse("a turn is empty");
            }
            for block in blocks {
                match block["type"].as_str().unwrap_or_default() {
                    "text"
                        if block["text"]
                            .as_str()
                            .is_none_or(|text| text.trim().is_empty()) =>
                    {
                        self.refuse("a text block is blank");
                    }
                    "tool_use" => {
                        self.call(&block["id"], &block["name"], Some(&block["input"]), "");
                    }
                    "tool_result" => self.result(&block["tool_use_id"]),
                    _ => {}
                }
            }
            let last = blocks.last().map(|block| &block["type"]);
            if role == "assistant" && last.is_some_and(|kind| kind == "thinking") {
                self.refuse("the last block of a turn is thinking");
            }
            if role == "user" {
                self.end();
            }
        }
    }

    /// The names and the order of results say which calls they are of.
    fn generate_content(&mut self, body: &Value) {
        let mut names: Vec<&Value> = Vec::new();
        for content in list(&body["contents"]) {
            let parts = list(&content["parts"]);
            if parts.is_empty() {
                self.refuse("a turn has no parts");
            }
            for part in parts {
                if part["text"] == "" && part.get("thoughtSignature").is_none() {
                    self.refuse("a text part is empty");
                }
                if let Some(call) = part.get("functionCall") {
                    names.push(&call["name"]);
                    let id = Value::from(format!("{}", self.ids.len()));
                    self.call(&id, &call["name"], call.get("args"), ".:");
                }
                if let Some(result) = part.get("functionResponse") {
                    if names.is_empty() || *names.remove(0) != result["name"] {
                        self.refuse(format!("{} is the result of no call", result["name"]));
                    }
                    self.open.pop();
                }
            }
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The JSON that a text holds.
fn parsed(text: &Value) -> Option<Value> {
    serde_json::from_str(text.as_str()?).ok()
}
