//! Tools that are held until a person approves their definitions, in this process or in another process on the store.

use std::{sync::PoisonError, time::Duration};

use agentkit_mcp::{Kind, names};
use ops_core::{
    TenantId,
    mcp::{McpPinState, McpPins},
};

use super::{super::ToolSource as _, McpSource};

/// How often a process looks whether another process has approved a tool that is held here.
const LOOK: Duration = Duration::from_secs(5);

impl McpSource {
    /// Sets the tools that wait for a person.
    pub(super) fn hold(&self, pins: &McpPins) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = self.held_by(pins);
    }

    /// Returns once another process on the store has approved a tool that is held here. Asks the store while a tool is held,
    /// and at no other time.
    pub(super) async fn approved_elsewhere(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let held = self.held();
            let store = self.store.borrow().clone();
            let Some(store) = store.filter(|_| !held.is_empty()) else {
                continue;
            };
            let Ok(servers) = store.mcp_servers(TenantId::DEFAULT).await else {
                continue;
            };
            let name = self.used.server().name();
            let own = servers.into_iter().find(|(server, _)| server == name);
            if own.is_some_and(|(_, pins)| self.held_by(&pins) != held) {
                return;
            }
        }
    }

    /// The tools that wait for a person, each with the reason.
    fn held_by(&self, pins: &McpPins) -> Vec<(String, String)> {
        let server = self.used.server();
        let held = pins.pins.iter().filter(|pin| {
            let is_tool = pin.key.kind == Kind::Tool.as_str();
            is_tool && pin.state().is_held() && server.config().uses(&pin.key.name)
        });
        let held = held.map(|pin| {
            let name = names::native(server.name(), &pin.key.name);
            let state = match pin.state() {
                McpPinState::Changed => "has changed since a person approved it",
                McpPinState::New | McpPinState::Approved | McpPinState::Gone => "is new",
            };
            let why = format!(
                "the tool `{name}` is held: its definition {state}, and no version of it is called until a person \
                 approves it; `opspawn mcp diff {}` shows the definition",
                server.name()
            );
            (name, why)
        });
        held.collect()
    }
}
