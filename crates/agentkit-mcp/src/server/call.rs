//! Calls to a server, and requests that may be sent a second time.

use std::{sync::Arc, time::Duration};

use agentkit::{
    event::Failure,
    tool::{Effect, OUTCOME_UNKNOWN, ToolOutput},
};
use serde_json::{Value, json};

use super::{Server, count};
use crate::{
    content,
    definition::{Definition, Kind, Listed},
    headers::{self, TRACEPARENT},
    link::{CallLimits, LinkError},
    session::Session,
    wire::Era,
};

/// How long a call waits for a server that is starting, at the most.
pub(super) const WAIT_FOR_START: Duration = Duration::from_secs(30);
/// Capabilities of this host, in the words of the newer era.
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The key of a call, for servers that deduplicate by it.
const KEY: &str = "opspawn/idempotency-key";

/// Outcome of a call.
#[derive(Debug)]
pub enum Outcome {
    /// A result.
    Done(ToolOutput),
    /// The server wants to be told something first, and then to be called again with this state.
    InputRequired {
        /// Requests by the server's own names for them.
        requests: Value,
        /// State to send back.
        state: Option<String>,
    },
}

/// A call of a tool.
pub struct ToolCall<'a> {
    /// The tool as it was approved.
    pub definition: &'a Definition,
    /// Its arguments, which fit its schema.
    pub arguments: Value,
    /// The call's key, the same for each attempt.
    pub key: &'a str,
    /// Answers to earlier questions of the server, with its state.
    pub answers: Option<(Value, Option<String>)>,
    /// Whether a person can be asked, however long that takes (newer era).
    pub has_person: bool,
}

impl Server {
    /// Calls a tool.
    ///
    /// # Errors
    /// `outcome_unknown` for a call that was sent and has no answer, if repeating it could change the world a
    /// second time; `tool_error` for what the tool reports; `server_unavailable`, `tool_timeout`,
    /// `result_too_large`, `unauthorized` and `server_error`.
    pub async fn call(&self, call: &ToolCall<'_>) -> Result<Outcome, Failure> {
        count(&self.counts.calls);
        let name = &call.definition.listed.name;
        let effect = self.config.effect(name);
        let (idle, total) = self.config.timeouts(name);
        self.is_listed_still(call.definition, total).await?;
        let mut params =
            json!({"name": name, "arguments": call.arguments, "_meta": {KEY: call.key}});
        if self.makes_tasks(call.definition) {
            // How long the server keeps the result.
            let kept = total.saturating_mul(2);
            params["task"] = json!({"ttl": u64::try_from(kept.as_millis()).unwrap_or(u64::MAX)});
        }
        if call.has_person {
            params["_meta"][CAPABILITIES] = json!({"elicitation": {"form": {}, "url": {}}});
        }
        if let Some((answers, state)) = &call.answers {
            if !answers.is_null() {
                params["inputResponses"] = answers.clone();
            }
            if let Some(state) = state {
                params["requestState"] = state.as_str().into();
            }
        }
        let schema = &call.definition.listed.raw["inputSchema"];
        let mut headers = headers::of_call(schema, &call.arguments);
        // The server's spans go on from the span of this call, in whichever of the two places it looks.
        if let Some(parent) = agentkit::telemetry::traceparent() {
            params["_meta"][TRACEPARENT] = parent.as_str().into();
            headers.push((TRACEPARENT.to_owned(), parent));
        }
        let sent = self
            .sent(
                "tools/call",
                params,
                CallLimits { total, idle },
                headers,
                effect,
            )
            .await;
        let sent = match sent {
            Ok(result) if result["task"]["taskId"].is_string() => {
                self.result_of_task(&result["task"], total, effect).await
            }
            sent => sent,
        };
        let result = sent.and_then(|result| match result["resultType"].as_str() {
            Some("input_required") => Ok(Outcome::InputRequired {
                requests: result["inputRequests"].clone(),
                state: result["requestState"].as_str().map(str::to_owned),
            }),
            _ => content::result(&result, Some(call.definition)).map(Outcome::Done),
        });
        match &result {
            Ok(_) => count(&self.counts.answered),
            Err(failure) => {
                count(&self.counts.errors);
                if failure.code == OUTCOME_UNKNOWN {
                    count(&self.counts.unknown);
                }
            }
        }
        result
    }

