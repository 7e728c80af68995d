//! `${NAME}` in a configuration.
//!
//! | written | gives |
//! | --- | --- |
//! | `${A}`, `${env:A}` | the value of `A`; an error if it is not set |
//! | `${A:-x}` | the value of `A`, or `x` if it is not set or empty |
//! | `$${A}` | the text `${A}` |
//! | `$A`, `$` | as written |
//!
//! A value is never expanded again.

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The value.
    pub value: String,
    /// Whether the value comes from where secrets are kept: nothing shows it then, whatever the variable's name.
    pub is_secret: bool,
}

impl From<String> for Variable {
    /// A value that is a secret only if a name says so.
    fn from(value: String) -> Self {
        Self {
            value,
            is_secret: false,
        }
    }
}

/// A variable that cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VarError {
    /// The variable has no value.
    #[error(
        "the variable `{0}` is not set; set it for the process, write `{0}=value` into its file of secrets, or \
         `${{{0}:-value}}` here"
    )]
    Unset(String),
    /// The reference is not closed.
    #[error("`${{` is not closed; write `$${{` for the text itself")]
    Open,
    /// It is none.
    #[error("`${{{0}}}` is not a variable; write ${{NAME}}, ${{NAME:-value}} or ${{env:NAME}}")]
    Invalid(String),
}

/// Text whose variables are filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) text: String,
    /// The variables, each with its value.
    pub(super) values: Vec<(String, Variable)>,
}

/// Fills the variables in.
pub(super) fn fill(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<Variable>,
) -> Result<Filled, VarError> {
    let mut filled = Filled {
        text: String::with_capacity(text.len()),
        values: Vec::new(),
    };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            filled.text.push_str(&rest[..at - 1]);
            filled.text.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        filled.text.push_str(&rest[..at]);
        let (inside, after) = rest[at + 2..].split_once('}').ok_or(VarError::Open)?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let name = name.strip_prefix("env:").unwrap_or(name);
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(fits)
        {
            return Err(VarError::Invalid(inside.chars().take(60).collect()));
        }
        let value = match (lookup(name), default) {
            (Some(found), Some(default)) if found.value.is_empty() => default.to_owned().into(),
            (Some(found), _) => found,
            (None, Some(default)) => default.to_owned().into(),
            (None, None) => return Err(VarError::Unset(name.to_owned())),
        };
        filled.text.push_str(&value.value);
        filled.values.push((name.to_owned(), value));
        rest = after;
    }
    filled.text.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ahead-tools/19.
    #[test]
    fn variables_are_filled_in_once() {
        let lookup = |name: &str| match name {
            "A" => Some("value".to_owned().into()),
            "B" => Some("${A}".to_owned().into()),
            "EMPTY" => Some(String::new().into()),
            _ => None,
        };
        let fill = |text: &str| fill(text, &lookup).map(|filled| filled.text);
        for (text, expected) in [
            ("x ${A} y", "x value y"),
            ("${env:A}", "value"),
            ("${A:-d}", "value"),
            ("${N:-d}", "d"),
            ("${N:-}", ""),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("$A", "$A"),
            ("$${A}", "${A}"),
            ("${B}", "${A}"),
            ("cost: 5$", "cost: 5$"),
            ("${N:-http://x/}", "http://x/"),
        ] {
            assert_eq!(fill(text), Ok(expected.to_owned()), "{text}");
        }
        assert_eq!(fill("${N}"), Err(VarError::Unset("N".to_owned())));
        assert_eq!(fill("${A"), Err(VarError::Open));
        for text in ["${}", "${input:key}", "${a b}", "${1}"] {
            assert!(matches!(fill(text), Err(VarError::Invalid(_))), "{text}");
        }
    }
}
