//! The record of effects: the calls of a run that changed something, as data.
//!
//! A conversation that is made smaller loses calls and their results. An agent that has forgotten a payment pays
//! twice. So the fold keeps a record of each call with an effect, and pins the record into each new segment. The
//! record is bounded: the oldest calls are merged by tool and resource into counts, first by the whole resource,
//! then by its folder or host, then by tool alone. No call leaves the record without being counted.

mod merged;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use self::merged::Groups;
use super::CallState;
use crate::{
    effect::Effect,
    event::{CallKey, FileDelta, StepId, ToolCompleted},
    tool::{OUTCOME_UNKNOWN, Resource},
};

/// The most calls that are kept one by one.
const MAX_CALLS: usize = 128;
/// The most resources of a call that are named.
const MAX_NAMED: usize = 16;
/// The most bytes of a resource's name, and of an excerpt of arguments.
const MAX_NAME: usize = 160;

/// The calls of a run that changed something.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Effects {
    /// The newest calls, oldest first.
    calls: Vec<EffectOfCall>,
    /// The calls before, merged.
    older: Groups,
}

/// A call that changed something, or may have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EffectOfCall {
    /// The call.
    pub step: StepId,
    /// The tool.
    pub tool: String,
    /// Resources that the call writes, for a person: `file report.md`, `url https://host/`, `service mail`.
    pub resources: Vec<String>,
    /// Number of resources beyond the named ones.
    #[serde(default)]
    pub unnamed: usize,
    /// The beginning of the arguments, where the resources alone do not tell calls apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// The call's key, where the far side may know the call by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CallKey>,
    /// The outcome.
    pub outcome: EffectOutcome,
}

/// Outcome of a call with an effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectOutcome {
    /// The call succeeded.
    Done,
    /// The call failed with this code, after it had begun.
    Failed(String),
    /// A person or a probe found that the call did not take effect.
    NotDone,
    /// Whether the call took effect is not known.
    Unknown,
}

impl Effects {
    /// The calls that are kept one by one, oldest first.
    #[must_use]
    pub fn calls(&self) -> &[EffectOfCall] {
        &self.calls
    }

