//! What a server of the newer era wants to be told before it goes on: a question to a person, who may take days.

use agentkit::{
    event::{CallWait, Failure},
    tool::{FollowUp, Resumed, ToolContext, ToolOutput},
};
use serde_json::{Map, Value, json};

use crate::text::shown;

/// Marks what a call wants to know again as that of a call that is open.
const OPEN: &str = "open";
/// Why no model answers a server: see docs/adr/0027.
pub(crate) const SAMPLING_REFUSED: &str = "asks for an answer of a model (`sampling/createMessage`), which is not \
                                           offered: no model is called for servers";
/// The most requests of one result.
const MAX_REQUESTS: usize = 16;
/// The most bytes of a server's words in a question.
const MESSAGE_LIMIT: usize = 4_000;

/// How a call goes on once a person has answered.
#[derive(Clone, Copy)]
pub(crate) enum Resumption<'a> {
    /// It is made again with the server's state.
    Again { state: Option<&'a str> },
    /// It is open at the server all the while.
    GoesOn,
}

/// Whether a person answered a call that was open at the server.
pub(crate) fn was_open(resumed: &Resumed) -> bool {
    resumed.state[OPEN] == true
}

/// Waits for the answers of a person. The signal has the name that questions of the agent's have.
pub(crate) fn wait(
    server: &str,
    context: &ToolContext,
    requests: &Value,
    resumption: Resumption<'_>,
) -> Result<ToolOutput, Failure> {
    let refused =
        |why: String| Failure::last("input_required", format!("the MCP server `{server}` {why}"));
    let requests = requests
        .as_object()
        .filter(|requests| requests.len() <= MAX_REQUESTS);
    let requests = requests
        .ok_or_else(|| refused(format!("asks more than {MAX_REQUESTS} questions at once")))?;
    let mut questions = Vec::new();
    let mut shown_requests = Map::new();
    for (id, request) in requests {
        let method = request["method"].as_str().unwrap_or_default();
        if method == "sampling/createMessage" {
            let why = format!("the MCP server `{server}` {SAMPLING_REFUSED}");
            return Err(Failure::last("sampling_refused", why));
        }
        if method != "elicitation/create" {
            // Roots were not declared.
            return Err(refused(format!(
                "asks for `{}`, which is not offered",
                shown(method, 60)
            )));
        }
        let params = &request["params"];
        let message = shown(
            params["message"].as_str().unwrap_or_default(),
            MESSAGE_LIMIT,
        );
        questions.push(match params["url"].as_str() {
            Some(url) => format!("{message} (open {})", shown(url, 2_000)),
            None => message,
        });
        shown_requests.insert(
            id.clone(),
            json!({"schema": params["requestedSchema"], "url": params["url"]}),
        );
    }
    let wait = CallWait::Signal {
        name: format!("human.{}", context.step),
        prompt: Some(json!({
            "question": format!("{} (asked by the MCP server `{server}`)", questions.join("\n")),
            "requests": shown_requests,
        })),
        until_micros: None,
        resume: Some(match resumption {
            Resumption::Again { state } => json!({"requests": requests, "state": state}),
            Resumption::GoesOn => json!({"requests": requests, OPEN: true}),
        }),
    };
    Ok(FollowUp::Wait(wait).into())
}

/// A person's answer, as the server wants it.
pub(crate) fn answers(resumed: &Resumed) -> (Value, Option<String>) {
    let empty = Map::new();
    let requests = resumed.state["requests"].as_object().unwrap_or(&empty);
    let is_single = requests.len() == 1;
    let answers = requests.iter().map(|(id, request)| {
        let said = match resumed.answer.get(id) {
            Some(said) => said,
            None if is_single => &resumed.answer,
            None => &Value::Null,
        };
        let params = &request["params"];
        (
            id.clone(),
            with_defaults(&params["requestedSchema"], answer(params, said)),
        )
    });
    let answers: Map<String, Value> = answers.collect();
    (
        answers.into(),
        resumed.state["state"].as_str().map(str::to_owned),
    )
}

