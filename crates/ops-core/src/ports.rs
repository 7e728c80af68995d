//! The engine's ports to the world. Adapters implement the traits; only the binary names adapters.
//!
//! The store has one port for each kind of caller: surfaces ([`TaskStore`], [`AgentStore`],
//! [`ScheduleStore`]), holders of leases ([`RunStore`]), and the engine's loops ([`UpkeepStore`],
//! [`RetentionStore`]). Every verb that takes an id takes the tenant as well.

mod agents;
mod budgets;
mod configuration;
mod error;
mod listed;
mod mcp;
mod queue;
mod reload;
mod retention;
mod runs;
mod schedules;
mod tasks;
mod upkeep;
mod world;

use std::{future::Future, pin::Pin};

pub use self::{
    agents::{
        AgentDefinitions, AgentMistake, AgentStore, AgentTool, AgentTools, Expected, InputCheck,
        NewAgent, NoPrompts, PromptError, Prompts, Stored, TaskInput, ToolSourceHealth,
    },
    budgets::BudgetStore,
    configuration::{Configuration, CurrentConfiguration},
    error::StoreError,
    listed::Listed,
    mcp::{McpServerView, McpServers, McpStore, NoMcpServers},
    queue::{FoundBy, Queue, QueueHealth, Wakeup},
    reload::{NoReload, Reload, ReloadRefused, Reloaded},
    retention::{Expired, Progress, Retention, RetentionStore, Workspaces},
    runs::{Blob, ClaimRequest, Claimed, HeartbeatReply, More, RunStore, Snapshot},
    schedules::{DueSchedules, ExpectedSchedule, NewSchedule, ScheduleChange, ScheduleStore},
    tasks::{
        ApprovalAction, ApprovalDecision, ApprovalFilter, Counts, EVENT_BYTES, Fork, Idempotency,
        IdempotencyKey, LIST_BYTES, LeftOut, NewTask, Submitted, TaskFilter, TaskRecord, TaskStore,
    },
    upkeep::{Due, StoreHealth, UpkeepStore},
    world::{
        Clock, Delta, Follow, Hint, HintUpdate, Hints, Live, LogUpdate, Notice, Observer, Random,
    },
};

/// A boxed future, so that the ports are object-safe without a runtime.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All ports of a store that surfaces reach through the engine.
pub trait Store: TaskStore + AgentStore + ScheduleStore + RetentionStore + BudgetStore {}

impl<S: TaskStore + AgentStore + ScheduleStore + RetentionStore + BudgetStore + ?Sized> Store
    for S
{
}
