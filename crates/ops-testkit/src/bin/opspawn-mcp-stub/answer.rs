//! The stub's answers. Tools by their names:
//!
//! | tool | does |
//! | --- | --- |
//! | `echo` | gives its arguments back |
//! | `write` | is logged, and answers how often its key was; the plan may `cut` answers |
//! | `write_die`, `write_lose` | is logged, then dies, or does not answer |
//! | `seen` | says how often a key was logged |
//! | `key` | gives the call's key |
//! | `image`, `fail`, `odd`, `structured` | a picture; an error; parts of odd types; a value |
//! | `slow`, `progress` | answers after `ms`, the latter with notifications every `every_ms` |
//! | `large`, `endless`, `values`, `close`, `wrong` | `bytes` of answer; a line without an end; many values; closes stdout; no JSON |
//! | `no_result`, `text_id` | an answer without a result; one whose id became a text |
//! | `leak` | gives away the header `X-Api-Key`, else the variable `STUB_TOKEN`, as `how` says |
//! | `ask`, `ask_twice`, `sample` | wants to be told a name first, once or twice; wants a model to answer |
//! | `change` | changes the list of tools: `add`, `rename`, `describe` |
//! | `flood` | `count` notifications, then an answer |
//! | `write_task` | is logged, and is a task (2025-11-25) that is done after `polls` looks; `die_at` is the look at which it dies |

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::plan::{Discover, Plan};

/// A picture: a PNG of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const KEY: &str = "opspawn/idempotency-key";

/// How a request is answered.
pub(crate) enum Answer {
    Result(Value),
    Error(i64, String),
    /// These bytes, `$ID` for the request's id.
    Raw(Vec<u8>),
    Large(usize),
    /// The beginning of an answer with this result, up to a byte that this number chooses.
    Cut(Value, u64),
    Endless,
    Nothing,
    Die,
    CloseStdout,
}

/// The state of the stub.
pub(crate) struct Server {
    pub(crate) plan: Plan,
    tools: Mutex<Vec<Value>>,
    /// Answers to the stub's own requests, by id.
    waiting: Mutex<HashMap<String, mpsc::Sender<Value>>>,
    next: AtomicU64,
    subscription: Mutex<Option<Value>>,
    cancelled: AtomicBool,
    /// Tasks, each with its arguments and how often it was looked at.
    tasks: Mutex<Vec<(Value, u64)>>,
}

impl Server {
    pub(crate) fn new(plan: Plan) -> Self {
        let tools = plan.tools.clone().unwrap_or_else(|| match plan.many {
            0 => standard(),
            many => (0..many).map(|at| tool(&format!("tool_{at}"))).collect(),
        });
        Self {
            plan,
            tools: Mutex::new(tools),
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            subscription: Mutex::default(),
            cancelled: AtomicBool::new(false),
            tasks: Mutex::default(),
        }
    }

    fn speaks(&self, era: &str) -> bool {
        self.plan.era == era || self.plan.era == "both"
    }

    fn tools(&self) -> Vec<Value> {
        if let Some(path) = &self.plan.tools_file
            && let Ok(text) = std::fs::read_to_string(path)
            && let Ok(tools) = serde_json::from_str(&text)
        {
            return tools;
        }
        self.tools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes the answer to a request of the stub's own.
    pub(crate) fn answered(&self, message: &Value) {
        let id = message["id"].as_str().unwrap_or_default();
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(message.clone());
        }
    }

    pub(crate) fn notified(&self, message: &Value) {
        if message["method"] == "notifications/cancelled" {
            self.cancelled.store(true, Ordering::SeqCst);
            self.log(&json!({"cancelled": message["params"]["requestId"]}));
        }
    }

