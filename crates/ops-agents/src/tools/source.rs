//! Where tools come from.

use std::{future::pending, sync::Arc};

use agentkit::{BoxFuture, Tool};
use ops_core::TenantId;

/// The source of the tools of long-term memory, which agents without long-term memory do not get.
pub const MEMORY_SOURCE: &str = "memory";

/// For whom tools are listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceContext {
    /// The tenant whose agents get them.
    pub tenant: TenantId,
}

/// Why a source has no list right now. The catalogue lists the source again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// How a source is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The source answers.
    Ready,
    /// The source has not answered yet.
    Starting,
    /// The source does not answer.
    Away {
        /// The reason, and the remedy.
        message: String,
    },
}

/// A source of tools: built-ins, a program, a server.
///
/// A source that is slow, hangs or is away costs no time to a task that uses none of its tools: lists are
/// taken beside the tasks, and a run takes the last list. Only a run whose agent names a source that was
/// never listed waits for the source.
pub trait ToolSource: Send + Sync {
    /// Its name: 1 to 64 of `a-z`, `0-9`, `_` and `-`. An agent names its tools as `NAME/TOOL`.
    fn name(&self) -> &str;

    /// Its tools, if they are there from the start and never change.
    fn fixed(&self) -> Option<Vec<Arc<dyn Tool>>> {
        None
    }

    /// Whether the tools are parts of the program: a tool that a newer release describes in other words is
    /// still the tool that a run was given. A tool of any other source is held if the tool changes under a
    /// run.
    fn is_built_in(&self) -> bool {
        false
    }

    /// Whether an agent gets the source's tools only if a pattern of the agent's definition takes them: a
    /// source with many tools, or with tools that others change.
    fn is_by_name_only(&self) -> bool {
        false
    }

    /// The source's present tools. Dropping the future gives up.
    ///
    /// # Errors
    /// Why the source has no list.
    fn tools<'a>(
        &'a self,
        context: &'a SourceContext,
    ) -> BoxFuture<'a, Result<Vec<Arc<dyn Tool>>, SourceError>>;

    /// Names of tools that the source has and gives to no agent before a person has approved them, each with the reason;
    /// by the last list.
    fn held(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Returns once the tools may differ from the last list.
    fn changed(&self) -> BoxFuture<'_, ()>;

    /// Health of the source.
    fn health(&self) -> Health;
}

/// Tools that are there from the start.
pub struct FixedTools {
    name: String,
    tools: Vec<Arc<dyn Tool>>,
    built_in: bool,
}

impl FixedTools {
    /// The tools of the program itself.
    #[must_use]
    pub fn built_in(tools: Vec<Arc<dyn Tool>>) -> Arc<dyn ToolSource> {
        Arc::new(Self {
            name: "builtin".to_owned(),
            tools,
            built_in: true,
        })
    }

    /// More tools of the program itself, under a name of their own.
    #[must_use]
    pub fn of_the_program(name: &str, tools: Vec<Arc<dyn Tool>>) -> Arc<dyn ToolSource> {
        Arc::new(Self {
            name: name.to_owned(),
            tools,
            built_in: true,
        })
    }

    /// Tools of one's own, under a name.
    #[must_use]
    pub fn named(name: &str, tools: Vec<Arc<dyn Tool>>) -> Arc<dyn ToolSource> {
        Arc::new(Self {
            name: name.to_owned(),
            tools,
            built_in: false,
        })
    }
}

impl ToolSource for FixedTools {
    fn name(&self) -> &str {
        &self.name
    }

    fn fixed(&self) -> Option<Vec<Arc<dyn Tool>>> {
        Some(self.tools.clone())
    }

    fn is_built_in(&self) -> bool {
        self.built_in
    }

    fn tools<'a>(
        &'a self,
        _: &'a SourceContext,
    ) -> BoxFuture<'a, Result<Vec<Arc<dyn Tool>>, SourceError>> {
        Box::pin(std::future::ready(Ok(self.tools.clone())))
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}
