//! A request with the terms that only the engine sets.

use std::collections::BTreeMap;

use ops_core::{TaskId, ports::Fork};

use super::Submit;
use crate::schedule;

/// A request that is placed with the store. No client can write the parts beside `submit`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    /// The client's request.
    pub(crate) submit: Submit,
    /// The key, where it is not that of a submit.
    pub(crate) key: Option<OrderKey>,
    /// The task that it does again.
    pub(crate) retry_of: Option<TaskId>,
    /// The beginning of another task's log, if the new task continues that log.
    pub(crate) fork: Option<Fork>,
    /// Labels beside the client's labels.
    pub(crate) labels: EngineLabels,
    /// Whether the terms are those of an existing task or schedule: later rules do not undo them.
    pub(crate) is_inherited: bool,
}

/// The key of a request that is not a plain submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OrderKey {
    /// A client's, with the digest of its request.
    Client { key: String, digest: [u8; 32] },
    /// The engine's own: a dead letter is redriven once.
    Redrive(TaskId),
}

impl Order {
    /// A client's request.
    pub(crate) fn of(submit: Submit) -> Self {
        Self {
            submit,
            key: None,
            retry_of: None,
            fork: None,
            labels: EngineLabels::default(),
            is_inherited: false,
        }
    }

    /// The client's key, if the request has a key.
    pub(super) fn client_key(&self) -> Option<&str> {
        match &self.key {
            Some(OrderKey::Client { key, .. }) => Some(key),
            Some(OrderKey::Redrive(_)) => None,
            None => self.submit.key.as_ref().map(|key| key.key.as_str()),
        }
    }

    /// The digest that an older release may have stored with the key.
    pub(super) fn former(&self) -> Option<[u8; 32]> {
        match &self.key {
            Some(_) => None,
            None => self.submit.key.as_ref()?.former,
        }
    }
}

/// Labels that only the engine gives: a task has such a label from the engine, and each repetition of the
/// task keeps the label.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct EngineLabels {
    /// The schedule that submitted it.
    pub(crate) schedule: Option<String>,
}

impl EngineLabels {
    /// The keys.
    pub(super) const KEYS: [&str; 1] = [schedule::LABEL];

    /// Takes the engine's labels out of a task's labels.
    pub(crate) fn taken_from(labels: &mut BTreeMap<String, String>) -> Self {
        Self {
            schedule: labels.remove(schedule::LABEL),
        }
    }

    pub(super) fn join(self, labels: &mut BTreeMap<String, String>) {
        let Self { schedule } = self;
        labels.extend(schedule.map(|name| (schedule::LABEL.to_owned(), name)));
    }
}