    /// Refuses a tool that is not in the server's list as it was approved. The first list of a server whose tools are known
    /// from an earlier start is waited for.
    async fn is_listed_still(&self, tool: &Definition, total: Duration) -> Result<(), Failure> {
        let listing = match self.listing() {
            Some(listing) => listing,
            None => {
                let wait = WAIT_FOR_START.min(total);
                let first = tokio::time::timeout(wait, self.first_listing()).await;
                let starting = || format!("the MCP server `{}` is still starting", self.name());
                first
                    .map_err(|_| unavailable(starting()))?
                    .map_err(unavailable)?
            }
        };
        let mut listed = listing.listed.iter();
        let is_same = |one: &Listed| {
            let pinned = &tool.listed;
            one.kind == Kind::Tool && one.name == pinned.name && one.digest == pinned.digest
        };
        match listed.any(is_same) {
            true => Ok(()),
            false => Err(self.not_given(&tool.listed.name, &listing)),
        }
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// As for [`Server::call`].
    pub async fn read_resource(&self, uri: &str) -> Result<ToolOutput, Failure> {
        let limits = CallLimits {
            total: self.config.max_timeout,
            idle: self.config.timeout,
        };
        let result = self
            .sent(
                "resources/read",
                json!({"uri": uri}),
                limits,
                Vec::new(),
                Effect::Pure,
            )
            .await?;
        content::resource(&result)
    }

    /// Gets a prompt.
    ///
    /// # Errors
    /// As for [`Server::call`].
    pub async fn prompt(&self, name: &str, arguments: &Value) -> Result<ToolOutput, Failure> {
        let limits = CallLimits {
            total: self.config.max_timeout,
            idle: self.config.timeout,
        };
        let params = json!({"name": name, "arguments": arguments});
        let result = self
            .sent("prompts/get", params, limits, Vec::new(), Effect::Pure)
            .await?;
        content::prompt(&result)
    }

    /// The resources that a server lists now.
    ///
    /// # Errors
    /// As for [`Server::call`].
    pub async fn resources(&self) -> Result<Vec<Value>, Failure> {
        let session = self.session(WAIT_FOR_START).await.map_err(unavailable)?;
        let listing = session.list("resources/list", "resources").await;
        let listing =
            listing.map_err(|error| self.failure(error, Effect::Pure, "resources/list", false))?;
        Ok(listing.items)
    }

    /// Sends a request, a second time where that changes nothing or only then does something.
    pub(super) async fn sent(
        &self,
        method: &str,
        params: Value,
        limits: CallLimits,
        headers: Vec<(String, String)>,
        effect: Effect,
    ) -> Result<Value, Failure> {
        let (mut tries, mut is_lost) = (0, false);
        loop {
            tries += 1;
            let session = self.session(WAIT_FOR_START.min(limits.total)).await;
            let session = session.map_err(|why| match is_lost && effect.is_write() {
                true => unknown(&why),
                false => unavailable(why),
            })?;
            let mut headers = headers.clone();
            // Those of arguments are of the newer era.
            headers.retain(|(name, _)| session.info.era == Era::Modern || name == TRACEPARENT);
            let error = match session
                .request(method, params.clone(), limits, headers)
                .await
            {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            let (is_broken, again) = match &error {
                // Nothing was done, as nothing was sent.
                LinkError::NotSent(_) => (true, true),
                // The key makes a second one the same as the first.
                LinkError::Lost(_) => (
                    true,
                    effect != Effect::Write || units::mutant!("agentkit-mcp.write_again"),
                ),
                // The server did not do it. A write is still nobody's to repeat but the model's.
                LinkError::SessionLost(_) => (true, effect != Effect::Write),
                LinkError::TimedOut(_)
                | LinkError::TooLarge(_)
                | LinkError::Unreadable(_)
                | LinkError::Rpc(_)
                | LinkError::Refused { .. }
                | LinkError::Unauthorized(_) => (false, false),
            };
            if is_broken {
                self.broken(&session);
            }
            let was_lost = is_lost;
            is_lost |= matches!(error, LinkError::Lost(_));
            if !again || tries > 1 {
                return Err(self.failure(error, effect, method, was_lost));
            }
            count(&self.counts.again);
        }
    }

    /// Has the server connected again, unless that was done since.
    fn broken(&self, session: &Arc<Session>) {
        let mut is_current = false;
        self.state.send_if_modified(|state| {
            is_current = matches!(&state.phase, super::Phase::Ready(current) if Arc::ptr_eq(current, session));
            if is_current {
                state.phase = super::Phase::Starting;
            }
            is_current
        });
        if is_current {
            self.poke.notify_one();
        }
    }

    /// The failure of a request. `was_lost` says that the answer to an earlier sending of the request was lost.
    ///
    /// A write or keyed call without an answer is in doubt: the engine makes a keyed call again with its key. If the
    /// model were told of a failure, it would make a call of its own, with another key.
    fn failure(&self, error: LinkError, effect: Effect, method: &str, was_lost: bool) -> Failure {
        let text = self.redactor.clean(&error.to_string());
        let name = self.name();
        let with_name = |text: String| match text.contains(name) {
            true => text,
            false => format!("the MCP server `{name}`: {text}"),
        };
        let is_doubtful = match &error {
            LinkError::Lost(_) | LinkError::TimedOut(_) | LinkError::Unreadable(_) => true,
            // Of the second sending this is known, of the first one nothing.
            LinkError::NotSent(_)
            | LinkError::SessionLost(_)
            | LinkError::Refused { .. }
            | LinkError::Unauthorized(_) => was_lost,
            LinkError::Rpc(rpc) => rpc.is_of_gateway(),
            LinkError::TooLarge(_) => false,
        };
        if is_doubtful && effect.is_write() {
            return unknown(&with_name(text));
        }
        match error {
            LinkError::NotSent(_) => unavailable(with_name(text)),
            LinkError::SessionLost(_) => Failure::passing(
                "session_lost",
                format!(
                    "{}; it was not done, and may be called again",
                    with_name(text)
                ),
            ),
            LinkError::Lost(_) => Failure::passing("connection_lost", with_name(text)),
            LinkError::TimedOut(_) => Failure::passing("tool_timeout", with_name(text)),
            LinkError::Unreadable(_) => Failure::last("server_error", with_name(text)),
            LinkError::TooLarge(_) => {
                let text = with_name(text);
                let message = match effect.is_write() {
                    false => format!("{text}; ask for less of it"),
                    // Another call would do it a second time.
                    true => {
                        format!("{text}; the call ran: look what it did before calling it again")
                    }
                };
                Failure::last("result_too_large", message)
            }
            LinkError::Rpc(rpc) => match rpc.code {
                -32602 => Failure::last("invalid_arguments", with_name(text)),
                -32042 => Failure::last(
                    "input_required",
                    format!(
                        "{}; a person has to open a page for that, which is not offered here",
                        with_name(text)
                    ),
                ),
                _ => Failure::last("server_error", format!("`{method}`: {}", with_name(text))),
            },
            LinkError::Refused { status, .. } => match status {
                429 => Failure::passing("rate_limited", with_name(text)),
                503 => Failure::passing("server_unavailable", with_name(text)),
                _ => Failure::last("server_error", with_name(text)),
            },
            LinkError::Unauthorized(_) => Failure::last("unauthorized", with_name(text)),
        }
    }
}

pub(crate) fn unknown(why: &str) -> Failure {
    Failure::last(OUTCOME_UNKNOWN, format!("the outcome is unknown: {why}"))
}

fn unavailable(why: String) -> Failure {
    Failure::passing("server_unavailable", format!("{why}; nothing was done"))
}
