//! Where tools come from.

use std::{future::pending, sync::Arc};

use agentkit::{BoxFuture, Tool};
use ops_core::TenantId;

/// For whom tools are listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceContext {
    /// The tenant whose agents get them.
    pub tenant: TenantId,
}

/// Why a source has no list right now. It is asked again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// How a source is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Ready,
    /// It has not answered yet.
    Starting,
    /// It does not answer.
    Away {
        /// Why, and what mends it.
        message: String,
    },
}

/// Something that has tools: built-ins, a program, a server.
///
/// A source that is slow, hangs or is away costs no time to a task that uses none of its tools: lists are
/// taken beside the tasks, and a run takes the last one. Only a run whose agent names a source that was
/// never listed waits for it.
pub trait ToolSource: Send + Sync {
    /// Its name: 1 to 64 of `a-z`, `0-9`, `_` and `-`. An agent names its tools as `NAME/TOOL`.
    fn name(&self) -> &str;

    /// Its tools, if they are there from the start and never change.
    fn fixed(&self) -> Option<Vec<Arc<dyn Tool>>> {
        None
    }

    /// Whether its tools are parts of the program: one that a newer release describes in other words is
    /// still the tool that a run was given. A tool of any other source is held if it changes under a run.
    fn is_built_in(&self) -> bool {
        false
    }

    /// The tools that it has now. Dropping the future gives up.
    ///
    /// # Errors
    /// Why it has no list.
    fn tools<'a>(
        &'a self,
        context: &'a SourceContext,
    ) -> BoxFuture<'a, Result<Vec<Arc<dyn Tool>>, SourceError>>;

    /// Returns once its tools may be others than those that were listed last.
    fn changed(&self) -> BoxFuture<'_, ()>;

    /// How it is.
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
