//! Parts of an input.

/// An invalid part of an input, or a part that deserves a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Location: names of fields, outermost first, as the types of the engine name them (`idempotency_key`,
    /// `input`, `arguments`, `limits.max_cost`). A surface translates the names that it spells otherwise.
    /// Within `input` and `arguments` the names are the keys of the document.
    pub path: Vec<String>,
    /// The mistake, for the client.
    pub message: String,
    /// A stable kind, for instance `missing` or `unknown_field`.
    pub kind: &'static str,
}

impl FieldError {
    /// One offending part.
    pub fn new(path: &[&str], kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            message: message.into(),
            kind,
        }
    }
}
