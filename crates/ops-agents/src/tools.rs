//! Tools come from sources: built-ins, and the other configured sources.

mod catalogue;
mod held;
mod mcp;
mod pins;
mod source;
mod wanted;

pub(crate) use self::{catalogue::Selection, pins::Pins, wanted::Wanted};
pub use self::{
    catalogue::{Catalogue, CatalogueError, ListedTool, SourceState},
    mcp::{McpSources, PROXY_SOURCE, records_folder},
    source::{FixedTools, Health, MEMORY_SOURCE, SourceContext, SourceError, ToolSource},
};

#[cfg(test)]
mod tests;
