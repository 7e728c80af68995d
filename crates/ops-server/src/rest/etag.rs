//! Validators: of a task, and comparing any (RFC 9110, 8.8.3 and 13.1.2).

use http::{HeaderMap, HeaderValue, header};
use ops_core::Lifecycle;

/// Every change of a task is an event, and the number of the last one says which it is. Weak: a
/// release that shows more of a task gives the same one.
pub(crate) fn of(life: &Lifecycle) -> HeaderValue {
    HeaderValue::try_from(format!("W/\"{}\"", life.seq)).expect("digits are a header value")
}

/// Whether the client has what it would be answered.
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
