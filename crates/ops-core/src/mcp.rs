//! MCP servers as the store knows them: the approved definitions and the listed definitions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{actor::Actor, json::Json, time::Micros};

/// The longest name of a server, in bytes.
pub const MAX_SERVER_NAME: usize = 200;

/// A definition as a server gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpDefinition {
    /// SHA-256 of its canonical form, in hex.
    pub digest: String,
    /// The object itself.
    pub raw: Json,
}

/// The kind and name of a definition: a `tool`, a `prompt` or the `instructions`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct McpKey {
    /// `tool`, `prompt` or `instructions`.
    pub kind: String,
    /// The name that the server gives it.
    pub name: String,
}

/// The record of one definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpPin {
    /// The kind and name of the definition.
    #[serde(flatten)]
    pub key: McpKey,
    /// The approved definition; null if no definition of the name was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<McpDefinition>,
    /// The definition that the server lists now, where it differs from the approved definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<McpDefinition>,
    /// Whether the server lists the definition no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_gone: bool,
    /// When the server's list last changed the definition.
    pub changed_at: Micros,
    /// When the definition was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Micros>,
    /// Who approved the definition; null for a definition of the server's first list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<Actor>,
}

/// The state of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum McpPinState {
    /// Agents are given the definition.
    Approved,
    /// The definition is held: no definition of its name was approved.
    New,
    /// The definition is held: it differs from the approved definition.
    Changed,
    /// The server lists the definition no more.
    Gone,
}

impl McpPinState {
    /// The state's name in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }

    /// Whether a person has to look at the definition before agents are given it.
    #[must_use]
    pub fn is_held(self) -> bool {
        match self {
            Self::New | Self::Changed => true,
            Self::Approved | Self::Gone => false,
        }
    }
}

impl McpPin {
    /// The definition's state.
    #[must_use]
    pub fn state(&self) -> McpPinState {
        match (&self.approved, &self.listed) {
            _ if self.is_gone => McpPinState::Gone,
            (None, _) => McpPinState::New,
            (Some(_), Some(_)) => McpPinState::Changed,
            (Some(_), None) => McpPinState::Approved,
        }
    }

    /// The definition that the server lists now.
    #[must_use]
    pub fn current(&self) -> Option<&McpDefinition> {
        match self.is_gone {
            true => None,
            false => self.listed.as_ref().or(self.approved.as_ref()),
        }
    }
}

/// The record of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpPins {
    /// The digest of its program and arguments, or of its URL.
    pub identity: String,
    /// The era of the protocol that the server speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<String>,
    /// Definitions, in the order of their keys.
    pub pins: Vec<McpPin>,
}

impl McpPins {
    /// Definitions by key.
    #[must_use]
    pub fn by_key(&self) -> BTreeMap<&McpKey, &McpPin> {
        self.pins.iter().map(|pin| (&pin.key, pin)).collect()
    }
}

/// The list of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpListed {
    /// The digest of its program and arguments, or of its URL.
    pub identity: String,
    /// The era of the protocol that the server speaks.
    pub era: String,
    /// Its definitions.
    pub definitions: BTreeMap<McpKey, McpDefinition>,
    /// Whether the list may not be whole: then a definition that is missing in the list is not gone.
    pub is_partial: bool,
}

/// A person's approval: of this definition and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpApproval {
    /// The kind and name of the definition.
    pub key: McpKey,
    /// The digest of the definition that the person saw; null approves the listed definition.
    pub digest: Option<String>,
}
