//! What the stub does with a request: a function of the request and of its ordinal.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    str::FromStr,
};

use serde::Deserialize;
use serde_json::{Map, Value};

/// The turns of a plan or a script, and its last word.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Script {
    /// Turn i makes these calls.
    #[serde(default, alias = "plan")]
    turns: Vec<Turn>,
    /// The answer after the last turn, instead of `done`.
    answer: Option<String>,
    /// Names the conversation in the log.
    key: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Turn {
    Parallel(Vec<Call>),
    One(Call),
}

/// A tool call that the stub asks for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Call {
    /// The tool's name.
    pub(crate) tool: String,
    /// Its arguments.
    #[serde(default)]
    pub(crate) arguments: Map<String, Value>,
}

/// How a request is mistreated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Not at all.
    None,
    /// An error body with this status.
    Status(u16),
    /// No answer as long as the client waits.
    Hang,
    /// Status 200 and broken JSON.
    Garbage,
    /// Status 200 and an error body.
    Error200,
    /// The connection is cut in the middle of the answer.
    Disconnect,
    /// A stream ends in good order, but early; without streaming, half of a body.
    Truncate,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "ok" => Self::None,
            "hang" => Self::Hang,
            "garbage" => Self::Garbage,
            "error200" => Self::Error200,
            "disconnect" => Self::Disconnect,
            "truncate" => Self::Truncate,
            status => match status.parse() {
                Ok(status @ 400..=599) => Self::Status(status),
                _ => {
                    return Err(
                        "expected ok, 400 to 599, hang, garbage, error200, disconnect \
                                 or truncate"
                            .to_owned(),
                    );
                }
            },
        })
    }
}

/// What is read of a request.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The conversation that the request belongs to.
    pub(crate) conversation: String,
    /// The number of assistant messages.
    pub(crate) turn: usize,
    plan: Option<Script>,
}

/// What the stub says where it is not kept from it.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// These tool calls.
    Tools(Vec<Call>),
    /// This text.
    Answer(String),
}

/// What the stub does.
#[derive(Debug, PartialEq)]
pub(crate) struct Reaction {
    /// What it says.
    pub(crate) say: Reply,
    /// How it fails to say it.
    pub(crate) fault: Fault,
    /// The Retry-After of a status.
    pub(crate) retry_after: Option<u64>,
}

impl Reaction {
    /// The word for it in the log.
    pub(crate) fn name(&self) -> &'static str {
        match (self.fault, &self.say) {
            (Fault::None, Reply::Tools(_)) => "tools",
            (Fault::None, Reply::Answer(_)) => "answer",
            (Fault::Status(_), _) => "status",
            (Fault::Hang, _) => "hang",
            (Fault::Garbage, _) => "garbage",
            (Fault::Error200, _) => "error200",
            (Fault::Disconnect, _) => "disconnect",
            (Fault::Truncate, _) => "truncate",
        }
    }
}

/// What the flags of the stub say.
pub(crate) struct Behaviour {
    pub(crate) script: Script,
    pub(crate) faults: Vec<Fault>,
    pub(crate) retry_after: Option<u64>,
}

impl Behaviour {
    /// What to do with the n-th request (from 1).
    pub(crate) fn react(&self, n: u64, seen: &Seen) -> Reaction {
        let script = seen.plan.as_ref().unwrap_or(&self.script);
        let say = match script.turns.get(seen.turn) {
            Some(Turn::One(call)) => Reply::Tools(vec![call.clone()]),
            Some(Turn::Parallel(calls)) => Reply::Tools(calls.clone()),
            None => Reply::Answer(script.answer.clone().unwrap_or_else(|| "done".to_owned())),
        };
        let at = usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(1);
        let fault = self.faults.get(at).copied().unwrap_or(Fault::None);
        Reaction {
            say,
            fault,
            retry_after: self.retry_after,
        }
    }
}

