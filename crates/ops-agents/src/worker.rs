//! The agents of tasks, for a worker.

use std::collections::BTreeMap;

use agentkit::{
    Agent, BoxFuture, Definition,
    event::Failure,
    run::{Limits, RunConfig},
};
use ops_core::Json;
use ops_worker::{Agents, Job, Prepared};
use serde_json::Value;

use crate::{
    factory::Factory,
    input::{self, Input},
    limits::Given,
    request::{AgentRequest, RequestedBy},
};

impl Agents for Factory {
    fn ready<'a>(
        &'a self,
        job: &'a Job<'a>,
        config: Option<&'a RunConfig>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let tenant = job.task.tenant;
        Box::pin(async move {
            if let Some(config) = config {
                return self.wait_for_pinned(tenant, config).await;
            }
            // The whole of a definition may be costly to read.
            let fields = job.definition.and_then(|one| one.fields(&["tools"]).ok());
            let tools = fields.as_ref().and_then(|fields| fields.get("tools"));
            let tools = tools.and_then(Value::as_array).into_iter().flatten();
            self.wait_for_tools(tenant, tools.filter_map(Value::as_str))
                .await
        })
    }

    fn start(&self, job: &Job<'_>) -> Result<Prepared, Failure> {
        let definition = definition(job.definition)?;
        let made = self.make_now(&AgentRequest {
            definition: definition.as_ref(),
            digest: job.task.agent_digest.map(|digest| digest.to_string()),
            input: &job.task.input,
            by: requested_by(job),
        })?;
        Ok(Prepared {
            agent: made.agent,
            goal: made.goal,
            files: made.files,
        })
    }

    fn resume(
        &self,
        job: &Job<'_>,
        config: &RunConfig,
    ) -> Result<(Agent, BTreeMap<String, String>), Failure> {
        let definition = definition(job.definition)?;
        let digest = job.task.agent_digest.map(|digest| digest.to_string());
        let task = job.task.id.to_string();
        let agent = self.again(job.task.tenant, definition.as_ref(), digest, config, &task)?;
        // What this release would refuse of the input was accepted when the run began.
        let files = Input::read(&job.task.input).map(|input| input.files);
        Ok((agent, files.unwrap_or_default()))
    }

    fn is_costly(&self, job: &Job<'_>) -> bool {
        const KEYS: [&str; 3] = ["{%", "\"schema\"", "\"script\""];
        let definition = job.definition.map_or("", Json::as_str);
        KEYS.iter().any(|key| definition.contains(key))
            || input::is_costly(&job.task.task_type, &job.task.input)
    }

    fn limits(&self, job: &Job<'_>) -> Limits {
        let definition = definition(job.definition).ok().flatten();
        self.limits_of(given(job), definition.as_ref())
    }
}

fn requested_by<'a>(job: &Job<'a>) -> RequestedBy<'a> {
    let Given {
        limits,
        started,
        depth_left,
    } = given(job);
    RequestedBy {
        tenant: job.task.tenant,
        id: job.task.id.to_string(),
        name: job.task.name.as_deref().unwrap_or_default(),
        labels: &job.task.labels,
        started,
        limits,
        depth_left,
    }
}

fn given<'a>(job: &Job<'a>) -> Given<'a> {
    Given {
        limits: &job.task.limits,
        started: job.started,
        depth_left: job.task.parent.map(|parent| parent.depth_left),
    }
}

/// The definition of a task, if the task has a definition.
///
/// # Errors
/// A definition with keys or names that this release does not know is of a newer release: the task waits
/// for that release. Any other unreadable definition, for instance a definition above a later limit, fails
/// the task: no later release is sure to help.
pub(crate) fn definition(definition: Option<&Json>) -> Result<Option<Definition>, Failure> {
    let Some(definition) = definition else {
        return Ok(None);
    };
    Definition::from_json(&definition.to_value())
        .map(Some)
        .map_err(|error| {
            let message = format!("the agent's definition cannot be read by this release: {error}");
            match error.may_be_newer() {
                true => Failure::passing("invalid_agent", message),
                false => Failure::last("invalid_agent", message),
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_waits_for_a_newer_release_or_fails() {
        let read = |text: &str| definition(Some(&Json::parse(text).unwrap()));
        assert!(read(r#"{"name": "clerk"}"#).unwrap().is_some());
        assert!(definition(None).unwrap().is_none());
        for (text, retryable) in [
            (r#"{"name": "clerk", "colour": "red"}"#, true),
            (r#"{"name": "clerk", "planner": "telepathy"}"#, true),
            (r#"{"name": "clerk", "limits": {"max_kelvin": 1}}"#, true),
            (r#"{"name": "clerk", "policy": {"colour": "red"}}"#, true),
            (r#"{"name": "clerk", "limits": {"max_steps": 0}}"#, false),
            (r#"{"name": "clerk", "instructions": "{{ 1 + }}"}"#, false),
            (
                r#"{"name": "clerk", "output": {"schema": {"type": 7}}}"#,
                false,
            ),
            ("[]", false),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(
                (&*error.code, error.retryable),
                ("invalid_agent", retryable),
                "{text}"
            );
        }
    }
}
