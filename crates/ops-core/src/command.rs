//! Commands for a task, who gives them, and why a command is refused.
//!
//! A caller names a [`TaskCommand`], the holder of a lease a [`RunCommand`]. Transitions that no caller may
//! cause, such as a claim or a lost lease, are causes of [`crate::rules`]: only a store names such causes.

use crate::{
    actor::Actor,
    approval::NewApproval,
    budget::BudgetEntry,
    event::{NewEvent, Resolution, TaskError},
    id::TaskId,
    json::Json,
    provider::ProviderEntry,
    rules::{budget::Kind, provider},
    task::{StateName, TaskLimits, WaitRequest},
    time::Micros,
};

/// A command of a person or a client for one task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskCommand {
    /// Who asks.
    pub actor: Actor,
    /// The action.
    pub action: TaskAction,
}

/// The actions of a [`TaskCommand`].
#[derive(Debug, Clone, PartialEq)]
pub enum TaskAction {
    /// Stop the task and its children.
    Cancel,
    /// Hold the task at its next boundary.
    Pause,
    /// Let a paused task go on.
    Resume,
    /// Record an external event, and wake the task if it waits for an event of that name.
    Signal {
        /// Which call the payload is for.
        name: String,
        /// The call's return value.
        payload: serde_json::Value,
    },
    /// Set the limits that are named.
    Limit(TaskLimits),
    /// Decide the outcome of a step that is in doubt.
    Resolve {
        /// The step.
        step: u32,
        /// The outcome.
        resolution: Resolution,
        /// The person who decides, as the client names them.
        by: Option<String>,
    },
}

impl TaskAction {
    /// The command of an actor.
    #[must_use]
    pub fn by(self, actor: Actor) -> TaskCommand {
        TaskCommand {
            actor,
            action: self,
        }
    }
}

/// A command of the holder of a task's lease.
#[derive(Debug, Clone, PartialEq)]
pub struct RunCommand {
    /// The epoch of the lease: another one refuses the command.
    pub epoch: u64,
    /// The action.
    pub action: RunAction,
}

/// The actions of a [`RunCommand`].
#[derive(Debug, Clone, PartialEq)]
pub enum RunAction {
    /// Record events, and the task's next state.
    Append(Append),
    /// Give the lease back: the worker stops.
    Release,
}

impl RunCommand {
    /// An append under the lease of this epoch.
    #[must_use]
    pub fn append(epoch: u64, append: Append) -> Self {
        Self {
            epoch,
            action: RunAction::Append(append),
        }
    }

    /// The end of the lease of this epoch.
    #[must_use]
    pub fn release(epoch: u64) -> Self {
        Self {
            epoch,
            action: RunAction::Release,
        }
    }
}

/// An append by the holder of a lease; all of its parts commit together.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The number of the last event that the writer knows.
    pub expected_seq: u64,
    /// The run's new events.
    pub events: Vec<NewEvent>,
    /// Children that begin with the append.
    pub children: Vec<ChildSpec>,
    /// Approvals that the events ask for.
    pub approvals: Vec<NewApproval>,
    /// Changes of the ledgers of budgets; empty unless budgets are about the task.
    pub budget: Vec<BudgetEntry>,
    /// Changes of the states of providers; empty unless the provider of the run's model has limits.
    pub provider: Vec<ProviderEntry>,
    /// The run's limits, if the writer knows better than the task: the agent's limits and the settings are
    /// among them.
    pub limits: Option<Box<TaskLimits>>,
    /// The task's next state.
    pub next: Next,
}

impl Append {
    /// An append that starts no child and asks for no approval.
    #[must_use]
    pub fn new(expected_seq: u64, events: Vec<NewEvent>, next: Next) -> Self {
        Self {
            expected_seq,
            events,
            children: Vec::new(),
            approvals: Vec::new(),
            budget: Vec::new(),
            provider: Vec::new(),
            limits: None,
            next,
        }
    }
}

/// A child task requested by a run. The engine makes the task: tenant, type, queue, priority, labels and
/// retry policy are the parent's, and limits are at most the remainder of the parent's limits.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildSpec {
    /// The id, made by the worker so that a repeated append names the same child.
    pub id: TaskId,
    /// The step that starts the child.
    pub step: u32,
    /// The input of the task.
    pub input: Json,
    /// The child's agent; `None` for the parent's agent.
    pub agent: Option<String>,
    /// Display name of the task.
    pub name: Option<String>,
    /// Steps; `None` for the parent's limit.
    pub max_steps: Option<u32>,
    /// Tokens, set aside of the parent's budget.
    pub max_tokens: Option<u64>,
    /// Micro-USD, set aside of the parent's budget.
    pub max_cost_micros: Option<u64>,
    /// When the child has to end.
    pub deadline: Option<Micros>,
    /// Generations of children that may follow.
    pub depth_left: u32,
}