    /// Number of calls, merged ones included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.older.count() + self.calls.len() as u64
    }

    /// A call ended well.
    pub(super) fn completed(&mut self, state: &CallState, completed: &ToolCompleted) {
        let child = completed.child.as_ref().map(|child| child.task.as_str());
        self.add(state, &completed.files, child, EffectOutcome::Done);
    }

    /// A call failed. A call that never began changed nothing.
    pub(super) fn failed(&mut self, state: &CallState, code: &str) {
        let outcome = match code {
            OUTCOME_UNKNOWN => EffectOutcome::Unknown,
            code => EffectOutcome::Failed(code.to_owned()),
        };
        self.add(state, &[], None, outcome);
    }

    /// A call whose outcome had been lost was settled.
    pub(super) fn resolved(&mut self, state: &CallState, outcome: EffectOutcome) {
        self.add(state, &[], None, outcome);
    }

    /// A call of the newest turn is to be made anew.
    pub(super) fn forget(&mut self, step: StepId) {
        self.calls.retain(|call| call.step != step);
    }

    fn add(
        &mut self,
        state: &CallState,
        files: &[FileDelta],
        child: Option<&str>,
        outcome: EffectOutcome,
    ) {
        let call = &state.call;
        let writes = call
            .resources
            .as_ref()
            .map_or(&[][..], |touched| &touched.writes[..]);
        let has_effect = match call.effect {
            Effect::Write | Effect::Keyed => true,
            Effect::Idempotent => !writes.is_empty() || !files.is_empty(),
            Effect::Pure => !files.is_empty() || child.is_some(),
        };
        if state.tries == 0 || !has_effect {
            return;
        }
        let mut resources: Vec<String> = files
            .iter()
            .map(|file| match file.digest {
                Some(_) => format!("file {}", file.path),
                None => format!("removed file {}", file.path),
            })
            .collect();
        if let Some(task) = child {
            resources.push(format!("task {task}"));
        }
        // What was written is known by the files; a folder that the call could have written says less.
        let may_write = |resource: &&Resource| {
            files.is_empty()
                || !matches!(
                    resource,
                    Resource::File(_) | Resource::Folder(_) | Resource::Tree(_)
                )
        };
        resources.extend(writes.iter().filter(may_write).map(named));
        let arguments = (files.is_empty() && call.effect.is_write()).then(|| {
            let text = call.input.to_string();
            excerpt(&text)
        });
        let unnamed = resources.len().saturating_sub(MAX_NAMED);
        resources.truncate(MAX_NAMED);
        self.calls.push(EffectOfCall {
            step: call.step,
            tool: call.name.clone(),
            resources: resources.iter().map(|name| excerpt(name)).collect(),
            unnamed,
            arguments,
            key: call.key.clone().filter(|_| call.effect.is_write()),
            outcome,
        });
        if self.calls.len() > MAX_CALLS {
            // Half at a time: one by one each call would cost as much as all of them.
            let oldest: Vec<EffectOfCall> = self.calls.drain(..MAX_CALLS / 2).collect();
            self.older.merge(&oldest);
        }
    }

    /// The record as the model is told it, in about so many bytes; `None` while nothing was changed.
    pub(super) fn told(&self, until: StepId, bytes: usize) -> Option<String> {
        if self.count() == 0 {
            return None;
        }
        let head = format!(
            "[Record of this run, kept by the machine: everything that your calls have changed up to {until}. Calls that \
             only read are not listed.]"
        );
        let text = |merged: usize, coarser: u8| {
            let mut older = self.older.clone();
            older.merge(&self.calls[..merged]);
            older.coarsen(coarser);
            let mut text = head.clone();
            older.tell(&mut text);
            for call in &self.calls[merged..] {
                let _ = write!(text, "\n- {call}");
            }
            text
        };
        // The newest calls stay single as far as they fit. A few tries are enough: each one writes all of the text.
        let all = self.calls.len();
        let mut told = String::new();
        let mut low = all;
        for merged in [0, all / 2, all - all / 4, all - all / 8, all] {
            (told, low) = (text(merged, 0), merged);
            if told.len() <= bytes {
                break;
            }
        }
        for coarser in 1..=merged::COARSEST {
            if told.len() <= bytes {
                break;
            }
            told = text(low, coarser);
        }
        Some(told)
    }
}

/// The key is left out: a key is random, and a run that is made again, or replayed from a cassette, is to send the
/// same words.
impl std::fmt::Display for EffectOfCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.step, self.tool)?;
        if let Some(arguments) = &self.arguments {
            write!(f, " {arguments}")?;
        }
        for (index, resource) in self.resources.iter().enumerate() {
            write!(f, "{} {resource}", if index == 0 { " on" } else { "," })?;
        }
        if self.unnamed > 0 {
            write!(f, " and {} more", self.unnamed)?;
        }
        match &self.outcome {
            EffectOutcome::Done => write!(f, ": done"),
            EffectOutcome::Failed(code) => write!(f, ": failed ({code})"),
            EffectOutcome::NotDone => write!(f, ": did not take effect"),
            EffectOutcome::Unknown => write!(f, ": not known whether it took effect"),
        }
    }
}

fn named(resource: &Resource) -> String {
    match resource {
        Resource::Everything => "anything".to_owned(),
        Resource::File(path) => format!("file {path}"),
        Resource::Folder(path) | Resource::Tree(path) => format!("folder {path}"),
        Resource::Url(url) => format!("url {url}"),
        Resource::Service(name) => format!("service {name}"),
    }
}

/// The beginning of a text, on one line.
fn excerpt(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let shown: String = text[..text.floor_char_boundary(MAX_NAME)]
        .chars()
        .map(plain)
        .collect();
    match shown.len() < text.len() {
        true => format!("{shown}..."),
        false => shown,
    }
}
