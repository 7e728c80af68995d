//! Which tools an agent wants: `http_*`, or `github/*` of a source.

use agentkit::policy::Pattern;

/// A pattern of tools, of any source or of one source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    /// The source, if it is named.
    pub(crate) source: Option<String>,
    pattern: Pattern,
}

impl Wanted {
    /// Reads a pattern that a definition has; invalid patterns were refused when the definition was read.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (source, pattern) = match text.split_once('/') {
            Some((source, pattern)) => (Some(source.to_owned()), pattern),
            None => (None, text),
        };
        let pattern = pattern.parse().ok()?;
        Some(Self { source, pattern })
    }

    /// Whether a tool of a source is wanted.
    pub(crate) fn takes(&self, source: &str, tool: &str) -> bool {
        self.source.as_deref().is_none_or(|name| name == source) && self.pattern.matches(tool)
    }
}
