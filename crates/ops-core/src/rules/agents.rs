//! Rules of an agent's versions.

use std::fmt;

use crate::{
    agent::{self, Agent, AgentDigest, AgentName},
    ports::{Expected, NewAgent, StoreError, Stored},
    schedule::ScheduleName,
    time::Micros,
};

/// The most agents, and the most schedules, that a refused removal names.
pub const MAX_USES: u32 = 10;

/// Outcome of putting a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// The agent has this version already: a change that was made is made again without harm.
    Unchanged(Agent),
    /// The definition becomes the current version.
    Current(Change),
}

/// The update of an agent that gets another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Whether the agent is new.
    pub stored: Stored,
    /// The number of the change, from 1.
    pub revision: u64,
    /// When the agent was made.
    pub created_at: Micros,
    /// Time of the change.
    pub updated_at: Micros,
}

/// Decides about a definition. `before` is the present agent, if the agent exists; `starts` gives the
/// agents that another agent may start, or `None` for an unknown agent.
///
/// # Errors
/// [`StoreError::AgentChanged`] if the precondition fails, [`StoreError::NoAgent`] and
/// [`StoreError::AgentCycle`] if the agents to start do not fit, and the error of `starts`.
pub fn put<E: From<StoreError>>(
    before: Option<&Agent>,
    new: &NewAgent,
    mut starts: impl FnMut(&AgentName) -> Result<Option<Vec<AgentName>>, E>,
    now: Micros,
) -> Result<Put, E> {
    let spec = &new.spec;
    let current = before.map(|agent| agent.version.spec.digest);
    let is_same = current == Some(spec.digest);
    // A change that was made already is made again: the answer may have been lost.
    let is_made = is_same && matches!(new.expected, Expected::Version(_));
    if !is_as_expected(current, new.expected) && !is_made {
        return Err(StoreError::AgentChanged(current).into());
    }
    if let Some(before) = before.filter(|_| is_same) {
        return Ok(Put::Unchanged(before.clone()));
    }
    for agent in &spec.agents {
        if *agent != new.name && starts(agent)?.is_none() {
            return Err(StoreError::NoAgent(agent.clone()).into());
        }
    }
    let known = |agent: &AgentName| starts(agent).map(Option::unwrap_or_default);
    if let Some(circle) = agent::cycle(&new.name, &spec.agents, known)? {
        return Err(StoreError::AgentCycle(circle).into());
    }
    Ok(Put::Current(Change {
        stored: match before {
            Some(_) => Stored::Changed,
            None => Stored::Created,
        },
        revision: before.map_or(1, |before| before.revision + 1),
        created_at: before.map_or(now, |before| before.created_at),
        updated_at: now,
    }))
}

/// Current definitions and schedules that name an agent: at most [`MAX_USES`] of each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uses {
    /// Agents that may start the agent.
    pub agents: Vec<AgentName>,
    /// Schedules whose tasks run the agent.
    pub schedules: Vec<ScheduleName>,
}

impl fmt::Display for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |kind: &str, names: Vec<&str>| match names.len() {
            0 => None,
            1 => Some(format!("the {kind} {}", names.concat())),
            count => {
                let more = if count >= MAX_USES as usize {
                    ", ..."
                } else {
                    ""
                };
                Some(format!("the {kind}s {}{more}", names.join(", ")))
            }
        };
        let agents = self.agents.iter().map(AgentName::as_str).collect();
        let schedules = self.schedules.iter().map(ScheduleName::as_str).collect();
        let lists = [list("agent", agents), list("schedule", schedules)];
        let lists: Vec<String> = lists.into_iter().flatten().collect();
        f.write_str(&lists.join(" and "))
    }
}

/// Decides about the removal of an agent. Tasks do not refuse the removal: each task is pinned to a version,
/// and versions stay.
///
/// # Errors
/// [`StoreError::AgentChanged`] if the precondition fails, [`StoreError::NotFound`] for an unknown agent, and
/// [`StoreError::AgentInUse`] while agents or schedules name the agent: each of their later tasks would fail.
pub fn remove(before: Option<&Agent>, expected: Expected, uses: Uses) -> Result<(), StoreError> {
    let current = before.map(|agent| agent.version.spec.digest);
    if !is_as_expected(current, expected) {
        return Err(StoreError::AgentChanged(current));
    }
    if before.is_none() {
        return Err(StoreError::NotFound);
    }
    match uses == Uses::default() {
        true => Ok(()),
        false => Err(StoreError::AgentInUse(uses)),
    }
}

