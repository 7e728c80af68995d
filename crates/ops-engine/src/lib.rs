//! The engine: commands that surfaces call, and loops that keep tasks moving, over the ports of `ops-core`.
//! The engine knows no agent, no HTTP and no concrete adapter.

mod agents;
mod approvals;
mod budgets;
mod bulk;
mod clock_watch;
mod commands;
mod control;
mod error;
mod follow;
mod forks;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hub;
mod loops;
mod prompts;
mod retention;
pub mod schedule;
mod served;
mod steps;
pub mod submit;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use ops_core::{
    budget::Budget,
    ports::{
        AgentDefinitions, Clock, CurrentConfiguration, Live, Prompts, Queue, Random, Retention,
        Store, UpkeepStore, Workspaces,
    },
    provider::ProviderLimit,
    retry::RetryPolicy,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::{
    agents::AgentPreview,
    approvals::{ApprovalPage, StepDecision},
    budgets::{BudgetState, ProviderLine},
    bulk::{Steer, Steered, SteeredPage},
    commands::{DoubtPage, EventPage, StepPage},
    error::{Error, FieldError},
    follow::{Followed, Follower, LogPage, Shared},
    forks::{DryRun, Redriven, Rerun},
    hub::Hub,
    retention::Deleted,
    schedule::{SchedulePage, ScheduleRequest, ScheduleView},
    steps::{Initiator, Step, StepState},
    submit::{Accepted, ClientKey, RetryRequest, Submit},
};
use self::{clock_watch::Look, schedule::RunCounts};

/// State and ports of the engine.
pub struct Engine {
    store: Arc<dyn Store>,
    upkeep: Arc<dyn UpkeepStore>,
    live: Arc<dyn Live>,
    queue: Arc<dyn Queue>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    hub: Arc<Hub>,
    workspaces: Arc<dyn Workspaces>,
    definitions: Arc<dyn AgentDefinitions>,
    prompts: Arc<dyn Prompts>,
    settings: Settings,
    /// The tasks that are followed.
    feeds: Arc<follow::Feeds>,
    /// Rings when a schedule was changed.
    schedules_changed: Notify,
    /// The clock's look for dates that the loop of schedules has not checked yet: the clock may have been
    /// set back before the loop's check.
    dated: Mutex<Option<Look>>,
    schedule_runs: RunCounts,
    /// The queues that live workers of all processes serve, at the last look.
    served: Mutex<BTreeSet<String>>,
}

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The task types that a worker has registered.
    pub task_types: BTreeSet<String>,
    /// The queues that are configured: tasks are accepted for them.
    pub queues: BTreeSet<String>,
    /// Whether a worker of this process serves these queues.
    pub works: bool,
    /// How retryable failures are answered unless the task says otherwise.
    pub retry: RetryPolicy,
    /// The largest input, in bytes of JSON.
    pub max_input_bytes: usize,
    /// How long tasks are kept after they ended.
    pub retention: Retention,
    /// The budgets that tasks share.
    pub budgets: Vec<Budget>,
    /// The providers with limits.
    pub providers: Vec<Arc<ProviderLimit>>,
    /// The configuration of this process.
    pub configuration: CurrentConfiguration,
}

/// The adapters that the binary wires in.
pub struct Adapters {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The same, for the loops.
    pub upkeep: Arc<dyn UpkeepStore>,
    /// Wakes readers.
    pub live: Arc<dyn Live>,
    /// Wakes workers.
    pub queue: Arc<dyn Queue>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives ids their randomness.
    pub random: Arc<dyn Random>,
    /// The observer that the store was opened with.
    pub hub: Arc<Hub>,
    /// The folders of tasks.
    pub workspaces: Arc<dyn Workspaces>,
    /// Interprets definitions of agents.
    pub definitions: Arc<dyn AgentDefinitions>,
    /// Shows the prompts of model calls.
    pub prompts: Arc<dyn Prompts>,
}

impl Engine {
    /// An engine over these adapters.
    #[must_use]
    pub fn new(adapters: Adapters, settings: Settings) -> Arc<Self> {
        let Adapters {
            store,
            upkeep,
            live,
            queue,
            clock,
            random,
            hub,
            workspaces,
            definitions,
            prompts,
        } = adapters;
        Arc::new(Self {
            store,
            upkeep,
            live,
            queue,
            clock,
            random,
            hub,
            workspaces,
            definitions,
            prompts,
            settings,
            feeds: Arc::default(),
            schedules_changed: Notify::new(),
            dated: Mutex::default(),
            schedule_runs: RunCounts::default(),
            served: Mutex::default(),
        })
    }

    /// Runs the loops of a server until stopped: the loops of [`Engine::run_tasks`], schedules and
    /// retention.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            ((), (), ()) = async {
                tokio::join!(
                    self.keep_tasks_moving(),
                    self.schedules_loop(),
                    self.retention_loop()
                )
            } => {}
        }
    }

    /// Runs the loops that keep tasks moving (timers, lost leases, the sweeper) until stopped: the loops of
    /// a process that serves one command, and begins no task of its own accord.
    pub async fn run_tasks(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_tasks_moving() => {}
        }
    }

    async fn keep_tasks_moving(&self) {
        tokio::join!(self.timers(), self.leases(), self.sweeper());
    }

    /// Tells the time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}
