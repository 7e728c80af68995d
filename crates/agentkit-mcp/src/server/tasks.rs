//! Calls that a server of 2025-11-25 makes tasks of: it answers at once, and is asked for the result later.
//!
//! A tool with `taskSupport: required` is called in no other way. The call waits for its task and ends with it: in the time
//! of the call, and with a `tasks/cancel` if nobody waits any more. Tools that merely support tasks are called plainly.

use std::{sync::Arc, time::Duration};

use agentkit::{event::Failure, tool::Effect};
use serde_json::{Value, json};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

use super::{Phase, Server, call::unknown};
use crate::{
    definition::Definition,
    link::CallLimits,
    session::{OWN_REQUEST, Session},
    wire::Era,
};

/// Between two looks at a task, whatever the server wishes.
const SHORTEST_POLL: Duration = Duration::from_millis(100);
const LONGEST_POLL: Duration = Duration::from_secs(30);
/// Where the server does not say.
const POLL: Duration = Duration::from_secs(1);

impl Server {
    /// Whether calls of a tool have to be tasks.
    pub(super) fn makes_tasks(&self, definition: &Definition) -> bool {
        let listing = self.listing();
        let info = listing.as_ref().map(|listing| &listing.info);
        let supports = info.is_some_and(|info| {
            info.era == Era::Legacy
                && !info.capabilities["tasks"]["requests"]["tools"]["call"].is_null()
        });
        supports && definition.listed.raw["execution"]["taskSupport"] == "required"
    }

    /// The result of the call that became this task.
    pub(super) async fn result_of_task(
        &self,
        task: &Value,
        total: Duration,
        effect: Effect,
    ) -> Result<Value, Failure> {
        let until = Instant::now() + total;
        let mut abandoned = Abandoned {
            session: self.present_session(),
            task: task["taskId"].clone(),
        };
        let mut state = task.clone();
        let result = self.waited_for(&mut state, until).await;
        // Only a task that may go on is told to stop.
        if result.is_ok() {
            abandoned.session = None;
        }
        result.map_err(|failure| {
            // That the task was begun is known; of its end, what the server said last.
            let is_known = state["status"] == "failed" || state["status"] == "cancelled";
            match effect.is_write() && !is_known {
                true => unknown(&failure.message),
                false => failure,
            }
        })
    }

    /// Looks at a task until it has an end, and asks for its result.
    async fn waited_for(&self, state: &mut Value, until: Instant) -> Result<Value, Failure> {
        let params = json!({"taskId": state["taskId"]});
        while state["status"] == "working" {
            let wish = state["pollInterval"]
                .as_u64()
                .map_or(POLL, Duration::from_millis);
            let next = Instant::now() + wish.clamp(SHORTEST_POLL, LONGEST_POLL);
            if next >= until {
                let message = format!(
                    "the task of the MCP server `{}` was not done in time",
                    self.name()
                );
                return Err(Failure::passing("tool_timeout", message));
            }
            sleep_until(next).await;
            let limits = CallLimits::of(OWN_REQUEST);
            let looked = self.sent(
                "tasks/get",
                params.clone(),
                limits,
                Vec::new(),
                Effect::Pure,
            );
            *state = looked.await?;
        }
        // A server that wants to be told something asks while it is asked for the result.
        let limits = CallLimits::of(until.saturating_duration_since(Instant::now()));
        self.sent("tasks/result", params, limits, Vec::new(), Effect::Pure)
            .await
    }

    fn present_session(&self) -> Option<Arc<Session>> {
        match &self.state.borrow().phase {
            Phase::Ready(session) => Some(Arc::clone(session)),
            Phase::Starting | Phase::Away(_) | Phase::Unauthorized(_) => None,
        }
    }
}

/// Tells the server that nobody waits for the task any more.
struct Abandoned {
    session: Option<Arc<Session>>,
    task: Value,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let (Some(session), Ok(runtime)) = (self.session.take(), Handle::try_current()) else {
            return;
        };
        let params = json!({"taskId": self.task});
        runtime.spawn(async move {
            let limits = CallLimits::of(OWN_REQUEST);
            let _ = session
                .request("tasks/cancel", params, limits, Vec::new())
                .await;
        });
    }
}
