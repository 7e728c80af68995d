//! The factory and servers that runs begin with. A reload replaces them for runs that begin later: a run keeps
//! the tools that it began with.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use agentkit::{
    Agent, BoxFuture,
    event::Failure,
    run::{Limits, RunConfig},
};
use ops_core::{
    AgentName, Caller, Json, TenantId,
    agent::AgentSpec,
    mcp::McpApproval,
    ports::{
        AgentDefinitions, AgentMistake, AgentTools, Fut, InputCheck, McpServerView, McpServers,
        StoreError, TaskInput,
    },
};
use ops_worker::{Agents, Job, Prepared};

use crate::{factory::Factory, tools::McpSources};

/// The factory and the MCP servers of now.
pub struct Current {
    now: RwLock<Now>,
}

#[derive(Clone)]
struct Now {
    factory: Arc<Factory>,
    mcp: Arc<McpSources>,
}

impl Current {
    /// Begins with these.
    #[must_use]
    pub fn new(factory: Arc<Factory>, mcp: Arc<McpSources>) -> Arc<Self> {
        Arc::new(Self {
            now: RwLock::new(Now { factory, mcp }),
        })
    }

    fn now(&self) -> Now {
        self.now
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The factory of now.
    #[must_use]
    pub fn factory(&self) -> Arc<Factory> {
        self.now().factory
    }

    /// The MCP servers of now.
    #[must_use]
    pub fn mcp(&self) -> Arc<McpSources> {
        self.now().mcp
    }

    /// Has runs begin with these from now on.
    pub fn replace(&self, factory: Arc<Factory>, mcp: Arc<McpSources>) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Now { factory, mcp };
    }
}

impl Agents for Current {
    fn ready<'a>(
        &'a self,
        job: &'a Job<'a>,
        config: Option<&'a RunConfig>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let factory = self.factory();
        Box::pin(async move { factory.ready(job, config).await })
    }

    fn start(&self, job: &Job<'_>) -> Result<Prepared, Failure> {
        self.factory().start(job)
    }

    fn resume(
        &self,
        job: &Job<'_>,
        config: &RunConfig,
    ) -> Result<(Agent, BTreeMap<String, String>), Failure> {
        self.factory().resume(job, config)
    }

    fn is_costly(&self, job: &Job<'_>) -> bool {
        self.factory().is_costly(job)
    }

    fn limits(&self, job: &Job<'_>) -> Limits {
        self.factory().limits(job)
    }
}

impl AgentDefinitions for Current {
    fn check(&self, definition: &Json) -> Result<(AgentName, AgentSpec), Vec<AgentMistake>> {
        self.factory().check(definition)
    }

    fn warnings(&self, definition: &Json) -> Vec<String> {
        self.factory().warnings(definition)
    }

    fn check_input(&self, task: &TaskInput<'_>) -> InputCheck {
        self.factory().check_input(task)
    }

    fn is_costly_input(&self, task: &TaskInput<'_>) -> bool {
        self.factory().is_costly_input(task)
    }

    fn tools(&self, tenant: TenantId) -> AgentTools {
        self.factory().tools(tenant)
    }
}

impl McpServers for Current {
    fn servers(&self, tenant: TenantId) -> Fut<'_, Result<Vec<McpServerView>, StoreError>> {
        let mcp = self.mcp();
        Box::pin(async move { mcp.servers(tenant).await })
    }

    fn approve<'a>(
        &'a self,
        caller: Caller,
        server: &'a str,
        approvals: Vec<McpApproval>,
    ) -> Fut<'a, Result<Option<McpServerView>, StoreError>> {
        let mcp = self.mcp();
        Box::pin(async move { mcp.approve(caller, server, approvals).await })
    }
}
