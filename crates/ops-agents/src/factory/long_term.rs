//! Long-term memory of agents.

use agentkit::{
    Agent, Definition,
    event::Failure,
    memory::long_term::{LongTermConfig, MAX_NAME, MemoryError, Namespace, RunMemory},
    tool::memory,
};
use ops_core::TenantId;
use serde_json::Value;

use crate::{
    settings::LongTermSettings,
    tools::{MEMORY_SOURCE, PROXY_SOURCE},
};

/// Tools that an agent gets whatever patterns it names: to start others, and of its long-term memory.
pub(super) fn always(starts: bool, has_memory: bool) -> &'static [&'static str] {
    const SPAWN: &str = "spawn_agent";
    const AWAIT: &str = "await_agents";
    match (starts, has_memory) {
        (true, true) => &[SPAWN, AWAIT, memory::SEARCH, memory::ADD, memory::FORGET],
        (true, false) => &[SPAWN, AWAIT],
        (false, true) => memory::NAMES,
        (false, false) => &[],
    }
}

/// Sources that give an agent no tool.
pub(super) fn without(has_proxy: bool, has_memory: bool) -> &'static [&'static str] {
    match (has_proxy, has_memory) {
        (true, true) => &[],
        (true, false) => &[MEMORY_SOURCE],
        (false, true) => &[PROXY_SOURCE],
        (false, false) => &[PROXY_SOURCE, MEMORY_SOURCE],
    }
}

/// Long-term memory of a run that begins; `None` for an agent without it.
///
/// # Errors
/// A `user` that is no text, or not 1 to 128 bytes. An agent without long-term memory may get any `user`.
pub(super) fn of(
    settings: &LongTermSettings,
    definition: Option<&Definition>,
    user: &Value,
) -> Result<Option<LongTermConfig>, Failure> {
    let own = definition.and_then(|definition| definition.memory.long_term.clone());
    if own.is_none() && !settings.everywhere {
        return Ok(None);
    }
    let name = definition.map_or("default", |definition| &definition.name);
    let invalid = || {
        let message = format!(
            "`input_data.user` must be 1 to {MAX_NAME} bytes of text without control characters"
        );
        Failure::last("invalid_input", message)
    };
    let user = match user {
        Value::Null => None,
        Value::String(user) => Some(user.as_str()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(invalid());
        }
    };
    let config = own.unwrap_or_default().config(name, user);
    let namespace = Namespace::of_agent("default", &config.namespace).with_user(user);
    namespace.check().map_err(|_: MemoryError| invalid())?;
    Ok(Some(config))
}

/// The agent with its long-term memory, for a task; an empty id is no task.
pub(super) fn given(
    agent: Agent,
    settings: &LongTermSettings,
    config: Option<LongTermConfig>,
    tenant: TenantId,
    task: &str,
) -> Agent {
    let Some(config) = config else {
        return agent;
    };
    let memory = settings.store.clone().map(|store| {
        let of_run = RunMemory::new(store, &tenant.0.to_string(), &config);
        match task {
            "" => of_run,
            task => of_run.of_task(task),
        }
    });
    agent.with_long_term(config, memory)
}