/// Reads a request: its turn, its plan, its conversation.
pub(crate) fn read(request: &Value) -> Seen {
    let messages = request["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let turn = messages
        .iter()
        .filter(|message| message["role"] == "assistant")
        .count();
    let mut of_user = messages
        .iter()
        .filter(|message| message["role"] == "user")
        .map(text);
    let goal = of_user.next().unwrap_or_default();
    let plan = plan(&goal).or_else(|| of_user.find_map(|text| plan(&text)));
    let conversation = match plan.as_ref().and_then(|plan| plan.key.clone()) {
        Some(key) => key,
        None => {
            let mut hasher = DefaultHasher::new();
            goal.hash(&mut hasher);
            format!("{:016x}", hasher.finish())
        }
    };
    Seen {
        conversation,
        turn,
        plan,
    }
}

/// A message's text, of one piece or of several.
fn text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        _ => String::new(),
    }
}

/// The first JSON object with a member `plan` in a text.
fn plan(text: &str) -> Option<Script> {
    text.match_indices('{').find_map(|(at, _)| {
        let mut objects = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        let object = objects.next()?.ok()?;
        object.get("plan")?;
        serde_json::from_value(object).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn behaviour() -> Behaviour {
        Behaviour {
            script: Script::default(),
            faults: Vec::new(),
            retry_after: None,
        }
    }

    fn request(goal: &str, turns: usize) -> Value {
        let mut messages = vec![json!({"role": "user", "content": goal})];
        for turn in 0..turns {
            messages.push(json!({"role": "assistant", "content": format!("turn {turn}")}));
        }
        json!({"messages": messages})
    }

    fn call(tool: &str) -> Call {
        Call {
            tool: tool.into(),
            arguments: Map::new(),
        }
    }

    #[test]
    fn the_plan_in_the_goal_is_followed_turn_by_turn() {
        let goal = r#"Do {this}: {"key":"k","plan":[{"tool":"a"},[{"tool":"b"},{"tool":"c"}]],
                      "answer":"well"} please"#;
        let say = |turns| {
            let seen = read(&request(goal, turns));
            assert_eq!(seen.conversation, "k");
            behaviour().react(1, &seen).say
        };
        assert_eq!(say(0), Reply::Tools(vec![call("a")]));
        assert_eq!(say(1), Reply::Tools(vec![call("b"), call("c")]));
        assert_eq!(say(2), Reply::Answer("well".into()));
        assert_eq!(say(9), Reply::Answer("well".into()));
    }

    #[test]
    fn a_script_speaks_where_there_is_no_plan() {
        let script = serde_json::from_value(json!({"turns": [{"tool": "a"}]})).unwrap();
        let behaviour = Behaviour {
            script,
            ..behaviour()
        };
        let say = |turns| behaviour.react(1, &read(&request("go", turns))).say;
        assert_eq!(say(0), Reply::Tools(vec![call("a")]));
        assert_eq!(say(1), Reply::Answer("done".into()));
    }

    #[test]
    fn a_conversation_is_known_by_its_goal() {
        let of = |goal, turns| read(&request(goal, turns)).conversation;
        assert_eq!(of("a", 0), of("a", 3));
        assert_ne!(of("a", 0), of("b", 0));
        let parts = json!({"messages": [{"role": "user", "content": [{"text": "a"}]}]});
        assert_eq!(of("a", 0), read(&parts).conversation);
    }

    #[test]
    fn faults_befall_the_first_requests_in_order() {
        let faults = ["ok", "429", "hang"]
            .map(|fault| fault.parse().unwrap())
            .to_vec();
        let behaviour = Behaviour {
            faults,
            ..behaviour()
        };
        let fault = |n| behaviour.react(n, &read(&request("go", 0))).fault;
        assert_eq!(
            [1, 2, 3, 4].map(fault),
            [Fault::None, Fault::Status(429), Fault::Hang, Fault::None]
        );
        assert!("200".parse::<Fault>().is_err() && "no".parse::<Fault>().is_err());
    }
}
