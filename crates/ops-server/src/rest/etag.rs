//! Validators and preconditions (RFC 9110, 8.8.3 and 13.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ops_core::{Code, Lifecycle};
use ops_engine::FieldError;

use crate::problem::Problem;

/// The condition under which a change takes place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Precondition<T> {
    /// No condition.
    Any,
    /// Not there: `If-None-Match: *`.
    Absent,
    /// As an `ETag` says: `If-Match`.
    Tag(T),
}

/// The precondition of a change. `parse` reads an `ETag` without its quotes, and `form` says what one
/// is like.
///
/// # Errors
/// 422 if a header says an impossible condition.
pub(super) fn precondition<T>(
    headers: &HeaderMap,
    parse: impl FnOnce(&str) -> Option<T>,
    form: &str,
) -> Result<Precondition<T>, Problem> {
    let given = |name: &HeaderName| {
        let value = headers.get(name)?;
        Some(value.to_str().unwrap_or_default().trim().to_owned())
    };
    let wrong = |name: &HeaderName, message: &str| {
        let field = FieldError::new(&[name.as_str()], "value_error", message);
        Problem::parts(Code::InvalidBody, "header", vec![field])
    };
    match (given(&header::IF_MATCH), given(&header::IF_NONE_MATCH)) {
        (None, None) => Ok(Precondition::Any),
        (None, Some(any)) if any == "*" => Ok(Precondition::Absent),
        (Some(tag), None) => tag
            .strip_prefix('"')
            .and_then(|tag| tag.strip_suffix('"'))
            .and_then(parse)
            .map(Precondition::Tag)
            .ok_or_else(|| {
                wrong(
                    &header::IF_MATCH,
                    &format!("must be an `ETag`: {form} in quotes"),
                )
            }),
        (_, Some(_)) => Err(wrong(
            &header::IF_NONE_MATCH,
            "must be `*`, and goes without `If-Match`",
        )),
    }
}

/// Every change of a task is an event, and the number of the last one says which it is. Weak: a
/// release that shows more of a task gives the same one.
pub(crate) fn of(life: &Lifecycle) -> HeaderValue {
    HeaderValue::try_from(format!("W/\"{}\"", life.seq)).expect("digits are a header value")
}

/// Whether the client has the answer already.
pub(crate) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let ours = tag.to_str().map(bare).ok();
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|known| known.to_str().ok())
        .flat_map(|known| known.split(','))
        .any(|known| known.trim() == "*" || Some(bare(known)) == ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly_and_in_lists() {
        let tag = HeaderValue::from_static("W/\"7\"");
        for (known, is) in [
            ("W/\"7\"", true),
            ("\"7\"", true),
            ("\"a\", W/\"7\"", true),
            ("*", true),
            ("W/\"77\"", false),
            ("7", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(known));
            assert_eq!(is_known(&headers, &tag), is, "{known}");
        }
        assert!(!is_known(&HeaderMap::new(), &tag));
    }
}
