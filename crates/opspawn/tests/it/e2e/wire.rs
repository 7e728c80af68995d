//! A conversation with aimock, which others wrote, on every surface: dependent and parallel tool
//! calls, and usage.

use ops_testkit::{Aimock, Launch, require_aimock};
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

/// A surface of a provider, as a user chooses it.
#[derive(Debug, Clone, Copy)]
pub(super) struct WireSurface {
    /// The provider.
    pub(super) provider: &'static str,
    /// A model of it that the model table has a price for, or that reports its cost.
    pub(super) model: &'static str,
    /// Where its requests go; an end may follow.
    pub(super) path: &'static str,
    /// What the base URL is below the server's own.
    below: &'static str,
    /// Micro-USD for an input and an output token, times a million.
    prices: (u64, u64),
}

pub(super) const SURFACES: [WireSurface; 5] = [
    WireSurface {
        provider: "openai",
        model: "gpt-4o-mini",
        path: "/v1/chat/completions",
        below: "/v1",
        prices: (150_000, 600_000),
    },
    WireSurface {
        provider: "openai",
        model: "gpt-5",
        path: "/v1/responses",
        below: "/v1",
        prices: (1_250_000, 10_000_000),
    },
    WireSurface {
        provider: "anthropic",
        model: "claude-opus-5-5",
        path: "/v1/messages",
        below: "",
        prices: (4_000_000, 20_000_000),
    },
    WireSurface {
        provider: "google",
        model: "gemini-2.5-flash",
        path: "/v1beta/models/gemini-2.5-flash:",
        below: "",
        prices: (300_000, 2_500_000),
    },
    WireSurface {
        provider: "openrouter",
        model: "anthropic/claude-opus-5.5",
        path: "/api/v1/chat/completions",
        below: "/api/v1",
        prices: (0, 0),
    },
];

impl WireSurface {
    /// A server that asks this surface of a mock.
    pub(super) fn dev(&self, test_dir: &TestDir, mock: &Aimock, stream: &str) -> Launch {
        let prefix = self.provider.to_ascii_uppercase();
        let base_url = format!("{}{}", mock.http().base(), self.below);
        test_dir
            .dev()
            .env("AGENTKIT_LLM_PROVIDER", self.provider)
            .env("AGENTKIT_LLM_MODEL", self.model)
            .env(format!("{prefix}_BASE_URL"), base_url)
            .env(format!("{prefix}_API_KEY"), "sk-test")
            .env("OPSPAWN_STREAM", stream)
    }

    /// The requests that a mock received on this surface, in the order in which they came; aimock
    /// shows the bodies of all surfaces as chat completions.
    pub(super) async fn seen(&self, mock: &Aimock) -> Vec<Value> {
        let reply = mock.http().get("/__aimock/journal").await.unwrap();
        let journal: Vec<Value> = reply.json().unwrap();
        let here = |entry: &Value| entry["path"].as_str().unwrap().starts_with(self.path);
        journal.into_iter().filter(here).collect()
    }

    /// What so many tokens cost in micro-USD, each call rounded up.
    fn cost(&self, calls: &[(u64, u64)]) -> u64 {
        let (input, output) = self.prices;
        let cost = |(i, o): &(u64, u64)| (i * input + o * output).div_ceil(1_000_000);
        calls.iter().map(cost).sum()
    }
}

/// Turn 1 asks for a product. Turn 2 is only there for who sends the product back, and writes it to
/// a file. Turn 3, after that, asks for two things at once. The answer needs the results of both.
fn conversation() -> Value {
    let call = |id: &str, name: &str, arguments: Value| json!({"id": id, "name": name, "arguments": arguments});
    let turn = |user: Value, calls: Vec<Value>, usage: Value| json!({"match": user, "response": {"toolCalls": calls, "usage": usage}});
    let usage = |input: u64, output: u64| json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    let after = |id: &str, result: &str| json!({"userMessage": "product", "toolCallId": id, "toolResultContains": result});
    json!({"fixtures": [
        turn(json!({"userMessage": "product", "hasToolResult": false}),
            vec![call("call_a", "calculator", json!({"expression": "19 * 3"}))], usage(101, 11)),
        turn(after("call_a", "57"),
            vec![call("call_b", "write_file", json!({"path": "product.txt", "content": "57"}))],
            usage(203, 13)),
        turn(after("call_b", "product.txt"), vec![
            call("call_c", "calculator", json!({"expression": "57 + 1"})),
            call("call_d", "read_file", json!({"path": "product.txt"})),
        ], usage(307, 17)),
        {"match": after("call_d", "57"), "response": {
            "content": "The product is 57 — and one more is 58.", "usage": usage(409, 19)}},
    ]})
}

