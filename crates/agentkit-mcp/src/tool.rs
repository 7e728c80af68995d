//! A tool of a server, called by a name of its own.

use std::sync::Arc;

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    policy::{ApprovalTerms, Permission},
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use serde_json::Value;

use crate::{
    config::ToolPolicy,
    definition::Definition,
    host::Used,
    input, names,
    server::{Outcome, Server, ToolCall},
};

/// How often a server may want to be called again with its state alone.
const MAX_ROUNDS: usize = 8;

/// A tool of a server as it was approved.
pub struct McpTool {
    used: Arc<Used>,
    definition: Arc<Definition>,
    spec: ToolSpec,
}

impl McpTool {
    /// The tool, as agents know it.
    #[must_use]
    pub fn new(used: &Arc<Used>, definition: &Arc<Definition>) -> Self {
        let server = used.server();
        let name = &definition.listed.name;
        let (_, total) = server.config().timeouts(name);
        let spec = ToolSpec::new(
            &names::native(server.name(), name),
            &definition.description,
            definition.input_schema.clone(),
        )
        .effect(server.config().effect(name))
        // The server's own limit comes first; a person who is asked has time beside it.
        .timeout(total + server.config().patience + std::time::Duration::from_secs(5));
        Self {
            used: Arc::clone(used),
            definition: Arc::clone(definition),
            spec,
        }
    }
}

impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, _: &Value) -> Resources {
        resources(self.used.server(), self.spec.effect)
    }

    fn permission(&self, _: &Value) -> Permission {
        permission(self.used.server(), &self.definition.listed.name)
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(call(
            self.used.server(),
            &self.definition,
            context,
            arguments,
        ))
    }
}

/// Resources of a call: the server, which stands for whatever is behind it.
pub(crate) fn resources(server: &Server, effect: Effect) -> Resources {
    let service = Resource::service(&format!("mcp:{}", server.name()));
    match effect {
        Effect::Pure => Resources::reads([service]),
        Effect::Idempotent | Effect::Keyed | Effect::Write => {
            Resources::reads([service.clone()]).and_writes([service])
        }
    }
}

/// Settings of calls of a tool in the file of servers.
pub(crate) fn permission(server: &Server, tool: &str) -> Permission {
    match server.config().policy(tool) {
        ToolPolicy::Allow => Permission::Allow,
        ToolPolicy::Ask => Permission::Ask {
            reason: format!(
                "`mcp_servers.yaml` asks about `{tool}` of the server `{}`",
                server.name()
            ),
            terms: ApprovalTerms::default(),
        },
        ToolPolicy::Deny => Permission::Deny {
            reason: format!(
                "`mcp_servers.yaml` denies `{tool}` of the server `{}`",
                server.name()
            ),
        },
    }
}

/// Calls a tool as it was approved. Where the server wants to be told something first, the call waits for a
/// person's answer and is made again then, under the same step and with the same key.
pub(crate) async fn call(
    server: &Server,
    definition: &Definition,
    context: &ToolContext,
    arguments: Value,
) -> Result<ToolOutput, Failure> {
    let arguments = definition
        .arguments(arguments)
        .map_err(|why| Failure::last("invalid_arguments", why))?;
    let mut answers = context.resumed.as_ref().map(input::answers);
    for _ in 0..MAX_ROUNDS {
        let call = ToolCall {
            definition,
            arguments: arguments.clone(),
            key: context.key.as_str(),
            answers: answers.take(),
            has_person: true,
        };
        let (requests, state) = match server.call(&call).await? {
            Outcome::Done(output) => return Ok(output),
            Outcome::InputRequired { requests, state } => (requests, state),
        };
        if requests
            .as_object()
            .is_some_and(|requests| !requests.is_empty())
        {
            return input::wait(server.name(), context, &requests, state.as_deref());
        }
        // Nothing is asked: it only wants its state back.
        answers = Some((Value::Null, state));
    }
    let message = format!(
        "the MCP server `{}` wanted to be called again and again",
        server.name()
    );
    Err(Failure::last("server_error", message))
}
