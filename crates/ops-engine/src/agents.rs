//! Agents: named, versioned definitions. The binary supplies their meaning.

use std::{collections::BTreeMap, sync::Arc};

use ops_core::{
    AgentDigest, AgentName, Code, Json, TaskId, TenantId,
    agent::{Agent, AgentSpec, AgentVersion, cycle},
    ports::{AgentTools, Expected, Listed, NewAgent, StoreError, Stored},
};

use crate::{Engine, Error, FieldError};

/// Agents that are read at once.
const PAGE: u32 = 1_000;

/// Preview of an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPreview {
    /// The agent.
    pub name: AgentName,
    /// The definition in canonical form.
    pub spec: AgentSpec,
    /// The present agent, if the agent exists.
    pub current: Option<Agent>,
    /// The outcome of such an apply.
    pub stored: Stored,
}

impl Engine {
    /// Makes a definition the current version of the agent of this name. Tasks that are there keep
    /// theirs.
    ///
    /// # Errors
    /// `invalid_body` names each offending key; `unknown_agent` and `agent_cycle` are about the agents
    /// that it may start; `agent_changed` says that it is not as expected; or a code of the storage.
    pub async fn apply_agent(
        &self,
        tenant: TenantId,
        name: &str,
        definition: &Json,
        expected: Expected,
    ) -> Result<(Agent, Stored), Error> {
        let (name, spec) = self.checked_agent(name, definition).await?;
        let new = NewAgent {
            tenant,
            name,
            spec,
            expected,
        };
        Ok(self.store.put_agent(new).await?)
    }

