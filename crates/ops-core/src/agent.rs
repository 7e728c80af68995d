//! Agents: named definitions and their versions. Definitions are opaque here; the engine asks
//! [`AgentDefinitions`](crate::ports::AgentDefinitions) for their meaning.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::{id::TenantId, json::Json, time::Micros};

/// The most agents that are looked through for a cycle.
const MAX_VISITED: usize = 10_000;

/// The name of an agent, unique within its tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AgentName(String);

/// Text that is no name of an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 lower-case letters, digits, `-`, `_` or `.`, a letter or digit first")]
pub struct AgentNameError;

impl AgentName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentName {
    type Err = AgentNameError;

    fn from_str(text: &str) -> Result<Self, AgentNameError> {
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = text.len() <= 64
            && text.starts_with(alphanumeric)
            && text.chars().all(|c| alphanumeric(c) || "-_.".contains(c));
        fits.then(|| Self(text.to_owned())).ok_or(AgentNameError)
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version of an agent: SHA-256 of its definition's canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentDigest([u8; 32]);

/// Text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 64 hexadecimal digits")]
pub struct AgentDigestError;

impl AgentDigest {
    /// The 32 bytes as they are stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the 32 bytes as they are stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl FromStr for AgentDigest {
    type Err = AgentDigestError;

    fn from_str(text: &str) -> Result<Self, AgentDigestError> {
        units::hex::decode_array(text)
            .map(Self)
            .ok_or(AgentDigestError)
    }
}

impl fmt::Display for AgentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        units::hex::Hex(&self.0).fmt(f)
    }
}

impl Serialize for AgentDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A definition that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSpec {
    /// The definition in its canonical form.
    pub definition: Json,
    /// SHA-256 of that form.
    pub digest: AgentDigest,
    /// The agent's purpose, in a sentence; empty if the definition does not say.
    pub description: String,
    /// The agents that it may start.
    pub agents: Vec<AgentName>,
}

/// One version of an agent. A version never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentVersion {
    /// Whose it is.
    pub tenant: TenantId,
    /// The agent.
    pub name: AgentName,
    /// The definition.
    pub spec: AgentSpec,
    /// Time of the first apply.
    pub created_at: Micros,
}

/// An agent as it stands: its current version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The version that new tasks pin.
    pub version: AgentVersion,
    /// Counts its changes, from 1.
    pub revision: u64,
    /// Time of the first version.
    pub created_at: Micros,
    /// Time of the last change.
    pub updated_at: Micros,
}

/// The agents that would start each other in a circle if `name` may start `agents`: the first and the last
/// agent of the circle are the same. `starts` gives the agents that another agent may start.
///
/// # Errors
/// The error of `starts`.
pub fn cycle<E>(
    name: &AgentName,
    agents: &[AgentName],
    mut starts: impl FnMut(&AgentName) -> Result<Vec<AgentName>, E>,
) -> Result<Option<Vec<AgentName>>, E> {
    let mut seen = std::collections::BTreeSet::new();
    let mut open: Vec<Vec<AgentName>> = agents
        .iter()
        .rev()
        .map(|agent| vec![name.clone(), agent.clone()])
        .collect();
    while let Some(path) = open.pop() {
        let Some(last) = path.last() else { continue };
        if last == name {
            return Ok(Some(path));
        }
        if seen.len() >= MAX_VISITED || !seen.insert(last.clone()) {
            continue;
        }
        for next in starts(last)?.into_iter().rev() {
            let mut path = path.clone();
            path.push(next);
            open.push(path);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn name(text: &str) -> AgentName {
        text.parse().unwrap()
    }

    #[test]
    fn a_cycle_is_told_by_its_way() {
        let graph = |agent: &AgentName| {
            let starts: &[&str] = match agent.as_str() {
                "b" => &["d", "c"],
                "c" => &["a"],
                "d" => &["e"],
                "e" => &["d"],
                _ => &[],
            };
            Ok::<_, Infallible>(starts.iter().map(|text| name(text)).collect())
        };
        let found = |from: &str, to: &[&str]| {
            let to: Vec<_> = to.iter().map(|text| name(text)).collect();
            let Ok(path) = cycle(&name(from), &to, graph);
            path.map(|path| path.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(found("a", &["b"]).unwrap(), ["a", "b", "c", "a"]);
        assert_eq!(found("a", &["a"]).unwrap(), ["a", "a"]);
        // One among others is not this one's.
        assert_eq!(found("f", &["b"]), None);
        assert_eq!(found("a", &[]), None);
    }

    #[test]
    fn names_and_digests_read_back() {
        for bad in ["", "A", "a b", "-a", &"a".repeat(65)] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad}");
        }
        let digest = AgentDigest::from_bytes([0xa7; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "a7", &"g".repeat(64), &"a".repeat(63)] {
            assert!(bad.parse::<AgentDigest>().is_err(), "{bad}");
        }
    }
}
