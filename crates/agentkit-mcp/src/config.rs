//! What servers there are: `mcp_servers.yaml`, and the `mcpServers` JSON of desktop clients.

mod credential;
mod entry;
mod read;
mod rules;
mod vars;

use std::{collections::BTreeMap, time::Duration};

use agentkit::tool::Effect;
use url::Url;

pub use self::{
    read::{ConfigError, read},
    vars::{VarError, Variable},
};
use crate::{names::Glob, process::Program, text::Redactor};

/// The servers of a file.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Servers that can be used, by name.
    pub servers: BTreeMap<String, ServerConfig>,
    /// Servers that cannot, each with the reason. The others work all the same.
    pub refused: BTreeMap<String, String>,
    /// What is odd in the file, and harmless.
    pub notes: Vec<String>,
    /// What is odd in entries of servers that can be used, by the server's name.
    pub server_notes: BTreeMap<String, Vec<String>>,
}

/// A server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Its name, as the file has it.
    pub name: String,
    /// Transport to the server.
    pub transport: Transport,
    /// How long a call may take without a sign of progress.
    pub timeout: Duration,
    /// How long a call may take in all.
    pub max_timeout: Duration,
    /// Time that the server may take to start. A first start may have to fetch the server.
    pub start_timeout: Duration,
    /// How long a person may take to answer the server while a call waits (older era).
    pub patience: Duration,
    /// Patterns of raw names of the tools that are used; none for all.
    pub allow: Option<Vec<Glob>>,
    /// Patterns of raw names of tools that are not used.
    pub deny: Vec<Glob>,
    /// Settings of its tools. The first that matches says.
    pub tools: Vec<ToolRule>,
    /// Values that neither logs nor errors show: whatever stands in `env` and headers, or came from a variable.
    pub secrets: Vec<String>,
    /// The secrets that come from where secrets are kept, and those whose names say that they are credentials. Results do
    /// not show them either; another value, such as a path, may stand in every result of the server.
    pub credentials: Vec<String>,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Transport {
    /// A process.
    Stdio(Program),
    /// A URL.
    Http {
        /// URL of the server.
        url: Url,
        /// Headers of each request. Secrets may stand in them.
        headers: Vec<(String, String)>,
        /// How to authorize by OAuth; none where headers do.
        oauth: Option<OauthConfig>,
    },
}

/// How to authorize by OAuth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OauthConfig {
    /// The client's id, if it was registered by hand.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<String>,
    /// Scopes to ask for; none for those that the server names.
    pub scope: Option<String>,
    /// Where a document about this client is, whose URL is its id.
    pub client_metadata_url: Option<String>,
    /// The authorization server, where the documents of the server may name no other; it may be at a place that is not
    /// public.
    pub issuer: Option<Url>,
}

/// Settings of some tools of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolRule {
    /// The tools, by their raw names.
    pub pattern: Glob,
    /// Effect of repeating a call.
    pub effect: Option<Effect>,
    /// Whether a call may run.
    pub policy: Option<ToolPolicy>,
    /// How long a call may take without a sign of progress.
    pub timeout: Option<Duration>,
}

/// Whether a call may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolPolicy {
    /// As the policy says.
    Allow,
    /// Once a person has approved it.
    Ask,
    /// Never.
    Deny,
}

/// A pattern of an entry that matches no tool of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdlePattern {
    /// A sentence that names the pattern and the nearest tool.
    pub why: String,
    /// Whether the pattern is the name of a tool that the entry denies or asks about: a misspelt name would permit the
    /// calls.
    pub is_guard: bool,
}

impl ServerConfig {
    /// The patterns that match none of these tools.
    #[must_use]
    pub fn idle_patterns(&self, tools: &[&str]) -> Vec<IdlePattern> {
        let allow = self
            .allow
            .iter()
            .flatten()
            .map(|glob| ("allow", glob, false));
        let deny = self.deny.iter().map(|glob| ("deny", glob, true));
        let rules = self.tools.iter().map(|rule| {
            let guards = matches!(rule.policy, Some(ToolPolicy::Ask | ToolPolicy::Deny));
            ("tools", &rule.pattern, guards)
        });
        let idle = |glob: &Glob| !tools.iter().any(|tool| glob.matches(tool));
        let patterns = allow.chain(deny).chain(rules);
        patterns
            .filter(|(_, glob, _)| idle(glob))
            .map(|(key, glob, guards)| {
                let name = crate::text::shown(&glob.0, 100);
                let hint = units::nearest::hint(&glob.0.replace('*', ""), tools.iter().copied());
                IdlePattern {
                    why: format!("`{name}` of `{key}` matches no tool of the server; {hint}"),
                    is_guard: guards && !glob.0.contains('*'),
                }
            })
            .collect()
    }

    /// Whether a tool is used at all.
    #[must_use]
    pub fn uses(&self, tool: &str) -> bool {
        let listed = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(tool));
        self.allow.as_deref().is_none_or(listed) && !listed(&self.deny)
    }

    /// What repeating a call of a tool does: a `write` unless the file says less. What the server says
    /// (`readOnlyHint`) is a hint of a party that is not trusted.
    #[must_use]
    pub fn effect(&self, tool: &str) -> Effect {
        self.rule(tool, |rule| rule.effect).unwrap_or(Effect::Write)
    }

    /// Whether a call of a tool may run.
    #[must_use]
    pub fn policy(&self, tool: &str) -> ToolPolicy {
        self.rule(tool, |rule| rule.policy)
            .unwrap_or(ToolPolicy::Allow)
    }

    /// How long a call of a tool may take without a sign of progress, and in all.
    #[must_use]
    pub fn timeouts(&self, tool: &str) -> (Duration, Duration) {
        let idle = self.rule(tool, |rule| rule.timeout).unwrap_or(self.timeout);
        (idle, self.max_timeout.max(idle))
    }

    fn rule<T>(&self, tool: &str, says: impl Fn(&ToolRule) -> Option<T>) -> Option<T> {
        self.tools
            .iter()
            .filter(|rule| rule.pattern.matches(tool))
            .find_map(says)
    }

    /// What the server is: its program and arguments, or its URL. The values of secrets are not part of it.
    #[must_use]
    pub fn identity(&self) -> String {
        let identity = match &self.transport {
            Transport::Stdio(program) => {
                serde_json::json!({"command": program.command, "args": program.args, "cwd": program.cwd})
            }
            Transport::Http { url, .. } => serde_json::json!({"url": url.as_str()}),
        };
        agentkit::tool::digest_hex(identity.to_string().as_bytes())
    }

    /// Where it is, for people: without arguments that may hold secrets, and without credentials in what is left.
    #[must_use]
    pub fn place(&self) -> String {
        let place = match &self.transport {
            Transport::Stdio(program) => program.command.clone(),
            Transport::Http { url, .. } => {
                let mut url = url.clone();
                url.set_query(None);
                url.to_string()
            }
        };
        let credentials = Redactor::new([], self.credentials.iter().cloned());
        credentials.clean(&place)
    }

    /// Replaces its secrets in text.
    #[must_use]
    pub fn redactor(&self) -> Redactor {
        Redactor::new(
            self.secrets.iter().cloned(),
            self.credentials.iter().cloned(),
        )
    }
}