    /// Previews [`Engine::apply_agent`]. The preview writes nothing.
    ///
    /// # Errors
    /// The errors of [`Engine::apply_agent`], but for `agent_changed`.
    pub async fn preview_agent(
        &self,
        tenant: TenantId,
        name: &str,
        definition: &Json,
    ) -> Result<AgentPreview, Error> {
        let (name, spec) = self.checked_agent(name, definition).await?;
        let mut all = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.store.agents(tenant, after, PAGE).await?;
            after = page.last().map(|agent| agent.version.name.clone());
            let full = page.len() >= PAGE as usize;
            all.extend(
                page.into_iter()
                    .map(|agent| (agent.version.name.clone(), agent)),
            );
            if !full {
                break;
            }
        }
        if let Some(missing) = spec.agents.iter().find(|agent| !all.contains_key(*agent)) {
            return Err(StoreError::NoAgent(missing.clone()).into());
        }
        let starts = |agent: &AgentName| {
            let agent = all.get(agent);
            let agents = agent.map_or(&[][..], |agent| &agent.version.spec.agents);
            Ok::<_, std::convert::Infallible>(agents.to_vec())
        };
        let Ok(circle) = cycle(&name, &spec.agents, starts);
        if let Some(circle) = circle {
            return Err(StoreError::AgentCycle(circle).into());
        }
        let current = all.remove(&name);
        let stored = match &current {
            None => Stored::Created,
            Some(agent) if agent.version.spec.digest == spec.digest => Stored::Unchanged,
            Some(_) => Stored::Changed,
        };
        Ok(AgentPreview {
            name,
            spec,
            current,
            stored,
        })
    }

    /// Takes an agent away. Its tasks go on with the versions that they are pinned to, and can be rerun; a new
    /// task of the agent is refused, and so is a retry.
    ///
    /// # Errors
    /// `agent_not_found`, `agent_changed` if the agent is not as expected, `agent_in_use` while agents or
    /// schedules name the agent, or a code of the storage.
    pub async fn remove_agent(
        &self,
        tenant: TenantId,
        name: &str,
        expected: Expected,
    ) -> Result<(), Error> {
        let removed = self
            .store
            .remove_agent(tenant, known(name)?, expected)
            .await;
        removed.map_err(missing(name))
    }

    /// Warnings for the author of an applied definition: a sentence each.
    #[must_use]
    pub fn agent_warnings(&self, definition: &Json) -> Vec<String> {
        self.definitions.warnings(definition)
    }

    /// One agent.
    ///
    /// # Errors
    /// `agent_not_found`, or a code of the storage.
    pub async fn agent(&self, tenant: TenantId, name: &str) -> Result<Agent, Error> {
        let found = self.store.agent(tenant, known(name)?).await;
        found.map_err(missing(name))
    }

    /// Agents in the order of their names, after the agent of this name.
    ///
    /// # Errors
    /// A code of the storage.
    pub async fn agents(
        &self,
        tenant: TenantId,
        after: Option<AgentName>,
        limit: u32,
    ) -> Result<Listed<Agent>, Error> {
        Ok(self.store.agents(tenant, after, limit).await?)
    }

    /// The versions of an agent, the version that was applied first last.
    ///
    /// # Errors
    /// `agent_not_found`, or a code of the storage.
    pub async fn agent_versions(
        &self,
        tenant: TenantId,
        name: &str,
        limit: u32,
    ) -> Result<Vec<AgentVersion>, Error> {
        let found = self.store.agent_versions(tenant, known(name)?, limit);
        found.await.map_err(missing(name))
    }

    /// One version of an agent.
    ///
    /// # Errors
    /// `agent_not_found`, `agent_version_not_found`, or a code of the storage.
    pub async fn agent_version(
        &self,
        tenant: TenantId,
        name: &str,
        digest: AgentDigest,
    ) -> Result<AgentVersion, Error> {
        let agent = known(name)?;
        let found = self.store.agent_version(tenant, digest).await;
        match found {
            Ok(version) if version.name == agent => Ok(version),
            Ok(_) | Err(StoreError::NotFound) => {
                // One that is not there has no versions either.
                self.agent(tenant, name).await?;
                let message = format!("the agent `{agent}` never had the version {digest}");
                Err(Error::new(Code::AgentVersionNotFound, message))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The tools that agents of a tenant may have, and where they come from.
    #[must_use]
    pub fn tools(&self, tenant: TenantId) -> AgentTools {
        self.definitions.tools(tenant)
    }

    /// The definition that a task is pinned to; `None` for a task without an agent.
    pub(crate) async fn pinned_agent(
        &self,
        tenant: TenantId,
        task: TaskId,
    ) -> Result<Option<Json>, Error> {
        let Some(digest) = self.store.task(tenant, task).await?.task.agent_digest else {
            return Ok(None);
        };
        let version = self.store.agent_version(tenant, digest).await?;
        Ok(Some(version.spec.definition))
    }

    /// The current definition of the agent that a task names; `None` for a task without an agent. A
    /// task whose agent is removed before the task is stored has no version, and fails with `unknown_agent`.
    pub(crate) async fn named_agent(
        &self,
        tenant: TenantId,
        agent: Option<&str>,
    ) -> Result<Option<Json>, Error> {
        let Some(agent) = agent else {
            return Ok(None);
        };
        if let Ok(name) = agent.parse::<AgentName>() {
            match self.store.agent(tenant, name).await {
                Ok(found) => return Ok(Some(found.version.spec.definition)),
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let known = self.store.agents(tenant, None, PAGE).await?;
        let known: Vec<&str> = known
            .iter()
            .map(|agent| agent.version.name.as_str())
            .collect();
        let message = unknown(agent, &known);
        Err(Error {
            code: Code::UnknownAgent,
            fields: vec![FieldError::new(
                &["agent_id"],
                "unknown_agent",
                message.clone(),
            )],
            message,
        })
    }

    async fn checked_agent(
        &self,
        name: &str,
        definition: &Json,
    ) -> Result<(AgentName, AgentSpec), Error> {
        let size = definition.as_str().len();
        let most = self.settings.max_input_bytes;
        if size > most {
            let message = format!("the definition has {size} bytes, more than the limit of {most}");
            return Err(Error::new(Code::BodyTooLarge, message));
        }
        let wrong = |path: &[String], message: String| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            FieldError::new(&path, "definition", message)
        };
        // A template or a schema of some hundred bytes may take a while.
        let (definitions, definition) = (Arc::clone(&self.definitions), definition.clone());
        let checked = bounded::pool::run(move |_| definitions.check(&definition)).await;
        let (found, spec) = checked.map_err(|mistakes| {
            let fields = mistakes
                .into_iter()
                .map(|mistake| wrong(&mistake.path, mistake.message));
            invalid(fields.collect())
        })?;
        if found.as_str() != name {
            let name: String = name.chars().take(80).collect();
            let message = format!("`name` is `{found}`, but the path names `{name}`");
            return Err(invalid(vec![wrong(&["name".to_owned()], message)]));
        }
        Ok((found, spec))
    }
}

/// The messages name their places themselves.
fn invalid(fields: Vec<FieldError>) -> Error {
    let messages: Vec<_> = fields.iter().map(|field| field.message.clone()).collect();
    Error {
        code: Code::InvalidBody,
        message: messages.join("; "),
        fields,
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let hint = match known {
        [] => "there are none; `opspawn agent apply` makes one".to_owned(),
        known => units::nearest::hint(name, known.iter().copied()),
    };
    let name: String = name.chars().take(80).collect();
    format!("there is no agent `{name}`; {hint}")
}

fn not_found(name: &str) -> Error {
    let name: String = name.chars().take(80).collect();
    Error::new(Code::AgentNotFound, format!("there is no agent `{name}`"))
}

/// An invalid name is a name of no agent.
fn known(name: &str) -> Result<AgentName, Error> {
    name.parse().map_err(|_| not_found(name))
}

fn missing(name: &str) -> impl Fn(StoreError) -> Error {
    move |error| match error {
        StoreError::NotFound => not_found(name),
        other => other.into(),
    }
}