/// One answer: what already has the server's form, an object for a form, or a text for a form of one field.
/// An answer that does not fit declines.
fn answer(params: &Value, said: &Value) -> Value {
    let declined = json!({"action": "decline"});
    let properties = params["requestedSchema"]["properties"].as_object();
    match said {
        Value::Object(fields) if fields.get("action").is_some_and(Value::is_string) => said.clone(),
        Value::Object(_) if params["url"].is_null() => json!({"action": "accept", "content": said}),
        Value::Bool(false) => declined,
        Value::String(text)
            if ["decline", "no", "cancel"].contains(&text.trim().to_lowercase().as_str()) =>
        {
            declined
        }
        Value::String(text) if text.trim_start().starts_with('{') => {
            match serde_json::from_str(text) {
                Ok(inner @ Value::Object(_)) => answer(params, &inner),
                Ok(_) | Err(_) => declined,
            }
        }
        // A page was opened, and something done there.
        Value::String(_) | Value::Bool(true) if params["url"].is_string() => {
            json!({"action": "accept"})
        }
        Value::String(_) | Value::Number(_) | Value::Bool(true) => {
            match properties.map(|all| all.iter()) {
                Some(mut all) if all.len() == 1 => {
                    let Some((name, schema)) = all.next() else {
                        return declined;
                    };
                    json!({"action": "accept", "content": {name: typed(schema, said)}})
                }
                _ => declined,
            }
        }
        Value::Null | Value::Array(_) | Value::Object(_) => declined,
    }
}

/// An answer with the defaults of the form for what a person left out (SEP-1034).
pub(crate) fn with_defaults(schema: &Value, mut answer: Value) -> Value {
    if answer["action"] == "accept"
        && let Some(content) = answer.get_mut("content").and_then(Value::as_object_mut)
    {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(default) = property.get("default") {
                content
                    .entry(name.clone())
                    .or_insert_with(|| default.clone());
            }
        }
    }
    answer
}

/// Text as the kind of value that a field is of.
fn typed(schema: &Value, said: &Value) -> Value {
    let Some(text) = said.as_str() else {
        return said.clone();
    };
    let read = match schema["type"].as_str() {
        Some("integer") => text.trim().parse::<i64>().ok().map(Value::from),
        Some("number") => text.trim().parse::<f64>().ok().map(Value::from),
        Some("boolean") => match text.trim().to_lowercase().as_str() {
            "yes" | "true" => Some(true.into()),
            "no" | "false" => Some(false.into()),
            _ => None,
        },
        _ => None,
    };
    read.unwrap_or_else(|| said.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(schema: Value, said: Value) -> Value {
        let request =
            json!({"method": "elicitation/create", "params": {"requestedSchema": schema}});
        let resumed = Resumed {
            state: json!({"requests": {"q": request}, "state": "s"}),
            answer: said,
        };
        let (answers, state) = answers(&resumed);
        assert_eq!(state.as_deref(), Some("s"));
        answers["q"].clone()
    }

    #[test]
    fn what_a_person_says_becomes_what_the_server_wants() {
        let one = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        let two = json!({"type": "object", "properties": {"a": {}, "b": {}}});
        let accept = |content: Value| json!({"action": "accept", "content": content});
        for (schema, said, expected) in [
            (&one, json!("5"), accept(json!({"n": 5}))),
            (&one, json!(5), accept(json!({"n": 5}))),
            (&one, json!({"n": 7}), accept(json!({"n": 7}))),
            (&one, json!("{\"n\": 7}"), accept(json!({"n": 7}))),
            (&one, json!({"q": "6"}), accept(json!({"n": 6}))),
            (
                &two,
                json!({"a": 1, "b": 2}),
                accept(json!({"a": 1, "b": 2})),
            ),
            (&two, json!("words"), json!({"action": "decline"})),
            (&one, json!("decline"), json!({"action": "decline"})),
            (&one, Value::Null, json!({"action": "decline"})),
            (
                &one,
                json!({"action": "cancel"}),
                json!({"action": "cancel"}),
            ),
        ] {
            assert_eq!(answered(schema.clone(), said.clone()), expected, "{said}");
        }
    }
}
