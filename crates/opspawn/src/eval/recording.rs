//! The log of an old run, as `opspawn task export` writes it: what its tools returned.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Registry, RegistryError, Resources, ToolContext, ToolOutput},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

/// What an old run was asked, and what its tools returned.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// Its `input_data`.
    pub(crate) input: Value,
    /// The outcomes of its calls, by name and arguments, in their order.
    outcomes: HashMap<Call, Vec<Result<Value, Failure>>>,
}

/// A tool's name and its arguments as canonical JSON.
type Call = (String, String);

/// A call that the old run did not make.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Divergence {
    /// The tool.
    pub(crate) tool: String,
    /// Its arguments.
    pub(crate) arguments: Value,
}

/// The tools of a replay: none of them does anything.
#[derive(Debug)]
pub(crate) struct Replay {
    recording: Arc<Recording>,
    /// How often each call was made.
    made: Mutex<HashMap<Call, usize>>,
    divergences: Mutex<Vec<Divergence>>,
}

struct ReplayedTool {
    tool: Arc<dyn Tool>,
    replay: Arc<Replay>,
}

impl Recording {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the recording {}: {error}", path.display()))?;
        Self::parse(&text).map_err(|message| format!("the recording {}: {message}", path.display()))
    }

    /// Reads the lines of an export.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut recording = Self::default();
        let mut steps = Vec::new();
        // What the model asked for, which a person may have edited before it ran.
        let mut asked: BTreeMap<u64, Value> = BTreeMap::new();
        let mut handles: BTreeMap<u64, String> = BTreeMap::new();
        let mut blobs: HashMap<String, Vec<u8>> = HashMap::new();
        let mut whole = false;
        for (number, line) in (1..).zip(text.lines()) {
            let mut line: Value = serde_json::from_str(line)
                .map_err(|error| format!("line {number} is not JSON: {error}"))?;
            match line["type"].as_str() {
                Some("task") => recording.input = line["task"]["input_data"].take(),
                Some("step") => steps.push(line["step"].take()),
                Some("event") => {
                    let data = &mut line["event"]["data"];
                    if let (Some("tool.called"), Some(step)) =
                        (data["type"].as_str(), data["step"].as_u64())
                    {
                        asked.insert(step, data["input"].take());
                    }
                    if let (Some(step), Some(digest)) =
                        (data["step"].as_u64(), data["handle"]["digest"].as_str())
                    {
                        handles.insert(step, digest.to_owned());
                    }
                }
                Some("blob") => {
                    let piece = line["base64"].as_str().unwrap_or_default();
                    let piece = BASE64_STANDARD
                        .decode(piece)
                        .map_err(|error| format!("line {number}: {error}"))?;
                    let digest = line["digest"].as_str().unwrap_or_default();
                    blobs.entry(digest.to_owned()).or_default().extend(piece);
                }
                Some("end") => whole = true,
                _ => {
                    return Err(format!(
                        "line {number} is none of an export; write one with `opspawn task export`"
                    ));
                }
            }
        }
        if !whole {
            return Err("it is cut: an export ends with a line of the type `end`".to_owned());
        }
        for step in steps {
            // What the machine asked for itself, a version under evaluation does not.
            if step["kind"] != "tool" || step["initiator"] == "machine" {
                continue;
            }
            let number = step["step"].as_u64();
            let large = number.and_then(|step| handles.get(&step));
            let large = large.and_then(|digest| blobs.get(digest));
            let asked = number.and_then(|step| asked.get(&step));
            recording.note(&step, asked, large.map(Vec::as_slice));
        }
        Ok(recording)
    }

    /// The tools that the old run called.
    pub(crate) fn tools(&self) -> impl Iterator<Item = String> {
        self.outcomes.keys().map(|(tool, _)| tool.clone())
    }

    /// Notes the outcome of a call, for the arguments that ran and for those that the model asked for: a
    /// version that asks for the same again gets what the edited call returned.
    fn note(&mut self, step: &Value, asked: Option<&Value>, large: Option<&[u8]>) {
        let outcome = match step["status"].as_str() {
            Some("completed") => Ok(large.map_or_else(|| step["output"].clone(), value_of)),
            Some("failed") => Err(serde_json::from_value(step["error"].clone())
                .unwrap_or_else(|_| Failure::last("tool_failed", step["error"].to_string()))),
            _ => return,
        };
        let name = step["name"].as_str().unwrap_or_default();
        let ran = call(name, &step["input"]);
        let asked = asked.filter(|asked| !asked.is_null());
        let asked = asked
            .map(|asked| call(name, asked))
            .filter(|asked| *asked != ran);
        for call in asked.into_iter().chain([ran]) {
            self.outcomes.entry(call).or_default().push(outcome.clone());
        }
    }
}

/// A large value: JSON, or text.
fn value_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

fn call(name: &str, arguments: &Value) -> Call {
    let canonical =
        serde_json_canonicalizer::to_string(arguments).unwrap_or_else(|_| arguments.to_string());
    (name.to_owned(), canonical)
}

impl Replay {
    /// Tools that answer from a recording.
    pub(crate) fn new(recording: Arc<Recording>) -> Arc<Self> {
        Arc::new(Self {
            recording,
            made: Mutex::default(),
            divergences: Mutex::default(),
        })
    }

