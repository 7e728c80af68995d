//! A host with stub servers, and calls to them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use agentkit::{
    BoxFuture,
    event::{CallKey, Failure},
    tool::{Effect, ToolOutput},
};
use agentkit_mcp::{
    Answers, Config, Host, HostSettings, Listing, Outcome, Records, Server, ToolCall,
};
use serde_json::{Value, json};

/// A server of the configuration: the stub with a plan.
pub(crate) fn stub(plan: &Value) -> Value {
    let program = ops_testkit::mcp_stub().unwrap();
    json!({"command": program, "args": [plan.to_string()]})
}

pub(crate) fn config(servers: &Value) -> Config {
    let text = json!({"mcpServers": servers}).to_string();
    let config = agentkit_mcp::config::read(&text, std::path::Path::new("/"), &|_| None).unwrap();
    assert!(config.refused.is_empty(), "{:?}", config.refused);
    config
}

/// A host of these servers that has begun to connect.
pub(crate) struct World {
    pub(crate) host: Arc<Host>,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(servers: &Value) -> Self {
        Self::with(servers, HostSettings::default())
    }

    pub(crate) fn with(servers: &Value, mut settings: HostSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        settings.records = Records::in_folder(&folder.path().join("records")).unwrap();
        let host = Host::new(config(servers), &settings);
        host.start();
        Self { host, folder }
    }

    pub(crate) fn server(&self, name: &str) -> Arc<Server> {
        self.host.server(name).unwrap()
    }

    /// The server once it is listed, with all of its tools approved.
    pub(crate) async fn ready(&self, name: &str) -> Arc<Server> {
        let server = self.server(name);
        let listing = listed(&server).await;
        server.approve(&listing.listed);
        server
    }

    pub(crate) fn records(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("records"))
            .unwrap()
            .count()
    }
}

/// The first lists, however often the server has to be connected.
pub(crate) async fn listed(server: &Server) -> Arc<Listing> {
    let listed = tokio::time::timeout(Duration::from_secs(60), async {
        server.newer_than(0).await;
        server.listing().unwrap()
    });
    listed
        .await
        .unwrap_or_else(|_| panic!("{} was never listed: {:?}", server.name(), server.status()))
}

pub(crate) fn names(listing: &Listing) -> Vec<&str> {
    listing.listed.iter().map(|one| one.name.as_str()).collect()
}

/// A call with a key of its own.
pub(crate) async fn call(
    server: &Server,
    tool: &str,
    arguments: Value,
) -> Result<ToolOutput, Failure> {
    call_with(server, tool, arguments, CallKey::new(rand_bytes()).as_str()).await
}

pub(crate) async fn call_with(
    server: &Server,
    tool: &str,
    arguments: Value,
    key: &str,
) -> Result<ToolOutput, Failure> {
    let definition = server.tool(tool)?;
    let call = ToolCall {
        definition: &definition,
        arguments,
        key,
        answers: None,
        has_person: false,
    };
    match server.call(&call).await? {
        Outcome::Done(output) => Ok(output),
        Outcome::InputRequired { requests, .. } => panic!("asked: {requests}"),
    }
}

fn rand_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    for (at, byte) in std::process::id().to_le_bytes().iter().enumerate() {
        bytes[at] = *byte;
    }
    let nanos = std::time::Instant::now();
    let text = format!("{nanos:?}");
    for (at, byte) in text.bytes().rev().take(12).enumerate() {
        bytes[4 + at] = byte;
    }
    bytes
}

/// A rule of the configuration that gives every tool an effect class.
pub(crate) fn with_effect(mut server: Value, effect: Effect) -> Value {
    server["tools"] = json!({"*": {"effect": effect}});
    server
}

/// Whether a process is there and not only a corpse.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Processes whose command line has this.
pub(crate) fn processes_with(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(text)
            && lives(pid)
            && pid != std::process::id()
        {
            found.push(pid);
        }
    }
    found
}

pub(crate) async fn until(mut done: impl FnMut() -> bool, what: &str) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come: {what}");
}

/// Reads the lines of a log.
pub(crate) fn log(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A person who answers each question with a name, after a while.
pub(crate) struct Person {
    pub(crate) after: Duration,
}

impl Answers for Person {
    fn is_there(&self) -> bool {
        true
    }

    fn elicit<'a>(&'a self, _: &'a str, params: &'a Value) -> BoxFuture<'a, Option<Value>> {
        Box::pin(async move {
            assert_eq!(params["message"], "What is your name?");
            tokio::time::sleep(self.after).await;
            Some(json!({"action": "accept", "content": {"name": "Ada"}}))
        })
    }
}

/// No eras are known.
pub(crate) fn unknown() -> BTreeMap<String, agentkit_mcp::Era> {
    BTreeMap::new()
}
