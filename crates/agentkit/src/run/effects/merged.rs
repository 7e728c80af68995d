//! Calls that are merged: how many of a tool there were on a resource, and how they ended.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::{EffectOfCall, EffectOutcome};
use crate::event::StepId;

/// The most groups; beyond them, groups are merged by what is larger than their resources.
const MAX_GROUPS: usize = 128;
/// The coarsest level: all calls are one group.
pub(super) const COARSEST: u8 = 3;

/// Calls by tool and resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Groups {
    /// 0: by the whole resource. 1: by its folder or host. 2: by tool alone. 3: all calls together.
    level: u8,
    groups: Vec<Group>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Group {
    /// Empty on level 3.
    tool: String,
    /// Empty on level 2 and 3.
    resource: String,
    first: StepId,
    last: StepId,
    done: u64,
    failed: u64,
    unknown: u64,
}

impl Groups {
    pub(super) fn count(&self) -> u64 {
        self.groups.iter().map(Group::count).sum()
    }

    /// Adds calls, oldest first.
    pub(super) fn merge(&mut self, calls: &[EffectOfCall]) {
        let level = self.level;
        let new = calls.iter().map(|call| Group::of(call, level));
        let groups = std::mem::take(&mut self.groups).into_iter();
        self.groups = joined(groups.chain(new));
        while self.groups.len() > MAX_GROUPS {
            self.coarsen(self.level + 1);
        }
    }

    /// Merges groups up to a level.
    pub(super) fn coarsen(&mut self, level: u8) {
        let level = level.min(COARSEST);
        if level <= self.level {
            return;
        }
        self.level = level;
        let groups = std::mem::take(&mut self.groups).into_iter();
        self.groups = joined(groups.map(|group| group.at(level)));
    }

    pub(super) fn tell(&self, text: &mut String) {
        for group in &self.groups {
            let count = group.count();
            let _ = write!(
                text,
                "\n- {count} call{}",
                if count == 1 { "" } else { "s" }
            );
            if !group.tool.is_empty() {
                let _ = write!(text, " of {}", group.tool);
            }
            if !group.resource.is_empty() {
                let _ = write!(text, " on {}", group.resource);
            }
            match group.first == group.last {
                true => {
                    let _ = write!(text, " ({})", group.first);
                }
                false => {
                    let _ = write!(text, " ({} to {})", group.first, group.last);
                }
            }
            let ends = [
                (group.done, "done"),
                (group.failed, "failed"),
                (group.unknown, "not known"),
            ];
            let ends = ends.iter().filter(|(count, _)| *count > 0);
            let ends: Vec<String> = ends.map(|(count, end)| format!("{count} {end}")).collect();
            let _ = write!(text, ": {}", ends.join(", "));
        }
    }
}

impl Group {
    fn of(call: &EffectOfCall, level: u8) -> Self {
        let mut resource = call.resources.join(", ");
        if call.unnamed > 0 {
            let _ = write!(resource, " and {} more", call.unnamed);
        }
        let one = |is: bool| u64::from(is);
        let group = Self {
            tool: call.tool.clone(),
            resource,
            first: call.step,
            last: call.step,
            done: one(call.outcome == EffectOutcome::Done),
            failed: one(matches!(
                call.outcome,
                EffectOutcome::Failed(_) | EffectOutcome::NotDone
            )),
            unknown: one(call.outcome == EffectOutcome::Unknown),
        };
        group.at(level)
    }

    fn count(&self) -> u64 {
        self.done + self.failed + self.unknown
    }

    fn at(mut self, level: u8) -> Self {
        match level {
            0 => {}
            1 => self.resource = larger(&self.resource),
            2 => self.resource.clear(),
            _ => {
                self.tool.clear();
                self.resource.clear();
            }
        }
        self
    }
}

/// Groups of one tool and resource become one, where the first of them stood.
fn joined(groups: impl Iterator<Item = Group>) -> Vec<Group> {
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut joined: Vec<Group> = Vec::new();
    for group in groups {
        let key = (group.tool.clone(), group.resource.clone());
        match places.get(&key) {
            Some(index) => {
                let one = &mut joined[*index];
                one.first = one.first.min(group.first);
                one.last = one.last.max(group.last);
                one.done += group.done;
                one.failed += group.failed;
                one.unknown += group.unknown;
            }
            None => {
                places.insert(key, joined.len());
                joined.push(group);
            }
        }
    }
    joined
}

/// The folder of a path, the host of a URL, and the same for several resources.
pub(super) fn larger(resource: &str) -> String {
    let mut larger: Vec<String> = resource.split(", ").map(larger_one).collect();
    larger.sort_unstable();
    larger.dedup();
    larger.join(", ")
}

fn larger_one(resource: &str) -> String {
    let (kind, name) = resource.rsplit_once(' ').unwrap_or(("", resource));
    if kind.ends_with("file") || kind == "folder" {
        return match name.split_once('/') {
            Some((folder, _)) => format!("files below {folder}"),
            None => "files".to_owned(),
        };
    }
    match kind {
        "url" => {
            let host = name.split('/').nth(2).unwrap_or(name);
            format!("host {host}")
        }
        "task" => "tasks".to_owned(),
        _ => resource.to_owned(),
    }
}
