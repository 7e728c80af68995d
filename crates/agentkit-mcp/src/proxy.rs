//! Tools through which an agent reaches every server without a tool of its own for each.

use std::{sync::Arc, time::Duration};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    policy::Permission,
    tool::{Delegated, Effect, Resources, ToolContext, ToolOutput},
};
use serde_json::{Value, json};

use crate::{
    definition::{Definition, Kind},
    host::Host,
    names,
    server::Server,
    text::shown,
    tool,
};

/// The most tools that one answer of `mcp_list` has.
const MAX_LISTED: usize = 100;
/// The longest that a call through the proxy may take; each server has its own limit below that.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Names of the tools here.
pub(crate) const PROXY: &str = "mcp_proxy_tool";
const READ: &str = "mcp_read_resource";
const LIST: &str = "mcp_list";
const PROMPT: &str = "mcp_get_prompt";

/// The tools of a host, which lives as long as a tool of the host.
pub(crate) fn tools(host: &Arc<Host>) -> Vec<Arc<dyn Tool>> {
    let names: Vec<String> = host
        .servers()
        .iter()
        .map(|server| shown(server.name(), 60))
        .collect();
    let names = shown(&names.join(", "), 2_000);
    vec![
        Arc::new(Proxy {
            host: host.clone(),
            spec: proxy_spec(&names),
        }),
        Arc::new(Look {
            host: host.clone(),
            spec: read_spec(&names),
            asks: true,
            look: read,
        }),
        Arc::new(Look {
            host: host.clone(),
            spec: list_spec(&names),
            asks: false,
            look: list,
        }),
        Arc::new(Look {
            host: host.clone(),
            spec: prompt_spec(&names),
            asks: true,
            look: prompt,
        }),
    ]
}

fn server_name(names: &str) -> Value {
    json!({"type": "string", "description": format!("The server, one of: {names}")})
}

fn proxy_spec(names: &str) -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": {
            "server_name": server_name(names),
            "tool_name": {"type": "string", "description": "The tool, as mcp_list names it"},
            "arguments": {"description": "The tool's arguments: an object that fits its schema"},
        },
        "required": ["server_name", "tool_name"],
        "additionalProperties": false,
    });
    ToolSpec::new(
        PROXY,
        "Calls a tool of an MCP server. mcp_list tells which tools a server has and what they take.",
        schema,
    )
    .timeout(MAX_TIMEOUT)
}

fn read_spec(names: &str) -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": {
            "server_name": server_name(names),
            "uri": {"type": "string", "minLength": 1, "maxLength": 8192, "description": "The resource's URI"},
        },
        "required": ["server_name", "uri"],
        "additionalProperties": false,
    });
    ToolSpec::new(READ, "Reads a resource of an MCP server.", schema)
        .effect(Effect::Pure)
        .timeout(MAX_TIMEOUT)
}

fn list_spec(names: &str) -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": {
            "server_name": server_name(names),
            "search": {"type": "string", "description": "Only tools whose name or description has these words"},
            "resources": {"type": "boolean", "description": "The server's resources in place of its tools"},
        },
        "required": ["server_name"],
        "additionalProperties": false,
    });
    let description = "Lists the tools of an MCP server with the schemas of their arguments, its prompts, or its \
        resources.";
    ToolSpec::new(LIST, description, schema)
        .effect(Effect::Pure)
        .timeout(Duration::from_secs(120))
}

fn prompt_spec(names: &str) -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": {
            "server_name": server_name(names),
            "prompt_name": {"type": "string", "description": "The prompt, as mcp_list names it"},
            "arguments": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["server_name", "prompt_name"],
        "additionalProperties": false,
    });
    ToolSpec::new(
        PROMPT,
        "Gets a prompt of an MCP server: text that is written for a purpose.",
        schema,
    )
    .effect(Effect::Pure)
    .timeout(MAX_TIMEOUT)
}

fn server_of(host: &Arc<Host>, arguments: &Value) -> Result<Arc<Server>, Failure> {
    host.server(arguments["server_name"].as_str().unwrap_or_default())
}

struct Proxy {
    host: Arc<Host>,
    spec: ToolSpec,
}

impl Proxy {
    fn target(&self, arguments: &Value) -> Result<(Arc<Server>, Arc<Definition>), Failure> {
        let server = server_of(&self.host, arguments)?;
        let definition = server.tool(arguments["tool_name"].as_str().unwrap_or_default())?;
        Ok((server, definition))
    }
}

impl Tool for Proxy {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// The first call after the first start of a server finds a server that has listed nothing yet.
    fn ready<'a>(&'a self, arguments: &'a Value) -> Option<BoxFuture<'a, ()>> {
        let given = server_of(&self.host, arguments).ok()?.tools_given()?;
        Some(Box::pin(given))
    }

    /// That of the tool behind it, which the configuration says.
    fn effect(&self, arguments: &Value) -> Effect {
        match self.target(arguments) {
            Ok((server, definition)) => server.config().effect(&definition.listed.name),
            Err(_) => Effect::Write,
        }
    }

    fn resources(&self, arguments: &Value) -> Resources {
        match self.target(arguments) {
            Ok((server, _)) => tool::resources(&server, self.effect(arguments)),
            Err(_) => Resources::unknown(Effect::Write),
        }
    }

