//! What the engine asks of the world. Adapters implement these; only the binary names adapters.
//!
//! The store is several ports, by who calls: surfaces ([`TaskStore`], [`AgentStore`],
//! [`ScheduleStore`]), whoever holds a lease ([`RunStore`]), and the engine's loops ([`UpkeepStore`],
//! [`RetentionStore`]). Every id-taking verb takes the tenant.

mod agents;
mod error;
mod listed;
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
        NewAgent, Stored, TaskInput, ToolSourceHealth,
    },
    error::StoreError,
    listed::Listed,
    retention::{Expired, Progress, Retention, RetentionStore, Workspaces},
    runs::{Blob, ClaimRequest, Claimed, HeartbeatReply, More, RunStore, Snapshot},
    schedules::{DueSchedules, ExpectedSchedule, NewSchedule, ScheduleChange, ScheduleStore},
    tasks::{
        ApprovalAction, ApprovalDecision, ApprovalFilter, Counts, EVENT_BYTES, Fork, Idempotency,
        IdempotencyKey, LIST_BYTES, NewTask, Submitted, TaskFilter, TaskRecord, TaskStore,
    },
    upkeep::{Due, StoreHealth, UpkeepStore},
    world::{
        Clock, Delta, Follow, Heard, HeardHint, Hint, Hints, Live, Notice, Observer, Queue, Random,
    },
};

/// A boxed future, so that the ports are object-safe without a runtime.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What surfaces ask of a store by way of the engine.
pub trait Store: TaskStore + AgentStore + ScheduleStore + RetentionStore {}

impl<S: TaskStore + AgentStore + ScheduleStore + RetentionStore + ?Sized> Store for S {}