/// Has the conversation, and checks the task, its file, its steps and what aimock saw.
async fn converse(surface: WireSurface, stream: &str) {
    let Some(path) = require_aimock() else { return };
    let mock = Aimock::start(&path, &conversation(), &[]).await.unwrap();
    let test_dir = TestDir::new();
    let server = surface.dev(&test_dir, &mock, stream).start().await.unwrap();
    let http = server.http();

    let task = tasks::run(http, "Write the product of 19 and 3 to a file").await;
    assert_eq!(task["status"], "completed", "{task:#}");
    let answer = "The product is 57 — and one more is 58.";
    assert_eq!(task["result"]["answer"], answer);
    assert_eq!(task["result"]["files"], json!(["product.txt"]));
    assert!(
        task["result"]["notice"].is_null(),
        "a model answered: {task:#}"
    );
    assert_eq!(
        tasks::tokens(&task),
        (101 + 203 + 307 + 409, 11 + 13 + 17 + 19)
    );
    let micros = surface.cost(&[(101, 11), (203, 13), (307, 17), (409, 19)]);
    assert_eq!(task["usage"]["cost_usd"], json!(micros as f64 / 1e6));
    let id = tasks::id(&task);
    let file = test_dir
        .data()
        .join("workspaces")
        .join(&id)
        .join("product.txt");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "57");

    let steps = tasks::steps(http, &id).await;
    let outline: Vec<(&str, &str)> = steps
        .iter()
        .map(|step| {
            (
                step["kind"].as_str().unwrap(),
                step["name"].as_str().unwrap(),
            )
        })
        .filter(|(kind, _)| *kind == "tool")
        .collect();
    let tool = |name| ("tool", name);
    assert_eq!(
        outline,
        [
            tool("calculator"),
            tool("write_file"),
            tool("calculator"),
            tool("read_file")
        ]
    );
    assert!(
        steps
            .iter()
            .all(|step| step["status"] == "completed" && step["attempt"] == 1)
    );
    let of_steps: u64 = steps.iter().map(|step| tasks::tokens(step).0).sum();
    assert_eq!(of_steps, tasks::tokens(&task).0);

    let seen = surface.seen(&mock).await;
    assert_eq!(seen.len(), 4, "{surface:?}: {seen:#?}");
    let streams = |entry: &Value| match surface.provider {
        "google" => entry["path"].as_str().unwrap().contains(":stream"),
        _ => entry["body"]["stream"].as_bool().unwrap_or(false),
    };
    assert!(
        seen.iter()
            .all(|entry| streams(entry) == (stream == "true")),
        "{seen:#?}"
    );
    // Both results of the parallel turn come back, in the order of the calls, under their ids.
    let messages = seen[3]["body"]["messages"].as_array().unwrap();
    let results: Vec<_> = messages
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| message["tool_call_id"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["call_a", "call_b", "call_c", "call_d"]);
    assert_calm(&server);
}

#[tokio::test]
#[ignore = "needs aimock: run by cargo xtask test"]
async fn a_conversation_with_tools_streamed() {
    for surface in SURFACES {
        converse(surface, "true").await;
    }
}

#[tokio::test]
#[ignore = "needs aimock: run by cargo xtask test"]
async fn a_conversation_with_tools_not_streamed() {
    for surface in SURFACES {
        converse(surface, "false").await;
    }
}
