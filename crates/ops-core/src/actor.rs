//! Actors: every command names who asks, and the events that the command causes carry the name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    id::{KeyId, SessionId, TenantId},
    schedule::ScheduleName,
};

/// Who asks for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A client, by the id of its API key.
    Key(KeyId),
    /// A person or a program on the same machine, without a key.
    Local,
    /// A worker, by its session.
    Session(SessionId),
    /// A schedule.
    Schedule(ScheduleName),
    /// The engine itself: a timer, a lost lease, a link between tasks.
    Machine,
}

/// Who calls the engine, and for which tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The tenant whose tasks the call is about.
    pub tenant: TenantId,
    /// Who calls.
    pub actor: Actor,
}

impl Caller {
    /// A caller on the same machine.
    #[must_use]
    pub fn local(tenant: TenantId) -> Self {
        Self {
            tenant,
            actor: Actor::Local,
        }
    }
}

/// Text that names no actor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an actor: `local`, `machine`, `key:ID`, `schedule:NAME` or a session id")]
pub struct ParseActorError(String);

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key:{key}"),
            Self::Local => f.write_str("local"),
            Self::Session(session) => session.fmt(f),
            Self::Schedule(name) => write!(f, "schedule:{name}"),
            Self::Machine => f.write_str("machine"),
        }
    }
}

impl FromStr for Actor {
    type Err = ParseActorError;

    fn from_str(text: &str) -> Result<Self, ParseActorError> {
        let parsed = match text.split_once(':') {
            Some(("key", id)) => id.parse().ok().map(Self::Key),
            Some(("schedule", name)) => name.parse().ok().map(Self::Schedule),
            Some(_) => None,
            None => match text {
                "local" => Some(Self::Local),
                "machine" => Some(Self::Machine),
                session => session.parse().ok().map(Self::Session),
            },
        };
        parsed.ok_or_else(|| ParseActorError(text.chars().take(80).collect()))
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Micros;

    #[test]
    fn actors_read_back_from_their_text() {
        for actor in [
            Actor::Key("key_7f".parse().unwrap()),
            Actor::Local,
            Actor::Session(SessionId::new(Micros(1), [3; 10])),
            Actor::Schedule("nightly".parse().unwrap()),
            Actor::Machine,
        ] {
            assert_eq!(actor.to_string().parse(), Ok(actor.clone()));
            let json = serde_json::to_string(&actor).unwrap();
            assert_eq!(serde_json::from_str::<Actor>(&json).unwrap(), actor);
        }
        for wrong in ["", "ann", "key:", "schedule:A B", "session_1", "machine:1"] {
            assert!(wrong.parse::<Actor>().is_err(), "{wrong}");
        }
    }
}