fn is_as_expected(current: Option<AgentDigest>, expected: Expected) -> bool {
    match expected {
        Expected::Any => true,
        Expected::Absent => current.is_none(),
        Expected::Version(digest) => current == Some(digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::{AgentSpec, AgentVersion},
        id::TenantId,
        json::Json,
    };

    fn name(text: &str) -> AgentName {
        text.parse().unwrap()
    }

    fn new(text: &str, digest: u8, agents: &[&str], expected: Expected) -> NewAgent {
        NewAgent {
            tenant: TenantId::DEFAULT,
            name: name(text),
            spec: AgentSpec {
                definition: Json::null(),
                digest: AgentDigest::from_bytes([digest; 32]),
                description: String::new(),
                agents: agents.iter().map(|text| name(text)).collect(),
            },
            expected,
        }
    }

    fn stored(digest: u8) -> Agent {
        let NewAgent {
            tenant, name, spec, ..
        } = new("a", digest, &[], Expected::Any);
        Agent {
            version: AgentVersion {
                tenant,
                name,
                spec,
                created_at: Micros(1),
            },
            revision: 4,
            created_at: Micros(1),
            updated_at: Micros(2),
        }
    }

    /// `b` may start `a`, and there is no other agent.
    fn known(agent: &AgentName) -> Result<Option<Vec<AgentName>>, StoreError> {
        Ok((agent.as_str() == "b").then(|| vec![name("a")]))
    }

    fn decided(before: Option<&Agent>, new: &NewAgent) -> Result<Put, StoreError> {
        put(before, new, known, Micros(9))
    }

    #[test]
    fn a_definition_is_a_new_version_unless_it_is_the_current_one() {
        let first = decided(None, &new("a", 1, &[], Expected::Any)).unwrap();
        let created = Change {
            stored: Stored::Created,
            revision: 1,
            created_at: Micros(9),
            updated_at: Micros(9),
        };
        assert_eq!(first, Put::Current(created));
        let before = stored(1);
        let again = decided(Some(&before), &new("a", 1, &[], Expected::Any)).unwrap();
        assert_eq!(again, Put::Unchanged(before.clone()));
        let other = decided(Some(&before), &new("a", 2, &[], Expected::Any)).unwrap();
        let changed = Change {
            stored: Stored::Changed,
            revision: 5,
            created_at: Micros(1),
            updated_at: Micros(9),
        };
        assert_eq!(other, Put::Current(changed));
    }

    #[test]
    fn an_agent_that_is_not_as_expected_stays() {
        let version = |digest: u8| Expected::Version(AgentDigest::from_bytes([digest; 32]));
        let (old, before) = (Some(stored(1)), AgentDigest::from_bytes([1; 32]));
        for (before_is, expected, digest, fits) in [
            (&None, Expected::Absent, 2, true),
            (&None, version(1), 2, false),
            (&old, Expected::Absent, 2, false),
            (&old, version(1), 2, true),
            (&old, version(7), 2, false),
            // It was made already: the answer was lost.
            (&old, version(7), 1, true),
        ] {
            let done = decided(before_is.as_ref(), &new("a", digest, &[], expected));
            let refused = StoreError::AgentChanged(before_is.as_ref().map(|_| before));
            match fits {
                true => assert!(done.is_ok(), "{expected:?} {digest}: {done:?}"),
                false => assert_eq!(done.unwrap_err(), refused),
            }
        }
    }

    #[test]
    fn an_agent_that_agents_or_schedules_name_stays() {
        let agents = |names: &[&str]| names.iter().map(|text| name(text)).collect();
        let schedules = |names: &[&str]| names.iter().map(|text| text.parse().unwrap()).collect();
        let uses = |named_by: &[&str], schedules: Vec<ScheduleName>| Uses {
            agents: agents(named_by),
            schedules,
        };
        let old = stored(1);
        let none = uses(&[], Vec::new());
        let version = |digest: u8| Expected::Version(AgentDigest::from_bytes([digest; 32]));
        assert_eq!(remove(Some(&old), Expected::Any, none.clone()), Ok(()));
        assert_eq!(remove(Some(&old), version(1), none.clone()), Ok(()));
        let is_changed = |current| Err(StoreError::AgentChanged(current));
        let current = Some(AgentDigest::from_bytes([1; 32]));
        for expected in [version(7), Expected::Absent] {
            assert_eq!(
                remove(Some(&old), expected, none.clone()),
                is_changed(current)
            );
        }
        assert_eq!(remove(None, version(1), none.clone()), is_changed(None));
        assert_eq!(remove(None, Expected::Any, none), Err(StoreError::NotFound));
        for (uses, message) in [
            (uses(&["b"], Vec::new()), "the agent b"),
            (
                uses(&["b", "c"], schedules(&["s"])),
                "the agents b, c and the schedule s",
            ),
            (uses(&[], schedules(&["s", "t"])), "the schedules s, t"),
        ] {
            let refused = remove(Some(&old), Expected::Any, uses).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("the agent is named by {message}")
            );
        }
    }

    #[test]
    fn agents_that_it_may_start_are_there_and_lead_nowhere_back() {
        let refused = |agents: &[&str]| decided(None, &new("a", 1, agents, Expected::Any));
        assert_eq!(
            refused(&["b"]),
            Err(StoreError::AgentCycle(vec![
                name("a"),
                name("b"),
                name("a")
            ]))
        );
        assert_eq!(refused(&["c"]), Err(StoreError::NoAgent(name("c"))));
        assert_eq!(
            refused(&["a"]),
            Err(StoreError::AgentCycle(vec![name("a"), name("a")]))
        );
        assert!(decided(None, &new("c", 1, &["b"], Expected::Any)).is_ok());
    }
}
