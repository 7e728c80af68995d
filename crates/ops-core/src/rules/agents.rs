//! What a definition makes of an agent.

use crate::{
    agent::{self, Agent, AgentName},
    ports::{Expected, NewAgent, StoreError, Stored},
    time::Micros,
};

/// What becomes of an agent that a definition is put for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// The agent has this version already: a change that was made is made again without harm.
    Unchanged(Agent),
    /// The definition becomes the current version.
    Current(Change),
}

/// What is written of an agent that gets another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Whether the agent is new.
    pub stored: Stored,
    /// The number of the change, from 1.
    pub revision: u64,
    /// When the agent was made.
    pub created_at: Micros,
    /// When it was changed.
    pub updated_at: Micros,
}

/// Decides about a definition. `before` is the agent as it stands, if there is one; `starts` says which
/// agents another one may start, none if there is no such agent.
///
/// # Errors
/// [`StoreError::AgentChanged`] if the agent is not as expected, [`StoreError::NoAgent`] and
/// [`StoreError::AgentCycle`] if the agents that it may start do not fit, and what `starts` fails with.
pub fn put<E: From<StoreError>>(
    before: Option<&Agent>,
    new: &NewAgent,
    mut starts: impl FnMut(&AgentName) -> Result<Option<Vec<AgentName>>, E>,
    now: Micros,
) -> Result<Put, E> {
    let spec = &new.spec;
    let current = before.map(|agent| agent.version.spec.digest);
    let is_same = current == Some(spec.digest);
    let fits = match new.expected {
        Expected::Any => true,
        Expected::Absent => current.is_none(),
        Expected::Version(digest) => current == Some(digest) || is_same,
    };
    if !fits {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::{AgentDigest, AgentSpec, AgentVersion},
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
