//! Tools come from sources: built-ins, and whatever else is configured.

mod catalogue;
mod held;
mod source;
mod wanted;

pub(crate) use self::{catalogue::Selection, wanted::Wanted};
pub use self::{
    catalogue::{Catalogue, CatalogueError, ListedTool, SourceState},
    source::{FixedTools, Health, SourceContext, SourceError, ToolSource},
};

#[cfg(test)]
mod tests;