/// The task's state after an append; the change commits with the events.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The run goes on.
    Continue,
    /// The task ends with a result.
    Complete {
        /// The result object.
        result: Json,
    },
    /// The attempt ends; after a retryable failure another attempt may follow.
    Fail {
        /// Why.
        error: TaskError,
        /// Whether another attempt may help.
        retryable: bool,
    },
    /// The task waits and gives its worker back.
    Wait(WaitRequest),
    /// The worker confirms a cancel.
    Cancelled,
}

impl Rejection {
    /// Whether a lease holder is refused because the lease is over.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            Self::StaleEpoch { .. } | Self::Terminal(_) | Self::WrongState(_) => {
                !units::mutant!("ops-core.stale_writes_are_not_counted")
            }
            Self::WrongSeq { .. }
            | Self::Cancelling
            | Self::NotInDoubt(_)
            | Self::NotDue
            | Self::Tree { .. }
            | Self::Child { .. }
            | Self::Budget { .. }
            | Self::ProviderLimit { .. } => false,
        }
    }
}

/// Reason for refusing a command. A refused command writes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The task has ended.
    #[error("the task is {0}, which is final")]
    Terminal(StateName),
    /// The command does not fit the state.
    #[error("the task is {0}")]
    WrongState(StateName),
    /// Another lease came after the writer's.
    #[error("the lease of epoch {given} is over; the task is at epoch {current}")]
    StaleEpoch {
        /// The writer's.
        given: u64,
        /// The task's.
        current: u64,
    },
    /// The writer does not know the last event.
    #[error("expected the last event to be {given}, but it is {current}")]
    WrongSeq {
        /// The writer's.
        given: u64,
        /// The task's.
        current: u64,
    },
    /// A cancel was accepted: outcomes may be recorded, but no intent.
    #[error("the task is being cancelled")]
    Cancelling,
    /// The step is not in doubt.
    #[error("step {0} is not in doubt")]
    NotInDoubt(u32),
    /// The command came too early.
    #[error("it is not time yet")]
    NotDue,
    /// The tree of a task and its children has as many tasks as it may have.
    #[error(
        "step {step} asks for {requested} more tasks, and of the {limit} tasks that a task, its children and \
         theirs may be together there are {tasks}; do the work in fewer tasks, or raise `limits.tree_tasks`"
    )]
    Tree {
        /// The step that asks for the first of the children.
        step: u32,
        /// How many children the run asks for.
        requested: u64,
        /// How many tasks there are.
        tasks: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A budget has no room for the next model call.
    #[error(
        "the budget `{budget}` has {} left of {}{}, and the next model call may use {}; raise the budget, or have tasks \
         wait (`limits.on_exhausted = \"wait\"`){}",
        kind.show(most.saturating_sub(*used)),
        kind.show(*most),
        match under_way {
            0 => String::new(),
            under_way => format!(" beside {} that calls under way may use", kind.show(*under_way)),
        },
        kind.show(*asked),
        match until {
            Some(_) => " for its next window",
            None => "",
        }
    )]
    Budget {
        /// The name of the budget.
        budget: String,
        /// The limit that is used up.
        kind: Kind,
        /// The worst case of the call.
        asked: u64,
        /// How much is used, with the worst cases of calls under way.
        used: u64,
        /// The share of `used` that calls under way have reserved.
        under_way: u64,
        /// The most of the window.
        most: u64,
        /// The end of the window, if it ends.
        until: Option<Micros>,
    },
    /// The model's provider takes no further call now.
    #[error(
        "the provider `{provider}` takes {per_minute} {} a minute (`{provider}.{}`), and other calls go first; the task \
         goes on when its turn comes",
        kind.name(),
        kind.setting(),
    )]
    ProviderLimit {
        /// The provider.
        provider: String,
        /// The limit that is reached.
        kind: provider::Kind,
        /// The limit.
        per_minute: u32,
    },
    /// A child cannot be started as the run asks.
    #[error("the child of step {step} cannot be started: {why}")]
    Child {
        /// The step that asks for the child.
        step: u32,
        /// The reason, and how to mend the command.
        why: String,
    },
}
