//! What providers say, on each surface, from the answers that agentkit is tested with.

use std::path::PathBuf;

use ops_testkit::Launch;
use serde_json::{Value, json};

/// A surface of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    /// The folder of its recorded answers.
    pub(crate) folder: &'static str,
    provider: &'static str,
    model: &'static str,
}

/// Chat completions, which every test can write without a recording.
pub(crate) const CHAT: Wire = Wire {
    folder: "chat",
    provider: "openai",
    model: "gpt-4o-mini",
};

pub(crate) const RESPONSES: Wire = Wire {
    folder: "responses",
    provider: "openai",
    model: "gpt-5",
};

pub(crate) const MESSAGES: Wire = Wire {
    folder: "messages",
    provider: "anthropic",
    model: "claude-opus-5-5",
};

pub(crate) const GENERATE_CONTENT: Wire = Wire {
    folder: "generate_content",
    provider: "google",
    model: "gemini-3.8-flash",
};

pub(crate) const OPENROUTER: Wire = Wire {
    folder: "openrouter",
    provider: "openrouter",
    model: "a/b",
};

impl Wire {
    /// The product, with the provider at this address.
    pub(crate) fn launch(&self, launch: Launch, url: &str, stream: bool) -> Launch {
        let prefix = self.provider.to_ascii_uppercase();
        launch
            .env("OPSPAWN_PROVIDER", self.provider)
            .env("OPSPAWN_MODEL", self.model)
            .env(format!("{prefix}_BASE_URL"), format!("{url}/v1"))
            .env("OPSPAWN_STREAM", stream.to_string())
    }

    /// An answer as the provider sends it.
    pub(crate) fn recorded(&self, case: &str, stream: bool) -> String {
        let kind = if stream { "sse" } else { "json" };
        let root =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../agentkit/tests/fixtures/models");
        std::fs::read_to_string(root.join(self.folder).join(format!("{case}.{kind}"))).unwrap()
    }
}

#[cfg(feature = "failpoints")]
impl Wire {
    /// A text, which a stream gives in these two pieces.
    pub(crate) fn says(&self, [first, second]: [&str; 2], stream: bool) -> String {
        let good = self.recorded("good", stream);
        let good = good.replace("ße 😀", &quoted(second));
        good.replace("Grü", &quoted(first))
    }

    /// A call of `ledger_write` with this key, with whatever the surface sends beside it.
    pub(crate) fn writes(&self, key: &str, stream: bool) -> String {
        let case = if *self == CHAT { "calls" } else { "opaque" };
        let calls = self.recorded(case, stream);
        let calls = calls.replace("read_file", "ledger_write");
        calls.replace("path", "key").replace("ä.csv", key)
    }

    /// How much of an answer is sent before the rest is held back: of a stream, as far as these
    /// words; else half.
    pub(crate) fn beginning(&self, answer: &str, words: &str, stream: bool) -> usize {
        if stream {
            let at = answer.find(&quoted(words)).expect("the words are in it");
            let end = answer[at..].find("\n\n").expect("an event has an end");
            at + end + 2
        } else {
            answer.floor_char_boundary(answer.len() / 2)
        }
    }
}

/// A text inside a JSON string.
fn quoted(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// A chat completion: words, calls of tools as their ids, names and arguments, and tokens in and
/// out.
pub(crate) fn completion(
    words: &str,
    calls: &[(&str, &str, Value)],
    (input, output): (usize, usize),
    stream: bool,
) -> String {
    let calls: Vec<Value> = calls
        .iter()
        .enumerate()
        .map(|(index, (id, name, arguments))| {
            json!({"index": index, "id": id, "type": "function",
                "function": {"name": name, "arguments": arguments.to_string()}})
        })
        .collect();
    let finish = if calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    let usage = json!({"prompt_tokens": input, "completion_tokens": output,
        "total_tokens": input + output});
    let mut message = json!({"role": "assistant", "content": words});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let answer = |object: &str, choices: Value, usage: &Value| {
        json!({"id": "chatcmpl-1", "object": object, "created": 1_760_000_000,
            "model": "model-1", "choices": choices, "usage": usage})
    };
    if !stream {
        let choice = json!([{"index": 0, "message": message, "finish_reason": finish}]);
        return answer("chat.completion", choice, &usage).to_string();
    }
    let chunk = |choices: Value, usage: &Value| {
        format!(
            "data: {}\n\n",
            answer("chat.completion.chunk", choices, usage)
        )
    };
    let delta = |delta: Value, finish: Option<&str>| {
        let choice = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        chunk(choice, &Value::Null)
    };
    [
        delta(message, None),
        delta(json!({}), Some(finish)),
        chunk(json!([]), &usage),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat()
}
