//! How a conversation is kept within the model's context.

use agentkit::{Definition, run::MemoryConfig};

/// The settings of a definition, with the usual value for each setting that the definition leaves out.
pub(super) fn of(definition: Option<&Definition>, usual: &MemoryConfig) -> MemoryConfig {
    let own = definition.map(|definition| &definition.memory);
    let compact_at = own.and_then(|memory| memory.compact_at);
    let keep = own.and_then(|memory| memory.keep_exchanges);
    let summarise = own.and_then(|memory| memory.summarise);
    MemoryConfig {
        compact_at: compact_at.unwrap_or(usual.compact_at),
        keep_exchanges: keep.unwrap_or(usual.keep_exchanges),
        summarise: summarise.unwrap_or(usual.summarise),
    }
}