    fn log(&self, line: &Value) {
        if let Some(path) = &self.plan.log {
            use std::io::Write as _;
            let file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path);
            if let Ok(mut file) = file {
                let _ = file.write_all(format!("{line}\n").as_bytes());
            }
        }
    }

    fn logged(&self, key: &str) -> usize {
        let Some(path) = &self.plan.log else { return 0 };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line["key"] == key && line["effect"] == true)
            .count()
    }

    /// Answers a request. `say` sends messages of the stub's own.
    pub(crate) fn answer(&self, request: &Value, say: &dyn Fn(&Value)) -> Answer {
        let params = &request["params"];
        let version = &params["_meta"]["io.modelcontextprotocol/protocolVersion"];
        let is_modern = version.is_string();
        if is_modern && (!self.speaks("modern") || self.plan.discover == Discover::Error) {
            return Answer::Error(-32601, "no such method".to_owned());
        }
        let mut answer = match request["method"].as_str().unwrap_or_default() {
            "server/discover" if self.speaks("modern") => Answer::Result(json!({
                "supportedVersions": ["2026-07-28"],
                "capabilities": self.plan.capabilities,
                "instructions": self.plan.instructions,
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "stub", "version": "1"}},
                "ttlMs": 0, "cacheScope": "private",
            })),
            "initialize" if self.speaks("legacy") => Answer::Result(json!({
                "protocolVersion": params["protocolVersion"],
                "capabilities": self.plan.capabilities,
                "serverInfo": {"name": "stub", "version": "1"},
                "instructions": self.plan.instructions,
            })),
            "initialize" => {
                return Answer::Error(-32022, "unsupported protocol version".to_owned());
            }
            "ping" => Answer::Result(json!({})),
            "tools/list" => self.list(params),
            "prompts/list" if self.plan.broken_prompts => {
                return Answer::Error(-32603, "the prompts are broken".to_owned());
            }
            "prompts/list" => Answer::Result(
                json!({"prompts": [{"name": "greet", "description": "A greeting."}]}),
            ),
            "prompts/get" => Answer::Result(json!({"messages": [
                {"role": "user", "content": {"type": "text", "text": "Greet somebody."}},
            ]})),
            "resources/list" => {
                Answer::Result(json!({"resources": [{"uri": "stub://note", "name": "note"}]}))
            }
            "resources/read" => Answer::Result(json!({"contents": [
                {"uri": params["uri"], "text": format!("the contents of {}", params["uri"].as_str().unwrap_or("?"))},
            ]})),
            "subscriptions/listen" => {
                *self
                    .subscription
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(request["id"].clone());
                thread::sleep(Duration::from_secs(3600));
                Answer::Nothing
            }
            "tools/call" => self.call(request, say),
            "tasks/get" | "tasks/result" | "tasks/cancel" => self.task(request),
            other => return Answer::Error(-32601, format!("no method `{other}`")),
        };
        if let Answer::Result(result) = &mut answer
            && is_modern
            && result.get("resultType").is_none()
        {
            result["resultType"] = "complete".into();
        }
        answer
    }

    fn list(&self, params: &Value) -> Answer {
        let tools = self.tools();
        let size = if self.plan.page == 0 {
            tools.len().max(1)
        } else {
            self.plan.page
        };
        let from: usize = params["cursor"]
            .as_str()
            .and_then(|cursor| cursor.parse().ok())
            .unwrap_or(0);
        let page: Vec<&Value> = tools.iter().skip(from).take(size).collect();
        let mut result = json!({"tools": page, "ttlMs": 0, "cacheScope": "private"});
        if from + size < tools.len() {
            result["nextCursor"] = (from + size).to_string().into();
        }
        Answer::Result(result)
    }

    /// Makes a task of a call that asks for one.
    fn new_task(&self, params: &Value) -> Answer {
        if params["task"]["ttl"].as_u64().is_none() {
            return Answer::Error(-32601, "the tool has to be called as a task".to_owned());
        }
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push((params["arguments"].clone(), 0));
        let id = format!("task-{}", tasks.len());
        Answer::Result(json!({"task": {"taskId": id, "status": "working", "pollInterval": 0}}))
    }

    fn task(&self, request: &Value) -> Answer {
        let id = request["params"]["taskId"].as_str().unwrap_or_default();
        let at = id
            .strip_prefix("task-")
            .and_then(|at| at.parse::<usize>().ok());
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((arguments, looks)) = at.and_then(|at| tasks.get_mut(at - 1)) else {
            return Answer::Error(-32602, format!("no task `{id}`"));
        };
        *looks += 1;
        if arguments["die_at"] == *looks {
            return Answer::Die;
        }
        match request["method"].as_str().unwrap_or_default() {
            "tasks/cancel" => {
                self.log(&json!({"cancelled": id}));
                Answer::Result(json!({"taskId": id, "status": "cancelled"}))
            }
            "tasks/result" => text(&format!("done after {} looks", *looks - 1)),
            _ => {
                let is_early = *looks < arguments["polls"].as_u64().unwrap_or(1);
                let status = ["completed", "working"][usize::from(is_early)];
                Answer::Result(json!({"taskId": id, "status": status, "pollInterval": 0}))
            }
        }
    }

    fn call(&self, request: &Value, say: &dyn Fn(&Value)) -> Answer {
        let params = &request["params"];
        let (name, arguments) = (
            params["name"].as_str().unwrap_or_default(),
            &params["arguments"],
        );
        let key = params["_meta"][KEY].as_str().unwrap_or_default();
        let number = |field: &str, usual: u64| arguments[field].as_u64().unwrap_or(usual);
        let is_write = name.starts_with("write");
        self.log(&json!({
            "tool": name, "key": key, "effect": is_write, "arguments": arguments,
            "traceparent": params["_meta"]["traceparent"],
            "traceparent_header": params["_meta"]["stub/traceparent-header"],
        }));
        match name {
            "write" => match (text(&format!("written {}", self.logged(key))), self.luck(key)) {
                (Answer::Result(result), Some(luck)) => Answer::Cut(result, luck),
                (whole, _) => whole,
            },
            "write_die" | "die" => Answer::Die,
            // The answer to the first of a key is lost, and so is the server.
            "write_once" if self.logged(key) == 1 => Answer::Die,
            "write_once" => text(&format!("written {}", self.logged(key))),
            "write_lose" => Answer::Nothing,
            "write_task" => self.new_task(params),
            "seen" => text(
                &self
                    .logged(arguments["key"].as_str().unwrap_or_default())
                    .to_string(),
            ),
            "key" => text(key),
            "fail" => Answer::Result(
                json!({"content": [{"type": "text", "text": "it did not work"}], "isError": true}),
            ),
            "image" => Answer::Result(
                json!({"content": [{"type": "image", "data": PIXEL, "mimeType": "image/png"}]}),
            ),
            "odd" => Answer::Result(json!({"content": [
                {"type": "text", "text": "fine", "annotations": {"audience": ["system"]}},
                {"type": "hologram"},
            ]})),
            "structured" => Answer::Result(json!({
                "content": [{"type": "text", "text": "{\"n\":5}"}], "structuredContent": {"n": 5},
            })),
            "slow" => {
                thread::sleep(Duration::from_millis(number("ms", 1_000)));
                text("done")
            }
            "progress" => {
                let token = params["_meta"]["progressToken"].clone();
                let every = number("every_ms", 50).max(1);
                for at in 0..number("ms", 1_000) / every {
                    thread::sleep(Duration::from_millis(every));
                    say(
                        &json!({"jsonrpc": "2.0", "method": "notifications/progress",
                        "params": {"progressToken": token, "progress": at}}),
                    );
                }
                text("done")
            }
            "large" => Answer::Large(usize::try_from(number("bytes", 0)).unwrap_or(0)),
            "endless" => Answer::Endless,
            "values" => {
                let many = "0,".repeat(1_000_000);
                Answer::Raw(
                    format!("{{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{{\"x\":[{many}0]}}}}\n")
                        .into(),
                )
            }
            "wrong" => Answer::Raw(b"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{]}\n".to_vec()),
            "no_result" => Answer::Raw(b"{\"jsonrpc\":\"2.0\",\"id\":$ID}\n".to_vec()),
            "text_id" => Answer::Raw(
                br#"{"jsonrpc":"2.0","id":"$ID","result":{"content":[{"type":"text","text":"known"}]}}
"#
                .to_vec(),
            ),
            "leak" => {
                let sent = params["_meta"]["stub/api-key"].as_str().map(str::to_owned);
                let token = sent.unwrap_or_else(|| std::env::var("STUB_TOKEN").unwrap_or_default());
                match arguments["how"].as_str() {
                    Some("error") => Answer::Error(-32000, format!("refused: {token}")),
                    Some("tool_error") => Answer::Result(json!({
                        "content": [{"type": "text", "text": token}], "isError": true,
                    })),
                    Some("structured") => Answer::Result(json!({
                        "content": [], "structuredContent": {"token": token, "is": "structured"},
                    })),
                    _ => text(&format!("it is {token}")),
                }
            }
            "close" => Answer::CloseStdout,
            "flood" => {
                for at in 0..number("count", 10_000) {
                    say(&json!({"jsonrpc": "2.0", "method": "notifications/message",
                        "params": {"level": "info", "data": format!("line {at}")}}));
                }
                text("done")
            }
            "ask" | "ask_twice" | "sample" => self.ask(name, request, say),
            "change" => {
                self.change(arguments);
                let mut changed =
                    json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
                let subscription = self
                    .subscription
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if let Some(id) = &*subscription {
                    changed["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] =
                        id.clone();
                }
                say(&changed);
                text("changed")
            }
            "cancelled" => text(&self.cancelled.load(Ordering::SeqCst).to_string()),
            _ => text(&arguments.to_string()),
        }
    }

    /// A number that chooses where the answer to a call with this key is cut, if the answer is.
    fn luck(&self, key: &str) -> Option<u64> {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        if self.plan.cut == 0 || self.logged(key) != 1 {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let luck = hasher.finish();
        luck.is_multiple_of(self.plan.cut)
            .then_some(luck / self.plan.cut)
    }

    /// Wants to be told a name: by a result of its own in the newer era, by a request in the older one.
    fn ask(&self, name: &str, request: &Value, say: &dyn Fn(&Value)) -> Answer {
        let params = &request["params"];
        let elicited = json!({"method": "elicitation/create", "params": {
            "mode": "form", "message": "What is your name?",
            "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        }});
        let sampled = json!({"method": "sampling/createMessage", "params": {"messages": []}});
        let question = if name == "sample" { sampled } else { elicited };
        if params["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string() {
            let state = params["requestState"].as_str().unwrap_or_default();
            let answers = &params["inputResponses"]["who"]["content"]["name"];
            let rounds = if name == "ask_twice" { 2 } else { 1 };
            let done = state.strip_prefix("round-");
            let done = done.and_then(|at| at.parse().ok()).unwrap_or(0);
            return match (answers.as_str(), done) {
                (Some(who), done) if done == rounds => text(&format!("hello {who}")),
                _ if params["inputResponses"]["who"]["action"] == "decline" => text("nobody"),
                _ => Answer::Result(json!({
                    "resultType": "input_required",
                    "inputRequests": {"who": question},
                    "requestState": format!("round-{}", done + 1),
                })),
            };
        }
        let id = format!("stub-{}", self.next.fetch_add(1, Ordering::SeqCst));
        let (sender, receiver) = mpsc::channel();
        let waiting = self.waiting.lock();
        waiting
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), sender);
        let mut asked = question;
        asked["jsonrpc"] = "2.0".into();
        asked["id"] = id.into();
        say(&asked);
        match receiver.recv_timeout(Duration::from_secs(600)) {
            Ok(answer) => {
                let heard = answer.get("result").unwrap_or(&answer["error"]);
                text(&format!("heard {heard}"))
            }
            Err(_) => text("heard nothing"),
        }
    }

    fn change(&self, arguments: &Value) {
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = arguments["add"].as_str() {
            tools.push(tool(name));
        }
        if let Some(name) = arguments["remove"].as_str() {
            tools.retain(|tool| tool["name"] != name);
        }
        for one in tools.iter_mut() {
            if one["name"] == arguments["rename"] {
                one["name"] = arguments["to"].clone();
            } else if one["name"] == arguments["describe"] {
                one["description"] = arguments["as"].clone();
            }
        }
    }
}

fn text(text: &str) -> Answer {
    Answer::Result(json!({"content": [{"type": "text", "text": text}]}))
}

fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("The tool {name}."), "inputSchema": {"type": "object"}})
}

/// A tool for each behaviour.
fn standard() -> Vec<Value> {
    let names = "echo write write_die write_once write_lose seen key die fail image odd structured slow progress \
                 large endless values wrong no_result text_id leak close flood ask ask_twice sample change cancelled";
    let mut task = tool("write_task");
    task["execution"] = json!({"taskSupport": "required"});
    names.split(' ').map(tool).chain([task]).collect()
}