    fn permission(&self, arguments: &Value) -> Permission {
        match self.target(arguments) {
            Ok((server, definition)) => tool::permission(&server, &definition.listed.name),
            Err(_) => Permission::Allow,
        }
    }

    /// A rule that speaks of `server__tool` binds the way through the proxy as well, and arguments are checked
    /// before a person is asked about them.
    fn delegates(&self, arguments: &Value) -> Result<Option<Delegated>, Failure> {
        let (server, definition) = self.target(arguments)?;
        let own = definition
            .arguments(arguments["arguments"].clone())
            .map_err(|why| Failure::last("invalid_arguments", why))?;
        let name = names::native(server.name(), &definition.listed.name);
        let spec =
            ToolSpec::new(&name, "", json!({"type": "object"})).effect(self.effect(arguments));
        Ok(Some(Delegated {
            spec,
            arguments: own,
        }))
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let (server, definition) = self.target(&arguments)?;
            tool::call(
                &server,
                &definition,
                context,
                arguments["arguments"].clone(),
            )
            .await
        })
    }
}

/// A tool that looks at a server, and changes nothing there.
struct Look {
    host: Arc<Host>,
    spec: ToolSpec,
    /// Whether the server is asked, or the lists of this process tell.
    asks: bool,
    look: for<'a> fn(&'a Server, &'a Value) -> BoxFuture<'a, Result<ToolOutput, Failure>>,
}

impl Tool for Look {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, arguments: &Value) -> Resources {
        match server_of(&self.host, arguments) {
            _ if !self.asks => Resources::none(),
            Ok(server) => tool::resources(&server, Effect::Pure),
            Err(_) => Resources::unknown(Effect::Pure),
        }
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let server = server_of(&self.host, &arguments)?;
            (self.look)(&server, &arguments).await
        })
    }
}

fn read<'a>(
    server: &'a Server,
    arguments: &'a Value,
) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
    Box::pin(server.read_resource(arguments["uri"].as_str().unwrap_or_default()))
}

fn list<'a>(
    server: &'a Server,
    arguments: &'a Value,
) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
    Box::pin(async move {
        if arguments["resources"] != true {
            if let Some(given) = server.tools_given() {
                given.await;
            }
            return Ok(listed(server, arguments["search"].as_str()).into());
        }
        let resources = server.resources().await?;
        let resources = resources.iter().take(MAX_LISTED).map(|one| {
            let text = |key: &str| one[key].as_str().map(|text| shown(text, 500));
            json!({"uri": text("uri"), "name": text("name"), "description": text("description")})
        });
        Ok(json!({"resources": resources.collect::<Vec<_>>()}).into())
    })
}

fn prompt<'a>(
    server: &'a Server,
    arguments: &'a Value,
) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
    Box::pin(async move {
        let name = arguments["prompt_name"].as_str().unwrap_or_default();
        if let Some(given) = server.tools_given() {
            given.await;
        }
        if !server.has_prompt(name) {
            let message = format!(
                "the MCP server `{}` has no prompt `{}` that is approved",
                server.name(),
                shown(name, 100)
            );
            return Err(Failure::last("unknown_prompt", message));
        }
        let own = match &arguments["arguments"] {
            Value::Object(_) => arguments["arguments"].clone(),
            _ => json!({}),
        };
        server.prompt(name, &own).await
    })
}

/// The approved tools of a server, and its prompts.
fn listed(server: &Server, search: Option<&str>) -> Value {
    let words: Vec<String> = search
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_lowercase)
        .collect();
    let approved = server.approved();
    let wanted = |definition: &&Arc<Definition>| {
        let text = format!("{} {}", definition.listed.name, definition.description).to_lowercase();
        words.iter().all(|word| text.contains(word.as_str()))
    };
    let all: Vec<&Arc<Definition>> = approved.values().filter(wanted).collect();
    let tools = all.iter().take(MAX_LISTED).map(|one| {
        json!({
            "tool_name": one.listed.name,
            "description": one.description,
            "arguments": one.input_schema,
        })
    });
    let mut listed = json!({"tools": tools.collect::<Vec<_>>()});
    if all.len() > MAX_LISTED {
        listed["note"] = format!("{} more; narrow it by `search`", all.len() - MAX_LISTED).into();
    }
    let listing = server.listing();
    let prompts = listing
        .iter()
        .flat_map(|listing| &listing.listed)
        .filter(|one| one.kind == Kind::Prompt);
    let prompts: Vec<Value> = prompts
        .filter(|one| server.is_approved(one))
        .map(|one| json!({"prompt_name": one.name, "description": one.raw["description"], "arguments": one.raw["arguments"]}))
        .collect();
    if !prompts.is_empty() {
        listed["prompts"] = prompts.into();
    }
    if let Some(text) = server.instructions() {
        listed["instructions"] = text.into();
    }
    if approved.is_empty() {
        listed["note"] = match server.status() {
            crate::Status::Ready => "it has no tools that are approved".to_owned(),
            status => format!(
                "it is {}: {}",
                status.as_str(),
                status.reason().unwrap_or("it has not answered yet")
            ),
        }
        .into();
    }
    listed
}
