//! Agents and their versions as clients see them.

use ops_core::{
    AgentDigest, Micros,
    agent::{Agent, AgentSpec, AgentVersion},
    ports::Stored,
};
use ops_engine::AgentPreview;

use crate::json::ObjectWriter;

/// Writes an agent without its definition.
pub(super) fn outline(out: &mut Vec<u8>, agent: &Agent) {
    let mut view = ObjectWriter::begin(out);
    view.plain("name", &agent.version.name);
    spec(&mut view, &agent.version.spec);
    view.value("revision", &agent.revision);
    view.time("created_at", Some(agent.created_at));
    view.time("updated_at", Some(agent.updated_at));
    view.end();
}

/// Writes an agent, and the outcome of its apply.
pub(super) fn agent(out: &mut Vec<u8>, agent: &Agent, stored: Option<(Stored, &[String])>) {
    let mut view = ObjectWriter::begin(out);
    view.plain("name", &agent.version.name);
    spec(&mut view, &agent.version.spec);
    view.value("revision", &agent.revision);
    view.time("created_at", Some(agent.created_at));
    view.time("updated_at", Some(agent.updated_at));
    view.raw("definition", Some(agent.version.spec.definition.as_str()));
    if let Some((stored, warnings)) = stored {
        view.plain("change", &change(stored));
        if !warnings.is_empty() {
            view.value("warnings", warnings);
        }
    }
    view.end();
}

/// Writes the agent that an apply would store, as if the agent were stored now.
pub(super) fn preview(out: &mut Vec<u8>, seen: &AgentPreview, warnings: &[String], now: Micros) {
    let current = seen.current.as_ref();
    let version = AgentVersion {
        tenant: ops_core::TenantId::DEFAULT,
        name: seen.name.clone(),
        spec: seen.spec.clone(),
        created_at: now,
    };
    let same = seen.stored == Stored::Unchanged;
    let revision = current.map_or(0, |agent| agent.revision);
    let after = Agent {
        version,
        revision: if same { revision } else { revision + 1 },
        created_at: current.map_or(now, |agent| agent.created_at),
        updated_at: current
            .filter(|_| same)
            .map_or(now, |agent| agent.updated_at),
    };
    agent(out, &after, Some((seen.stored, warnings)));
}

/// Writes a version without its definition.
pub(super) fn version_outline(out: &mut Vec<u8>, version: &AgentVersion, current: AgentDigest) {
    let mut view = ObjectWriter::begin(out);
    view.plain("name", &version.name);
    spec(&mut view, &version.spec);
    view.value("current", &(version.spec.digest == current));
    view.time("created_at", Some(version.created_at));
    view.end();
}

/// Writes a version.
pub(super) fn version(out: &mut Vec<u8>, version: &AgentVersion) {
    let mut view = ObjectWriter::begin(out);
    view.plain("name", &version.name);
    spec(&mut view, &version.spec);
    view.time("created_at", Some(version.created_at));
    view.raw("definition", Some(version.spec.definition.as_str()));
    view.end();
}

fn spec(view: &mut ObjectWriter<'_>, spec: &AgentSpec) {
    view.plain("digest", &spec.digest);
    view.value("description", &spec.description);
    view.value("agents", &spec.agents);
}

fn change(stored: Stored) -> &'static str {
    match stored {
        Stored::Created => "created",
        Stored::Changed => "changed",
        Stored::Unchanged => "unchanged",
    }
}
