//! Fuzz target: a query and the document that it is asked of.

use tokio_util::sync::CancellationToken;
use units::fuzzing::two_texts;

use super::{Evaluation, document::Text, picked, query};

/// The first line is a query, the rest a document.
pub(crate) fn query(data: &[u8]) {
    let (query, document) = two_texts(data);
    let Ok(query) = query::read(&query) else {
        return;
    };
    let Ok(document) = Text::Bytes(document.into_bytes()).parse(None) else {
        return;
    };
    let stop = CancellationToken::new();
    let mut evaluation = Evaluation::new(&document.node, &stop);
    if let Ok(found) = evaluation.query(&query) {
        let shown = picked(&found, 100);
        assert_eq!(shown["count"], found.len());
    }
    let _ = evaluation.into_unusable();
}
