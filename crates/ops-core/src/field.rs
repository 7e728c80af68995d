//! Parts of an input.

/// One offending part of an input, or one that its client should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where it is: names of fields, outermost first, as the types of the engine name them
    /// (`idempotency_key`, `input`, `arguments`, `limits.max_cost`). A surface translates those that it
    /// names otherwise. Within `input` and `arguments` they are the keys of the document.
    pub path: Vec<String>,
    /// What is wrong with it.
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
