//! A tool of a server, called by a name of its own.

use std::sync::Arc;

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    policy::{ApprovalTerms, Permission},
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use serde_json::{Value, json};
use tracing::Instrument as _;

use crate::{
    config::ToolPolicy,
    definition::Definition,
    host::Used,
    input::{self, Resumption},
    names,
    questions::{Calling, Questions},
    server::{Outcome, Server, ToolCall, call::unknown},
};

/// The name of the one question of a call that is open.
const QUESTION: &str = "question";
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
    server: &Arc<Server>,
    definition: &Arc<Definition>,
    context: &ToolContext,
    arguments: Value,
) -> Result<ToolOutput, Failure> {
    let arguments = definition
        .arguments(arguments)
        .map_err(|why| Failure::last("invalid_arguments", why))?;
    let open = context.resumed.as_ref().filter(|it| input::was_open(it));
    if let Some(resumed) = open {
        let (mut answers, _) = input::answers(resumed);
        let questions = server.questions();
        let calling = questions.and_then(|questions| {
            let calling = questions.resume(context.key.as_str(), answers[QUESTION].take())?;
            Some((questions, calling))
        });
        match calling {
            Some((questions, calling)) => {
                return until_asked(server, questions, context, calling).await;
            }
            None if server.config().effect(&definition.listed.name) == Effect::Write => {
                return Err(unknown(&format!(
                    "the MCP server `{}` asked in the middle of the call, and the call is gone",
                    server.name()
                )));
            }
            // Made from the beginning, with its key.
            None => {}
        }
    }
    if let Some(questions) = server.questions() {
        let calling = begin(server, definition, context, arguments);
        return until_asked(server, questions, context, calling).await;
    }
    let mut answers = context
        .resumed
        .as_ref()
        .filter(|_| open.is_none())
        .map(input::answers);
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
            let resumption = Resumption::Again {
                state: state.as_deref(),
            };
            return input::wait(server.name(), context, &requests, resumption);
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

/// Begins a call that may be open for longer than the engine waits for it.
fn begin(
    server: &Arc<Server>,
    definition: &Arc<Definition>,
    context: &ToolContext,
    arguments: Value,
) -> Calling {
    let (server, definition) = (Arc::clone(server), Arc::clone(definition));
    let key = context.key.as_str().to_owned();
    let called = async move {
        let call = ToolCall {
            definition: &definition,
            arguments,
            key: &key,
            answers: None,
            has_person: true,
        };
        server.call(&call).await
    };
    Calling(tokio::spawn(called.in_current_span()))
}

/// The result of a call, or a wait for a person where its server asks first.
async fn until_asked(
    server: &Server,
    questions: &Questions,
    context: &ToolContext,
    mut calling: Calling,
) -> Result<ToolOutput, Failure> {
    let question = tokio::select! {
        biased;
        ended = &mut calling.0 => {
            return match ended {
                Ok(Ok(Outcome::Done(output))) => Ok(output),
                Ok(Ok(Outcome::InputRequired { .. })) => Err(Failure::last(
                    "server_error",
                    format!("the MCP server `{}` asked as servers of another era do", server.name()),
                )),
                Ok(Err(failure)) => Err(failure),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Err(unknown("the call was given up")),
            };
        }
        question = questions.next(server.name()) => question,
    };
    let request = json!({"method": "elicitation/create", "params": question.params});
    let output = input::wait(
        server.name(),
        context,
        &json!({QUESTION: request}),
        Resumption::GoesOn,
    )?;
    // Whoever comes later finds no server that waits: the question was declined long before.
    let at_most = server.config().patience + server.config().max_timeout;
    questions.keep(context.key.as_str(), calling, question, at_most);
    Ok(output)
}
