//! The tools of a run as a key.

use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use agentkit::{run::PinnedTool, tool::Registry};

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The pinned tools of a run and the names of its held tools, with their hash: keys are looked up for each
/// run, and differ seldom.
#[derive(Debug)]
pub(crate) struct Pins {
    tools: Vec<PinnedTool>,
    held: Vec<String>,
    hash: u64,
}

impl Pins {
    pub(crate) fn new(tools: &[PinnedTool], registry: &Registry) -> Self {
        let held: Vec<String> = registry.held().keys().cloned().collect();
        let names = tools.iter().map(|tool| (&tool.name, &tool.digest));
        let hash = HASHER.hash_one((names.collect::<Vec<_>>(), &held));
        Self {
            tools: tools.to_vec(),
            held,
            hash,
        }
    }

    pub(crate) fn tools(&self) -> &[PinnedTool] {
        &self.tools
    }
}

impl PartialEq for Pins {
    fn eq(&self, other: &Self) -> bool {
        self.tools == other.tools && self.held == other.held
    }
}

impl Eq for Pins {}

impl Hash for Pins {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}
