//! How the stub behaves.

use serde::Deserialize;
use serde_json::Value;

/// The stub's behaviour; the default of each field is good behaviour.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Plan {
    /// `modern`, `legacy` or `both`.
    pub(crate) era: String,
    /// How the stub takes `server/discover`, if the stub is of the older era alone.
    pub(crate) discover: Discover,
    /// Before the first read.
    pub(crate) start_ms: u64,
    /// A file that the stub writes its process's number to once the process has started.
    pub(crate) started: Option<String>,
    /// Lines that are no message, before and between answers.
    pub(crate) noise: bool,
    /// Sends each line back.
    pub(crate) echo: bool,
    /// Writes a byte at a time.
    pub(crate) byte_by_byte: bool,
    /// Bytes that the stub writes to stderr, without a newline, before the first read.
    pub(crate) stderr_bytes: usize,
    /// Starts processes that outlive it.
    pub(crate) leave_behind: bool,
    /// Does not leave when its stdin ends.
    pub(crate) ignore_end: bool,
    /// The stub's tools; left out, a tool for each behaviour.
    pub(crate) tools: Option<Vec<Value>>,
    /// So many tools `tool_0`, `tool_1`, ….
    pub(crate) many: usize,
    /// Tools on a page; 0 for all.
    pub(crate) page: usize,
    /// A file whose content is the list of tools, read anew for each list.
    pub(crate) tools_file: Option<String>,
    /// The stub's capabilities.
    pub(crate) capabilities: Value,
    /// Its instructions.
    pub(crate) instructions: Option<String>,
    /// A file that gets a line for each call, before its answer.
    pub(crate) log: Option<String>,
    /// Cuts the first answer to one in so many keys of `write`, at a byte that follows from the key; 0 cuts none. Over
    /// stdio the stub dies with it.
    pub(crate) cut: u64,
    /// Answers `prompts/list` with an error.
    pub(crate) broken_prompts: bool,
    /// Over HTTP: answers as a stream of events.
    pub(crate) stream: bool,
    /// Over HTTP: how the stream beside requests is refused (a status), or 200.
    pub(crate) get: u16,
    /// Over HTTP: hands out sessions.
    pub(crate) sessions: bool,
    /// Over HTTP: how a lost session is told: `404`, `400` or `event`.
    pub(crate) lost: String,
    /// Over HTTP: what a gateway answers in place of each answer to a tool `write…`, which is done all the same.
    pub(crate) gateway: Option<Gateway>,
    /// Over HTTP: where it redirects.
    pub(crate) redirect: Option<String>,
    /// Over HTTP: the value of `Authorization` that it wants.
    pub(crate) authorization: Option<String>,
    /// Over HTTP: how it answers `server/discover` if it is of the older era: a status.
    pub(crate) discover_status: u16,
}

/// How `server/discover` is taken.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Discover {
    /// As the era has it.
    Answer,
    /// With an error, even if it could.
    Error,
    /// Not at all.
    Silent,
    /// By leaving.
    Exit,
    /// By hanging.
    Hang,
}

/// The answer of a gateway that lost the answer of the server behind it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    /// Its status.
    pub(crate) status: u16,
    /// Its body: JSON if it begins so.
    pub(crate) body: String,
    /// Its header `Retry-After`.
    #[serde(default)]
    pub(crate) retry_after: Option<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            era: "both".to_owned(),
            discover: Discover::Answer,
            start_ms: 0,
            started: None,
            noise: false,
            echo: false,
            byte_by_byte: false,
            stderr_bytes: 0,
            leave_behind: false,
            ignore_end: false,
            tools: None,
            many: 0,
            page: 0,
            tools_file: None,
            capabilities: serde_json::json!({"tools": {"listChanged": true}, "prompts": {}, "resources": {}}),
            instructions: None,
            log: None,
            cut: 0,
            broken_prompts: false,
            stream: false,
            get: 405,
            sessions: true,
            lost: "404".to_owned(),
            gateway: None,
            redirect: None,
            authorization: None,
            discover_status: 200,
        }
    }
}
