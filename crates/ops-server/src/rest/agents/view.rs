//! Agents and their versions as clients see them.

use ops_core::{
    AgentDigest, AgentName, Json, Micros,
    agent::{self, AgentSpec},
    ports::Stored,
};
use ops_engine::AgentPreview;

use crate::json::{Optional, view, words};

view! {
    /// Agents in the order of their names.
    pub(crate) struct AgentList<'a> {
        agents: Vec<AgentOutline<'a>>,
        /// Null on the last page.
        next_cursor: Option<String>,
        /// Ids or names of entries that are damaged and left out; not there if there are none.
        damaged: Optional<&'a [String]>,
    }
}

view! {
    /// An agent in a list.
    pub(crate) struct AgentOutline<'a> {
        name: &'a AgentName,
        /// Its current version.
        digest: AgentDigest,
        description: &'a str,
        /// The agents that it may start.
        agents: &'a [AgentName],
        revision: u64,
        created_at: Micros,
        updated_at: Micros,
    }
}

view! {
    /// An agent at its current version.
    pub(crate) struct Agent<'a> {
        name: &'a AgentName,
        /// SHA-256 of the definition's canonical form (RFC 8785), in hex.
        digest: AgentDigest,
        /// Purpose of the agent.
        description: &'a str,
        /// The agents that it may start.
        agents: &'a [AgentName],
        /// Counts its changes.
        revision: u64,
        created_at: Micros,
        updated_at: Micros,
        /// The definition in its canonical form.
        definition: &'a Json = {"type": "object"},
    }
}

view! {
    /// An agent that was applied.
    pub(crate) struct Applied<'a> as AppliedAgent {
        name: &'a AgentName,
        digest: AgentDigest,
        description: &'a str,
        agents: &'a [AgentName],
        revision: u64,
        created_at: Micros,
        updated_at: Micros,
        definition: &'a Json = {"type": "object"},
        change: Stored,
        /// Warnings for the author, for instance that a provider has no key here.
        warnings: Optional<Vec<String>>,
    }
}

words! {
    /// Outcome of the apply.
    Stored as AgentChange { Created = "created", Changed = "changed", Unchanged = "unchanged", }
}

view! {
    /// The versions of an agent.
    pub(crate) struct VersionList<'a> as AgentVersionList {
        versions: Vec<AgentVersionOutline<'a>>,
    }
}

view! {
    /// A version in a list.
    pub(crate) struct AgentVersionOutline<'a> {
        name: &'a AgentName,
        digest: AgentDigest,
        description: &'a str,
        agents: &'a [AgentName],
        /// Whether new tasks get this version.
        current: bool,
        created_at: Micros,
    }
}

view! {
    /// One version of an agent.
    pub(crate) struct AgentVersion<'a> {
        name: &'a AgentName,
        digest: AgentDigest,
        description: &'a str,
        agents: &'a [AgentName],
        /// Time of the first apply.
        created_at: Micros,
        definition: &'a Json = {"type": "object"},
    }
}

impl<'a> AgentOutline<'a> {
    pub(super) fn of(agent: &'a agent::Agent) -> Self {
        let spec = &agent.version.spec;
        Self {
            name: &agent.version.name,
            digest: spec.digest,
            description: &spec.description,
            agents: &spec.agents,
            revision: agent.revision,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
        }
    }
}

impl<'a> Agent<'a> {
    pub(super) fn of(agent: &'a agent::Agent) -> Self {
        let spec = &agent.version.spec;
        Self {
            name: &agent.version.name,
            digest: spec.digest,
            description: &spec.description,
            agents: &spec.agents,
            revision: agent.revision,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
            definition: &spec.definition,
        }
    }

    /// The agent as an apply has left it.
    pub(super) fn applied(self, change: Stored, warnings: Vec<String>) -> Applied<'a> {
        Applied {
            name: self.name,
            digest: self.digest,
            description: self.description,
            agents: self.agents,
            revision: self.revision,
            created_at: self.created_at,
            updated_at: self.updated_at,
            definition: self.definition,
            change,
            warnings: Optional::list(warnings),
        }
    }

    /// The agent that an apply would store, as if the agent were stored now.
    pub(super) fn previewed(seen: &'a AgentPreview, now: Micros) -> Self {
        let current = seen.current.as_ref();
        let AgentSpec {
            definition,
            digest,
            description,
            agents,
        } = &seen.spec;
        let same = seen.stored == Stored::Unchanged;
        let revision = current.map_or(0, |agent| agent.revision);
        Self {
            name: &seen.name,
            digest: *digest,
            description,
            agents,
            revision: if same { revision } else { revision + 1 },
            created_at: current.map_or(now, |agent| agent.created_at),
            updated_at: current
                .filter(|_| same)
                .map_or(now, |agent| agent.updated_at),
            definition,
        }
    }
}

impl<'a> AgentVersionOutline<'a> {
    pub(super) fn of(version: &'a agent::AgentVersion, current: AgentDigest) -> Self {
        let spec = &version.spec;
        Self {
            name: &version.name,
            digest: spec.digest,
            description: &spec.description,
            agents: &spec.agents,
            current: spec.digest == current,
            created_at: version.created_at,
        }
    }
}

impl<'a> AgentVersion<'a> {
    pub(super) fn of(version: &'a agent::AgentVersion) -> Self {
        let spec = &version.spec;
        Self {
            name: &version.name,
            digest: spec.digest,
            description: &spec.description,
            agents: &spec.agents,
            created_at: version.created_at,
            definition: &spec.definition,
        }
    }
}