    /// Tools of the same definitions that do nothing but answer.
    pub(crate) fn tools(self: &Arc<Self>, tools: &Registry) -> Result<Registry, RegistryError> {
        let specs = tools.specs();
        let replayed = specs.iter().filter_map(|spec| {
            let tool = ReplayedTool {
                tool: Arc::clone(tools.get(&spec.name)?),
                replay: Arc::clone(self),
            };
            Some(Arc::new(tool) as Arc<dyn Tool>)
        });
        Registry::new(replayed)
    }

    /// The calls that the recording does not have.
    pub(crate) fn divergences(&self) -> Vec<Divergence> {
        self.divergences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A call that is made again and again goes on with the last outcome.
    fn answer(&self, tool: &str, arguments: Value) -> Result<Value, Failure> {
        let key = call(tool, &arguments);
        let Some(outcomes) = self.recording.outcomes.get(&key) else {
            self.divergences
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Divergence {
                    tool: tool.to_owned(),
                    arguments,
                });
            return Err(Failure::last(
                "not_recorded",
                "the recorded run made no such call, so nothing is known of its result, and it was \
                 not made; go on without it",
            ));
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let count = made.entry(key).or_default();
        let outcome = outcomes.get(*count).or_else(|| outcomes.last());
        *count += 1;
        outcome.expect("a call is noted with its outcome").clone()
    }
}

impl Tool for ReplayedTool {
    fn spec(&self) -> &ToolSpec {
        self.tool.spec()
    }

    fn effect(&self, arguments: &Value) -> Effect {
        self.tool.effect(arguments)
    }

    fn resources(&self, arguments: &Value) -> Resources {
        self.tool.resources(arguments)
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        let answer = self.replay.answer(&self.spec().name, arguments);
        Box::pin(std::future::ready(answer.map(ToolOutput::from)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn export() -> String {
        let step = |number: u64, name: &str, input: Value, status: &str, rest: Value| {
            let mut step = json!({
                "step": number, "kind": "tool", "name": name, "input": input, "status": status,
                "output": null, "error": null,
            });
            for (key, value) in rest.as_object().unwrap() {
                step[key] = value.clone();
            }
            json!({"type": "step", "step": step})
        };
        let large = json!({"text": "x".repeat(20)});
        [
            json!({"type": "task", "task": {"input_data": {"prompt": "sum"}}}),
            json!({"type": "step", "step": {"step": 1, "kind": "model", "name": "m", "status": "completed"}}),
            step(2, "read", json!({"a": 1, "b": 2}), "completed", json!({"output": "one"})),
            step(3, "read", json!({"b": 2, "a": 1}), "completed", json!({"output": "two"})),
            step(4, "read", json!({}), "failed",
                json!({"error": {"code": "no", "message": "none", "retryable": false}})),
            step(5, "big", json!({}), "completed", json!({"output": "{\"te"})),
            json!({"type": "event", "event": {"data": {"step": 5, "handle": {"digest": "d"}}}}),
            json!({"type": "blob", "digest": "d", "offset": 0,
                "base64": BASE64_STANDARD.encode(large.to_string())}),
            json!({"type": "end"}),
        ]
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
    }

    #[test]
    fn calls_are_answered_as_they_were_and_others_are_not_made() {
        let recording = Recording::parse(&export()).unwrap();
        assert_eq!(recording.input, json!({"prompt": "sum"}));
        let replay = Replay::new(Arc::new(recording));
        let read = |arguments| replay.answer("read", arguments);
        let same = json!({"a": 1, "b": 2});
        assert_eq!(read(same.clone()).unwrap(), "one");
        assert_eq!(read(same.clone()).unwrap(), "two");
        assert_eq!(read(same).unwrap(), "two");
        assert_eq!(read(json!({})).unwrap_err().message, "none");
        let large = replay.answer("big", json!({})).unwrap();
        assert_eq!(large["text"], "x".repeat(20));
        assert!(replay.divergences().is_empty());
        assert_eq!(read(json!({"a": 2})).unwrap_err().code, "not_recorded");
        let [divergence] = &replay.divergences()[..] else {
            panic!("one")
        };
        assert_eq!(divergence.arguments, json!({"a": 2}));
    }

    /// cli/C8: a run failed against its own recording once a person had edited a call's arguments.
    #[test]
    fn an_edited_call_is_answered_for_what_the_model_asked() {
        let lines = [
            json!({"type": "task", "task": {"input_data": {"prompt": "write"}}}),
            json!({"type": "step", "step": {"step": 2, "kind": "tool", "name": "write", "status": "completed",
                "input": {"text": "edited"}, "output": "written", "error": null}}),
            json!({"type": "event", "event": {"data": {"type": "tool.called", "step": 2,
                "name": "write", "input": {"text": "asked"}}}}),
            json!({"type": "end"}),
        ];
        let export: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let replay = Replay::new(Arc::new(Recording::parse(&export).unwrap()));
        for text in ["asked", "edited"] {
            assert_eq!(
                replay.answer("write", json!({"text": text})).unwrap(),
                "written"
            );
        }
        assert!(replay.divergences().is_empty());
    }

    #[test]
    fn what_is_no_whole_export_is_refused() {
        let cut = export().replace("{\"type\":\"end\"}\n", "");
        assert!(Recording::parse(&cut).unwrap_err().contains("it is cut"));
        assert!(
            Recording::parse("{}")
                .unwrap_err()
                .contains("line 1 is none")
        );
        assert!(
            Recording::parse("x")
                .unwrap_err()
                .contains("line 1 is not JSON")
        );
    }
}
