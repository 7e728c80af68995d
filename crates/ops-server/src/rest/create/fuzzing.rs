//! Fuzz target: the body of a submit, and its digest.

use super::request;

/// A body, with its short forms, as the engine is given it.
pub(in crate::rest) fn submit(text: &str) {
    if let Ok(request) = request::parse(text) {
        let _ = super::Given::of(&request);
    }
}
